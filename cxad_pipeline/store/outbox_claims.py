"""Who makes a delivery, and how it ended.

Belongs here: claiming and settling deliveries. Does not belong here: queueing (`outbox`), sending (`alerting`).

Of a topic, a channel gets its messages in the order of their queueing; one that was given up does not hold up the next.

A claim is a lease. A process that dies lets it run out, and whoever claims the delivery then is told that the end of an
attempt is not known (`Claimed.uncertain`). A process that comes back too late can settle nothing any more.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, select, update

from cxad_pipeline.store.outbox_tables import deliveries, messages, resting_channels


@dataclass(frozen=True)
class Claimed:
    """A delivery that this process is to make, until its lease runs out.

    Attributes
    ----------
    id
        Of the delivery.
    key, kind, topic, content
        As in `Notice`.
    channel
        Where to.
    attempts
        With this one, since it was queued or revived.
    uncertain
        Whether an earlier attempt may have reached the channel: it began, and nobody knows its end.
    first
        Receipt of the topic's first message that was sent on the channel, for edits and threads; None where there is
        none.
    queued_at
        When it was first queued.
    claim
        Number of the claim, by which it is settled.
    """

    id: int
    key: str
    kind: str
    topic: str
    channel: str
    content: dict[str, Any]
    attempts: int
    uncertain: bool
    first: dict[str, Any] | None
    queued_at: dt.datetime
    claim: int = 1


def claim(
    connection: Connection, channels: Sequence[str], *, now: dt.datetime, lease: dt.timedelta, limit: int
) -> list[Claimed]:
    """Take deliveries that are due, for as long as the lease lasts; nobody else gets them meanwhile.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`; nothing may be sent before it is committed.
    channels
        Those that can be sent to.
    now
        The present moment.
    lease
        How long the sender has.
    limit
        Most deliveries.

    Returns
    -------
    list of Claimed
        The longest due first, at most one of each topic and channel, and none of a channel that rests.
    """
    query = (
        select(deliveries, *(messages.c[name] for name in ("key", "kind", "topic", "content", "queued_at")))
        .join_from(deliveries, messages)
        .where(
            deliveries.c.state == "pending",
            deliveries.c.channel.in_(list(channels)),
            deliveries.c.due_at <= now,
            # Also of what was being sent when it asked to be left alone.
            deliveries.c.channel.not_in(select(resting_channels.c.channel).where(resting_channels.c.until > now)),
            *_free(now),
        )
        .order_by(deliveries.c.due_at, deliveries.c.id)
        .limit(limit)
        .with_for_update(of=deliveries, skip_locked=True)
    )
    return [_claimed(connection, row, now + lease) for row in connection.execute(query).all()]


def give_up_unserved(
    connection: Connection, served: Sequence[str], *, due_before: dt.datetime, error: str, at: dt.datetime
) -> dict[str, int]:
    """Make dead letters of what has waited too long for channels that are not served; they can be revived.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    served
        Channels whose deliveries stay as they are.
    due_before
        Deliveries that have been due since then. Those that wait for an earlier one of their topic are left alone, and
        so are those that somebody is making.
    error
        Why.
    at
        When.

    Returns
    -------
    dict
        How many of each channel.
    """
    given_up = connection.execute(
        update(deliveries)
        .where(
            deliveries.c.state == "pending",
            deliveries.c.channel.not_in(list(served)),
            deliveries.c.due_at <= due_before,
            *_free(at),
        )
        .values(
            state="dead",
            error=error,
            settled_at=at,
            uncertain=deliveries.c.uncertain | deliveries.c.leased_until.is_not(None),
            leased_until=None,
        )
        .returning(deliveries.c.channel)
    )
    return dict(Counter(given_up.scalars()))


def _free(now: dt.datetime) -> tuple[ColumnElement[bool], ...]:
    """Conditions: nobody is making the delivery, and no earlier one of its topic waits for the channel."""
    earlier = deliveries.alias("earlier")
    held_up = exists().where(
        earlier.c.topic_digest == deliveries.c.topic_digest,
        earlier.c.channel == deliveries.c.channel,
        earlier.c.state == "pending",
        earlier.c.id < deliveries.c.id,
    )
    return (deliveries.c.leased_until.is_(None) | (deliveries.c.leased_until <= now), ~held_up)


def _claimed(connection: Connection, row: Row[Any], leased_until: dt.datetime) -> Claimed:
    claimed = Claimed(
        row.id,
        row.key,
        row.kind,
        row.topic,
        row.channel,
        row.content,
        attempts=row.attempts + 1,
        # A lease that is still there is that of an attempt which nobody has settled.
        uncertain=row.uncertain or row.leased_until is not None,
        first=_first_receipt(connection, row.topic_digest, row.channel),
        queued_at=row.queued_at,
        claim=row.claims + 1,
    )
    values = {
        "attempts": claimed.attempts,
        "claims": claimed.claim,
        "uncertain": claimed.uncertain,
        "leased_until": leased_until,
    }
    connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))
    return claimed


def _first_receipt(connection: Connection, topic_digest: str, channel: str) -> dict[str, Any] | None:
    """Receipt of the message that later ones of the topic continue.

    The first one; but where receipts name posts (`ts`), the latest that begins a thread, since the first post may have
    been deleted, or be in a channel that was left.
    """
    query = (
        select(deliveries.c.receipt)
        .where(deliveries.c.topic_digest == topic_digest, deliveries.c.channel == channel, deliveries.c.state == "sent")
        .order_by(deliveries.c.id)
    )
    found: list[dict[str, Any]] = list(connection.execute(query).scalars())
    begun = [receipt for receipt in found if "ts" in receipt and "thread_ts" not in receipt]
    if begun:
        return begun[-1]
    return found[0] if found else None


def settle_sent(connection: Connection, claimed: Claimed, receipt: dict[str, Any], at: dt.datetime) -> bool:
    """Write down that the channel has taken a message.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    claimed
        As `claim` gave it.
    receipt
        What the channel answered, plain JSON: how the message is found again there.
    at
        When.

    Returns
    -------
    bool
        False, and nothing is changed, where the delivery was settled already or its lease has passed to another
        process.
    """
    return _settle(connection, claimed, {"state": "sent", "receipt": receipt, "settled_at": at, "error": None})


def settle_failed(
    connection: Connection,
    claimed: Claimed,
    error: str,
    next_at: dt.datetime,
    *,
    uncertain: bool = False,
    counted: bool = True,
) -> bool:
    """Write down that an attempt has failed, and when the next one is due.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    claimed
        As `claim` gave it.
    error
        What went wrong; without secrets.
    next_at
        When it is due again.
    uncertain
        Whether the channel may have taken the message all the same, as after a timeout.
    counted
        Whether it is one of the attempts that a message has.

    Returns
    -------
    bool
        As of `settle_sent`.
    """
    values = {"due_at": next_at, "error": error, "uncertain": claimed.uncertain or uncertain}
    return _settle(connection, claimed, values | ({} if counted else {"attempts": claimed.attempts - 1}))


def settle_dead(
    connection: Connection, claimed: Claimed, error: str, at: dt.datetime, *, uncertain: bool = False
) -> bool:
    """Give a message up: it stays as a dead letter until it is revived, and holds up no other.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    claimed
        As `claim` gave it.
    error
        Why; without secrets.
    at
        When.
    uncertain
        As of `settle_failed`: it is remembered for when the message is revived.

    Returns
    -------
    bool
        As of `settle_sent`.
    """
    values = {"state": "dead", "error": error, "settled_at": at, "uncertain": claimed.uncertain or uncertain}
    return _settle(connection, claimed, values)


def _settle(connection: Connection, claimed: Claimed, values: dict[str, Any]) -> bool:
    settled = connection.execute(
        update(deliveries)
        .where(
            deliveries.c.id == claimed.id,
            deliveries.c.claims == claimed.claim,
            deliveries.c.leased_until.is_not(None),
        )
        .values(leased_until=None, **values)
    )
    return settled.rowcount == 1
