"""The queries and answers about segments over time in words, for the OpenAPI.

Belongs here: what each key means, its unit and range. Does not belong here: reading windows (`routes_segments`).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, create_model

from cxad_pipeline.interactions.record import LONGEST_TEXT
from cxad_pipeline.serving.incident_schema import Part
from cxad_pipeline.serving.query import Moment, Text

MOST_DIMENSIONS = 100

WindowState = Literal[
    "tested", "empty", "too_few", "missing", "cold_start", "late", "not_answered", "no_metric", "special_day"
]
"""`incidents.states.State` in lower case; written again, since that module brings SciPy along."""
MetricState = Literal["too_few", "not_answered", "no_metric"]
"""Those in which a metric can be where its segment was tested, but for `tested`."""

_AT = "2026-10-13T09:00:00.000000Z"
_STATE = (
    "tested; empty: no contact, nor many expected; too_few: contacts; missing: no contact anywhere when there always "
    "are some, or none in this segment, while others have some, for too long to be chance; cold_start: too little "
    "history; late: not complete when it was judged; special_day: one of incidents.special_days; null: nobody has "
    "looked."
)
_OF_METRICS = "too_few: values; not_answered: far fewer values than usual; no_metric: never had a value in the history."
_BEYOND = "More windows match than are read, 50,000: the earliest are left out."


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


class WindowDetails(Part):
    """A segment in a window."""

    start: dt.datetime = Field(description="Start of the window, UTC.", examples=[_AT])
    seconds: int = Field(description="Its length.", examples=[3600])
    state: WindowState | None = Field(description=_STATE, examples=["tested"])
    metrics_not_tested: dict[str, MetricState] = Field(
        description=f"Metric -> why it was not tested, where the segment was. {_OF_METRICS}",
        examples=[{"csat": "not_answered"}],
    )
    score: float | None = Field(description="-log10 of the adjusted p-value; null: nothing was tested.", examples=[6.1])
    leading_metric: str | None = Field(description="Family of the test that says most.", examples=["hold_time_seconds"])
    leading_kind: str | None = Field(description="Which test of it.", examples=["shift"])
    observed: float | None = Field(
        description="Of that test: count, or mean in the metric's own unit. Contacts, where they are missing.",
        examples=[191],
    )
    expected: float | None = Field(description="What is usual, likewise.", examples=[62.0])
    contacts: int = Field(description="All contacts.", examples=[28])
    anomalies: int = Field(description="Contacts that the detector found unusual.", examples=[3])
    complaints: int = Field(description="Contacts with a complaint.", examples=[1])


class SegmentDetails(Part):
    """A segment and its newest windows."""

    segment: dict[str, str] = Field(
        description="Dimension -> value; empty: all contacts.", examples=[{"queue": "billing", "channel": "voice"}]
    )
    level: int = Field(description="How many dimensions it names; 0: all contacts.", examples=[2])
    highest_score: float | None = Field(description="Of these windows; null: none was tested.", examples=[6.1])
    windows: list[WindowDetails] = Field(
        description="The earliest first; without contacts only those of all contacts, and those where some are missing."
    )


class SegmentList(Part):
    """Segments, the one with the highest score first."""

    segments: list[SegmentDetails]
    truncated: bool = Field(description=_BEYOND)


class Point(Part):
    """A window of a series, or several windows put together."""

    start: dt.datetime = Field(description="Start, UTC.", examples=[_AT])
    seconds: int = Field(description="Length: of one window, or of several put together.", examples=[3600])
    contacts: int = Field(description="All contacts.", examples=[28])
    anomalies: int = Field(description="Contacts that the detector found unusual.", examples=[3])
    complaints: int = Field(description="Contacts with a complaint.", examples=[1])
    together: int = Field(description="Contacts whose metrics are bad together.", examples=[2])
    values: int = Field(description="Contacts with a value of the metric.", examples=[27])
    mean: float | None = Field(
        description="Of the metric, in its own unit, outliers bounded; for durations taken on the scale "
        "log(1 + x / 60 s), near the median; null: no value.",
        examples=[191.4],
    )
    state: WindowState | None = Field(
        description=f"Of the segment: {_STATE} Where it was tested, of the metric: {_OF_METRICS}", examples=["tested"]
    )
    score: float | None = Field(
        description="-log10 of the segment's adjusted p-value; null: nothing was tested.", examples=[6.1]
    )
    observed: float | None = Field(
        description="The metric's mean as in `mean`, or the number of contacts, complaints or together.",
        examples=[191.4],
    )
    expected: float | None = Field(
        description="What is usual in this hour of the week; null: nothing is known, as in a cold start.",
        examples=[62.0],
    )
    low: float | None = Field(
        description="When nothing is wrong, 99 % of windows are from here to `high`; null: no value, nothing known.",
        examples=[41.7],
    )
    high: float | None = Field(description="Upper end of this band.", examples=[90.3])
    incident: str | None = Field(
        description="Incident that lasts over the window in this segment, or is called in it; the most severe one.",
        examples=["20261013-3f9a2c"],
    )


class TimeSeries(Part):
    """A segment over time."""

    segment: dict[str, str] = Field(description="Dimension -> value; empty: all contacts.")
    metric: str | None = Field(description="As asked for.", examples=["hold_time_seconds"])
    points: list[Point] = Field(description="The earliest first, 2,000 at most.")
    windows: int = Field(description="Windows that the points are made of.", examples=[672])
    truncated: bool = Field(description=_BEYOND)
