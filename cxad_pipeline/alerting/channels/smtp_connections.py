"""Connections to an SMTP server that end: each step has its time, and so has the whole.

Belongs here: time limits. Does not belong here: what is said over a connection (`email`).
"""

from __future__ import annotations

import smtplib
import socket
import threading
from contextlib import suppress

from cxad_pipeline.alerting.channels.channel import ATTEMPT_SECONDS

CONNECT_SECONDS = 5
"""Longest wait for each address of the server to take the connection, and for TLS. A server that is there does within a
round trip, also one that greets late on purpose; one that is not would hold the run that scores."""
TIMEOUT_SECONDS = 30
"""Longest wait for each part of an answer of the server."""


class LimitedSMTP(smtplib.SMTP):
    """Waits for the connection for less long than for answers, and breaks it off after `ATTEMPT_SECONDS`.

    smtplib itself has one limit for each wait, and there are as many as answers, and parts of them.
    """

    _limit: threading.Timer | None = None
    _is_late = False

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connected: socket.socket = super()._get_socket(host, port, CONNECT_SECONDS)  # type: ignore[misc]
        connected.settimeout(timeout)
        self._limit = threading.Timer(ATTEMPT_SECONDS, self._break_off)
        self._limit.daemon = True
        self._limit.start()
        return connected

    def _break_off(self) -> None:
        self._is_late = True
        if self.sock is not None:
            with suppress(OSError):  # it may be closed by now
                # Below TLS, which the other thread is in.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def getreply(self) -> tuple[int, bytes]:
        """The server's answer; as in smtplib, but for the error where time is over."""
        try:
            return super().getreply()
        except smtplib.SMTPServerDisconnected:
            if not self._is_late:
                raise
        raise TimeoutError(f"not done after {ATTEMPT_SECONDS:g} seconds")

    def close(self) -> None:
        """Close the connection."""
        if self._limit is not None:
            self._limit.cancel()
        super().close()


class LimitedTLS(LimitedSMTP, smtplib.SMTP_SSL):
    """Likewise, with TLS from the beginning."""
