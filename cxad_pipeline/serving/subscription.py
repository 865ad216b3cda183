"""One who listens to the live stream.

Belongs here: what a client gets, in which order, and what it is told of what it does not get. Does not belong here:
where events lie (`event_buffer`), how they are sent (`routes_stream`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from cxad_pipeline.serving.event_buffer import EventBuffer, Start
from cxad_pipeline.serving.live_events import LiveEvent, Message, Wanted, further, missed, read_place, write_place

# Events that a reader looks at before others have their turn, and bytes after which it stops: what a client that takes
# nothing keeps in memory.
_AT_ONCE = 256
_BYTES_AT_ONCE = 65_536


class Subscription:
    """An asynchronous iterator of lists of messages. It ends by `end`; whoever has it calls `close` when done.

    Parameters
    ----------
    buffer
        Where the events are.
    wanted
        Which events the client wants.
    start
        Where it begins.
    leave
        Called when it is closed.
    """

    def __init__(
        self, buffer: EventBuffer, wanted: Wanted, start: Start, leave: Callable[[Subscription], None]
    ) -> None:
        self._buffer, self._wanted, self._leave = buffer, wanted, leave
        self._position, self._passed, self._gap = start.position, start.passed, start.gap
        # Until this process has come as far as the client was, ids of messages tell both places together.
        self._seen, self._resumed_at = start.seen, start.resumed_at
        self._told = 0
        self._ended = False
        self._awake = asyncio.Event()

    @property
    def place(self) -> str:
        """Where the client is: the id to come back with."""
        place = self._passed.place
        return write_place(further(read_place(place) or {}, self._seen)) if self._seen else place

    @property
    def dropped(self) -> int:
        """Events that were overwritten before this one read them."""
        return self._told + self._behind()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> list[Message]:
        while True:
            self._awake.clear()
            if self._ended:
                raise StopAsyncIteration
            messages, more = self.read()
            if messages:
                return messages
            if more:
                await asyncio.sleep(0)
            else:
                await self._awake.wait()

    def wake(self) -> None:
        """There is something new."""
        self._awake.set()

    def end(self) -> None:
        """End the iteration; a reader that waits is woken."""
        self._ended = True
        self._awake.set()

    def close(self) -> None:
        """Give the place among the subscribers back."""
        self.end()
        self._leave(self)

    def read(self) -> tuple[list[Message], bool]:
        """The next messages without waiting, and whether there is more to look at."""
        messages: list[Message] = []
        if self._gap:
            self._gap = False
            messages.append(Message("gap", self.place, "{}"))
        with self._buffer.lock:
            behind = self._behind()
            if behind:
                self._told += behind
                self._passed, self._position = self._buffer.evicted, self._buffer.oldest
                messages.append(missed(behind, self.place))
            stop = min(self._buffer.end, self._position + _AT_ONCE)
            events = self._buffer.events(self._position, stop)
            more = stop < self._buffer.end
        size = 0
        for event in events:
            if size >= _BYTES_AT_ONCE:
                return messages, True
            message = self._pass(event)
            self._position += 1
            if message is not None:
                messages.append(message)
                size += len(message.data)
        return messages, more

    def _behind(self) -> int:
        return max(0, self._buffer.evicted.through - self._passed.through)

    def _pass(self, event: LiveEvent) -> Message | None:
        """Go past an event; what the client gets of it."""
        self._passed = event
        already = self._seen.get(event.origin, 0)
        if self._seen and self._position >= self._resumed_at:
            here = read_place(event.place) or {}
            if all(here.get(origin, number) >= number for origin, number in self._seen.items()):
                self._seen = {}
        if event.number <= already:
            return None
        if event.missing:
            return missed(event.number - max(event.first - 1, already), self.place)
        if not self._wanted.matches(event):
            return None
        return replace(event.message, id=self.place) if self._seen else event.message
