"""Threads over ranges of rows.

Belongs here: the check of a table's form for a kernel, cutting it into ranges, and the threads that take them.
Does not belong here: what is done with a range.

Threads are ours, not numba's: its default threading layer may not be entered by two threads at once, and a server
does just that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

# Below a thousand rows a thread costs more than it saves (they take about 10 ms). Four thousand rows and one tree
# together fit into the cache of a core; with fewer rows the trees are fetched more often than need be.
_LEAST_ROWS, _MOST_ROWS = 1024, 4096
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def table_of(X: npt.ArrayLike, n_features: int) -> npt.NDArray[Any]:
    """X as an array (n, n_features) of float32 or float64; not copied if it is one.

    Raises
    ------
    ValueError
        If X has another shape.
    """
    points = X if isinstance(X, np.ndarray) and X.dtype in _FLOATS else np.asarray(X, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != n_features:
        raise ValueError(f"X has shape {points.shape}; the forest was grown on (n, {n_features})")
    return points


def over_rows(run: Callable[[npt.NDArray[Any], slice], None], points: npt.NDArray[Any], threads: int | None) -> None:
    """Call `run(points[rows], rows)` for ranges that cover the rows, in threads where there are many.

    Parameters
    ----------
    run
        Must release the GIL and write only its own rows. It gets them contiguous and writable, which is the only
        kind of array that kernels are compiled for; what is not is copied range by range.
    points
        As `table_of` gives them.
    threads
        Threads to use; None for as many as there are processors.
    """
    n_rows = len(points)
    if n_rows < 2 * _LEAST_ROWS:
        rows = slice(0, n_rows)
        run(_plain(points, rows), rows)
        return
    available = threads if threads is not None else _processors()
    tasks = min(available, n_rows // _LEAST_ROWS)
    length = min(_MOST_ROWS, -(-n_rows // tasks))
    ranges = [slice(start, min(start + length, n_rows)) for start in range(0, n_rows, length)]
    if tasks == 1:
        for rows in ranges:
            run(_plain(points, rows), rows)
        return
    with ThreadPoolExecutor(tasks) as pool:
        for _ in pool.map(lambda rows: run(_plain(points, rows), rows), ranges):
            pass


def _plain(points: npt.NDArray[Any], rows: slice) -> npt.NDArray[Any]:
    part = points[rows]
    return part if part.flags.carray else np.array(part, order="C")


def _processors() -> int:
    """Processors that this process may use; not every system can tell them from those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
