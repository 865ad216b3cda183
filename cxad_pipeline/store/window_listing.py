"""Segments and windows for people: what was counted and found, with names and means.

Belongs here: the listing. Does not belong here: writing, and reading for tests (`segment_windows`).
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Any, TypedDict

from sqlalchemy import Connection, Row, select

from cxad_pipeline.incidents.incident import segment_of, segment_text
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.incident_tables import segment_windows, segments
from cxad_pipeline.store.metric_sums import MetricSums, readable
from cxad_pipeline.store.pages import iso

HIGHEST_SCORE = 300.0
"""Scores are not kept beyond it: JSON knows no infinity, and p-values below 1e-300 are all alike."""


class SegmentWindow(TypedDict):
    """A segment in a window, for people: plain JSON.

    Attributes
    ----------
    segment
        Pairs of dimension and value; empty for all contacts.
    level
        0 for all contacts, 1 for a single value, 2 for a combination.
    start, seconds
        Start of the window, ISO 8601 in UTC, and its length.
    contacts, anomalies, complaints, together
        Contacts, those that the detector flagged, those with a complaint, and those whose metrics together are in the
        far tail.
    metrics
        By metric: `count` values, `mean` in the metric's own unit (None where there is none), `far` and `near` of them
        beyond the thresholds of its bad tail; `total` and `squares` as `Rollups` has them.
    state
        Name of a `State` in lower case; None where nobody has looked.
    score
        As in `Findings.score`, at most `HIGHEST_SCORE`; None where nothing was tested.
    leading_metric, leading_kind, observed, expected
        The test that says most there; None where nothing was tested.
    recorded_at
        When it was counted.
    """

    segment: Key
    level: int
    start: str
    seconds: int
    contacts: int
    anomalies: int
    complaints: int
    together: int
    metrics: dict[str, MetricSums]
    state: str | None
    score: float | None
    leading_metric: str | None
    leading_kind: str | None
    observed: float | None
    expected: float | None
    recorded_at: str


def find_windows(
    connection: Connection,
    *,
    since: dt.datetime | None,
    until: dt.datetime | None,
    segment: Key | None = None,
    level: int | None = None,
    limit: int,
) -> list[SegmentWindow]:
    """Windows for people, the latest first, in a window all contacts before single values before combinations.

    Parameters
    ----------
    connection
        `Store.reading`.
    since, until
        Windows that begin from `since` on and before `until`; None: no bound.
    segment
        Exactly this one; None: all.
    level
        Segments of this level; None: all.
    limit
        Most windows.
    """
    columns = segment_windows.c
    query = (
        select(segment_windows, segments.c.segment, segments.c.level)
        .join_from(segment_windows, segments)
        .order_by(columns.start.desc(), segments.c.level, segments.c.id)
        .limit(limit)
    )
    if since is not None:
        query = query.where(columns.start >= math.ceil(since.timestamp()))
    if until is not None:
        query = query.where(columns.start < math.ceil(until.timestamp()))
    if segment is not None:
        query = query.where(segments.c.digest == digest(segment_text(segment)))
    if level is not None:
        query = query.where(segments.c.level == level)
    return [_window(row) for row in connection.execute(query)]


def _window(row: Row[Any]) -> SegmentWindow:
    start = dt.datetime.fromtimestamp(row.start, dt.UTC)
    return {
        "segment": segment_of(row.segment),
        "level": row.level,
        "start": iso(start),
        "seconds": row.seconds,
        "contacts": row.contacts,
        "anomalies": row.anomalies,
        "complaints": row.complaints,
        "together": row.together,
        "metrics": readable(row.metrics),
        "state": row.state,
        "score": row.score,
        "leading_metric": row.leading_metric,
        "leading_kind": row.leading_kind,
        "observed": row.observed,
        "expected": row.expected,
        "recorded_at": iso(row.recorded_at),
    }
