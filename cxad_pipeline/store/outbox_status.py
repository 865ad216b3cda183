"""How the outbox stands, for people: counts, a listing, and dead letters brought back or put away.

Belongs here: reading deliveries, reviving and dropping them. Does not belong here: queueing and sending (`outbox`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from sqlalchemy import ColumnElement, Connection, Row, Update, case, func, select, update

from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.outbox_tables import deliveries, messages
from cxad_pipeline.store.pages import cursor_of, iso, place_of

DeliveryState = Literal["pending", "sent", "dead", "dropped"]
_CHUNK = 5_000


@dataclass(frozen=True)
class ChannelStatus:
    """How one channel stands.

    Attributes
    ----------
    pending, due, dead
        Deliveries that are to be made, those of them whose time has come, and dead letters.
    failing
        Those to be made whose last attempt failed.
    oldest_due_at
        When the one that has waited longest was due; None where none is.
    configured
        Whether it can be sent to. What waits for a channel that is no longer configured goes out when it is again, or
        is given up in time (`give_up_unserved`).
    """

    pending: int
    due: int
    failing: int
    dead: int
    oldest_due_at: dt.datetime | None
    configured: bool


@dataclass(frozen=True)
class OutboxStatus:
    """How the outbox stands.

    Attributes
    ----------
    pending, failing, dead
        Over all channels.
    due, oldest_due_at
        As in `ChannelStatus`, over the configured channels: what waits for another one is not late.
    by_channel
        By name, for channels with something pending or dead, and those that are configured.
    """

    pending: int
    due: int
    failing: int
    dead: int
    oldest_due_at: dt.datetime | None
    by_channel: dict[str, ChannelStatus]


class Delivery(TypedDict):
    """A delivery, for people: plain JSON, of what the message says its first line alone.

    Attributes
    ----------
    id
        Its number.
    key, kind, topic, channel
        Of what, and where to.
    headline
        Of the message; empty where it has none.
    state
        `pending`, `sent`, `dead` or `dropped`: a dead letter that was put away.
    attempts
        Since it was queued or revived; those in which the channel asked to be left alone are not counted.
    uncertain
        Whether an attempt may have reached the channel without anybody knowing.
    queued_at, due_at
        When it was queued, and when the next attempt is due, or the last one was; ISO 8601 in UTC.
    settled_at
        When it was sent or given up; None while it is pending.
    error
        Of the last attempt that failed; None where it did not.
    """

    id: int
    key: str
    kind: str
    topic: str
    channel: str
    headline: str
    state: DeliveryState
    attempts: int
    uncertain: bool
    queued_at: str
    due_at: str
    settled_at: str | None
    error: str | None


def outbox_status(connection: Connection, now: dt.datetime, channels: Collection[str] | None = None) -> OutboxStatus:
    """How the outbox stands.

    Parameters
    ----------
    connection
        `Store.reading`.
    now
        The present moment.
    channels
        Names of the configured channels; None: all that occur.
    """
    pending = deliveries.c.state == "pending"
    due = pending & (deliveries.c.due_at <= now)
    query = (
        select(
            deliveries.c.channel,
            func.count(case((pending, 1))).label("pending"),
            func.count(case((due, 1))).label("due"),
            func.count(case((_is_failing(), 1))).label("failing"),
            func.count(case((deliveries.c.state == "dead", 1))).label("dead"),
            func.min(case((due, deliveries.c.due_at))).label("oldest_due_at"),
        )
        .where(deliveries.c.state.in_(["pending", "dead"]))
        .group_by(deliveries.c.channel)
        .order_by(deliveries.c.channel)
    )
    found = {
        row.channel: ChannelStatus(
            row.pending, row.due, row.failing, row.dead, row.oldest_due_at, channels is None or row.channel in channels
        )
        for row in connection.execute(query)
    }
    for name in channels or ():
        found.setdefault(name, ChannelStatus(0, 0, 0, 0, None, True))
    configured = [status for status in found.values() if status.configured]
    return OutboxStatus(
        sum(status.pending for status in found.values()),
        sum(status.due for status in configured),
        sum(status.failing for status in found.values()),
        sum(status.dead for status in found.values()),
        min((status.oldest_due_at for status in configured if status.oldest_due_at is not None), default=None),
        found,
    )


def _is_failing() -> ColumnElement[bool]:
    return (deliveries.c.state == "pending") & deliveries.c.error.is_not(None)


def find_deliveries(
    connection: Connection,
    *,
    state: DeliveryState | Literal["failing"] | None = None,
    channel: str | None = None,
    topic: str | None = None,
    limit: int,
    cursor: str | None = None,
) -> tuple[list[Delivery], str | None]:
    """One page of deliveries, the one queued last first.

    Parameters
    ----------
    connection
        `Store.reading`.
    state, channel, topic
        Only those; None: all. `failing` are pending ones whose last attempt failed.
    limit
        Most rows of a page.
    cursor
        Of the page before; None for the first.

    Returns
    -------
    (list of Delivery, str or None)
        The page, and the cursor of the next; None at the end.

    Raises
    ------
    CursorError
        If the cursor is none of ours.
    """
    query = (
        select(deliveries, *(messages.c[name] for name in ("key", "kind", "topic", "content", "queued_at")))
        .join_from(deliveries, messages)
        .order_by(deliveries.c.id.desc())
        .limit(limit + 1)
    )
    if state is not None:
        query = query.where(_is_failing() if state == "failing" else deliveries.c.state == state)
    if channel is not None:
        query = query.where(deliveries.c.channel == channel)
    if topic is not None:
        query = query.where(deliveries.c.topic_digest == digest(topic))
    if cursor is not None:
        query = query.where(deliveries.c.id < place_of(cursor)[1])
    rows = connection.execute(query).all()
    page = rows[:limit]
    more = len(rows) > limit
    return [_delivery(row) for row in page], cursor_of(page[-1].queued_at, page[-1].id) if more else None


def _delivery(row: Row[Any]) -> Delivery:
    return {
        "id": row.id,
        "key": row.key,
        "kind": row.kind,
        "topic": row.topic,
        "channel": row.channel,
        "headline": str(row.content.get("headline", "")),
        "state": row.state,
        "attempts": row.attempts,
        "uncertain": row.uncertain,
        "queued_at": iso(row.queued_at),
        "due_at": iso(row.due_at),
        "settled_at": None if row.settled_at is None else iso(row.settled_at),
        "error": row.error,
    }


def revive(connection: Connection, ids: Sequence[int] | None, *, at: dt.datetime | None = None) -> int:
    """Make dead letters pending again, due at once and with all their attempts before them.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    ids
        Of deliveries; those that are not dead stay as they are. None: all dead letters.
    at
        When, and so when they are due: how long they had waited before is not counted against them. None: now.

    Returns
    -------
    int
        How many were revived.
    """
    change = update(deliveries).where(deliveries.c.state == "dead")
    due_at = dt.datetime.now(dt.UTC) if at is None else at
    # An error of before says nothing of the attempts that are to come.
    change = change.values(state="pending", attempts=0, settled_at=None, due_at=due_at, error=None)
    return _changed(connection, change, ids)


def drop(connection: Connection, ids: Sequence[int] | None) -> int:
    """Put dead letters away: they stay in listings, and neither count nor come back.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    ids
        As of `revive`.

    Returns
    -------
    int
        How many were put away.
    """
    return _changed(connection, update(deliveries).where(deliveries.c.state == "dead").values(state="dropped"), ids)


def _changed(connection: Connection, change: Update, ids: Sequence[int] | None) -> int:
    if ids is None:
        return connection.execute(change).rowcount
    known = [number for number in dict.fromkeys(ids) if -(2**63) <= number < 2**63]
    parts = [known[first : first + _CHUNK] for first in range(0, len(known), _CHUNK)]
    return sum(connection.execute(change.where(deliveries.c.id.in_(part))).rowcount for part in parts)
