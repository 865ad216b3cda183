"""What was counted per segment and window.

Belongs here: writing and reading rollups, and which windows were counted. Does not belong here: counting
(`incidents.rollups`), what the tests found there (`segment_findings`), how a cell's metrics are written
(`metric_sums`), the listing for people (`window_listing`, which can be had from here too).

Segments and metrics are known by their names, not by their place in a tree: the tree that reads may be another than the
one that has written. A cell without contacts has no row, but for all contacts, where a zero is news; those in which the
contacts of a segment are missing get one when they are judged (`silent_windows`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select

from cxad_pipeline.incidents.metrics import MetricRule
from cxad_pipeline.incidents.rollups import Rollups
from cxad_pipeline.incidents.segments import SegmentTree
from cxad_pipeline.incidents.windows import Windows
from cxad_pipeline.store.incident_tables import segment_windows
from cxad_pipeline.store.metric_sums import SUMS, cells_of
from cxad_pipeline.store.segment_rows import everyone, numbers_of, within
from cxad_pipeline.store.window_listing import SegmentWindow as SegmentWindow
from cxad_pipeline.store.window_listing import find_windows as find_windows

_COUNTS = {"contacts": "contacts", "anomalies": "flagged", "complaints": "complaints", "together": "together"}
"""Column of a count, and its name in `Rollups`."""
_SUMS_OF = itemgetter(*SUMS)


def replace_rollups(
    connection: Connection, tree: SegmentTree, metrics: Sequence[MetricRule], rollups: Rollups, *, at: dt.datetime
) -> int:
    """Write the rollups of a period in place of all that is there, windows of another length too.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    tree, metrics
        Those that the rollups were counted with.
    rollups
        Of the whole period.
    at
        When they were counted. Where what they replace was counted no earlier, as after a clock was set back, they get
        the next microsecond: a window that was counted again can be told by it (`counted_windows`).

    Returns
    -------
    int
        Rows written: one for each cell with contacts, and always those of all contacts.
    """
    windows, columns = rollups.windows, segment_windows.c
    replaced = (columns.start >= windows.start, columns.start < windows.end)
    before = connection.execute(select(func.max(columns.recorded_at)).where(*replaced)).scalar_one()
    if before is not None:
        at = max(at, before + dt.timedelta(microseconds=1))
    connection.execute(delete(segment_windows).where(*replaced))
    numbers = numbers_of(connection, tree.keys, add=True)
    written = rollups.contacts > 0
    written[tree.keys.index(())] = True
    of_segment, of_window = (place.astype(np.int64) for place in np.nonzero(written))
    fixed = {"seconds": windows.seconds, "recorded_at": at}
    cells: dict[str, list[Any]] = {
        name: getattr(rollups, counted)[of_segment, of_window].astype(np.int64).tolist()
        for name, counted in _COUNTS.items()
    }
    cells["segment_id"] = [numbers[s] for s in of_segment.tolist()]
    cells["start"] = windows.starts[of_window].tolist()
    cells["metrics"] = cells_of(metrics, rollups, (of_segment, of_window))
    rows = [{**fixed, **dict(zip(cells, values, strict=True))} for values in zip(*cells.values(), strict=True)]
    connection.execute(insert(segment_windows), rows)
    return len(rows)


def read_rollups(connection: Connection, tree: SegmentTree, metrics: Sequence[MetricRule], windows: Windows) -> Rollups:
    """The rollups of a period for the segments of a tree.

    What is not there is 0: a segment or metric that the store does not know, a window that nobody counted or that has
    another length.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    tree, metrics
        What is wanted, by name.
    windows
        The period.
    """
    numbers = numbers_of(connection, tree.keys, add=False)
    position = {number: s for s, number in numbers.items()}
    columns = segment_windows.c
    query = select(columns.segment_id, columns.start, *(columns[name] for name in _COUNTS), columns.metrics).where(
        *within(windows)
    )
    rows = [row for row in connection.execute(query).all() if row[0] in position]
    shape = (len(tree), windows.number)
    place = (
        np.array([position[row[0]] for row in rows], dtype=np.int64),
        (np.array([row[1] for row in rows], dtype=np.int64) - windows.start) // windows.seconds,
    )
    counts = {}
    for i, counted in enumerate(_COUNTS.values(), start=2):
        counts[counted] = np.zeros(shape)
        counts[counted][place] = [row[i] for row in rows]
    sums = np.zeros((len(SUMS), len(metrics), *shape))
    absent = dict.fromkeys(SUMS, 0.0)
    for m, metric in enumerate(metrics):
        cells = [_SUMS_OF(row[-1].get(metric.name, absent)) for row in rows]
        # Numbers that are not finite are written as texts, which NumPy reads, too.
        sums[:, m, *place] = np.array(cells, dtype=np.float64).reshape(-1, len(SUMS)).T
    return Rollups(
        windows,
        **counts,
        count=sums[0],
        total=sums[1],
        squares=sums[2],
        exceedances=np.moveaxis(sums[3:], 0, 1),
    )


def counted_windows(connection: Connection, windows: Windows) -> dict[int, tuple[str | None, dt.datetime]]:
    """Which windows of a period were counted.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    windows
        The period. Windows of another length or grid are none of it.

    Returns
    -------
    dict
        By the start of each counted window, its state (None where nobody has looked) and when it was counted, which is
        later each time that it is.
    """
    columns = segment_windows.c
    query = select(columns.start, columns.state, columns.recorded_at).where(
        columns.segment_id == everyone(), *within(windows)
    )
    return {row.start: (row.state, row.recorded_at) for row in connection.execute(query)}


def windows_of_other_length(connection: Connection, seconds: int) -> set[int]:
    """Starts of the counted windows that are not so many seconds long: from before the length was changed.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    seconds
        The present length.
    """
    columns = segment_windows.c
    query = select(columns.start).where(columns.segment_id == everyone(), columns.seconds != seconds)
    return set(connection.execute(query).scalars())
