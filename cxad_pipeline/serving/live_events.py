"""What travels on the live stream: events, the places of events, and what a client wants to see.

Belongs here: the form of an event and of its id, and filters. Does not belong here: who gets events and when
(`stream`), how they come from other processes (`siblings`).

A *place* says how far a reader has come: by worker process (its *origin*, a name that is drawn at its start) the number
of the last event of it. Workers receive the events of each other in different orders, so that the number of one event
alone would not say which events of the others a client has seen; the place does, and a client may come back to any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sse_starlette.event import ServerSentEvent

Place = dict[str, int]

# A place that a client sends is read only when it could be one of ours: some 64 processes, numbers of 64 bits.
_LONGEST_PLACE = 2048
_PLACE = re.compile(r"[0-9a-f]{12}-[0-9]{1,18}(\.[0-9a-f]{12}-[0-9]{1,18})*", re.ASCII)


def write_place(place: Mapping[str, int]) -> str:
    """A place as the id of an event: `<origin>-<number>`, several joined by dots."""
    return ".".join([f"{origin}-{number}" for origin, number in place.items()])


def read_place(text: str) -> Place | None:
    """What `write_place` wrote; None where the text is no place, such as an id of somebody else's stream."""
    if len(text) > _LONGEST_PLACE or _PLACE.fullmatch(text) is None:
        return None
    pairs = [part.split("-") for part in text.split(".")]
    place = {origin: int(number) for origin, number in pairs}
    return place if len(place) == len(pairs) else None


def further(one: Mapping[str, int], other: Mapping[str, int]) -> Place:
    """The place of somebody who has seen what both have seen."""
    return {**one, **{origin: max(number, one.get(origin, 0)) for origin, number in other.items()}}


@dataclass(frozen=True)
class Message:
    """What a client gets.

    Attributes
    ----------
    name
        `interaction`, `dropped` or `gap`.
    id
        The client's place after it; to be given back as Last-Event-ID.
    data
        JSON.
    """

    name: str
    id: str
    data: str

    @cached_property
    def frame(self) -> bytes:
        """The message in the format of server-sent events; made once for all clients."""
        return ServerSentEvent(self.data, event=self.name, id=self.id, sep="\n").encode()


@dataclass(frozen=True, eq=False)
class LiveEvent:
    """One scored interaction, or a run of events of one origin that did not get here.

    Attributes
    ----------
    origin
        Worker process that scored it.
    first, number
        Its number among the events of the origin, from 1, twice; of a run, the numbers of the first and the last.
    place
        Where a reader of this process is after it.
    through
        How many events this process has had, with those that did not get here, up to and with this one.
    data
        JSON; empty for a run of events that did not get here.
    anomaly, severity
        As in the JSON.
    segment
        Columns that a client may choose by, as far as the interaction has them.
    """

    origin: str
    first: int
    number: int
    place: str
    through: int
    data: str = ""
    anomaly: bool = False
    severity: float = 0.0
    segment: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> bool:
        """Whether it stands for events that did not get here."""
        return not self.data

    @cached_property
    def message(self) -> Message:
        """What all clients that are up to date get."""
        return Message("interaction", self.place, self.data)


def missed(n: int, place: str) -> Message:
    """Tells a client that it did not get `n` events."""
    return Message("dropped", place, f'{{"missed":{n}}}')


@dataclass(frozen=True)
class Wanted:
    """What one client wants to see of the stream.

    Attributes
    ----------
    anomalies_only
        Without the ordinary interactions.
    min_severity
        Least severity, 0 to 100.
    segment
        By column the value that is wanted.
    """

    anomalies_only: bool = False
    min_severity: float = 0.0
    segment: tuple[tuple[str, str], ...] = ()

    def matches(self, event: LiveEvent) -> bool:
        """Whether the client wants the event."""
        if (self.anomalies_only and not event.anomaly) or event.severity < self.min_severity:
            return False
        return all(event.segment.get(name) == value for name, value in self.segment)


SEGMENT = ("channel", "language", "queue")


def features(event: object) -> dict[str, Any]:
    """What `Wanted` looks at, from an event's JSON object.

    Raises
    ------
    TypeError, ValueError
        The object is no event of ours.
    """
    if not isinstance(event, Mapping):
        raise TypeError("an event is a JSON object")
    return {
        "anomaly": bool(event.get("anomaly", False)),
        "severity": float(event.get("severity", 0.0)),
        "segment": {name: str(event[name]) for name in SEGMENT if event.get(name) is not None},
    }
