"""Up to three interactions that show an incident.

Belongs here: choosing them from scored tables. Does not belong here: who may read more about them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.incidents.incident import Example, Incident
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.incidents.segments import UNKNOWN
from cxad_pipeline.interactions.schema import ID, TIMESTAMP

MOST = 3


def with_examples(
    before: Incident | None,
    incident: Incident,
    scored: Sequence[pa.Table],
    period: tuple[dt.datetime, dt.datetime],
    model: IncidentModel,
) -> Incident:
    """The incident with its examples: those that it had before the period of these tables, and better ones among them.

    Those that it had of another metric or segment are dropped: their values would be taken for this one's. So are those
    from hours that are no longer its own.

    Shown are the worst values of the incident's metric in the part of its segment where its cause lies; for several
    metrics together, complaints and volume the most severe interactions.
    """
    if incident.status in ("merged", "withdrawn"):
        return incident
    same = before is not None and (before.segment, before.metric) == (incident.segment, incident.metric)
    start, end = period
    found = [
        each
        for each in incident.examples
        if same and incident.started_at <= each.timestamp < incident.ended_at and not start <= each.timestamp < end
    ]
    for table in scored:
        if table.num_rows:
            found += _of_table(incident, table, model)
    distinct = {example.interaction_id: example for example in found}
    sign = -1.0 if incident.direction == "low" else 1.0
    ranked = sorted(
        distinct.values(),
        key=lambda example: (
            example.value is None,
            -sign * example.value if example.value is not None else 0.0,
            -example.severity,
            example.interaction_id,
        ),
    )
    return replace(incident, examples=tuple(ranked[:MOST]))


def _of_table(incident: Incident, table: pa.Table, model: IncidentModel) -> list[Example]:
    inside = pc.and_(
        pc.greater_equal(table[TIMESTAMP], _as(incident.started_at, table)),
        pc.less(table[TIMESTAMP], _as(incident.ended_at, table)),
    )
    cause = incident.causes[0].segment if incident.causes else ()
    for name, value in dict([*incident.segment, *cause]).items():
        if name in table.column_names:
            inside = pc.and_(inside, pc.equal(pc.fill_null(pc.cast(table[name], pa.string()), UNKNOWN), value))
    metric = next((rule for rule in model.metrics if rule.name == incident.metric), None)
    if metric is not None and metric.name in table.column_names:
        inside = pc.and_(inside, pc.is_valid(table[metric.name]))
        order = [(metric.name, "descending" if metric.bad == "high" else "ascending"), ("severity", "descending")]
    else:
        if incident.metric == "complaints" and "complaints" in table.column_names:
            inside = pc.and_(inside, pc.greater(pc.fill_null(table["complaints"], 0), 0))
        metric, order = None, [("severity", "descending")]
    rows = table.filter(inside).sort_by([*order, (ID, "ascending")]).slice(0, MOST).to_pylist()
    return [
        Example(
            interaction_id=str(row[ID]),
            timestamp=_utc(row[TIMESTAMP]),
            value=None if metric is None else float(row[metric.name]),
            severity=float(row["severity"]),
            reasons=row["top_reasons"] or "",
        )
        for row in rows
    ]


def _as(moment: dt.datetime, table: pa.Table) -> pa.Scalar:
    return pa.scalar(moment, table.schema.field(TIMESTAMP).type)


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
