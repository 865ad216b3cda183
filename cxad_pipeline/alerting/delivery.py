"""Sending what is due in the outbox.

Belongs here: one round of deliveries: claims, attempts, waits between attempts, dead letters. Does not belong here:
what is told (`notices`), the channels (`channels`), the rows (`store.outbox`), and when rounds take place (`defs`).

The promise: each message in the outbox reaches each of its channels at least once, or becomes a dead letter that can be
seen and revived; nothing revives it by itself, also when its channel works again. Messages of one topic arrive in their
order. A process that dies between sending and recording it leaves a claim that ends with its lease; the message is then
sent again, marked `uncertain`. Doubles are dropped by `Parcel.identity` where the channel can tell: with a bot token
Slack is asked whether the message is there, and an e-mail has the same Message-ID each time, which mail programs show
once. A webhook and the console cannot tell.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cxad_pipeline.alerting.channels.channel import Channel, DeliveryError, Parcel
from cxad_pipeline.alerting.channels.console import ConsoleChannel
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.alerting.redaction import redact
from cxad_pipeline.alerting.wording import one_line
from cxad_pipeline.settings.operations import AlertSettings
from cxad_pipeline.store.database import Store, StoreAwayError
from cxad_pipeline.store.outbox import (
    Claimed,
    claim,
    give_up_unserved,
    put_off,
    settle_dead,
    settle_failed,
    settle_sent,
)

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
UNSERVED = timedelta(hours=24)
"""After so long without an attempt, what is due for a channel that is not configured is given up.

Processes may have different channels, so not having one says little; that of all who deliver nobody has tried for a day
says that none has it. A channel that fails is tried, and a delivery that was tried is due later.
"""
PATIENCE = timedelta(days=3)
"""So long after a message was queued, attempts that end with a wish to be left alone are not counted; then they are, so
that nothing waits for ever."""
_UNSERVED = (
    "the channel is no longer configured where messages are delivered; configure it again and retry the message with "
    "`cxad alerts --retry`, or put it away with `cxad alerts --drop`"
)
_JITTER = 0.25
_ERROR_LENGTH = 500


@dataclass(frozen=True)
class DeliverySummary:
    """What one round came to.

    Attributes
    ----------
    sent, failed, dead
        Attempts by their outcome: delivered, to be tried again, given up.
    errors
        The last error of each channel that had one.
    """

    sent: int = 0
    failed: int = 0
    dead: int = 0
    errors: Mapping[str, str] = field(default_factory=dict)


def deliver_due(
    store: Store,
    channels: Sequence[Channel],
    *,
    policy: AlertSettings,
    now: Callable[[], datetime],
    limit: int = 500,
    budget_seconds: float = 40.0,
    lease: timedelta = timedelta(minutes=5),
) -> DeliverySummary:
    """Send what is due, message by message, outside of any transaction.

    A channel that fails for now (no connection, a fault of its server, a rate limit) rests until the next round, so
    that its other messages do not each wait for the same timeout; the other channels go on. A message that a channel
    refuses for good, or that failed `max_attempts` times, becomes a dead letter. So does one for a channel that is not
    among these and that nobody has tried to send for `UNSERVED`; unless there is no channel but the console, which is
    what a process has that was told nothing of the channels, such as one on a laptop. Where a channel says for how long
    it wants to be left alone (a rate limit), all of its messages wait for so long, also those that are queued
    meanwhile, and none has lost an attempt; but see `PATIENCE`.

    Parameters
    ----------
    store
        The open store.
    channels
        Where messages go.
    policy
        `max_attempts` is read.
    now
        The clock.
    limit
        Attempts of this round at most.
    budget_seconds
        No attempt begins later than this. One that has begun is not broken off: channels limit their own time.
    lease
        How long a claim holds: longer than a channel takes, and the time until a message of a process that died is
        sent again.

    Returns
    -------
    DeliverySummary
        Counts, and an error for each channel that failed.

    Raises
    ------
    StoreError
        If the store can't be read or written. What had been sent and could not be recorded is sent again.
    """
    end = time.monotonic() + budget_seconds
    working = {channel.name: channel for channel in channels}
    counts: Counter[str] = Counter()
    unserved: dict[str, int] = {}
    if any(not isinstance(channel, ConsoleChannel) for channel in channels):
        with store.writing() as connection:
            unserved = give_up_unserved(
                connection, list(working), due_before=now() - UNSERVED, error=_UNSERVED, at=now()
            )
    errors = dict.fromkeys(unserved, _UNSERVED)
    while working and counts.total() < limit and time.monotonic() < end:
        # One by one: the lease of a message begins when its turn has come, and a round that ends leaves none behind.
        with store.writing() as connection:
            claimed = next(iter(claim(connection, list(working), now=now(), lease=lease, limit=1)), None)
        if claimed is None:
            break
        try:
            receipt = working[claimed.channel].deliver(_parcel(claimed))
        except DeliveryError as error:
            errors[claimed.channel] = _text(error)
            counts[_settle_failure(store, claimed, error, policy, now())] += 1
            if not error.permanent:
                del working[claimed.channel]
        except Exception as error:  # noqa: BLE001 - a fault in one channel must not keep the others from their messages
            failure = DeliveryError(f"{type(error).__name__}: {error}; please report it", uncertain=True)
            errors[claimed.channel] = _text(failure)
            counts[_settle_failure(store, claimed, failure, policy, now())] += 1
        else:
            _settle_sent(store, claimed, receipt, now())
            counts["sent"] += 1
    return DeliverySummary(counts["sent"], counts["failed"], counts["dead"] + sum(unserved.values()), errors)


def wait_before(attempts: int, key: str, channel: str, retry_after: float | None = None) -> timedelta:
    """How long to wait after so many failed attempts: 30 s, doubled each time up to an hour, or what the channel asks.

    Up to a quarter is added, so that what failed together does not come back together; it follows from the message,
    so that the same failure waits equally long each time.

    Parameters
    ----------
    attempts
        Attempts that failed, 1 or more.
    key, channel
        Of the message.
    retry_after
        Seconds that the channel asked for; they count where they are more.
    """
    doubled = FIRST_WAIT * 2.0 ** min(attempts - 1, 10)
    drawn = hashlib.sha256(f"{key}|{channel}|{attempts}".encode()).digest()
    wait = min(doubled, LONGEST_WAIT) * (1 + _JITTER * int.from_bytes(drawn[:4], "big") / 2**32)
    return max(wait, timedelta(seconds=retry_after or 0))


def _parcel(claimed: Claimed) -> Parcel:
    return Parcel(
        key=claimed.key,
        topic=claimed.topic,
        kind=claimed.kind,
        message=Message.from_dict(claimed.content),
        queued_at=claimed.queued_at,
        uncertain=claimed.uncertain,
        first=claimed.first,
    )


def _settle_sent(store: Store, claimed: Claimed, receipt: dict[str, Any], at: datetime) -> None:
    """Record it, once more where the connection was lost: else a channel that cannot tell would show it twice."""
    try:
        with store.writing() as connection:
            settle_sent(connection, claimed, receipt, at)
    except StoreAwayError:
        with store.writing() as connection:
            settle_sent(connection, claimed, receipt, at)


def _settle_failure(store: Store, claimed: Claimed, error: DeliveryError, policy: AlertSettings, at: datetime) -> str:
    counted = error.retry_after is None or at - claimed.queued_at >= PATIENCE
    with store.writing() as connection:
        if error.retry_after is not None and not error.permanent:
            put_off(connection, claimed.channel, at + timedelta(seconds=error.retry_after))
        if error.permanent or (counted and claimed.attempts >= policy.max_attempts):
            settle_dead(connection, claimed, _text(error), at, uncertain=error.uncertain)
            return "dead"
        wait = wait_before(claimed.attempts, claimed.key, claimed.channel, error.retry_after)
        settle_failed(connection, claimed, _text(error), at + wait, uncertain=error.uncertain, counted=counted)
        return "failed"


def _text(error: Exception) -> str:
    return one_line(redact(str(error)), _ERROR_LENGTH)
