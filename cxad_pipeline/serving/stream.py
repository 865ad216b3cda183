"""The live stream: scored interactions for whoever listens.

Belongs here: what a worker process has of the stream, and its counters. Does not belong here: which interactions
become events (`sampling`), where events lie (`event_buffer`), one who listens (`subscription`), events of other worker
processes (`siblings`), HTTP (`routes_stream`).
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from cxad_pipeline.serving.event_buffer import EventBuffer
from cxad_pipeline.serving.live_events import Wanted, features
from cxad_pipeline.serving.problems import ProblemError
from cxad_pipeline.serving.sampling import Sampler
from cxad_pipeline.serving.siblings import LONGEST_EVENT, Siblings
from cxad_pipeline.serving.subscription import Subscription
from cxad_pipeline.settings.serving import ServingSettings

# Each holds a connection and at most what its socket buffers.
MOST_SUBSCRIBERS = 100
_RETRY_AFTER = {"Retry-After": "10"}

_EVERYTHING = Wanted()


class LiveStream:
    """Events of scored interactions, those of the other worker processes among them. Its methods may be called from
    any thread, but for `start`, `stop` and `subscribe`, which belong to the event loop.

    Parameters
    ----------
    settings
        Rate, buffer and heartbeat, and the folder where the worker processes meet.
    clock
        Seconds that never go back.

    Attributes
    ----------
    origin
        Name of this process on the stream.
    published
        Events of this process.
    too_large
        How many of them were longer than `siblings.LONGEST_EVENT` bytes; their readers were told that they missed one.
    """

    def __init__(self, settings: ServingSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.origin = secrets.token_hex(6)
        self.heartbeat_seconds = settings.stream.heartbeat_seconds
        self.published = self.too_large = 0
        self._sampler = Sampler(settings.stream.events_per_second, clock)
        self._buffer = EventBuffer(settings.stream.buffer, self.origin)
        self._siblings = Siblings(Path(settings.state) / "siblings", self.origin, self._receive, self._buffer.forget)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._subscriptions: set[Subscription] = set()
        self._dropped = 0
        self._stopped = False

    async def start(self) -> None:
        """Meet the other worker processes."""
        self._know_loop()
        self._siblings.start()

    async def stop(self) -> None:
        """End all subscriptions and leave the other worker processes."""
        self._stopped = True
        for subscription in list(self._subscriptions):
            subscription.end()
        self._siblings.stop()

    @property
    def subscribers(self) -> int:
        """How many listen now."""
        return len(self._subscriptions)

    @property
    def siblings(self) -> int:
        """How many other worker processes are known."""
        return len(self._siblings.alive)

    @property
    def sampled_out(self) -> int:
        """Scored interactions that did not become events because there were too many."""
        return self._sampler.sampled_out

    @property
    def dropped(self) -> int:
        """Events that subscribers did not get because they were too slow, summed over the subscribers."""
        return self._dropped + sum([subscription.dropped for subscription in list(self._subscriptions)])

    @property
    def unsent(self) -> int:
        """Events that did not reach another worker process because it was too slow, summed over the processes."""
        return self._siblings.unsent

    def choose(self, decisive: npt.NDArray[np.bool_]) -> list[int]:
        """Which rows of a scored batch become events: anomalies before others, others evenly over the batch.

        Parameters
        ----------
        decisive
            (n,), whether the row is an anomaly.
        """
        return self._sampler.choose(decisive)

    def publish(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Hand events to everybody who listens; never waits for one.

        Parameters
        ----------
        events
            JSON objects as of `scoring.live_event`.
        """
        for event in events:
            data, read = orjson.dumps(event), features(event)
            too_large = len(data) > LONGEST_EVENT
            if too_large:
                data, read = b"", {}
            with self._buffer.lock:
                number = self._buffer.place[self.origin] + 1
                self._buffer.append(self.origin, number, number, data.decode(), read)
                self._siblings.offer(number, data)
                self.published += 1
                self.too_large += too_large
        self._notify()

    def subscribe(self, last_event_id: str | None = None, wanted: Wanted = _EVERYTHING) -> Subscription:
        """Listen from now on, or from where the client was before.

        Parameters
        ----------
        last_event_id
            Id of the last message that the client got. When events after it are no longer there, or the id says nothing
            to this service, the first message is a `gap`, and all that the buffer still holds follows.
        wanted
            Which events.

        Raises
        ------
        ProblemError
            503: too many listen already, or the service is about to stop.
        """
        self._know_loop()
        if self._stopped:
            raise ProblemError(503, "the service is about to stop; try again", headers=_RETRY_AFTER)
        if len(self._subscriptions) >= MOST_SUBSCRIBERS:
            detail = f"{MOST_SUBSCRIBERS} clients listen to this process already; try again later"
            raise ProblemError(503, detail, headers=_RETRY_AFTER)
        with self._buffer.lock:
            start = self._buffer.resume(last_event_id) if last_event_id else self._buffer.from_now()
        subscription = Subscription(self._buffer, wanted, start, self._leave)
        self._subscriptions.add(subscription)
        return subscription

    def _receive(self, origin: str, number: int, data: bytes) -> None:
        """An event of another process; without data, the number that it has come to."""
        read = features(orjson.loads(data)) if data else {}
        with self._buffer.lock:
            new = self._buffer.hear(origin, number, data.decode(), read)
        if new:
            self._sampler.spend(1 if data else 0)
            self._notify()

    def _know_loop(self) -> None:
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()

    def _notify(self) -> None:
        if self._loop is None or self._stopped or not (self._subscriptions or self._siblings.alive):
            return
        if threading.get_ident() == self._loop_thread:
            self._wake()
        else:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for subscription in self._subscriptions:
            subscription.wake()
        self._siblings.flush_soon()

    def _leave(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._dropped += subscription.dropped
