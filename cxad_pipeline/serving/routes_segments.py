"""Segments over time, as the screen draws them: their newest windows side by side, and one metric of one segment.

Belongs here: both routes, and how a long series is made shorter. Does not belong here: queries (`store`), what
the keys mean (`segment_schema`), what is tested in a window (`incidents`), incidents (`routes_incidents`).

A segment without contacts in a window has no entry there, unless they are missing; all contacts have one in each window
that was looked at, with a zero if need be.
"""

import datetime as dt
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from cxad_pipeline.serving.bodies import JSON
from cxad_pipeline.serving.known_segments import require_segment, unknown
from cxad_pipeline.serving.problems import problems
from cxad_pipeline.serving.query import in_zone
from cxad_pipeline.serving.security import Requirement
from cxad_pipeline.serving.segment_schema import SegmentList, SegmentQuery, SeriesQuery, TimeSeries, series_query
from cxad_pipeline.serving.store_access import AWAY, StoreAccess

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cxad_pipeline.store.database import Store
    from cxad_pipeline.store.window_listing import SegmentWindow, Trend

MOST_POINTS = 2_000
"""Of a series; longer ones are made shorter by `shortened`."""
_MOST_ROWS = 50_000
_ALL = ("contacts", "anomalies", "complaints", "together")
_WINDOW = (
    "start", "seconds", "state", "metrics_not_tested", "score", "leading_metric", "leading_kind", "observed",
    "expected", "contacts", "anomalies", "complaints",
)  # fmt: skip


def segment_routes(
    store: StoreAccess,
    *,
    read: Requirement,
    subjects: Sequence[str],
    zone: dt.tzinfo = dt.UTC,
    dimensions: Sequence[str] = ("queue", "channel", "language"),
) -> APIRouter:
    """The routes, for one store.

    Parameters
    ----------
    store
        What they ask.
    read
        Who may read.
    subjects
        What incidents can be about: metrics and the like, by name.
    zone
        Of times that carry none.
    dimensions
        That segments have, in their order.
    """
    routes = APIRouter(tags=["Incidents"])
    query_model = series_query(dimensions)

    @routes.get(
        "/api/segments",
        summary="The newest windows of every segment",
        response_model=SegmentList,
        responses=problems({503: AWAY}),
        dependencies=[Depends(read)],
    )
    async def list_segments(query: Annotated[SegmentQuery, Query()]) -> Any:
        """What was counted and found in each segment; those with the highest score first."""
        until = None if query.until is None else in_zone(query.until, zone)
        return _json(await store.ask(lambda opened: _segments(opened, query, until)))

    @routes.get(
        "/api/timeseries",
        summary="One segment over time",
        response_model=TimeSeries,
        responses=problems({503: AWAY}),
        dependencies=[Depends(read)],
    )
    async def time_series(query: Annotated[query_model, Query()]) -> Any:  # type: ignore[valid-type]
        """A metric against what is usual, window by window: /api/timeseries?segment=queue:billing&metric=aht_seconds.

        `observed` is the mean of the metric, or the number of contacts, complaints or contacts whose metrics are bad
        together; `expected`, `low` and `high` are what the calibration that judged the window knew of that hour of
        the week. When nothing is wrong, 99 % of the windows with enough values to be tested are between `low` and
        `high`; the fewer values a window has, the wider apart these are. `state` is that of the segment or, where
        this was tested, that of the metric: `not_answered` says that far fewer values than usual are there.

        More than 2,000 windows are put together in groups of equal length: counts are added, `mean` is weighted by
        its values, and score, state, observed, expected, low and high are those of the group's window with the
        highest score.

        Once anything was counted, a segment or a metric that nobody knows is 422.
        """
        return _json(await store.ask(lambda opened: _series(opened, query, subjects, dimensions, zone)))

    return routes


def _json(content: Any) -> Response:
    """The answer as it is sent: what is stored is ours, and not checked again."""
    return Response(json.dumps(content, allow_nan=False).encode(), media_type=JSON)


def _segments(store: "Store", query: SegmentQuery, until: dt.datetime | None) -> dict[str, Any]:
    from cxad_pipeline.store.window_listing import find_windows

    with store.reading() as connection:
        newest = find_windows(connection, since=None, until=until, level=0, limit=1)
        since = None
        rows: list[SegmentWindow] = []
        if newest:
            length = dt.timedelta(seconds=newest[0]["seconds"])
            since = dt.datetime.fromisoformat(newest[0]["start"]) - (query.windows - 1) * length
            rows = find_windows(connection, since=since, until=until, level=query.level, limit=_MOST_ROWS + 1)
    found: dict[Any, dict[str, Any]] = {}
    for row in reversed(rows[:_MOST_ROWS]):
        entry = found.setdefault(
            row["segment"],
            {"segment": dict(row["segment"]), "level": row["level"], "highest_score": None, "windows": []},
        )
        entry["windows"].append({name: value for name, value in row.items() if name in _WINDOW})
        if row["score"] is not None:
            entry["highest_score"] = max(row["score"], entry["highest_score"] or row["score"])
    ordered = sorted(
        found.values(), key=lambda entry: (entry["highest_score"] is None, -(entry["highest_score"] or 0.0))
    )
    return {"segments": ordered, "truncated": len(rows) > _MOST_ROWS}


def _series(
    store: "Store", query: SeriesQuery, subjects: Sequence[str], dimensions: Sequence[str], zone: dt.tzinfo
) -> dict[str, Any]:
    from cxad_pipeline.store.segment_names import known_as
    from cxad_pipeline.store.window_listing import find_trends, find_windows

    pairs = [(name, value) for name, _, value in (pair.partition(":") for pair in query.segment)]
    segment = tuple(sorted(pairs, key=lambda pair: dimensions.index(pair[0])))
    since, until = (None if at is None else in_zone(at, zone) for at in (query.since, query.until))
    with store.reading() as connection:
        rows = find_windows(connection, since=since, until=until, segment=segment, limit=_MOST_ROWS + 1)
        if not rows:
            require_segment(connection, segment)
            segment = known_as(connection, segment)
            rows = find_windows(connection, since=since, until=until, segment=segment, limit=_MOST_ROWS + 1)
        if not any(query.metric in row["metrics"] for row in rows):  # it may have been watched earlier
            _check_metric(connection, query.metric, subjects)
        windows = rows[_MOST_ROWS - 1 :: -1]
        trends = find_trends(connection, windows, segment, query.metric)
    points = [_point(row, query.metric, trend) for row, trend in zip(windows, trends, strict=True)]
    return {
        "segment": dict(segment),
        "metric": query.metric,
        "points": shortened(points),
        "windows": len(points),
        "truncated": len(rows) > _MOST_ROWS,
    }


def _check_metric(connection: "Connection", metric: str | None, subjects: Sequence[str]) -> None:
    """Refuse a metric that is not watched, once anything was counted.

    Raises
    ------
    ProblemError
        422, with those that are watched.
    """
    from cxad_pipeline.store.window_listing import find_windows

    if metric not in (None, *subjects) and find_windows(connection, since=None, until=None, level=0, limit=1):
        raise unknown("metric", f"no such metric (allowed: {', '.join(subjects)})")


def _point(row: "SegmentWindow", metric: str | None, trend: "Trend") -> dict[str, Any]:
    sums = row["metrics"].get(metric) if metric is not None else None
    return {
        "start": row["start"],
        "seconds": row["seconds"],
        **{name: value for name, value in row.items() if name in _ALL},
        "values": sums["count"] if sums else 0,
        "mean": sums["mean"] if sums else None,
        "state": row["state"] if metric is None else row["metrics_not_tested"].get(metric, row["state"]),
        "score": row["score"],
        **trend,
    }


def shortened(points: Sequence[dict[str, Any]], most: int = MOST_POINTS) -> list[dict[str, Any]]:
    """A series of no more than so many points: neighbours are put together in groups of equal length.

    Parameters
    ----------
    points
        The earliest first.
    most
        Most points.
    """
    if len(points) <= most:
        return list(points)
    starts = [dt.datetime.fromisoformat(point["start"]).timestamp() for point in points]
    first = starts[0]
    window = min(point["seconds"] for point in points)
    span = starts[-1] + points[-1]["seconds"] - first
    length = -(-span // (most * window)) * window  # whole windows, rounded up
    groups: dict[int, list[dict[str, Any]]] = {}
    for start, point in zip(starts, points, strict=True):
        groups.setdefault(int((start - first) // length), []).append(point)
    return [_together(group, int(length)) for group in groups.values()]


def _together(group: Sequence[dict[str, Any]], seconds: int) -> dict[str, Any]:
    highest = max(group, key=lambda point: -1e9 if point["score"] is None else point["score"])
    known = [point for point in group if point["mean"] is not None]
    values = sum(point["values"] for point in known)
    return {
        "start": group[0]["start"],
        "seconds": seconds,
        **{name: sum(point[name] for point in group) for name in (*_ALL, "values")},
        "mean": sum(point["values"] * point["mean"] for point in known) / values if values else None,
        **{name: highest[name] for name in ("state", "score", "observed", "expected", "low", "high")},
        "incident": highest["incident"] or next((point["incident"] for point in group if point["incident"]), None),
    }
