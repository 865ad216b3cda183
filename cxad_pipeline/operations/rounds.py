"""A delivery round: reminders, the digest when it is time, and everything in the outbox that is due.

Belongs here: what a sensor does every half a minute, and a scoring run at its end. Does not belong here: the digest's
figures (`digests`), one delivery (`alerting.delivery`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from cxad_pipeline.alerting.channels import Channel
from cxad_pipeline.alerting.delivery import DeliverySummary, deliver_due
from cxad_pipeline.operations.digests import all_incidents, queue_digest
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import IncidentFilter, lock_incidents, save_incident

LEASE = dt.timedelta(minutes=5)
"""Longer than an attempt takes: `ATTEMPT_SECONDS`, and what was begun just before they were over."""


def deliver_round(
    store: Store,
    settings: Settings,
    channels: Sequence[Channel],
    teller: Teller,
    now: Callable[[], dt.datetime],
    *,
    budget_seconds: float = 40,
    lease: dt.timedelta = LEASE,
) -> DeliverySummary:
    """Queue what the clock asks for, then deliver what is due.

    Parameters
    ----------
    store
        With the outbox.
    settings
        The configuration.
    channels, teller
        Where messages go, and who queues them.
    now
        Clock, UTC.
    budget_seconds
        No new delivery is begun after so long.
    lease
        After so long without word of a delivery, another round may take it over.

    Raises
    ------
    StoreError
        If the store can't be used. Failures of channels are in the summary.
    """
    if not settings.alerts.enabled:
        return DeliverySummary()
    with store.writing() as connection:
        lock_incidents(connection)
        _repeat(connection, teller, now())
        queue_digest(connection, settings, teller, now())
    return deliver_due(store, channels, policy=settings.alerts, now=now, budget_seconds=budget_seconds, lease=lease)


def _repeat(connection: Connection, teller: Teller, now: dt.datetime) -> None:
    """Remind of critical incidents that have gone on since they were last told, and tell those that were silenced."""
    for stored, told in teller.repeat(connection, all_incidents(connection, IncidentFilter(statuses=("open",))), now):
        save_incident(connection, stored.incident, stored.calls, told)
