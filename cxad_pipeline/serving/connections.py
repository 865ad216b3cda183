"""Connections that send no request: how much, and how long, a server listens to them.

Belongs here: the limits of a request's head, before the app sees anything of it. Does not belong here: bodies and what
a caller may ask for (`limits`).

uvicorn's reader of HTTP keeps whatever headers come, and waits for them for ever; the app is called only when they are
complete. `cxad serve` gives uvicorn this class in its place.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 65_536
HEAD_SECONDS = 30.0


class BoundedHttp(HttpToolsProtocol):
    """HTTP by httptools; a connection whose request's head grows too long, or does not arrive, is closed."""

    _head_bytes = 0
    _in_head = True
    _moved = False
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of asyncio's protocols
        """Wait for the first request's head."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head is too long."""
        self._moved = False
        super().data_received(data)
        if self._moved or not self._in_head:
            return
        # Nothing but a part of a head came.
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            self._give_up()

    def on_headers_complete(self) -> None:
        """The head is here; what follows is a body, for which the app has its limits."""
        self._in_head, self._head_bytes, self._moved = False, 0, True
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes are the head of the next request."""
        self._in_head = self._moved = True
        super().on_message_complete()

    def _give_up(self) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
