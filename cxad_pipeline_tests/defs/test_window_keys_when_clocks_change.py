"""Keys of scoring windows are Dagster's own, also in the nights in which clocks change."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from landing_world import make_settings

from cxad_pipeline.defs.incidents import window_key_of
from cxad_pipeline.defs.partitions import ended_windows, scoring_windows, window_key
from cxad_pipeline.operations.window_keys import KEY_FORMAT, start_of_key
from cxad_pipeline.settings import Settings

CRONS = ["0 * * * *", "*/30 * * * *", "0 */2 * * *", "0 2 * * *", "0 0 * * *", "0 7 * * 1"]
CHANGES = {
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "UTC": ("2026-03-29", "2026-10-25"),
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),
}
PLACES = [
    (zone, day, cron)
    for zone, days in CHANGES.items()
    for day in days
    for cron in CRONS
    # Dagster cuts every hour in two ways there, depending on where it begins to count: the clock moves by half an hour.
    if (zone, cron) != ("Australia/Lord_Howe", "0 * * * *")
]
HOUR = dt.timedelta(hours=1)


def own_windows(zone: str, day: str, cron: str) -> list[tuple[str, dt.datetime, dt.datetime]]:
    """What Dagster itself lists around a day: keys, starts and ends."""
    noon = dt.datetime.fromisoformat(f"{day}T12:00")
    partitions = dg.TimeWindowPartitionsDefinition(
        start=noon - dt.timedelta(days=15),
        end=noon + dt.timedelta(days=15),
        fmt=KEY_FORMAT,
        cron_schedule=cron,
        timezone=zone,
    )
    keys = partitions.get_partition_keys(current_time=noon.replace(tzinfo=dt.UTC) + dt.timedelta(days=30))
    assert len(set(keys)) == len(keys) >= 3
    spans = [partitions.time_window_for_partition_key(key) for key in keys]
    found = [(key, s.start.astimezone(dt.UTC), s.end.astimezone(dt.UTC)) for key, s in zip(keys, spans, strict=True)]
    assert all(before[2] == after[1] for before, after in pairwise(found))
    return found


def scheduled(folder: Path, zone: str, cron: str, first: dt.datetime) -> Settings:
    schedule = {"batch_score_cron": cron, "timezone": zone, "first_window": first.isoformat()}
    return make_settings(folder, schedule=schedule, incidents={"enabled": False})


@pytest.mark.parametrize(("zone", "day", "cron"), PLACES)
def test_the_key_of_a_moment_is_the_one_that_dagster_lists_for_it(
    tmp_path: Path, zone: str, day: str, cron: str
) -> None:
    windows = own_windows(zone, day, cron)
    settings = scheduled(tmp_path, zone, cron, windows[0][1])
    key_of = window_key_of(settings)
    for key, start, end in windows:
        for moment in (start, start + dt.timedelta(seconds=1.5), start + (end - start) / 2, end - HOUR / 3600):
            assert key_of(moment) == key


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("autumn", [False, True])
def test_the_window_of_a_key_holds_the_moment_that_gave_it(tmp_path: Path, zone: str, autumn: bool) -> None:
    day = dt.datetime.fromisoformat(f"{CHANGES[zone][autumn]}T00:00").replace(tzinfo=ZoneInfo(zone))
    partitions = scoring_windows(scheduled(tmp_path, zone, "0 * * * *", day - dt.timedelta(days=3)))
    for quarter in range(4 * 30):
        moment = day.astimezone(dt.UTC) + quarter * HOUR / 4
        key = window_key(partitions, moment)
        span = partitions.time_window_for_partition_key(key)
        assert span.start.timestamp() <= moment.timestamp() < span.end.timestamp()
        assert partitions.has_partition_key(key)


@pytest.mark.parametrize(("zone", "day", "cron"), PLACES)
def test_a_key_is_read_as_the_start_of_its_window(zone: str, day: str, cron: str) -> None:
    every_hour = cron.split()[1] == "*"
    for key, start, _ in own_windows(zone, day, cron):
        read = start_of_key(key, ZoneInfo(zone))
        assert read == start or (not every_hour and dt.timedelta(0) < start - read <= HOUR)


@pytest.mark.parametrize(("zone", "day", "cron"), PLACES)
def test_every_moment_of_such_a_night_lies_in_a_window_that_is_scored(
    tmp_path: Path, zone: str, day: str, cron: str
) -> None:
    """A row of any quarter of an hour asks for exactly its own window, also where `first_window` lies in that night."""
    windows = own_windows(zone, day, cron)
    midnight = dt.datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC)
    now = windows[-1][2]
    for quarter in range(0, 4 * 5):
        moment = midnight + quarter * HOUR / 4
        partitions = scoring_windows(scheduled(tmp_path, zone, cron, moment))
        found = ended_windows(partitions, moment, moment + dt.timedelta(seconds=1), now)
        expected = [window for window in windows if window[1] <= moment < window[2]]
        assert [(window.key, window.start, window.end) for window in found] == expected


def test_what_is_no_key_is_an_error() -> None:
    for text in ("notes", "2026-10-25", "2026-10-25-0200+", "2026-10-25-0200 copy"):
        with pytest.raises(ValueError, match=r"does not match|unconverted"):
            start_of_key(text, dt.UTC)
