"""Scoring windows: time partitions cut by a cron expression."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import dagster as dg

from cxad_pipeline.interactions.landing import Window
from cxad_pipeline.settings import Settings

KEY_FORMAT = "%Y-%m-%d-%H%M"


def scoring_windows(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """The partitions of all assets that are made window by window; the last one is the last that has ended."""
    schedule = settings.schedule
    return dg.TimeWindowPartitionsDefinition(
        start=schedule.first_window.astimezone(ZoneInfo(schedule.timezone)).replace(tzinfo=None),
        fmt=KEY_FORMAT,
        cron_schedule=schedule.batch_score_cron,
        timezone=schedule.timezone,
    )


def windows_for(partitions: dg.TimeWindowPartitionsDefinition, keys: Sequence[str]) -> list[Window]:
    """Start and end, in UTC, of the windows with the given keys."""
    spans = [(key, partitions.time_window_for_partition_key(key)) for key in keys]
    return [Window(key, span.start.astimezone(dt.UTC), span.end.astimezone(dt.UTC)) for key, span in spans]


def ended_windows(partitions: dg.TimeWindowPartitionsDefinition, now: dt.datetime) -> list[Window]:
    """All windows that have ended by a moment, oldest first."""
    return windows_for(partitions, partitions.get_partition_keys(current_time=now))


def neighbouring_runs(keys: Sequence[str], chosen: Sequence[str], longest: int) -> list[list[str]]:
    """Chosen windows cut into runs of neighbours, none longer than `longest`: each can be one Dagster run.

    Parameters
    ----------
    keys
        All windows in order.
    chosen
        The windows to take, in any order.
    longest
        Most windows in a run.
    """
    wanted = set(chosen)
    runs: list[list[str]] = []
    previous_taken = False
    for key in keys:
        if key in wanted:
            if previous_taken and len(runs[-1]) < longest:
                runs[-1].append(key)
            else:
                runs.append([key])
        previous_taken = key in wanted
    return runs


def range_tags(keys: Sequence[str]) -> dict[str, str]:
    """Run tags by which one run takes neighbouring windows together."""
    return {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
