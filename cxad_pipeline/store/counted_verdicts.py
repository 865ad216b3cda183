"""Which verdict counts for each incident, and what it was given for.

Belongs here: the latest of all that was said of an incident, and of those that it took in. Does not belong here: adding
verdicts (`feedback`), the latest beside the incident that it is about (`incidents`), what verdicts bring about
(`operations`).

An incident lives on after somebody has judged it: it may grow, get another name, or be taken in by another one. What
was said holds for what the incident was then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from cxad_pipeline.incidents.incident import segment_of
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.incident_tables import incident_feedback, incidents


@dataclass(frozen=True)
class CountedVerdict:
    """The verdict that counts for an incident.

    Attributes
    ----------
    verdict
        `confirmed`, `expected`, `false_alarm` or `new_trend`.
    at
        When it was given, UTC.
    segment, metric, started_at, ended_at
        What it was given for: the incident as it was then. Of a verdict that an earlier release has kept, as it is now.
    until, silence
        Of `expected`: until when it was to silence, and the number of the silence; None with others.
    """

    verdict: str
    at: dt.datetime
    segment: Key
    metric: str
    started_at: dt.datetime
    ended_at: dt.datetime
    until: dt.datetime | None
    silence: int | None


def counted_verdicts(connection: Connection) -> dict[str, CountedVerdict]:
    """The verdict that counts for each incident of which somebody has said something.

    The latest on the incident itself; where there is none, the latest on those that it took in. Merged ones are not
    among them, nor are withdrawn ones: nothing is left that anybody could have judged.

    Returns
    -------
    dict
        By the incident's id.
    """
    latest = select(func.max(incident_feedback.c.id)).group_by(incident_feedback.c.incident)
    said, then = incident_feedback.c, incidents.c
    as_given = [
        func.coalesce(said[name], then[name]).label(name) for name in ("segment", "metric", "started_at", "ended_at")
    ]
    query = (
        select(then.id.label("incident_id"), said.verdict, said.at, said.until, said.silence, *as_given)
        .join_from(incident_feedback, incidents)
        .where(said.id.in_(latest))
        .order_by(said.id)
    )
    takers = _takers(connection)
    own: dict[str, CountedVerdict] = {}
    of_taken: dict[str, CountedVerdict] = {}
    for row in connection.execute(query):
        verdict = CountedVerdict(
            row.verdict, row.at, segment_of(row.segment), row.metric, row.started_at, row.ended_at, row.until,
            row.silence,
        )  # fmt: skip
        among = of_taken if row.incident_id in takers else own
        among[_last(row.incident_id, takers)] = verdict
    withdrawn = set(connection.scalars(select(incidents.c.id).where(incidents.c.status == "withdrawn")))
    return {name: verdict for name, verdict in (of_taken | own).items() if name not in withdrawn}


def taker_of(connection: Connection, incident_id: str) -> str | None:
    """The incident that took this one in, and was not taken in itself; None where it was not merged."""
    takers = _takers(connection)
    return _last(incident_id, takers) if incident_id in takers else None


def silences_made(connection: Connection, incident_id: str) -> set[int]:
    """Numbers of the silences that verdicts on an incident, or on those that it took in, have made or extended."""
    takers = _takers(connection)
    query = (
        select(incidents.c.id, incident_feedback.c.silence)
        .join_from(incident_feedback, incidents)
        .where(incident_feedback.c.silence.is_not(None))
    )
    return {row.silence for row in connection.execute(query) if _last(row.id, takers) == incident_id}


def _takers(connection: Connection) -> dict[str, str]:
    """Into which incident each merged one went."""
    query = select(incidents.c.id, incidents.c.merged_into)
    query = query.where(incidents.c.status == "merged", incidents.c.merged_into.is_not(None))
    return {row.id: row.merged_into for row in connection.execute(query)}


def _last(incident_id: str, takers: Mapping[str, str]) -> str:
    """Where an incident went at last: those that take in others are taken in themselves."""
    passed: set[str] = set()
    while incident_id in takers and incident_id not in passed:
        passed.add(incident_id)
        incident_id = takers[incident_id]
    return incident_id
