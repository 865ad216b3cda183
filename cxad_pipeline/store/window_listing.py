"""Segments and windows for people: what was counted and found, with names and means; what was usual; what covers them.

Belongs here: the listing. Does not belong here: writing, and reading for tests (`segment_windows`), how bands are made
(`incidents.bands`) and which calibration they are of (`baselines`).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from sqlalchemy import Connection, Row, exists, or_, select

from cxad_pipeline.incidents.incident import segment_of, segment_text
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.incident_tables import incident_calls, incidents, segment_windows, segments
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
        How many dimensions it names; 0 for all contacts.
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
    metrics_not_tested
        By metric the name of its `State`, of those that were not tested though the segment was.
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
    metrics_not_tested: dict[str, str]
    score: float | None
    leading_metric: str | None
    leading_kind: str | None
    observed: float | None
    expected: float | None
    recorded_at: str


class Trend(TypedDict):
    """A metric of a segment in a window against what is usual; None where there is nothing to say.

    Attributes
    ----------
    observed
        The metric's mean, in its own unit, or the number of `contacts`, `complaints` or `together`.
    expected, low, high
        What is usual, and its band (`incidents.bands`).
    incident
        The open or resolved incident, the most severe one if there are several, that is of this segment or has a call
        in it, and lasts from its first to its last calling window over this one.
    """

    observed: float | None
    expected: float | None
    low: float | None
    high: float | None
    incident: str | None


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
        "metrics_not_tested": {metric: one["state"] for metric, one in (row.metric_states or {}).items()},
        "score": row.score,
        "leading_metric": row.leading_metric,
        "leading_kind": row.leading_kind,
        "observed": row.observed,
        "expected": row.expected,
        "recorded_at": iso(row.recorded_at),
    }


def find_trends(
    connection: Connection, windows: Sequence[SegmentWindow], segment: Key, metric: str | None
) -> list[Trend]:
    """A metric in windows against what is usual in them.

    Parameters
    ----------
    connection
        `Store.reading`.
    windows
        Some of the segment, as `find_windows` gave them.
    segment
        The segment.
    metric
        A metric that is watched, `contacts`, `complaints` or `together`; None: incidents alone.
    """
    from cxad_pipeline.store.baselines import baselines_at  # with SciPy, which who draws no band can do without

    if not windows:
        return []
    starts = np.array([dt.datetime.fromisoformat(window["start"]).timestamp() for window in windows], dtype=np.int64)
    ends = starts + np.array([window["seconds"] for window in windows])
    observed, number = np.full((2, len(windows)), np.nan)
    if metric is not None:
        for i, window in enumerate(windows):
            observed[i], number[i] = _observed(window, metric)
    usual = np.full((3, len(windows)), np.nan)
    if metric is not None:
        known = baselines_at(connection, segment, [dt.datetime.fromisoformat(w["recorded_at"]) for w in windows])
        which = np.array([id(each) for each in known])
        for one in {id(each): each for each in known if each is not None}.values():
            own = (which == id(one)) & (ends - starts == one.seconds)
            band = one.band(metric, starts[own], number[own]) if own.any() else None
            if band is not None:
                usual[:, own] = band
    covering = _covering(connection, segment, int(starts.min()), int(ends.max()))
    found: list[Trend] = []
    for start, *numbers in zip(starts.tolist(), observed, *usual, strict=True):
        seen, expected, low, high = (float(each) if math.isfinite(each) else None for each in numbers)
        names = [name for first, stop, name in covering if first <= start < stop]
        found.append(
            {"observed": seen, "expected": expected, "low": low, "high": high, "incident": names[0] if names else None}
        )
    return found


def _observed(window: SegmentWindow, metric: str) -> tuple[float, float]:
    """What people read of a metric, and the number of values or contacts behind it."""
    sums = window["metrics"].get(metric)
    if sums is not None:
        return math.nan if sums["mean"] is None else sums["mean"], sums["count"]
    counts = {name: window[name] for name in ("contacts", "complaints", "together")}
    return counts.get(metric, math.nan), window["contacts"]


def _covering(connection: Connection, segment: Key, first: int, stop: int) -> list[tuple[int, int, str]]:
    """Start, end and name of the incidents of a segment in a period, seconds since 1970 UTC; the most severe first."""
    text, columns = segment_text(segment), incidents.c
    has_call = exists().where(incident_calls.c.incident == columns.number, incident_calls.c.segment == text)
    query = (
        select(columns.started_at, columns.ended_at, columns.id)
        .where(
            columns.status.in_(("open", "resolved")),
            columns.started_at < dt.datetime.fromtimestamp(stop, dt.UTC),
            columns.ended_at > dt.datetime.fromtimestamp(first, dt.UTC),
            or_(columns.segment_digest == digest(text), has_call),
        )
        .order_by(columns.severity.desc(), columns.number)
    )
    return [
        (int(row.started_at.timestamp()), int(row.ended_at.timestamp()), row.id) for row in connection.execute(query)
    ]
