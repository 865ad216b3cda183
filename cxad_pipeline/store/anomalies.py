"""Anomalies in the store, read back newest first.

Belongs here: the pages of a listing; writing can be had from here too. Does not belong here: writing what is found
(`found_anomalies`), adding verdicts (`feedback`), and who may ask.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, literal, select, tuple_

from cxad_pipeline.store.columns import Moment, digest
from cxad_pipeline.store.found_anomalies import record_anomalies as record_anomalies
from cxad_pipeline.store.found_anomalies import replace_batch_anomalies as replace_batch_anomalies
from cxad_pipeline.store.pages import CursorError as CursorError
from cxad_pipeline.store.pages import cursor_of, place_of
from cxad_pipeline.store.pages import iso as iso
from cxad_pipeline.store.records import AnomalyRecord
from cxad_pipeline.store.tables import anomalies, feedback
from cxad_pipeline.store.verdicts import SAID, verdict_of
from cxad_pipeline.store.verdicts import StoredVerdict as StoredVerdict

_READ_AHEAD = 500
"""Rows that are read at once where some of them will be left out."""


class StoredAnomaly(AnomalyRecord):
    """An anomaly as it is kept.

    Attributes
    ----------
    source
        By which way it came: `api`, or `batch` where batch scoring alone has found it.
    verdict
        The latest on its interaction; None where there is none.
    """

    source: str
    verdict: StoredVerdict | None


@dataclass(frozen=True)
class AnomalyFilter:
    """Which anomalies are wanted; None: all.

    Parameters
    ----------
    since, until
        Start of the contact: from `since` on, before `until`.
    min_severity
        0 to 100, inclusive.
    channel, language, queue
        Exactly as the caller gave them.
    interaction_id
        One interaction, by every model version that found it unusual.
    hide_expected
        Leave out what nobody needs to look into: where the latest verdict is `expected` or `false_alarm`, and what a
        silence of anomalies covers that holds now.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    min_severity: float | None = None
    channel: str | None = None
    language: str | None = None
    queue: str | None = None
    interaction_id: str | None = None
    hide_expected: bool = False


def find_anomalies(
    connection: Connection, wanted: AnomalyFilter, *, limit: int, cursor: str | None = None
) -> tuple[list[StoredAnomaly], str | None]:
    """One page of anomalies, the latest contact first.

    Parameters
    ----------
    connection
        `Store.reading`.
    wanted
        Which.
    limit
        Most rows of a page.
    cursor
        Of the page before; None for the first.

    Returns
    -------
    (list of StoredAnomaly, str or None)
        The page, and the cursor of the next; None at the end.

    Raises
    ------
    CursorError
        If the cursor is none of ours.
    """
    verdicts = feedback.alias("verdicts")
    latest = (
        select(func.max(verdicts.c.id))
        .where(verdicts.c.interaction_digest == anomalies.c.interaction_digest)
        .correlate(anomalies)
        .scalar_subquery()
    )
    said = [feedback.c[name].label(f"said_{name}") for name in SAID]
    query = _only(
        select(anomalies, *said)
        .select_from(anomalies.outerjoin(feedback, feedback.c.id == latest))
        .order_by(anomalies.c.timestamp.desc(), anomalies.c.id.desc()),
        wanted,
    )
    place = None if cursor is None else place_of(cursor)
    rows = (_unexpected if wanted.hide_expected else _next)(connection, query, place, limit + 1)
    page = rows[:limit]
    more = len(rows) > limit
    return [_stored(row) for row in page], cursor_of(page[-1].timestamp, page[-1].id) if more else None


def _next(
    connection: Connection, query: Select[Any], place: tuple[dt.datetime, int] | None, number: int
) -> Sequence[Row[Any]]:
    """So many rows behind a place."""
    if place is not None:
        moment, row = place
        query = query.where(tuple_(anomalies.c.timestamp, anomalies.c.id) < tuple_(literal(moment, Moment()), row))
    return connection.execute(query.limit(number)).all()


def _unexpected(
    connection: Connection, query: Select[Any], place: tuple[dt.datetime, int] | None, number: int
) -> Sequence[Row[Any]]:
    """So many rows behind a place that are not known to be nothing to look into."""
    # Imported here: who only writes anomalies has no need of what knows segments.
    from cxad_pipeline.store.expected_anomalies import silenced_anomalies

    said = feedback.c.verdict
    query = query.where(said.is_(None) | said.not_in(["expected", "false_alarm"]))
    is_silenced = silenced_anomalies(connection, dt.datetime.now(dt.UTC))
    at_once = max(number, _READ_AHEAD)
    kept: list[Row[Any]] = []
    while len(kept) < number:
        rows = _next(connection, query, place, at_once)
        kept += [row for row in rows if not is_silenced(row)]
        if len(rows) < at_once:
            break
        place = rows[-1].timestamp, rows[-1].id
    return kept


def _only(query: Select[Any], wanted: AnomalyFilter) -> Select[Any]:
    columns = anomalies.c
    if wanted.since is not None:
        query = query.where(columns.timestamp >= wanted.since)
    if wanted.until is not None:
        query = query.where(columns.timestamp < wanted.until)
    if wanted.min_severity is not None:
        query = query.where(columns.severity >= wanted.min_severity)
    if wanted.interaction_id is not None:
        query = query.where(columns.interaction_digest == digest(wanted.interaction_id))
    for name in ("channel", "language", "queue"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(columns[name] == value)
    return query


def _stored(row: Row[Any]) -> StoredAnomaly:
    return {
        "interaction_id": row.interaction_id,
        "timestamp": iso(row.timestamp),
        "scored_at": iso(row.scored_at),
        "model": row.model,
        "model_version": row.model_version,
        "severity": row.severity,
        "scores": row.scores,
        "is_anomaly": row.is_anomaly,
        "reasons": row.reasons,
        "interaction": row.interaction,
        "source": row.source,
        "verdict": verdict_of(row),
    }
