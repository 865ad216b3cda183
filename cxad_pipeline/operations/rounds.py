"""A delivery round: reminders, the digest when it is time, and everything in the outbox that is due.

Belongs here: what a sensor does every half a minute, and a scoring run at its end. Does not belong here: one delivery
(`alerting.delivery`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

from cronsim import CronSim
from sqlalchemy import Connection

from cxad_pipeline.alerting.channels import Channel
from cxad_pipeline.alerting.delivery import DeliverySummary, deliver_due
from cxad_pipeline.alerting.digest import ANOMALIES, Digest, digest_message
from cxad_pipeline.alerting.notices import told_in_digest
from cxad_pipeline.incidents.incident import Example
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.anomalies import AnomalyFilter, StoredAnomaly, find_anomalies
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import (
    IncidentFilter,
    StoredIncident,
    find_incidents,
    lock_incidents,
    save_incident,
)
from cxad_pipeline.store.outbox import Notice, last_key, outbox_status, queue
from cxad_pipeline.store.segment_names import closure_of
from cxad_pipeline.store.segment_windows import SegmentWindow, find_windows
from cxad_pipeline.store.silences import find_silences, silencing

WEEK = dt.timedelta(days=7)
LEASE = dt.timedelta(minutes=5)
"""Longer than the time limits of any channel's attempt together."""
_MOST = 500
_MOST_SHOWN = 10_000
"""Latest anomalies, of which the digest shows the most severe."""


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
        _digest(connection, settings, teller, now())
    return deliver_due(store, channels, policy=settings.alerts, now=now, budget_seconds=budget_seconds, lease=lease)


def _repeat(connection: Connection, teller: Teller, now: dt.datetime) -> None:
    """Remind of critical incidents that have gone on since they were last told, and tell those that were silenced."""
    page = _all_incidents(connection, IncidentFilter(statuses=("open",)))
    # One whose message still waits is looked at, too: a silence may have begun.
    going_on = [s for s in page if s.told.at is None or s.told.at > now or s.incident.updated_at > s.told.at]
    for stored, told in teller.repeat(connection, going_on, now):
        save_incident(connection, stored.incident, stored.calls, told)


def digest_tick(settings: Settings, now: dt.datetime) -> dt.datetime:
    """The latest moment, not after now, at which a digest was to be sent."""
    local = now.astimezone(ZoneInfo(settings.schedule.timezone))
    ticks = CronSim(settings.alerts.digest_cron, local + dt.timedelta(hours=2), reverse=True)
    # CronSim knows minutes: a second before seven it gives seven, too.
    # In UTC, since the clock shows an hour twice when summer ends.
    return next(moment for tick in ticks if (moment := tick.astimezone(dt.UTC)) <= now.astimezone(dt.UTC))


def _digest(connection: Connection, settings: Settings, teller: Teller, now: dt.datetime) -> None:
    """Queue the digest once for each tick of its cron expression; the first one ever comes at once."""
    key = f"digest:{digest_tick(settings, now):%Y-%m-%dT%H:%MZ}"
    before = last_key(connection, "digest")
    if before is not None and before[0] >= key:  # also where the clock was set back
        return
    since = None if before is None else before[1]
    digest, untold = _digest_of(connection, settings, since, now)
    message = digest_message(digest, teller.digest_context(connection))
    if message is None:
        # The tick is marked as done, so that a finding at noon is not told as the digest of the morning.
        queue(connection, Notice(key, "digest", "digest", {}, now), [], at=now)
        return
    teller.queue(connection, [Notice(key, "digest", "digest", message.to_dict(), now)], now)
    for stored in untold:
        save_incident(connection, stored.incident, stored.calls, told_in_digest(stored.incident, stored.told, now))


def _digest_of(
    connection: Connection, settings: Settings, since: dt.datetime | None, now: dt.datetime
) -> tuple[Digest, list[StoredIncident]]:
    age = settings.alerts.max_age_hours
    oldest = None if age is None else now - dt.timedelta(hours=age)
    silences = find_silences(connection, active_at=now)
    found = _all_incidents(connection, IncidentFilter(statuses=("open", "resolved"), since=oldest))
    # A day more than since the last digest: what was judged while that one was made is in the store after it. What
    # has been told is not told again.
    recent = None if since is None else since - dt.timedelta(days=1)
    new = [s for s in found if s.told.at is None and (recent is None or s.incident.updated_at > recent)]
    silenced = [
        s for s in new if silencing(silences, closure_of(connection, s.incident.segment), s.incident.metric) is not None
    ]
    untold = [stored for stored in new if stored not in silenced]
    told = [s for s in found if s.told.at is not None and (since is None or s.incident.opened_at > since)]
    windows = find_windows(connection, since=since or oldest, until=now, segment=(), level=None, limit=100_000)
    unusual, _ = find_anomalies(connection, AnomalyFilter(since=since or oldest, hide_expected=True), limit=_MOST_SHOWN)
    unusual.sort(key=lambda anomaly: (-anomaly["severity"], anomaly["interaction_id"]))
    digest = Digest(
        since=since or min([_start(row) for row in windows], default=now - dt.timedelta(days=1)),
        until=now,
        incidents=tuple(sorted((s.incident for s in untold), key=lambda incident: (-incident.severity, incident.id))),
        told=len(told),
        silenced=len(silenced),
        contacts=sum(row["contacts"] for row in windows),
        anomalies=sum(row["anomalies"] for row in windows),
        windows=len(windows),
        windows_without_data=sum(row["state"] == "missing" for row in windows),
        most_severe=tuple(_example(anomaly) for anomaly in unusual[:ANOMALIES]),
        dead_letters=outbox_status(connection, now).dead,
    )
    return digest, untold


def _all_incidents(connection: Connection, wanted: IncidentFilter) -> list[StoredIncident]:
    found, cursor = find_incidents(connection, wanted, limit=_MOST)
    while cursor is not None:
        page, cursor = find_incidents(connection, wanted, limit=_MOST, cursor=cursor)
        found += page
    return found


def _start(row: SegmentWindow) -> dt.datetime:
    return dt.datetime.fromisoformat(row["start"])


def _example(anomaly: StoredAnomaly) -> Example:
    return Example(
        interaction_id=anomaly["interaction_id"],
        timestamp=dt.datetime.fromisoformat(anomaly["timestamp"]),
        value=None,
        severity=anomaly["severity"],
        reasons="; ".join(reason["text"] for reason in anomaly["reasons"]),
    )
