"""Windows and the local week: whichever way the clock goes, a window is compared with those of its own hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cxad_pipeline.detection.local_time import zone_changes
from cxad_pipeline.incidents import Windows
from cxad_pipeline.incidents.history import windows_of_days

HOUR, DAY, WEEK = 3_600, 86_400, 7 * 86_400
ZONES = (
    "America/Denver",
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Santiago",
    "Europe/Berlin",
    "Europe/Dublin",
    "Asia/Jerusalem",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Africa/Casablanca",
)
LENGTHS = tuple(minutes * 60 for minutes in (15, 30, 60, 90, 120, 180, 240, 360, 480, 720, 1_440))


def local_hours(windows: Windows) -> dict[int, int]:
    """Where in the local week, in seconds, the windows of a week begin, by slot; by the standard library."""
    found = {}
    for slot, start in zip(windows.slot.tolist(), windows.starts.tolist(), strict=True):
        local = datetime.fromtimestamp(start, UTC).astimezone(ZoneInfo(windows.timezone))
        found[slot] = local.weekday() * DAY + local.hour * HOUR + local.minute * 60
    return found


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(LENGTHS), st.integers(2024, 2036), st.integers(0, 3))
def test_a_window_shares_half_of_its_hours_or_more_with_those_of_its_slot_before_the_clock_changed(
    zone: str, seconds: int, year: int, which: int
) -> None:
    changes = zone_changes(zone).moments
    begin, end = (int(datetime(of, 1, 1, tzinfo=UTC).timestamp()) for of in (year, year + 1))
    of_year = changes[(changes >= begin) & (changes < end)].tolist()
    assume(of_year)
    change = of_year[which % len(of_year)] // DAY * DAY
    before, after = (Windows(first, WEEK // seconds, seconds, zone) for first in (change - 8 * DAY, change + 2 * DAY))
    sooner, later = local_hours(before), local_hours(after)
    assert sorted(sooner) == sorted(later) == list(range(WEEK // seconds))
    for slot, hours in sooner.items():
        apart = abs(hours - later[slot])
        assert seconds - min(apart, WEEK - apart) >= seconds / 2, (zone, seconds, slot)


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize("seconds", [900, 1_800, 3_600])
def test_windows_of_an_hour_and_less_follow_the_clock(zone: str, seconds: int) -> None:
    """People come to work by it: after a change of an hour their day is where it was."""
    for month in (3, 10):
        windows = Windows(int(datetime(2026, month, 5, tzinfo=UTC).timestamp()), 30 * DAY // seconds, seconds, zone)
        for slot, start in zip(windows.slot.tolist(), windows.starts.tolist(), strict=True):
            local = datetime.fromtimestamp(start, UTC).astimezone(ZoneInfo(zone))
            assert slot == (local.weekday() * DAY + local.hour * HOUR + local.minute * 60) // seconds


@pytest.mark.parametrize(
    ("zone", "hours_of_the_day"), [("America/Denver", 17), ("Pacific/Honolulu", 14), ("Asia/Tokyo", 15)]
)
def test_a_daily_window_is_of_the_local_day_that_holds_most_of_it(zone: str, hours_of_the_day: int) -> None:
    """In Denver the window of 13 January, UTC, begins at 17 o'clock on the 12th."""
    holiday = date(2027, 1, 13)
    first = datetime(2027, 1, 1, tzinfo=UTC)
    windows = Windows(int(first.timestamp()), 28, DAY, zone)
    special = np.flatnonzero(windows_of_days(windows, [holiday]))
    assert len(special) == 1
    start = first + timedelta(days=int(special[0]))
    of_day = [(start + timedelta(hours=h)).astimezone(ZoneInfo(zone)).date() for h in range(24)]
    assert of_day.count(holiday) == hours_of_the_day
    assert windows.slot[special[0]] == holiday.weekday()
