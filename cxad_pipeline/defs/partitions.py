"""Scoring windows: time partitions cut by a cron expression.

Belongs here: windows as partitions, and windows that one run takes together. Does not belong here: rows in windows
(`interactions.landing`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import dagster as dg

from cxad_pipeline.interactions.landing import Window
from cxad_pipeline.operations.window_keys import KEY_FORMAT
from cxad_pipeline.settings import Settings


def scoring_windows(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """The partitions of all assets that are made window by window; the last one is the last that has ended."""
    schedule = settings.schedule

    def windows_from(start: dt.datetime, end: dt.datetime | None) -> dg.TimeWindowPartitionsDefinition:
        return dg.TimeWindowPartitionsDefinition(
            start=_local(start, schedule.timezone),
            end=None if end is None else _local(end, schedule.timezone),
            fmt=KEY_FORMAT,
            cron_schedule=schedule.batch_score_cron,
            timezone=schedule.timezone,
        )

    # The first of Dagster's windows begins at its start or later, and the moment may lie within one.
    begin = _window_start(windows_from(schedule.first_window, None), schedule.first_window)
    return windows_from(begin, schedule.last_window)


def windows_for(partitions: dg.TimeWindowPartitionsDefinition, keys: Sequence[str]) -> list[Window]:
    """Start and end, in UTC, of the windows with the given keys."""
    spans = [(key, partitions.time_window_for_partition_key(key)) for key in keys]
    return [Window(key, span.start.astimezone(dt.UTC), span.end.astimezone(dt.UTC)) for key, span in spans]


def window_key(partitions: dg.TimeWindowPartitionsDefinition, moment: dt.datetime) -> str:
    """Key of the window that a moment lies in, by Dagster's own rules for the nights in which clocks change."""
    return partitions.get_partition_key_for_timestamp(moment.timestamp())


def ended_windows(
    partitions: dg.TimeWindowPartitionsDefinition, start: dt.datetime, end: dt.datetime, now: dt.datetime
) -> list[Window]:
    """The windows that overlap a period and have ended by now, oldest first.

    Only the period is looked at: hourly windows over years are many, and files speak of few.
    """
    # Dagster gives the windows that start inside a period, so the period must begin where a window does.
    keys = partitions.get_partition_keys_in_time_window(dg.TimeWindow(_window_start(partitions, start), end))
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


def _window_start(partitions: dg.TimeWindowPartitionsDefinition, moment: dt.datetime) -> dt.datetime:
    """Where the window begins that a moment lies in.

    In UTC: Dagster remembers answers by such moments, and in one zone the two 2 o'clock of a night are equal.
    """
    return partitions.time_window_for_partition_key(window_key(partitions, moment)).start.astimezone(dt.UTC)


def _local(moment: dt.datetime, zone: str) -> dt.datetime:
    """A moment as the clocks of a zone show it; that is how Dagster takes the limits of partitions."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
