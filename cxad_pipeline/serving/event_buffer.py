"""Where events of the live stream lie: one ring for all who listen.

Belongs here: the ring, how far this process has come with each origin, and where a client goes on. Does not belong
here: the clients themselves (`subscription`).

Each reader has its own position in the ring. To publish costs the same however many readers there are and however slow
they are, and a slow one costs no memory. A reader that is overtaken goes on with the oldest event that is left.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from cxad_pipeline.serving.live_events import LiveEvent, Place, read_place, write_place


@dataclass(frozen=True)
class Start:
    """Where one begins to read.

    Attributes
    ----------
    position
        Index of the next event.
    passed
        Event before that.
    seen
        Place that the client came with.
    resumed_at
        Index of the first event that came after the client.
    gap
        Whether events between its place and the next event are no longer there.
    """

    position: int
    passed: LiveEvent
    seen: Place = field(default_factory=dict)
    resumed_at: int = 0
    gap: bool = False


class EventBuffer:
    """The last events of this process and of the others; whoever calls a method but `forget` holds the lock.

    Parameters
    ----------
    size
        How many events it holds.
    origin
        Name of this process.

    Attributes
    ----------
    lock
        Guards all of it.
    place
        How far this process has come with each origin.
    end
        Index of the next event; indices count from 0 and go on for ever.
    evicted
        The last event that is no longer there.
    """

    def __init__(self, size: int, origin: str) -> None:
        self.lock = threading.Lock()
        self.place: Place = {origin: 0}
        self.end = 0
        self.evicted = LiveEvent(origin, 0, 0, write_place(self.place), through=0)
        self._origin = origin
        # Event i lies at i modulo the size.
        self._ring = [self.evicted] * size
        self._heard_at: dict[str, int] = {}

    @property
    def oldest(self) -> int:
        """Index of the oldest event that is there; `end` when there is none."""
        return max(0, self.end - len(self._ring))

    def events(self, start: int, stop: int) -> list[LiveEvent]:
        """Events from index `start` to before `stop`, both between `oldest` and `end`."""
        return [self._ring[index % len(self._ring)] for index in range(start, stop)]

    def append(self, origin: str, first: int, number: int, data: str, features: Mapping[str, Any]) -> None:
        """Add an event, or a run of events that did not get here; its fields are those of `LiveEvent`."""
        self.place[origin] = number
        self._heard_at[origin] = self.end
        slot = self.end % len(self._ring)
        through = self._ring[slot - 1].through + number - first + 1
        event = LiveEvent(origin, first, number, write_place(self.place), through, data, **features)
        self.evicted, self._ring[slot] = self._ring[slot], event
        self.end += 1

    def hear(self, origin: str, number: int, data: str, features: Mapping[str, Any]) -> bool:
        """An event of another process, or without data the number that it has come to; whether that was news."""
        before = number - 1 if data else number
        if origin not in self.place:
            self.place[origin], self._heard_at[origin] = before, self.end
        known = self.place[origin]
        if before > known:
            self.append(origin, known + 1, before, "", {})
        if data and number > known:
            self.append(origin, number, number, data, features)
        return number > known

    def forget(self, alive: Set[str]) -> None:
        """Leave processes that are gone out of places, once no buffer of another process can hold events of theirs."""
        with self.lock:
            long_ago = self.end - 2 * len(self._ring)
            for origin in set(self.place) - alive - {self._origin}:
                if self.place[origin] == 0 or self._heard_at[origin] < long_ago:
                    del self.place[origin], self._heard_at[origin]

    def from_now(self) -> Start:
        """Where one begins who comes for the first time."""
        newest = self._ring[(self.end - 1) % len(self._ring)]
        return Start(self.end, replace(newest, place=write_place(self.place)))

    def resume(self, last_event_id: str) -> Start:
        """Where one goes on who was here, or at another process, before."""
        place = read_place(last_event_id)
        known = {origin: number for origin, number in (place or {}).items() if origin in self.place}
        if known.get(self._origin, 0) > self.place[self._origin]:
            del known[self._origin]
        position, passed = self.oldest, self.evicted
        held = self.events(position, self.end)
        for event in held:
            if event.number > known.get(event.origin, 0):
                break
            position, passed = position + 1, event
        oldest: Place = {}
        for event in held:
            oldest.setdefault(event.origin, event.first)
        gap = known != place or any(
            known.get(origin, 0) + 1 < oldest.get(origin, number + 1) for origin, number in self.place.items()
        )
        return Start(position, passed, known, self.end, gap)
