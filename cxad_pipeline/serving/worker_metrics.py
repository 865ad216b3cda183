"""The metrics of several workers as one.

Belongs here: keeping the numbers where all workers can read them, and adding them up for a scrape, which any one of the
workers answers. Does not belong here: what is counted (`metrics`).

prometheus_client's multiprocess mode keeps counters in files, one set for each process, and decides when it is imported
whether to do so, by the variable PROMETHEUS_MULTIPROC_DIR.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from prometheus_client import multiprocess
from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def share_between_workers() -> Iterator[None]:
    """While this lasts, workers that are started share their metrics; `cxad serve` wraps them in it.

    prometheus_client looks at the variable when it is imported, so it holds for processes started afresh (uvicorn's
    workers are), not for this one. The files live as long as the service: counters start from zero with it, and one
    that replaces a dead worker goes on with the sums.
    """
    with tempfile.TemporaryDirectory(prefix="cxad-metrics-") as folder:
        os.environ[_FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[_FOLDER_VARIABLE]


def shared_folder() -> str | None:
    """Where workers keep their metrics; None if each is alone."""
    return os.environ.get(_FOLDER_VARIABLE)


class AllWorkers(Collector):
    """The sums over all workers, dead ones' counters among them, and the resources of those that live.

    Parameters
    ----------
    folder
        Where the workers keep them.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._sums = multiprocess.MultiProcessCollector(None, folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Give the sums as they are now, and forget the gauges of dead workers."""
        living = []
        for pid in {int(file.stem.rpartition("_")[2]) for file in Path(self._folder).glob("gauge_live*.db")}:
            if _lives(pid):
                living.append(pid)
            else:
                multiprocess.mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]
        yield from self._sums.collect()  # type: ignore[no-untyped-call]
        yield from _resources(living)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, as somebody else
        return True
    return True


def _resources(pids: Iterable[int]) -> Iterable[Metric]:
    """The process metrics of some processes added up; start time is that of the first."""
    sums: dict[str, Metric] = {}
    for pid in pids:
        for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            known = sums.setdefault(metric.name, metric)
            if known is not metric:
                add = min if metric.name.endswith("start_time_seconds") else float.__add__
                known.samples = [
                    one._replace(value=add(float(one.value), float(other.value)))
                    for one, other in zip(known.samples, metric.samples, strict=True)
                ]
    return sums.values()
