"""Anomalies in the store: written as they are found, and read back newest first.

Belongs here: both, and the pages of a listing. Does not belong here: adding verdicts (`feedback`), and who may ask.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, literal, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from cxad_pipeline.store.columns import Moment, digest
from cxad_pipeline.store.pages import CursorError as CursorError
from cxad_pipeline.store.pages import cursor_of, place_of
from cxad_pipeline.store.pages import iso as iso
from cxad_pipeline.store.records import AnomalyRecord
from cxad_pipeline.store.tables import anomalies, feedback
from cxad_pipeline.store.verdicts import SAID, verdict_of
from cxad_pipeline.store.verdicts import StoredVerdict as StoredVerdict

_NO_TIME = "the time of an anomaly is not ISO 8601 with a zone"
_KEY = ("interaction_digest", "model_version")
_BATCH = "batch"
_CHUNK = 5_000
_READ_AHEAD = 500
"""Rows that are read at once where some of them will be left out."""


class StoredAnomaly(AnomalyRecord):
    """An anomaly as it is kept.

    Attributes
    ----------
    source
        By which way it came: `api`, or `batch`.
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


def record_anomalies(connection: Connection, records: Sequence[AnomalyRecord], *, source: str = "api") -> int:
    """Write anomalies; of two with the same interaction and model version the one scored later stays.

    The same record again changes nothing: whoever is not sure whether it was written writes it again.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    records
        In any order.
    source
        By which way they came.

    Returns
    -------
    int
        How many were added or replaced.

    Raises
    ------
    ValueError
        If a time is not ISO 8601 with a zone.
    """
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        row = _row(record, source)
        key = (row["interaction_digest"], row["model_version"])
        if key not in newest or newest[key]["scored_at"] < row["scored_at"]:
            newest[key] = row
    if not newest:
        return 0
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(anomalies)
    changed = {column.name: column for column in statement.excluded if column.name not in ("id", *_KEY)}
    upsert = statement.on_conflict_do_update(
        index_elements=list(_KEY), set_=changed, where=statement.excluded.scored_at > anomalies.c.scored_at
    ).returning(anomalies.c.id)
    # In the order of the key, or two writers could each hold a row that the other waits for.
    return len(connection.execute(upsert, [newest[key] for key in sorted(newest)]).all())


def replace_batch_anomalies(
    connection: Connection, since: dt.datetime, until: dt.datetime, records: Sequence[AnomalyRecord]
) -> int:
    """Write what batch scoring found in a period in place of what it found there before.

    What came by another way stays, and so does all feedback: it is on interactions.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    since, until
        The period: contacts that began from `since` on and before `until`.
    records
        All that was found in it.

    Returns
    -------
    int
        How many were added or replaced.

    Raises
    ------
    ValueError
        If a time is not ISO 8601 with a zone.
    """
    columns = anomalies.c
    found = {(digest(record["interaction_id"]), record["model_version"]) for record in records}
    before = connection.execute(
        select(columns.id, *(columns[name] for name in _KEY)).where(
            columns.source == _BATCH, columns.timestamp >= since, columns.timestamp < until
        )
    ).all()
    gone = sorted(row.id for row in before if (row.interaction_digest, row.model_version) not in found)
    for first in range(0, len(gone), _CHUNK):
        connection.execute(delete(anomalies).where(columns.id.in_(gone[first : first + _CHUNK])))
    return record_anomalies(connection, records, source=_BATCH)


def _row(record: AnomalyRecord, source: str) -> dict[str, Any]:
    interaction = record["interaction"]
    return {
        "interaction_digest": digest(record["interaction_id"]),
        "interaction_id": record["interaction_id"],
        "timestamp": _moment(record["timestamp"]),
        "scored_at": _moment(record["scored_at"]),
        "model": record["model"],
        "model_version": record["model_version"],
        "source": source,
        "severity": record["severity"],
        **{name: _text(interaction.get(name)) for name in ("channel", "language", "queue")},
        "scores": record["scores"],
        "is_anomaly": record["is_anomaly"],
        "reasons": record["reasons"],
        "interaction": interaction,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _moment(written: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(written)
        zoned = moment.tzinfo is not None
        moment = moment.astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(_NO_TIME) from error
    if not zoned:
        raise ValueError(_NO_TIME)
    return moment


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
