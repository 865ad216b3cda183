"""Windows of all contacts that were counted and judged, by when they were counted: what the digest tells.

Belongs here: reading them. Does not belong here: which of them are told (`operations.digests`), and listings by their
own time (`window_listing`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from cxad_pipeline.store.incident_tables import segment_windows
from cxad_pipeline.store.segment_rows import everyone

_LONGEST = 86_400
"""Seconds of the longest windows: so long before a period one may begin that reaches into it."""


@dataclass(frozen=True)
class JudgedWindow:
    """All contacts in a window.

    Attributes
    ----------
    start, end
        Seconds since 1970 UTC, `end` exclusive.
    contacts, anomalies
        Contacts, and those that the detector flagged.
    state
        Name of a `State` in lower case.
    recorded_at
        When it was counted, the last time.
    """

    start: int
    end: int
    contacts: int
    anomalies: int
    state: str
    recorded_at: dt.datetime


@dataclass(frozen=True)
class NotJudged:
    """Windows without anything in the store.

    Attributes
    ----------
    first, last
        Start of the first and end of the last one, seconds since 1970 UTC.
    windows
        How many they are; between them may be others.
    """

    first: int
    last: int
    windows: int


def judged_windows(connection: Connection, counted_after: dt.datetime) -> list[JudgedWindow]:
    """Windows that were judged, of those counted after a moment, the earliest first; late ones are still to be judged.

    Parameters
    ----------
    connection
        `Store.reading`, or in a transaction that writes.
    counted_after
        The moment.
    """
    columns = segment_windows.c
    query = (
        select(columns.start, columns.seconds, columns.contacts, columns.anomalies, columns.state, columns.recorded_at)
        .where(*_judged(), columns.recorded_at > counted_after)
        .order_by(columns.start)
    )
    return [
        JudgedWindow(row.start, row.start + row.seconds, row.contacts, row.anomalies, row.state, row.recorded_at)
        for row in connection.execute(query)
    ]


def judged_periods(connection: Connection, start: int, end: int) -> list[tuple[int, int]]:
    """Start and end of every window that was judged and lies in a period, however long ago, the earliest first.

    Parameters
    ----------
    connection
        `Store.reading`, or in a transaction that writes.
    start, end
        The period, seconds since 1970 UTC, the end exclusive.
    """
    columns = segment_windows.c
    query = (
        select(columns.start, columns.seconds)
        .where(*_judged(), columns.start >= start - _LONGEST, columns.start < end)
        .order_by(columns.start)
    )
    return [(row.start, row.start + row.seconds) for row in connection.execute(query)]


def last_counted(connection: Connection) -> dt.datetime | None:
    """When the window was counted that was counted last, of those that were judged; None where none was."""
    found: dt.datetime | None = connection.execute(
        select(func.max(segment_windows.c.recorded_at)).where(*_judged())
    ).scalar_one()
    return found


def _judged() -> tuple[ColumnElement[bool], ...]:
    columns = segment_windows.c
    return columns.segment_id == everyone(), columns.state.is_not(None), columns.state != "late"
