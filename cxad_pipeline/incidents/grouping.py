"""Which calls are one incident.

Belongs here: the partition of calls, a function of the calls and of what was tested between them, and of nothing else.
Does not belong here: which incident is the one that was known before (`life.py`).

Calls of overlapping segments within `NEIGHBOURS` windows are one episode. Two episodes are one incident where a call of
one

- comes while the other goes on, within `NEIGHBOURS` windows, and overlaps a segment that this has reached by then;
- or comes after the other, is of the segment that this is known by (that of its highest call) or of a parent or child
  of it, and fewer than `resolve_after` windows of that segment were tested in the pause. After a pause, sharing some
  contacts is not enough: all that overlaps something large would go on with it.

So a fault that pauses overnight is one incident, and a pause of as many tested windows as resolve an incident ends it;
so does one of `MOST_PAUSE`, whatever was tested: after days without data nobody knows whether it went on.
Both rules look back only. So while time goes forward, incidents grow and merge; they never fall apart, and never go on
once they have ended.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cxad_pipeline.incidents.budget import NEIGHBOURS
from cxad_pipeline.incidents.incident import Call, contains, highest
from cxad_pipeline.incidents.segments import Key

MOST_PAUSE = 4 * 86_400
"""Seconds, a long weekend: what comes later is another incident."""
FOREVER = int(dt.datetime(9999, 1, 1, tzinfo=dt.UTC).timestamp())
"""Later than every window: what was tested up to then is all that was tested."""
Overlap = Callable[[Key, Key], bool]
Tested = Callable[[Key, int, int], int]


@dataclass(frozen=True)
class Grouping:
    """The rule by which calls belong together.

    Attributes
    ----------
    seconds
        Length of a window.
    overlap
        Whether two segments share contacts.
    tested
        How many windows of a segment that begin after one moment and before another were tested.
    resolve_after
        Tested windows without a call that end an incident.
    """

    seconds: int
    overlap: Overlap
    tested: Tested
    resolve_after: int

    def near(self, earlier: int, later: int) -> bool:
        """Whether two windows are neighbours."""
        return abs(later - earlier) <= NEIGHBOURS * self.seconds

    def is_over(self, segment: Key, last: int, before: int) -> bool:
        """Whether enough windows of a segment were tested between its last call and a moment, or it is too long ago."""
        if before - last > MOST_PAUSE and before != FOREVER:
            return True
        if (before - last) // self.seconds <= self.resolve_after:
            return False
        return self.tested(segment, last, before) >= self.resolve_after

    def groups(self, calls: Iterable[Call]) -> list[Group]:
        """The calls of each incident, the incident with the earliest call first.

        Parameters
        ----------
        calls
            Calls, no two of one segment in one window.
        """
        episodes = self._episodes(in_order(calls))
        parts = _Parts(len(episodes))
        active: list[int] = []
        for new, episode in enumerate(episodes):
            active = [old for old in active if not self._has_ended(episodes[old], episode.first)]
            for old in active:
                if parts.of(old) != parts.of(new) and self._belong_together(episodes[old], episode):
                    parts.join(old, new)
            active.append(new)
        return [Group.of([episodes[i] for i in members]) for members in parts.members().values()]

    def has_ended(self, group: Group, until: int) -> bool:
        """Whether, by all that was ever tested, no call from `until` on can belong to it."""
        return all(until - last > MOST_PAUSE or self.is_over(segment, last, FOREVER) for segment, last in group.ends)

    def _episodes(self, calls: Sequence[Call]) -> list[_Episode]:
        """Calls of overlapping segments within `NEIGHBOURS` windows of each other, by their first windows."""
        parts = _Parts(len(calls))
        first = 0
        for i, call in enumerate(calls):
            while not self.near(calls[first].window, call.window):
                first += 1
            for j in range(first, i):
                if parts.of(j) != parts.of(i) and self.overlap(calls[j].segment, call.segment):
                    parts.join(j, i)
        return [_Episode([calls[i] for i in members]) for members in parts.members().values()]

    def _has_ended(self, episode: _Episode, moment: int) -> bool:
        """Whether nothing that begins at a moment or later can belong to it."""
        return episode.last < moment and self.is_over(episode.segment, episode.last, moment)

    def _belong_together(self, one: _Episode, other: _Episode) -> bool:
        return any(self._reaches(one, call) for call in other.since(one.first)) or any(
            self._reaches(other, call) for call in one.since(other.first)
        )

    def _reaches(self, episode: _Episode, call: Call) -> bool:
        """Whether a call that comes after the first one of an episode belongs to it."""
        latest = episode.windows[bisect_right(episode.windows, call.window) - 1]
        if self.near(latest, call.window):
            return any(
                first <= call.window and self.overlap(segment, call.segment)
                for segment, first in episode.segments.items()
            )
        related = contains(episode.segment, call.segment) or contains(call.segment, episode.segment)
        return (
            related
            and self.overlap(episode.segment, call.segment)
            and not self.is_over(episode.segment, latest, call.window)
        )


@dataclass(frozen=True)
class Group:
    """The calls of one incident.

    Attributes
    ----------
    calls
        By window and segment.
    ends
        The segment that each of its episodes is known by, and the last window of the episode.
    """

    calls: tuple[Call, ...]
    ends: tuple[tuple[Key, int], ...]

    @classmethod
    def of(cls, episodes: Sequence[_Episode]) -> Group:
        """That of some episodes."""
        calls = in_order(call for episode in episodes for call in episode.calls)
        return cls(tuple(calls), tuple((episode.segment, episode.last) for episode in episodes))


@dataclass
class _Episode:
    """Its calls in order, the first window of each segment, and the segment of its highest call."""

    calls: list[Call]
    windows: list[int] = field(init=False)
    segments: dict[Key, int] = field(init=False)
    segment: Key = field(init=False)

    def __post_init__(self) -> None:
        self.windows = [call.window for call in self.calls]
        self.segments = {call.segment: call.window for call in reversed(self.calls)}
        self.segment = highest(self.calls).segment

    @property
    def first(self) -> int:
        return self.windows[0]

    @property
    def last(self) -> int:
        return self.windows[-1]

    def since(self, moment: int) -> Sequence[Call]:
        """The calls from a window on."""
        return self.calls[bisect_left(self.windows, moment) :]


class _Parts:
    """Numbers that are joined into parts (union-find)."""

    def __init__(self, number: int) -> None:
        self._parent = list(range(number))

    def of(self, i: int) -> int:
        """The part that a number is in: the least number in it."""
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Make one part of two."""
        one, other = self.of(i), self.of(j)
        self._parent[max(one, other)] = min(one, other)

    def members(self) -> dict[int, list[int]]:
        """The numbers in each part, ascending, the parts by their least ones."""
        found: dict[int, list[int]] = {}
        for i in range(len(self._parent)):
            found.setdefault(self.of(i), []).append(i)
        return found


def place(call: Call) -> tuple[int, Key]:
    """By which calls are ordered, and by which one of them is known: its window and its segment."""
    return call.window, call.segment


def in_order(calls: Iterable[Call]) -> list[Call]:
    """Calls by window, then by segment."""
    return sorted(calls, key=place)
