"""Windows in which the contacts of a segment are missing while others have some.

Belongs here: writing them as the tests found them, and reading those that a digest tells. Does not belong here: when a
segment is silent (`incidents.silence`), the rows of what was counted (`segment_windows`).

A cell without contacts has no row of its own in `segment_windows`. These get one, with zeros and what is usual, so that
what is missing shows wherever windows are listed. They are of the last judging alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, delete, insert, select

from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.incident import contains, segment_of
from cxad_pipeline.incidents.segments import Key, SegmentTree
from cxad_pipeline.incidents.states import State
from cxad_pipeline.store.incident_tables import segment_windows, segments
from cxad_pipeline.store.segment_names import closures
from cxad_pipeline.store.segment_rows import everyone, numbers_of, within

_MISSING = State.MISSING.name.lower()


@dataclass(frozen=True)
class SilentSegment:
    """A segment whose contacts are missing.

    Attributes
    ----------
    segment
        Its name.
    first, last
        Start of the first silent window and end of the last one, seconds since 1970 UTC.
    windows
        How many windows are silent.
    expected
        Contacts that are usual in them.
    """

    segment: Key
    first: int
    last: int
    windows: int
    expected: float


def replace_silent_windows(
    connection: Connection,
    tree: SegmentTree,
    findings: Findings,
    first: int,
    counted: Mapping[int, dt.datetime],
) -> None:
    """Write the silent windows of judged ones, in place of those that an earlier judging found in them.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    tree, findings
        What was found.
    first
        Position of the first window that was judged; all from there on were.
    counted
        When each window was counted, by its start; others are left alone.
    """
    windows, columns = findings.windows.between(first, findings.windows.number), segment_windows.c
    connection.execute(
        delete(segment_windows).where(*within(windows), columns.contacts == 0, columns.segment_id != everyone())
    )
    states = findings.states[:, first:]
    # Where the data of all is missing, that is said of all contacts alone.
    silent = (states == State.MISSING) & (states[tree.keys.index(())] != State.MISSING)
    silent[:, ~np.isin(windows.starts, list(counted))] = False
    places = np.argwhere(silent)
    if not len(places):
        return
    of_segments = sorted(set(places[:, 0].tolist()))
    numbers = numbers_of(connection, [tree.keys[s] for s in of_segments], add=True)
    number_of = {s: numbers[place] for place, s in enumerate(of_segments)}
    usual = next(one.expected for one in findings.evidence if one.kind == "volume")[:, first:]
    starts = windows.starts.tolist()
    rows = [
        {
            "segment_id": number_of[s],
            "start": starts[t],
            "seconds": windows.seconds,
            **dict.fromkeys(("contacts", "anomalies", "complaints", "together"), 0),
            "metrics": {},
            "recorded_at": counted[starts[t]],
            "state": _MISSING,
            "observed": 0.0,
            "expected": float(usual[s, t]),
        }
        for s, t in places.tolist()
    ]
    connection.execute(insert(segment_windows), rows)


def silent_segments(connection: Connection, starts: Collection[int]) -> list[SilentSegment]:
    """The segments that are silent in some windows, the one that misses most contacts first.

    One whose contacts are those of a larger segment, silent in the same windows, is left out.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    starts
        The windows, seconds since 1970 UTC.
    """
    if not starts:
        return []
    wanted, columns = set(starts), segment_windows.c
    query = (
        select(segments.c.segment, columns.start, columns.seconds, columns.expected)
        .join_from(segment_windows, segments)
        .where(
            columns.start.between(min(wanted), max(wanted)),
            columns.state == _MISSING,
            columns.contacts == 0,
            columns.segment_id != everyone(),
        )
        .order_by(columns.start)
    )
    found: dict[Key, list[tuple[int, int, float]]] = {}
    for row in connection.execute(query):
        if row.start in wanted:
            found.setdefault(segment_of(row.segment), []).append((row.start, row.start + row.seconds, row.expected))
    closed = closures(connection)
    silent_at = {key: {start for start, *_ in cells} for key, cells in found.items()}

    def is_part(key: Key) -> bool:
        own = closed.get(key, key)
        return any(other != key and contains(other, own) and silent_at[key] <= silent_at[other] for other in silent_at)

    told = [
        SilentSegment(key, cells[0][0], cells[-1][1], len(cells), sum(usual for *_, usual in cells))
        for key, cells in found.items()
        if not is_part(key)
    ]
    return sorted(told, key=lambda one: (-one.expected, one.segment))
