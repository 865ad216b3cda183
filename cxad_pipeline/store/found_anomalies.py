"""Writing anomalies into the store as they are found, by the API and by batch scoring.

Belongs here: which of two rows stays, and what goes when a period is scored again. Does not belong here: listing them
(`anomalies`), deleting what is old (`retention`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, case, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.records import AnomalyRecord
from cxad_pipeline.store.tables import anomalies

_NO_TIME = "the time of an anomaly is not ISO 8601 with a zone"
_KEY = ("interaction_digest", "model_version")
_BATCH = "batch"
_CHUNK = 5_000


def record_anomalies(connection: Connection, records: Sequence[AnomalyRecord], *, source: str = "api") -> int:
    """Write anomalies; of two with the same interaction and model version the one scored later stays.

    The same record again changes nothing: whoever is not sure whether it was written writes it again. What batch
    scoring has found, and the API too, counts as the API's.

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
        How many were added or changed.

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
    is_later = statement.excluded.scored_at > anomalies.c.scored_at
    # What was also found in another way does not go when batch scoring finds it no longer.
    by_batch_alone = (anomalies.c.source == _BATCH) & (statement.excluded.source != _BATCH)
    changed = {
        column.name: case((is_later, column), else_=anomalies.c[column.name])
        for column in statement.excluded
        if column.name not in ("id", "source", *_KEY)
    }
    changed["source"] = case((by_batch_alone, statement.excluded.source), else_=anomalies.c.source)
    upsert = statement.on_conflict_do_update(
        index_elements=list(_KEY), set_=changed, where=is_later | by_batch_alone
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
        # Asked once more: the API may have found one meanwhile.
        is_gone = columns.id.in_(gone[first : first + _CHUNK]) & (columns.source == _BATCH)
        connection.execute(delete(anomalies).where(is_gone))
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
