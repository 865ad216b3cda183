"""Segments, a running drain and what it has stored, for tests of spool and drain."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxad_pipeline.serving.drain import Drain
from cxad_pipeline.serving.segments import segment_sizes, spool_folder
from cxad_pipeline.serving.spool import Spool
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.anomalies import AnomalyFilter, StoredAnomaly, find_anomalies
from cxad_pipeline.store.database import open_store


def spooled(settings: Settings, *batches: list[Any]) -> list[Path]:
    """Segments with these records, one segment for each list; their writers are done."""
    before = set(segments_of(settings))
    for batch in batches:
        spool = Spool(Path(settings.serving.state), 1 << 30)
        spool.append(batch)
        asyncio.run(spool.stop())
    return [path for path in segments_of(settings) if path not in before]


def left_by_a_dead_writer(settings: Settings, name: str, records: list[Any]) -> Path:
    path = spool_folder(Path(settings.serving.state)) / f"{name}.ndjson"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def segments_of(settings: Settings) -> list[Path]:
    return list(segment_sizes(spool_folder(Path(settings.serving.state))))


def stored(settings: Settings) -> list[StoredAnomaly]:
    store = open_store(settings)
    with store.reading() as connection:
        found, _ = find_anomalies(connection, AnomalyFilter(), limit=10_000_000)
    store.close()
    return found


def stored_ids(settings: Settings) -> list[str]:
    return sorted(record["interaction_id"] for record in stored(settings))


def damaged_lines(settings: Settings) -> list[bytes]:
    folder = spool_folder(Path(settings.serving.state)) / "damaged"
    return [line for path in sorted(folder.glob("*")) for line in path.read_bytes().splitlines()]


@contextmanager
def running_drain(settings: Settings) -> Iterator[list[dict[str, Any]]]:
    """A drain in a thread, with its reports."""
    stop, reports = threading.Event(), list[dict[str, Any]]()
    thread = threading.Thread(target=Drain(settings).run, args=(stop, reports.append))
    thread.start()
    try:
        yield reports
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
