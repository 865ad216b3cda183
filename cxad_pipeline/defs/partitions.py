"""Scoring windows: time partitions cut by a cron expression.

Belongs here: windows as partitions, and windows that one run takes together. Does not belong here: rows in windows
(`interactions.landing`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import dagster as dg
from cronsim import CronSim

from cxad_pipeline.interactions.landing import Window
from cxad_pipeline.settings import Settings

KEY_FORMAT = "%Y-%m-%d-%H%M"


def scoring_windows(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """The partitions of all assets that are made window by window; the last one is the last that has ended."""
    schedule = settings.schedule
    return dg.TimeWindowPartitionsDefinition(
        start=_local(_tick_before(schedule.first_window, settings), schedule.timezone),
        end=None if schedule.last_window is None else _local(schedule.last_window, schedule.timezone),
        fmt=KEY_FORMAT,
        cron_schedule=schedule.batch_score_cron,
        timezone=schedule.timezone,
    )


def windows_for(partitions: dg.TimeWindowPartitionsDefinition, keys: Sequence[str]) -> list[Window]:
    """Start and end, in UTC, of the windows with the given keys."""
    spans = [(key, partitions.time_window_for_partition_key(key)) for key in keys]
    return [Window(key, span.start.astimezone(dt.UTC), span.end.astimezone(dt.UTC)) for key, span in spans]


def window_key(partitions: dg.TimeWindowPartitionsDefinition, moment: dt.datetime) -> str:
    """Key of the window that a moment lies in."""
    local = moment.astimezone(ZoneInfo(partitions.timezone))
    starts = CronSim(partitions.cron_schedule, local + dt.timedelta(hours=2), reverse=True)
    # CronSim knows minutes: a second before noon it gives noon, too.
    # In UTC, since the clock shows an hour twice when summer ends.
    return next(start for start in starts if start.astimezone(dt.UTC) <= moment.astimezone(dt.UTC)).strftime(KEY_FORMAT)


def ended_windows(
    partitions: dg.TimeWindowPartitionsDefinition, start: dt.datetime, end: dt.datetime, now: dt.datetime
) -> list[Window]:
    """The windows that overlap a period and have ended by now, oldest first.

    Only the period is looked at: hourly windows over years are many, and files speak of few.
    """
    # Dagster gives the windows that start inside a period, so the period must begin where a window does.
    ticks = CronSim(partitions.cron_schedule, start.astimezone(ZoneInfo(partitions.timezone)), reverse=True)
    keys = partitions.get_partition_keys_in_time_window(dg.TimeWindow(next(ticks), end))
    windows = windows_for(partitions, keys)
    first, last = partitions.start, min(now, partitions.end or now)
    return [w for w in windows if w.end > start and w.start < end and w.start >= first and w.end <= last]


def neighbouring_runs(
    partitions: dg.TimeWindowPartitionsDefinition, keys: Sequence[str], longest: int
) -> list[list[str]]:
    """Windows cut into runs of neighbours, none longer than `longest`: each can be one Dagster run.

    Parameters
    ----------
    partitions
        Says which windows are neighbours.
    keys
        The windows to take, in any order.
    longest
        Most windows in a run.
    """
    runs: list[list[str]] = []
    previous: Window | None = None
    for window in sorted(windows_for(partitions, keys), key=lambda window: window.start):
        if previous is not None and previous.end == window.start and len(runs[-1]) < longest:
            runs[-1].append(window.key)
        else:
            runs.append([window.key])
        previous = window
    return runs


def range_tags(keys: Sequence[str]) -> dict[str, str]:
    """Run tags by which one run takes neighbouring windows together."""
    return {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}


def _tick_before(moment: dt.datetime, settings: Settings) -> dt.datetime:
    """The last moment of the cron expression that is not after another: a window begins there, not in between."""
    local = moment.astimezone(ZoneInfo(settings.schedule.timezone))
    return next(CronSim(settings.schedule.batch_score_cron, local + dt.timedelta(minutes=1), reverse=True))


def _local(moment: dt.datetime, zone: str) -> dt.datetime:
    """A moment as the clocks of a zone show it; that is how Dagster takes the limits of partitions."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
