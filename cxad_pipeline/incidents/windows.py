"""Windows of time and their place in the day and the week.

Belongs here: the grid of windows and its calendar. Does not belong here: time zones themselves
(`detection/local_time.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.local_time import DAY, FIRST_WEEKDAY, zone_changes

IntegerArray = npt.NDArray[np.int64]
WEEK = 7 * DAY


@dataclass(frozen=True)
class Windows:
    """Windows of equal length, one after the other.

    Attributes
    ----------
    start
        Start of the first, seconds since 1970 UTC.
    number
        How many.
    seconds
        Length of each; a whole number of them makes a day.
    timezone
        Whose clock the day and the week have.

    Raises
    ------
    ValueError
        If there is no window, or days are no whole number of windows.
    """

    start: int
    number: int
    seconds: int = 3_600
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if self.number < 1 or self.seconds < 60 or DAY % self.seconds:
            raise ValueError(
                f"windows: {self.number} of {self.seconds} s; need one or more, whose length divides a day of {DAY} s"
            )

    @classmethod
    def covering(cls, first: int, last: int, seconds: int = 3_600, timezone: str = "UTC") -> Windows:
        """The windows from the one that holds the moment `first` to the one that holds `last`."""
        begin = first // seconds * seconds
        return cls(begin, (last - begin) // seconds + 1, seconds, timezone)

    @property
    def per_day(self) -> int:
        """Windows of a day."""
        return DAY // self.seconds

    @property
    def end(self) -> int:
        """End of the last window, seconds since 1970 UTC."""
        return self.start + self.number * self.seconds

    @cached_property
    def starts(self) -> IntegerArray:
        """Start of each, (t,)."""
        return self.start + self.seconds * np.arange(self.number)

    @cached_property
    def _calendar(self) -> IntegerArray:
        """Starts on the zone's clock, moved to the nearest whole windows of its day, (t,).

        How far the clock is from what it shows in the end of the known rules is rounded by itself. So a change of the
        clock by an hour moves windows of an hour by one place, as people work by the clock, and leaves those of three
        hours or more where they are: else each would be compared with windows that it shares fewer of its hours with.
        """
        changes, middles = zone_changes(self.timezone), self.starts + self.seconds // 2
        base = int(changes.offsets[-1])
        changed = changes.local(middles) - middles - base
        return self.starts + self.seconds * (_nearest(base, self.seconds) + _nearest(changed, self.seconds))

    @cached_property
    def day(self) -> IntegerArray:
        """Number of the local day of the slot, (t,): for windows of a day the one that holds most of each."""
        return self._calendar // DAY

    @cached_property
    def slot(self) -> IntegerArray:
        """Place in the local week, from Monday's first window on, (t,): the hour of the week for windows of an hour.

        In all the year, windows of a place share half of their local hours or more.
        """
        return (self._calendar + FIRST_WEEKDAY * DAY) % WEEK // self.seconds

    def of_moments(self, moments: IntegerArray) -> IntegerArray:
        """Position of the window of each moment, (n,); -1 outside all of them."""
        position = (moments - self.start) // self.seconds
        return np.where((position >= 0) & (position < self.number), position, -1)

    def between(self, first: int, stop: int) -> Windows:
        """The windows at positions `first` to `stop`, half open."""
        return Windows(self.start + first * self.seconds, stop - first, self.seconds, self.timezone)


def _nearest(distance: IntegerArray | int, unit: int) -> IntegerArray:
    """The nearest whole number of units, (n,); halves go down, so that 5:30 o'clock is in the hour of 5 o'clock."""
    return -((unit - 2 * np.asarray(distance)) // (2 * unit))
