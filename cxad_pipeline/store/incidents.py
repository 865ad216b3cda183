"""Incidents in the store: with the calls they are made of, and what people were last told of them.

Belongs here: writing and reading them. Does not belong here: how they come about (`incidents.life`), verdicts
(`feedback`), how their parts are written (`incident_rows`).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, literal, or_, select, text, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from cxad_pipeline.incidents.incident import Call, Incident, Status, segment_text
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.columns import Moment, digest
from cxad_pipeline.store.incident_rows import call_of, incident_of, row_of_call, row_of_incident
from cxad_pipeline.store.incident_tables import incident_calls, incident_feedback, incidents
from cxad_pipeline.store.pages import CursorError as CursorError
from cxad_pipeline.store.pages import cursor_of, place_of
from cxad_pipeline.store.verdicts import SAID, StoredVerdict, verdict_of

_LOCK = 4_283_904_411_718_520_234  # that of migrations is one less
_LOCK_SECONDS = 600
_CHUNK = 5_000


@dataclass(frozen=True)
class Told:
    """What people were last told of an incident.

    Attributes
    ----------
    at
        When; None: nothing yet.
    severity, critical
        As they were then.
    number
        Messages so far.
    """

    at: dt.datetime | None
    severity: float
    critical: bool
    number: int


NOTHING_TOLD = Told(None, 0.0, False, 0)


@dataclass(frozen=True)
class StoredIncident:
    """An incident as it is kept.

    Attributes
    ----------
    incident
        Itself.
    calls
        What it is made of, in the order in which they were saved.
    told
        What people know of it.
    verdict
        The latest; None where nobody has said anything.
    """

    incident: Incident
    calls: tuple[Call, ...]
    told: Told
    verdict: StoredVerdict | None


@dataclass(frozen=True)
class IncidentFilter:
    """Which incidents are wanted; None: all.

    Parameters
    ----------
    since, until
        Those that go on in this period: they ended after `since` and started before `until`.
    statuses
        In one of these states.
    min_severity
        0 to 100, inclusive.
    segment
        Exactly this one.
    pairs
        Those whose segment has all of these pairs of dimension and value.
    metric
        This one.
    critical
        Whether they are.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    statuses: Sequence[Status] | None = None
    min_severity: float | None = None
    segment: Key | None = None
    pairs: Key = ()
    metric: str | None = None
    critical: bool | None = None


def lock_incidents(connection: Connection) -> None:
    """Let one transaction at a time judge; others wait here until it ends.

    In SQLite a transaction that writes keeps all others out by itself.
    """
    if connection.dialect.name == "postgresql":
        # Who judges works longer than a statement may take.
        before = connection.execute(text("SHOW statement_timeout")).scalar_one()
        connection.execute(text(f"SET LOCAL statement_timeout = '{_LOCK_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(text("SELECT set_config('statement_timeout', :before, true)"), {"before": before})


def save_incident(connection: Connection, incident: Incident, calls: Sequence[Call], told: Told) -> None:
    """Write an incident as it is now, and its calls in place of those that it had.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    incident
        Known by its id; verdicts on it stay.
    calls
        All that it is made of.
    told
        What people know of it.

    Raises
    ------
    ValueError
        If a number of it is NaN.
    """
    row = {
        **row_of_incident(incident),
        "told_at": told.at,
        "told_severity": told.severity,
        "told_critical": told.critical,
        "told_number": told.number,
    }
    insertion = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(incidents)
    changed = {name: insertion.excluded[name] for name in row if name != "id_digest"}
    upsert = insertion.on_conflict_do_update(index_elements=["id_digest"], set_=changed)
    number = connection.execute(upsert.returning(incidents.c.number), row).scalar_one()
    connection.execute(delete(incident_calls).where(incident_calls.c.incident == number))
    rows = [{"incident": number, "position": i, **row_of_call(incident.id, call)} for i, call in enumerate(calls)]
    if rows:
        connection.execute(insert(incident_calls), rows)


def known_incidents(connection: Connection, since: dt.datetime) -> list[StoredIncident]:
    """What the life of incidents goes on from: those that are open, and those that ended at `since` or later.

    Merged ones are left out. The earliest comes first.
    """
    query = (
        incidents_query()
        .where(incidents.c.status != "merged", or_(incidents.c.status == "open", incidents.c.ended_at >= since))
        .order_by(incidents.c.started_at, incidents.c.number)
    )
    return stored_incidents(connection, connection.execute(query).all())


def get_incident(connection: Connection, incident_id: str) -> StoredIncident | None:
    """The incident of that id; None where there is none."""
    query = incidents_query().where(incidents.c.id_digest == digest(incident_id))
    found = stored_incidents(connection, connection.execute(query).all())
    return found[0] if found else None


def find_incidents(
    connection: Connection, wanted: IncidentFilter, *, limit: int, cursor: str | None = None
) -> tuple[list[StoredIncident], str | None]:
    """One page of incidents, the one that started last first.

    Parameters
    ----------
    connection
        `Store.reading`.
    wanted
        Which.
    limit
        Most incidents of a page.
    cursor
        Of the page before; None for the first.

    Returns
    -------
    (list of StoredIncident, str or None)
        The page, and the cursor of the next; None at the end.

    Raises
    ------
    CursorError
        If the cursor is none of ours.
    """
    query = _only(
        incidents_query().order_by(incidents.c.started_at.desc(), incidents.c.number.desc()).limit(limit + 1), wanted
    )
    if cursor is not None:
        moment, number = place_of(cursor)
        query = query.where(
            tuple_(incidents.c.started_at, incidents.c.number) < tuple_(literal(moment, Moment()), number)
        )
    rows = connection.execute(query).all()
    page = rows[:limit]
    following = cursor_of(page[-1].started_at, page[-1].number) if len(rows) > limit else None
    return stored_incidents(connection, page), following


def opened_between(connection: Connection, since: dt.datetime, until: dt.datetime) -> int:
    """Incidents that began from `since` on and before `until`, without merged and withdrawn ones (see `budget`)."""
    query = select(func.count()).select_from(incidents)
    query = query.where(
        incidents.c.started_at >= since,
        incidents.c.started_at < until,
        incidents.c.status.in_(["open", "resolved"]),
    )
    return connection.execute(query).scalar_one()


def incidents_query() -> Select[Any]:
    """Incidents with the latest verdict on each, for `stored_incidents`."""
    verdicts = incident_feedback.alias("verdicts")
    latest = (
        select(func.max(verdicts.c.id))
        .where(verdicts.c.incident == incidents.c.number)
        .correlate(incidents)
        .scalar_subquery()
    )
    said = [incident_feedback.c[name].label(f"said_{name}") for name in SAID]
    return select(incidents, *said).select_from(
        incidents.outerjoin(incident_feedback, incident_feedback.c.id == latest)
    )


def stored_incidents(connection: Connection, rows: Sequence[Row[Any]]) -> list[StoredIncident]:
    """What rows of `incidents_query` say, with the calls of each."""
    calls: dict[int, list[Call]] = {row.number: [] for row in rows}
    numbers = list(calls)
    for first in range(0, len(numbers), _CHUNK):
        query = (
            select(incident_calls)
            .where(incident_calls.c.incident.in_(numbers[first : first + _CHUNK]))
            .order_by(incident_calls.c.incident, incident_calls.c.position)
        )
        for row in connection.execute(query):
            calls[row.incident].append(call_of(row))
    return [
        StoredIncident(
            incident_of(row),
            tuple(calls[row.number]),
            Told(row.told_at, row.told_severity, row.told_critical, row.told_number),
            verdict_of(row),
        )
        for row in rows
    ]


def _only(query: Select[Any], wanted: IncidentFilter) -> Select[Any]:
    columns = incidents.c
    if wanted.since is not None:
        query = query.where(columns.ended_at > wanted.since)
    if wanted.until is not None:
        query = query.where(columns.started_at < wanted.until)
    if wanted.statuses is not None:
        query = query.where(columns.status.in_(list(wanted.statuses)))
    if wanted.min_severity is not None:
        query = query.where(columns.severity >= wanted.min_severity)
    if wanted.segment is not None:
        query = query.where(columns.segment_digest == digest(segment_text(wanted.segment)))
    for pair in wanted.pairs:
        # As `segment_text` writes it, which stands in no other place: quotes in a value are escaped. Not LIKE, which
        # in SQLite takes small letters for capitals.
        query = query.where(func.replace(columns.segment, json.dumps(list(pair)), "") != columns.segment)
    if wanted.metric is not None:
        query = query.where(columns.metric == wanted.metric)
    if wanted.critical is not None:
        query = query.where(columns.critical == wanted.critical)
    return query
