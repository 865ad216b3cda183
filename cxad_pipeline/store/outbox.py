"""The outbox: messages that are to be sent, written in the transaction that gives cause for them.

Belongs here: queueing, and taking back what was queued; the rest of the outbox can be had from here too. Does not
belong here: what is told (`alerting.notices`), who gets a delivery and how it ended (`outbox_claims`), channels that
asked to be left alone (`outbox_rests`), listings for people (`outbox_status`), sending (`alerting.delivery`).

The promise is at least once: a message that was queued is claimed again and again until its channel has taken it or its
sender gives up. There is one delivery for a key and a channel, however often the key is queued.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.outbox_claims import Claimed as Claimed
from cxad_pipeline.store.outbox_claims import claim as claim
from cxad_pipeline.store.outbox_claims import give_up_unserved as give_up_unserved
from cxad_pipeline.store.outbox_claims import settle_dead as settle_dead
from cxad_pipeline.store.outbox_claims import settle_failed as settle_failed
from cxad_pipeline.store.outbox_claims import settle_sent as settle_sent
from cxad_pipeline.store.outbox_rests import put_off as put_off
from cxad_pipeline.store.outbox_rests import rests
from cxad_pipeline.store.outbox_status import ChannelStatus as ChannelStatus
from cxad_pipeline.store.outbox_status import Delivery as Delivery
from cxad_pipeline.store.outbox_status import OutboxStatus as OutboxStatus
from cxad_pipeline.store.outbox_status import find_deliveries as find_deliveries
from cxad_pipeline.store.outbox_status import outbox_status as outbox_status
from cxad_pipeline.store.outbox_status import revive as revive
from cxad_pipeline.store.outbox_tables import deliveries, messages


@dataclass(frozen=True)
class Notice:
    """A message to be sent.

    Attributes
    ----------
    key
        Names it: the same key is never queued twice.
    kind
        What sort it is, such as `opened` or `digest`.
    topic
        What it is about, `incident:20261013-3f9a2c`; its messages stay in order.
    content
        Plain JSON.
    due_at
        From when on it may be sent.
    """

    key: str
    kind: str
    topic: str
    content: dict[str, Any]
    due_at: dt.datetime


def queue(connection: Connection, notice: Notice, channels: Sequence[str], *, at: dt.datetime | None = None) -> bool:
    """Queue a message for some channels.

    Where its key is queued already and no channel has been tried, content, time and channels are replaced; where one
    has, nothing happens.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`: that which gives cause for the message.
    notice
        The message.
    channels
        Names of the channels; one that rests gets it later. None: the key is remembered and nothing sent.
    at
        When it is queued; now by default.

    Returns
    -------
    bool
        Whether the key is new.
    """
    row = {
        "key_digest": digest(notice.key),
        "key": notice.key,
        "kind": notice.kind,
        "topic": notice.topic,
        "content": notice.content,
        "due_at": notice.due_at,
        "queued_at": dt.datetime.now(dt.UTC) if at is None else at,
    }
    insertion = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    added = connection.execute(
        insertion(messages).on_conflict_do_nothing(index_elements=["key_digest"]).returning(messages.c.id), row
    ).scalar_one_or_none()
    if added is not None:
        _deliver(connection, added, notice, channels)
        return True
    known = connection.execute(
        select(messages.c.id).where(messages.c.key_digest == row["key_digest"]).with_for_update()
    ).scalar_one()
    of_message = deliveries.c.message_id == known
    # Locked, so that nobody begins to send what is being replaced.
    claims = connection.execute(select(deliveries.c.claims).where(of_message).with_for_update()).scalars().all()
    if any(claims):
        return False
    replaced = {name: row[name] for name in ("kind", "topic", "content", "due_at")}
    connection.execute(update(messages).where(messages.c.id == known).values(replaced))
    connection.execute(delete(deliveries).where(of_message))
    _deliver(connection, known, notice, channels)
    return False


def _deliver(connection: Connection, message: int, notice: Notice, channels: Sequence[str]) -> None:
    resting = rests(connection)
    rows = [
        {
            "message_id": message,
            "channel": channel,
            "topic_digest": digest(notice.topic),
            "state": "pending",
            "attempts": 0,
            "claims": 0,
            "uncertain": False,
            "due_at": max(notice.due_at, resting.get(channel, notice.due_at)),
        }
        for channel in dict.fromkeys(channels)
    ]
    if rows:
        connection.execute(insert(deliveries), rows)


def withdraw(connection: Connection, key: str) -> int:
    """Drop the deliveries of a message that were never tried; a key of which none was may be queued as new again.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    key
        Of the message; nothing happens where there is none.

    Returns
    -------
    int
        How many deliveries were dropped.
    """
    message = connection.execute(
        select(messages.c.id).where(messages.c.key_digest == digest(key)).with_for_update()
    ).scalar_one_or_none()
    if message is None:
        return 0
    of_message = deliveries.c.message_id == message
    dropped = connection.execute(delete(deliveries).where(of_message, deliveries.c.claims == 0)).rowcount
    if not connection.execute(select(exists().where(of_message))).scalar_one():
        connection.execute(delete(messages).where(messages.c.id == message))
    return dropped


def was_tried(connection: Connection, keys: Sequence[str]) -> bool:
    """Whether a channel was ever tried with one of these messages; until the transaction ends, no further one is."""
    of_keys = messages.c.key_digest.in_([digest(key) for key in keys])
    query = select(deliveries.c.claims).join_from(deliveries, messages).where(of_keys)
    return any(connection.execute(query.with_for_update(of=deliveries)).scalars().all())


def last_content(connection: Connection, kind: str) -> dict[str, Any] | None:
    """What the message of a kind says that was queued last; None where there is none."""
    query = select(messages.c.content).where(messages.c.kind == kind).order_by(messages.c.id.desc()).limit(1)
    found: dict[str, Any] | None = connection.execute(query).scalar_one_or_none()
    return found


def last_key(connection: Connection, kind: str) -> tuple[str, dt.datetime] | None:
    """Key of the message of a kind that was queued last, and when; None where there is none."""
    query = select(messages.c.key, messages.c.queued_at).where(messages.c.kind == kind)
    row = connection.execute(query.order_by(messages.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else (row.key, row.queued_at)


def topics_begun(
    connection: Connection, kinds: Sequence[str], since: dt.datetime, until: dt.datetime
) -> frozenset[str]:
    """Topics whose first message of some kinds was due after `since`, and not after `until`."""
    first = func.min(messages.c.due_at)
    query = select(messages.c.topic).where(messages.c.kind.in_(kinds)).group_by(messages.c.topic)
    return frozenset(connection.execute(query.having(first > since, first <= until)).scalars())
