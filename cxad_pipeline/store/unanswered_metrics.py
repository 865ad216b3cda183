"""Metrics of which far fewer values than usual came: surveys that are not answered, columns that an export has lost.

Belongs here: reading those that a digest tells. Does not belong here: when a metric is in that state
(`incidents.states`), writing it (`segment_findings`), segments without any contact (`silent_windows`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Text, cast, select

from cxad_pipeline.incidents.incident import segment_of
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.incidents.states import State
from cxad_pipeline.store.incident_tables import segment_windows, segments
from cxad_pipeline.store.segment_names import closures

LEAST_WINDOWS = 3
"""Windows from which on a segment is told: of thousands of metrics in segments some lack values for an hour by chance.
Of all contacts each window is told."""
_NOT_ANSWERED = State.NOT_ANSWERED.name.lower()


@dataclass(frozen=True)
class UnansweredMetric:
    """A metric of a segment with far fewer values than usual.

    Attributes
    ----------
    metric, segment
        Their names.
    first, last
        Start of the first such window and end of the last one, seconds since 1970 UTC.
    windows
        How many windows there are.
    values, usual
        Values in them, and how many so many contacts usually have.
    """

    metric: str
    segment: Key
    first: int
    last: int
    windows: int
    values: int
    usual: float


def unanswered_metrics(connection: Connection, starts: Collection[int]) -> list[UnansweredMetric]:
    """The metrics that are not answered in some windows, each where it shows most.

    Where a queue lacks a metric, the channels and languages of its contacts lack some of it. By the square of what is
    missing, divided by what is usual (Pearson's statistic), the queue comes before what it is a part of and before its
    own parts. So of segments that share contacts and windows only the first is told.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    starts
        The windows, seconds since 1970 UTC.
    """
    if not starts:
        return []
    closed = closures(connection)
    told: list[tuple[UnansweredMetric, Key, set[int]]] = []
    found = [
        (_summed(metric, key, cells), closed.get(key, key), {start for start, *_ in cells})
        for (metric, key), cells in _cells(connection, set(starts)).items()
        if len(cells) >= LEAST_WINDOWS or key == ()
    ]
    for one, closure, windows in sorted(found, key=lambda each: (-_clearly(each[0]), each[0].metric, each[0].segment)):
        if not any(
            other.metric == one.metric and windows & others and _share_contacts(closure, within)
            for other, within, others in told
        ):
            told.append((one, closure, windows))
    return [one for one, *_ in told]


def _cells(connection: Connection, wanted: set[int]) -> dict[tuple[str, Key], list[tuple[int, int, int, float]]]:
    """Start, end, values and usual values of the windows in which a metric of a segment is not answered."""
    columns = segment_windows.c
    query = (
        select(segments.c.segment, columns.start, columns.seconds, columns.metrics, columns.metric_states)
        .join_from(segment_windows, segments)
        .where(
            columns.start.between(min(wanted), max(wanted)),
            cast(columns.metric_states, Text).contains(_NOT_ANSWERED),
        )
        .order_by(columns.start)
    )
    found: dict[tuple[str, Key], list[tuple[int, int, int, float]]] = {}
    for row in connection.execute(query):
        if row.start not in wanted:
            continue
        for metric, one in row.metric_states.items():
            if one["state"] == _NOT_ANSWERED:
                cell = (row.start, row.start + row.seconds, row.metrics[metric]["count"], one["usual"])
                found.setdefault((metric, segment_of(row.segment)), []).append(cell)
    return found


def _summed(metric: str, segment: Key, cells: Sequence[tuple[int, int, int, float]]) -> UnansweredMetric:
    values, usual = sum(values for _, _, values, _ in cells), sum(usual for *_, usual in cells)
    return UnansweredMetric(metric, segment, cells[0][0], cells[-1][1], len(cells), values, usual)


def _clearly(one: UnansweredMetric) -> float:
    return (one.usual - one.values) ** 2 / one.usual


def _share_contacts(first: Key, second: Key) -> bool:
    """Whether two segments can have contacts in common, as far as their names tell."""
    values = dict(first)
    return all(values.get(name, value) == value for name, value in second)
