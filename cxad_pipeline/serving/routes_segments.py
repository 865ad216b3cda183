"""Segments over time, as the screen draws them: their newest windows side by side, and one metric of one segment.

Belongs here: both routes, and how a long series is made shorter. Does not belong here: queries (`store`), what is
tested in a window (`incidents`), incidents (`routes_incidents`).

A segment without contacts in a window has no entry there; all contacts have one in each window that was looked at, with
a zero if need be.
"""

import datetime as dt
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field, StringConstraints, create_model

from cxad_pipeline.interactions.record import LONGEST_TEXT
from cxad_pipeline.serving.bodies import JSON
from cxad_pipeline.serving.incident_schema import Part
from cxad_pipeline.serving.problems import problems
from cxad_pipeline.serving.query import Moment, Text, in_zone
from cxad_pipeline.serving.security import Requirement
from cxad_pipeline.serving.segment_schema import SegmentList, TimeSeries
from cxad_pipeline.serving.store_access import AWAY, StoreAccess

if TYPE_CHECKING:
    from cxad_pipeline.store.database import Store
    from cxad_pipeline.store.window_listing import SegmentWindow, Trend

MOST_DIMENSIONS = 100
MOST_POINTS = 2_000
"""Of a series; longer ones are made shorter by `shortened`."""
_MOST_ROWS = 50_000
_ALL = ("contacts", "anomalies", "complaints", "together")
_WINDOW = (
    "start", "seconds", "state", "score", "leading_metric", "leading_kind", "observed", "expected", "contacts",
    "anomalies", "complaints",
)  # fmt: skip


class SegmentQuery(Part):
    """Which windows are wanted."""

    windows: int = Field(24, ge=1, le=336, description="So many of the newest windows.")
    until: Moment | None = Field(
        None,
        description="The newest before then: ISO 8601; without zone, in the configured `timezone`.",
        examples=["2026-10-14T00:00:00Z"],
    )
    level: int | None = Field(
        None,
        ge=0,
        le=MOST_DIMENSIONS,
        description="Segments that name so many dimensions; 0: all contacts, 1: single values, 2: pairs.",
    )


class SeriesQuery(Part):
    """Which series is wanted; the query of each deployment has its dimensions."""

    segment: list[str] = Field([])
    metric: Text | None = Field(
        None,
        description="Whose values are given: a metric, or `contacts`, `complaints`, `together`.",
        examples=["aht_seconds"],
    )
    since: Moment | None = Field(
        None,
        description="Windows that begin then or later: ISO 8601; without zone, in the configured `timezone`.",
        examples=["2026-10-01T00:00:00Z"],
    )
    until: Moment | None = Field(
        None, description="Windows that begin before then, likewise.", examples=["2026-10-14T00:00:00Z"]
    )


def series_query(dimensions: Sequence[str]) -> type[SeriesQuery]:
    """The query of a deployment with these dimensions."""
    names = "|".join(re.escape(name) for name in dimensions)
    pair = Annotated[str, StringConstraints(pattern=rf"^({names}):[^\x00]+$", max_length=LONGEST_TEXT)]
    examples = [[f"{name}:{value}" for name, value in zip(dimensions, ("billing", "voice"), strict=False)]]
    described: Any = Field(
        [],
        description="`dimension:value`, once for each dimension of the segment; none: all contacts.",
        examples=examples,
        max_length=len(dimensions),
    )
    return create_model("SeriesQuery", __base__=SeriesQuery, segment=(list[pair], described))


def segment_routes(
    store: StoreAccess,
    *,
    read: Requirement,
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
        `high`; the fewer values a window has, the wider apart these are.

        More than 2,000 windows are put together in groups of equal length: counts are added, `mean` is weighted by
        its values, and score, state, observed, expected, low and high are those of the group's window with the
        highest score.
        """
        return _json(await store.ask(lambda opened: _series(opened, query, dimensions, zone)))

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


def _series(store: "Store", query: SeriesQuery, dimensions: Sequence[str], zone: dt.tzinfo) -> dict[str, Any]:
    from cxad_pipeline.store.window_listing import find_trends, find_windows

    pairs = [(name, value) for name, _, value in (pair.partition(":") for pair in query.segment)]
    segment = tuple(sorted(pairs, key=lambda pair: dimensions.index(pair[0])))
    since, until = (None if at is None else in_zone(at, zone) for at in (query.since, query.until))
    with store.reading() as connection:
        rows = find_windows(connection, since=since, until=until, segment=segment, limit=_MOST_ROWS + 1)
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


def _point(row: "SegmentWindow", metric: str | None, trend: "Trend") -> dict[str, Any]:
    sums = row["metrics"].get(metric) if metric is not None else None
    return {
        "start": row["start"],
        "seconds": row["seconds"],
        **{name: value for name, value in row.items() if name in _ALL},
        "values": sums["count"] if sums else 0,
        "mean": sums["mean"] if sums else None,
        "state": row["state"],
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
