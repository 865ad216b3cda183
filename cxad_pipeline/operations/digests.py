"""The digest: when it is due, and its figures from the store.

Belongs here: what a digest counts, so that each window is told once. Does not belong here: its words
(`alerting.digest`), and sending it (`rounds`).

A digest is about windows that were judged since the one before, however old their contacts are: those of the hours
before a digest are scored after it, and some land days late. So each digest leaves a record, a message without a
receiver, of the periods that have been told so far; what is counted again is not told again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from cronsim import CronSim
from sqlalchemy import Connection

from cxad_pipeline.alerting.decisions import topic_of
from cxad_pipeline.alerting.digest import ANOMALIES, Digest, digest_message
from cxad_pipeline.alerting.notices import told_in_digest
from cxad_pipeline.incidents.incident import Example
from cxad_pipeline.operations.judging import MEMORY
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.operations.windows_not_judged import windows_not_judged
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.anomalies import AnomalyFilter, StoredAnomaly, find_anomalies
from cxad_pipeline.store.incidents import IncidentFilter, StoredIncident, find_incidents, save_incident
from cxad_pipeline.store.judged_windows import JudgedWindow, NotJudged, judged_windows, last_counted
from cxad_pipeline.store.outbox import Notice, last_content, last_key, outbox_status, queue, topics_begun
from cxad_pipeline.store.segment_names import closure_of
from cxad_pipeline.store.silences import find_silences, silencing
from cxad_pipeline.store.silent_windows import silent_segments
from cxad_pipeline.store.unanswered_metrics import unanswered_metrics

DAY = dt.timedelta(days=1)
_RECORD = "digest_record"
_AT_ONCE = ("opened", "update", "repeat", "resolved")
_MOST = 500
_MOST_SHOWN = 10_000
"""Latest anomalies, of which the digest shows the most severe."""

Period = tuple[int, int]
"""Start and end, seconds since 1970 UTC, the end exclusive."""


@dataclass(frozen=True)
class Record:
    """What has been told by digests: periods, by all of them; interactions and silenced incidents, by the last one."""

    periods: tuple[Period, ...] = ()
    interactions: frozenset[str] = frozenset()
    silenced: frozenset[str] = frozenset()

    def covers(self, moment: float) -> bool:
        """Whether a moment lies in a period that was told."""
        return any(start <= moment < end for start, end in self.periods)


def digest_tick(settings: Settings, now: dt.datetime) -> dt.datetime:
    """The latest moment, not after now, at which a digest was to be sent."""
    return next(_ticks(settings.alerts.digest_cron, settings, now))


def queue_digest(connection: Connection, settings: Settings, teller: Teller, now: dt.datetime) -> None:
    """Queue the digest once for each tick of its cron expression; the first one ever comes at once.

    Parameters
    ----------
    connection
        In a transaction that keeps out those who judge (`lock_incidents`).
    settings
        The configuration.
    teller
        Puts it into the outbox.
    now
        The present time.
    """
    key = f"digest:{digest_tick(settings, now):%Y-%m-%dT%H:%MZ}"
    before = last_key(connection, "digest")
    if before is not None and before[0] >= key:  # also where the clock was set back
        return
    digest, untold, record = _digest_of(connection, settings, None if before is None else before[1], now)
    content = {
        "windows": [list(period) for period in record.periods],
        "interactions": sorted(record.interactions),
        "silenced": sorted(record.silenced),
    }
    queue(connection, Notice(f"{_RECORD}:{key}", _RECORD, _RECORD, content, now), [], at=now)
    message = digest_message(digest, teller.digest_context(connection))
    if message is None:
        # The tick is marked as done, so that a finding at noon is not told as the digest of the morning.
        queue(connection, Notice(key, "digest", "digest", {}, now), [], at=now)
        return
    teller.queue(connection, [Notice(key, "digest", "digest", message.to_dict(), now)], now)
    for stored in untold:
        save_incident(connection, stored.incident, stored.calls, told_in_digest(stored.incident, stored.told, now))


def all_incidents(connection: Connection, wanted: IncidentFilter) -> list[StoredIncident]:
    """All pages of incidents."""
    found, cursor = find_incidents(connection, wanted, limit=_MOST)
    while cursor is not None:
        page, cursor = find_incidents(connection, wanted, limit=_MOST, cursor=cursor)
        found += page
    return found


def _digest_of(
    connection: Connection, settings: Settings, before: dt.datetime | None, now: dt.datetime
) -> tuple[Digest, list[StoredIncident], Record]:
    """The digest, the incidents that it tells, and the record that it leaves."""
    age = settings.alerts.max_age_hours
    oldest = None if age is None else now - dt.timedelta(hours=age)
    since = now - DAY if before is None else before
    silences = find_silences(connection, active_at=now)
    found = all_incidents(connection, IncidentFilter(statuses=("open", "resolved"), since=oldest))
    # A day more than since the last digest: what was judged while that one was made is in the store after it. What
    # has been told is not told again.
    new = [s for s in found if s.told.at is None and s.incident.updated_at > since - DAY]
    silenced = {
        s.incident.id
        for s in new
        if silencing(silences, closure_of(connection, s.incident.segment), s.incident.metric) is not None
    }
    untold = [stored for stored in new if stored.incident.id not in silenced]
    topics = topics_begun(connection, _AT_ONCE, since, now)
    told = [s for s in found if topic_of(s.incident.id) in topics]

    judged = judged_windows(connection, since - MEMORY)
    record = _record(connection)
    if record is None:
        # The first digest ever, or the first that leaves a record: what was counted earlier is taken as told.
        record = Record(_joined((one.start, one.end) for one in judged if one.recorded_at <= since))
    fresh = [one for one in judged if not record.covers(one.start)]
    windows = [one for one in fresh if oldest is None or one.end > oldest.timestamp()]
    unusual = _most_severe(connection, record, windows, since, oldest)
    starts = [one.start for one in windows]
    last = last_counted(connection)
    digest = Digest(
        since=since,
        until=now,
        incidents=tuple(sorted((s.incident for s in untold), key=lambda incident: (-incident.severity, incident.id))),
        told=len(told),
        silenced=len(silenced - record.silenced),
        windows=len(windows),
        windows_without_data=sum(one.state == "missing" for one in windows),
        not_judged=_not_judged(connection, settings, record, windows, now),
        silent_segments=tuple(silent_segments(connection, starts)),
        unanswered=tuple(unanswered_metrics(connection, starts)),
        first=_moment(min(starts)) if windows else None,
        last=_moment(max(one.end for one in windows)) if windows else None,
        contacts=sum(one.contacts for one in windows),
        anomalies=sum(one.anomalies for one in windows),
        silent_since=last if last is not None and _too_long_ago(settings, last, now) else None,
        most_severe=tuple(map(_example, unusual)),
        dead_letters=outbox_status(connection, now).dead,
    )
    periods = _joined([*record.periods, *((one.start, one.end) for one in fresh)])
    shown = frozenset(anomaly["interaction_id"] for anomaly in unusual)
    return digest, untold, Record(periods, shown, frozenset(silenced))


def _not_judged(
    connection: Connection, settings: Settings, record: Record, windows: Sequence[JudgedWindow], now: dt.datetime
) -> NotJudged | None:
    """What nobody has judged before and between the windows, from the end of what was told on; nothing is told twice.

    Before the first that was ever told nothing is missed.
    """
    if not windows:
        return None
    told_until = record.periods[-1][1] if record.periods else windows[0].start
    age = settings.alerts.max_age_hours
    oldest = told_until if age is None else int((now - dt.timedelta(hours=age)).timestamp())
    return windows_not_judged(connection, settings, max(told_until, oldest), windows[-1].end, now)


def _most_severe(
    connection: Connection,
    record: Record,
    windows: Sequence[JudgedWindow],
    since: dt.datetime,
    oldest: dt.datetime | None,
) -> list[StoredAnomaly]:
    """The most severe interactions of the windows, and of hours that nobody has counted yet, as the API scores them."""
    periods = Record(_joined((one.start, one.end) for one in windows))
    begin = min([since - DAY, *(_moment(start) for start, _ in periods.periods)])
    wanted = AnomalyFilter(since=begin if oldest is None else max(begin, oldest), hide_expected=True)
    found, _ = find_anomalies(connection, wanted, limit=_MOST_SHOWN)

    def is_new(anomaly: StoredAnomaly) -> bool:
        began = dt.datetime.fromisoformat(anomaly["timestamp"]).timestamp()
        scored_at = dt.datetime.fromisoformat(anomaly["scored_at"])
        uncounted = not record.covers(began) and scored_at > since - DAY
        return (periods.covers(began) or uncounted) and anomaly["interaction_id"] not in record.interactions

    new = sorted(filter(is_new, found), key=lambda anomaly: (-anomaly["severity"], anomaly["interaction_id"]))
    return new[:ANOMALIES]


def _too_long_ago(settings: Settings, last: dt.datetime, now: dt.datetime) -> bool:
    """Whether a window should have been judged since: a day is over, and two scoring windows have ended."""
    end = settings.schedule.last_window
    if end is not None and now > end:
        return False
    late = dt.timedelta(minutes=settings.incidents.late_minutes)
    ticks = _ticks(settings.schedule.batch_score_cron, settings, now - late)
    next(ticks)
    return last < min(now - late - DAY, next(ticks))


def _ticks(cron: str, settings: Settings, now: dt.datetime) -> Iterator[dt.datetime]:
    """The moments of a cron expression that are not after now, UTC, the latest first."""
    local = now.astimezone(ZoneInfo(settings.schedule.timezone))
    # CronSim knows minutes: a second before seven it gives seven, too.
    # In UTC, since the clock shows an hour twice when summer ends.
    for tick in CronSim(cron, local + dt.timedelta(hours=2), reverse=True):
        moment = tick.astimezone(dt.UTC)
        if moment <= now.astimezone(dt.UTC):
            yield moment


def _record(connection: Connection) -> Record | None:
    content = last_content(connection, _RECORD)
    if content is None:
        return None
    periods = tuple((start, end) for start, end in content["windows"])
    # Records from before silenced incidents were among them have none.
    return Record(periods, frozenset(content["interactions"]), frozenset(content.get("silenced", ())))


def _joined(periods: Iterable[Period]) -> tuple[Period, ...]:
    """Periods in order, with those joined that touch or overlap."""
    found: list[Period] = []
    for start, end in sorted(periods):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def _moment(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _example(anomaly: StoredAnomaly) -> Example:
    return Example(
        interaction_id=anomaly["interaction_id"],
        timestamp=dt.datetime.fromisoformat(anomaly["timestamp"]),
        value=None,
        severity=anomaly["severity"],
        reasons="; ".join(reason["text"] for reason in anomaly["reasons"]),
    )
