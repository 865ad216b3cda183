"""Anomalies in the store: written as they are found, and read back newest first.

Belongs here: both, and the pages of a listing. Does not belong here: adding verdicts (`feedback`), and who may ask.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from sqlalchemy import Connection, Row, Select, func, literal, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from cxad_pipeline.store.records import AnomalyRecord
from cxad_pipeline.store.tables import Moment, anomalies, digest, feedback

_NO_TIME = "the time of an anomaly is not ISO 8601 with a zone"
_KEY = ("interaction_digest", "model_version")


class CursorError(ValueError):
    """A cursor that `find_anomalies` has not given."""


class StoredVerdict(TypedDict):
    """What somebody said of an interaction.

    Attributes
    ----------
    verdict
        `confirmed`, `expected`, `false_alarm` or `new_trend`.
    by
        Name of the API key, or of whoever said it.
    at
        ISO 8601 in UTC with `Z`, microseconds.
    note
        In their own words; may be empty.
    """

    verdict: str
    by: str
    at: str
    note: str


class StoredAnomaly(AnomalyRecord):
    """An anomaly as it is kept.

    Attributes
    ----------
    source
        By which way it came, `api`.
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
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    min_severity: float | None = None
    channel: str | None = None
    language: str | None = None
    queue: str | None = None
    interaction_id: str | None = None


def record_anomalies(connection: Connection, records: Sequence[AnomalyRecord], *, source: str = "api") -> int:
    """Write anomalies; of two with the same interaction and model version the one scored later stays.

    The same record again changes nothing, so that whoever is not sure whether it was written writes it again.

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

    Pages follow one another by the last row's place and not by counting: what is written meanwhile neither repeats nor
    hides a row that was there.

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
    said = [feedback.c[name].label(f"said_{name}") for name in ("verdict", "by", "at", "note")]
    query = _only(
        select(anomalies, *said)
        .select_from(anomalies.outerjoin(feedback, feedback.c.id == latest))
        .order_by(anomalies.c.timestamp.desc(), anomalies.c.id.desc())
        .limit(limit + 1),
        wanted,
    )
    if cursor is not None:
        moment, number = _place(cursor)
        query = query.where(tuple_(anomalies.c.timestamp, anomalies.c.id) < tuple_(literal(moment, Moment()), number))
    rows = connection.execute(query).all()
    page = rows[:limit]
    more = len(rows) > limit
    return [_stored(row) for row in page], _cursor(page[-1].timestamp, page[-1].id) if more else None


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
    verdict: StoredVerdict | None = None
    if row.said_verdict is not None:
        verdict = {"verdict": row.said_verdict, "by": row.said_by, "at": iso(row.said_at), "note": row.said_note}
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
        "verdict": verdict,
    }


def iso(moment: dt.datetime) -> str:
    """A moment as the product writes it: ISO 8601 in UTC with microseconds and `Z`."""
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PLACE = struct.Struct(">qq")


def _cursor(moment: dt.datetime, number: int) -> str:
    microseconds = (moment - _EPOCH) // dt.timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_PLACE.pack(microseconds, number)).decode().rstrip("=")


def _place(cursor: str) -> tuple[dt.datetime, int]:
    try:
        microseconds, number = _PLACE.unpack(base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (binascii.Error, struct.error, ValueError) as error:
        raise CursorError("the cursor is none that a listing has given; begin without one") from error
    try:
        return _EPOCH + dt.timedelta(microseconds=microseconds), number
    except OverflowError:  # a made-up place outside all years is before or after everything
        bound = dt.datetime.max if microseconds > 0 else dt.datetime.min
        return bound.replace(tzinfo=dt.UTC), number
