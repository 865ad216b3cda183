"""What was counted per segment and window, and what the tests found there.

Belongs here: writing and reading rollups and findings. Does not belong here: counting (`incidents.rollups`) and testing
(`incidents.monitor`), how a cell's metrics are written (`metric_sums`), the listing for people (`window_listing`, which
can be had from here too).

Segments and metrics are known by their names, not by their place in a tree: the tree that reads may be another than the
one that has written. A cell without contacts has no row, but for all contacts, where a zero is news.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.incident import segment_text
from cxad_pipeline.incidents.metrics import TAIL_SHARES, MetricRule
from cxad_pipeline.incidents.rollups import Rollups
from cxad_pipeline.incidents.segments import Key, SegmentTree
from cxad_pipeline.incidents.states import State
from cxad_pipeline.incidents.windows import Windows
from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.incident_tables import segment_windows, segments
from cxad_pipeline.store.metric_sums import SUMS, cells_of
from cxad_pipeline.store.window_listing import HIGHEST_SCORE
from cxad_pipeline.store.window_listing import SegmentWindow as SegmentWindow
from cxad_pipeline.store.window_listing import find_windows as find_windows

_COUNTS = {"contacts": "contacts", "anomalies": "flagged", "complaints": "complaints", "together": "together"}
"""Column of a count, and its name in `Rollups`."""
_CHUNK = 5_000


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
        When they were counted.

    Returns
    -------
    int
        Rows written: one for each cell with contacts, and always those of all contacts.
    """
    windows = rollups.windows
    connection.execute(
        delete(segment_windows).where(segment_windows.c.start >= windows.start, segment_windows.c.start < windows.end)
    )
    numbers = _numbers(connection, tree.keys, add=True)
    written = rollups.contacts > 0
    written[tree.keys.index(())] = True
    of_segment, of_window = (place.astype(np.int64) for place in np.nonzero(written))
    fixed = {"seconds": windows.seconds, "recorded_at": at}
    columns = {
        name: getattr(rollups, counted)[of_segment, of_window].astype(np.int64).tolist()
        for name, counted in _COUNTS.items()
    }
    columns["segment_id"] = [numbers[s] for s in of_segment.tolist()]
    columns["start"] = windows.starts[of_window].tolist()
    columns["metrics"] = cells_of(metrics, rollups, (of_segment, of_window))
    rows = [{**fixed, **dict(zip(columns, values, strict=True))} for values in zip(*columns.values(), strict=True)]
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
    numbers = _numbers(connection, tree.keys, add=False)
    position = {number: s for s, number in numbers.items()}
    columns = segment_windows.c
    query = select(columns.segment_id, columns.start, *(columns[name] for name in _COUNTS), columns.metrics).where(
        *_within(windows)
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
    sums = {name: np.zeros((len(metrics), *shape)) for name in SUMS}
    for m, metric in enumerate(metrics):
        cells = [row[-1].get(metric.name) for row in rows]
        for name, array in sums.items():
            array[m][place] = [0.0 if cell is None else float(cell[name]) for cell in cells]
    return Rollups(
        windows,
        **counts,
        count=sums["count"],
        total=sums["total"],
        squares=sums["squares"],
        exceedances=np.stack([sums[name] for name in SUMS[-len(TAIL_SHARES) :]], axis=1),
    )


def record_findings(connection: Connection, tree: SegmentTree, findings: Findings, first: int, stop: int) -> None:
    """Write beside the rollups what the tests found.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    tree
        That of the findings.
    findings
        What was found.
    first, stop
        Positions of the windows that are written, half open. A cell without a row gets none.
    """
    windows = findings.windows.between(first, stop)
    position = {number: s for s, number in _numbers(connection, tree.keys, add=False).items()}
    columns = segment_windows.c
    query = select(columns.id, columns.segment_id, columns.start).where(*_within(windows))
    rows = [row for row in connection.execute(query).all() if row.segment_id in position]
    if not rows:
        return
    s = np.array([position[row.segment_id] for row in rows], dtype=np.int64)
    t = first + (np.array([row.start for row in rows], dtype=np.int64) - windows.start) // windows.seconds
    tested = ~np.isnan(findings.score[s, t])
    leading = findings.leading()[s, t]
    families = [one.family for one in findings.evidence]
    kinds = [one.kind for one in findings.evidence]
    found = zip(
        [row.id for row in rows],
        [State(state).name.lower() for state in findings.states[s, t].tolist()],
        _or_none(np.minimum(findings.score[s, t], HIGHEST_SCORE), tested),
        [families[i] if is_tested else None for i, is_tested in zip(leading, tested, strict=True)],
        [kinds[i] if is_tested else None for i, is_tested in zip(leading, tested, strict=True)],
        _or_none(_leading(findings, "observed", leading, s, t), tested),
        _or_none(_leading(findings, "expected", leading, s, t), tested),
        strict=True,
    )
    names = ("row", "state", "score", "leading_metric", "leading_kind", "observed", "expected")
    change = update(segment_windows).where(columns.id == bindparam("row"))
    connection.execute(
        change.values({name: bindparam(name) for name in names[1:]}),
        [dict(zip(names, values, strict=True)) for values in found],
    )


def tested_windows(connection: Connection, segment: Key, after: int, before: int, seconds: int) -> int:
    """How many windows of a segment were tested.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    segment
        The segment.
    after, before
        Windows that begin between these moments, seconds since 1970 UTC, neither included.
    seconds
        Their length.
    """
    columns = segment_windows.c
    query = (
        select(func.count())
        .select_from(segment_windows.join(segments))
        .where(
            segments.c.digest == digest(segment_text(segment)),
            columns.start > after,
            columns.start < before,
            columns.seconds == seconds,
            columns.state == State.TESTED.name.lower(),
        )
    )
    return connection.execute(query).scalar_one()


def _within(windows: Windows) -> tuple[Any, ...]:
    """Conditions: rows of windows on this grid."""
    columns = segment_windows.c
    return (
        columns.seconds == windows.seconds,
        columns.start >= windows.start,
        columns.start < windows.end,
        (columns.start - windows.start) % windows.seconds == 0,
    )


def _numbers(connection: Connection, keys: Sequence[Key], *, add: bool) -> dict[int, int]:
    """Number of each segment in the store, by its place among the keys; those that are not there are left out."""
    texts = [segment_text(key) for key in keys]
    places = {digest(text): s for s, text in enumerate(texts)}
    known = _known(connection, places)
    if add and len(known) < len(keys):
        insertion = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(segments)
        # In the order of the key, or two writers could each hold a row that the other waits for.
        rows = [
            {"digest": name, "segment": texts[s], "level": min(len(keys[s]), 2)}
            for name, s in sorted(places.items())
            if name not in known
        ]
        connection.execute(insertion.on_conflict_do_nothing(index_elements=["digest"]), rows)
        known = _known(connection, places)
    return {places[name]: number for name, number in known.items()}


def _known(connection: Connection, digests: dict[str, int]) -> dict[str, int]:
    wanted = list(digests)
    found: dict[str, int] = {}
    for first in range(0, len(wanted), _CHUNK):
        query = select(segments.c.digest, segments.c.id).where(segments.c.digest.in_(wanted[first : first + _CHUNK]))
        found |= {row.digest: row.id for row in connection.execute(query)}
    return found


def _leading(
    findings: Findings, name: str, leading: npt.NDArray[np.int64], s: npt.NDArray[np.int64], t: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Of the leading test of each cell."""
    found = np.full(len(s), np.nan)
    for i, one in enumerate(findings.evidence):
        chosen = leading == i
        found[chosen] = getattr(one, name)[s[chosen], t[chosen]]
    return found


def _or_none(values: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]) -> list[float | None]:
    known = chosen & np.isfinite(values)
    return [value if is_known else None for value, is_known in zip(values.tolist(), known, strict=True)]
