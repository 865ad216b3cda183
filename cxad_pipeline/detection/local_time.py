"""Hour and weekday of a moment on the clock of a time zone, daylight saving time included.

Belongs here: the zone's changes as arrays, and hours and weekdays from them. Does not belong here: reading moments
out of tables (`tables.py`), and what becomes of an hour (`feature_kernel.py`, `typical.py`).

Moments are whole seconds since 1970 UTC. The changes are looked up once per zone and process; from then on a moment
costs one binary search, in numpy or in compiled code, and no datetime object.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

MISSING_MOMENT = int(np.iinfo(np.int64).min)
"""Stands for a missing moment; numpy's NaT is the same number."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

DAY, HOUR = 86_400, 3_600
# 1 January 1970 was a Thursday.
FIRST_WEEKDAY = 3
# Years in which changes are looked up. Before and after, the nearest known offset holds.
_FIRST_YEAR, _LAST_YEAR = 1970, 2100

Seconds = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ZoneChanges:
    """When a zone's distance from UTC changes.

    Attributes
    ----------
    moments
        Seconds since 1970 UTC, ascending, (c,).
    offsets
        Seconds to add to UTC before the first change, and from each change on, (c + 1,).
    """

    moments: Seconds
    offsets: Seconds

    def local(self, moments: Seconds) -> Seconds:
        """Seconds that the zone's clock shows, counted like those since 1970; (n,). Missing ones give nonsense."""
        return moments + self.offsets[np.searchsorted(self.moments, moments, side="right")]


@cache
def zone_changes(timezone: str) -> ZoneChanges:
    """The changes of a zone from 1970 to 2100.

    Each day's offset is compared with that of the day before, and the second of a change is found by bisection. Two
    changes within one day that cancel each other would be missed; no zone has had any since 1970.

    Raises
    ------
    zoneinfo.ZoneInfoNotFoundError
        If there is no such zone.
    """
    zone = ZoneInfo(timezone)
    days = range(_seconds_of_year(_FIRST_YEAR), _seconds_of_year(_LAST_YEAR), DAY)
    moments, offsets = [], [_offset(zone, days[0])]
    for day in days[1:]:
        after = _offset(zone, day)
        if after != offsets[-1]:
            low, high = day - DAY, day
            while high - low > 1:
                middle = (low + high) // 2
                if _offset(zone, middle) == offsets[-1]:
                    low = middle
                else:
                    high = middle
            moments.append(high)
            offsets.append(after)
    return ZoneChanges(np.array(moments, dtype=np.int64), np.array(offsets, dtype=np.int64))


def weekdays_and_hours(moments: Seconds, timezone: str) -> tuple[Seconds, Seconds]:
    """Weekday, 0 for Monday, and hour of the day on the zone's clock, (n,) each; missing moments give nonsense."""
    local = zone_changes(timezone).local(moments)
    return (local // DAY + FIRST_WEEKDAY) % 7, local % DAY // HOUR


def _seconds_of_year(year: int) -> int:
    return int(dt.datetime(year, 1, 1, tzinfo=dt.UTC).timestamp())


def _offset(zone: ZoneInfo, moment: int) -> int:
    offset = dt.datetime.fromtimestamp(moment, zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0
