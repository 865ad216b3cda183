"""The digest of one scored window: the figures that an alert tells.

Belongs here: counting a table of scores into a `WindowDigest`. Does not belong here: wording and layout
(`messages`), sending (`channels`, `delivery`), and tests of segments over time (incidents).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.alerting.rates import MINIMUM_ANOMALIES, smallest_high_count, wilson_lower
from cxad_pipeline.interactions.schema import ID, TIMESTAMP, Column

TOP_SEGMENTS = 3
TOP_INTERACTIONS = 5

_SCORE, _FLAG, _SEVERITY, _REASONS = "ensemble_score", "ensemble_anomaly", "severity", "top_reasons"
_NEEDED = (ID, TIMESTAMP, _SCORE, _FLAG, _SEVERITY, _REASONS)
_NO_VALUE = "(none)"

DigestStatus = Literal["scored", "no_data"]


@dataclass(frozen=True)
class SegmentCount:
    """The anomalies of one segment in the window.

    Attributes
    ----------
    segment
        Dimension name to value, such as queue -> support; a missing value reads "(none)".
    scored, anomalies
        Interactions of the segment, and how many of them are anomalies.
    rate
        anomalies / scored.
    ratio
        `rate` over the expected rate.
    lower_bound
        Wilson lower bound of the rate; segments are ordered by it.
    """

    segment: Mapping[str, str]
    scored: int
    anomalies: int
    rate: float
    ratio: float
    lower_bound: float

    @property
    def label(self) -> str:
        """The segment as people read it: "support / voice / de"."""
        return " / ".join(self.segment.values())


@dataclass(frozen=True)
class MetricValue:
    """One measured value of an interaction, with its name in words and its unit (empty where there is none)."""

    label: str
    value: float
    unit: str


@dataclass(frozen=True)
class TopInteraction:
    """One anomaly of the window.

    Attributes
    ----------
    interaction_id
        The only thing here that names a contact.
    timestamp
        Start of the contact, UTC.
    severity
        0 to 100.
    segment
        Label of its segment, empty where no dimension is configured.
    values
        The metrics that have a value, in the order asked for.
    reasons
        Reasons of the detector, joined by "; ".
    """

    interaction_id: str
    timestamp: datetime
    severity: float
    segment: str
    values: tuple[MetricValue, ...]
    reasons: str


@dataclass(frozen=True)
class WindowDigest:
    """What one scored window comes to.

    Attributes
    ----------
    start, end
        The window, UTC, `end` exclusive.
    status
        `scored`, or `no_data` when no valid interaction fell into the window. The latter is not "zero anomalies".
    scored, anomalies
        Interactions scored, and how many of them the ensemble flagged.
    expected_rate
        Share that the thresholds promise to flag, such as 0.01.
    rejected
        Rows of the window that broke the data contract and were not scored.
    model_version
        Version that scored the window; None where it is not known.
    segments
        Up to `TOP_SEGMENTS` that stand out: at least 5 anomalies, and a Wilson lower bound of the rate above the
        expected rate; highest bound first.
    interactions
        Up to `TOP_INTERACTIONS` anomalies, most severe first.
    links
        Label to address, in the order given.
    """

    start: datetime
    end: datetime
    status: DigestStatus
    scored: int
    anomalies: int
    expected_rate: float
    rejected: int = 0
    model_version: str | None = None
    segments: tuple[SegmentCount, ...] = ()
    interactions: tuple[TopInteraction, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def window_key(self) -> str:
        """The window as an ISO 8601 interval: the identity that keeps it from being told twice."""
        return f"{self.start.isoformat()}/{self.end.isoformat()}"

    @property
    def rate(self) -> float:
        """Share of the scored interactions that are anomalies; 0 where nothing was scored."""
        return self.anomalies / self.scored if self.scored else 0.0

    @property
    def expected(self) -> float:
        """Number of anomalies that the promised share comes to."""
        return self.scored * self.expected_rate

    @property
    def high_from(self) -> int:
        """Number of anomalies from which on the window's rate is called high (`rates.smallest_high_count`)."""
        return smallest_high_count(self.expected)

    @property
    def is_high(self) -> bool:
        """Whether the window has more anomalies than ordinary variation explains."""
        return self.status == "scored" and self.anomalies >= self.high_from


def build_digest(
    scores: pa.Table,
    *,
    window: tuple[datetime, datetime],
    expected_rate: float,
    dimensions: Sequence[str],
    metrics: Sequence[Column],
    links: Mapping[str, str],
    model_version: str | None,
    rejected: int,
) -> WindowDigest:
    """Count one window's scores.

    Parameters
    ----------
    scores
        Scored interactions of the window, (n, columns), with interaction_id, timestamp, ensemble_score,
        ensemble_anomaly (0 or 1), severity and top_reasons. An empty table, with or without columns, is a window
        without data. Columns that are not asked for are not read.
    window
        Start and end, time zone aware, end exclusive.
    expected_rate
        Share that the thresholds promise to flag, above 0 and below 1.
    dimensions
        Columns whose values together make a segment. A dimension that the table lacks is left out, because sources
        may lack columns.
    metrics
        Columns whose values are told for the top interactions; those that the table lacks are left out.
    links
        Label to address (http or https); may be empty.
    model_version
        Version of the detector that scored the window.
    rejected
        Rows of the window that broke the data contract.

    Returns
    -------
    WindowDigest
        The counts, the segments that stand out and the most severe anomalies.

    Raises
    ------
    ValueError
        If the window has no time zone or does not end after its start, the rate is no share, a count is negative, a
        link is no web address, or a table with rows lacks a column.
    """
    start, end = _utc_window(window)
    if not 0 < expected_rate < 1:
        raise ValueError(f"expected_rate is {expected_rate}: it must lie between 0 and 1, such as 0.01")
    if rejected < 0:
        raise ValueError(f"rejected is {rejected}: a number of rows cannot be negative")
    _check_links(links)
    if scores.num_rows == 0:
        return WindowDigest(start, end, "no_data", 0, 0, expected_rate, rejected, model_version, links=dict(links))
    lacking = [name for name in _NEEDED if name not in scores.column_names]
    if lacking:
        raise ValueError(f"the scores of window {start.isoformat()} lack the columns {', '.join(lacking)}")

    flags = pc.equal(scores[_FLAG], 1)
    present = [name for name in dimensions if name in scores.column_names]
    return WindowDigest(
        start=start,
        end=end,
        status="scored",
        scored=scores.num_rows,
        anomalies=pc.sum(flags).as_py() or 0,
        expected_rate=expected_rate,
        rejected=rejected,
        model_version=model_version,
        segments=_standing_out(scores, flags, present, expected_rate),
        interactions=_most_severe(scores, flags, present, metrics),
        links=dict(links),
    )


def _utc_window(window: tuple[datetime, datetime]) -> tuple[datetime, datetime]:
    start, end = window
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError(f"window {start} to {end} has no time zone: give aware datetimes")
    if end <= start:
        raise ValueError(f"window {start} to {end} does not end after its start")
    return start.astimezone(UTC), end.astimezone(UTC)


def _check_links(links: Mapping[str, str]) -> None:
    for label, address in links.items():
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"link {label!r} has the address {address!r}: it must begin with http:// or https://")


def _standing_out(
    scores: pa.Table, flags: pa.ChunkedArray, dimensions: Sequence[str], expected_rate: float
) -> tuple[SegmentCount, ...]:
    """Segments with more anomalies than promised, ordered so that a tiny segment does not win by chance."""
    if not dimensions:
        return ()
    counted = scores.select(list(dimensions)).append_column("anomaly", pc.cast(flags, pa.int64()))
    found = []
    for row in counted.group_by(list(dimensions)).aggregate([("anomaly", "sum"), ([], "count_all")]).to_pylist():
        scored, anomalies = row["count_all"], row["anomaly_sum"] or 0
        if anomalies < MINIMUM_ANOMALIES:
            continue
        bound = wilson_lower(anomalies, scored)
        if bound > expected_rate:
            rate = anomalies / scored
            segment = _segment_of(row, dimensions)
            found.append(SegmentCount(segment, scored, anomalies, rate, rate / expected_rate, bound))
    found.sort(key=lambda count: (-count.lower_bound, -count.anomalies, count.label))
    return tuple(found[:TOP_SEGMENTS])


def _most_severe(
    scores: pa.Table, flags: pa.ChunkedArray, dimensions: Sequence[str], metrics: Sequence[Column]
) -> tuple[TopInteraction, ...]:
    """The most severe anomalies; equal severities by score, then by time and id, so that the order is stable."""
    shown = [metric for metric in metrics if metric.is_metric and metric.name in scores.column_names]
    wanted = dict.fromkeys([*_NEEDED, *dimensions, *(metric.name for metric in shown)])
    order = [(_SEVERITY, "descending"), (_SCORE, "descending"), (TIMESTAMP, "ascending"), (ID, "ascending")]
    top = scores.select(list(wanted)).filter(flags).sort_by(order).slice(0, TOP_INTERACTIONS)
    return tuple(
        TopInteraction(
            interaction_id=str(row[ID]),
            timestamp=row[TIMESTAMP].astimezone(UTC) if row[TIMESTAMP].tzinfo else row[TIMESTAMP].replace(tzinfo=UTC),
            severity=float(row[_SEVERITY]),
            segment=" / ".join(_segment_of(row, dimensions).values()),
            values=tuple(
                MetricValue(metric.words, row[metric.name], metric.unit)
                for metric in shown
                if row[metric.name] is not None and not math.isnan(row[metric.name])
            ),
            reasons=row[_REASONS] or "",
        )
        for row in top.to_pylist()
    )


def _segment_of(row: Mapping[str, Any], dimensions: Sequence[str]) -> dict[str, str]:
    return {name: _NO_VALUE if row[name] is None else str(row[name]) for name in dimensions}
