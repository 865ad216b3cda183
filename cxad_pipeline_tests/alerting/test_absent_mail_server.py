"""A mail server that does not answer the connection holds nobody for long; one that is there has its time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Literal

import pytest
from alert_parcels import failure_of, parcel
from smtp_double import SmtpDouble

from cxad_pipeline.alerting.channels import EmailChannel, smtp_connections
from cxad_pipeline.alerting.channels import email as email_channel

NOBODY = 3_600


@pytest.fixture
def absent_port() -> Iterator[int]:
    """A port at which no connection is refused and none is taken: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(64):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_server_that_is_away_is_given_up_long_before_an_answer_would_be(
    absent_port: int, monkeypatch: pytest.MonkeyPatch, security: Literal["starttls", "tls"]
) -> None:
    monkeypatch.setattr(email_channel, "TIMEOUT_SECONDS", NOBODY)
    monkeypatch.setattr(smtp_connections, "CONNECT_SECONDS", 0.2)
    channel = EmailChannel("a@example.test", ["b@example.test"], host="127.0.0.1", port=absent_port, security=security)
    errors: list[Any] = []
    attempt = threading.Thread(target=lambda: errors.append(failure_of(channel, parcel())), daemon=True)
    attempt.start()
    attempt.join(60)
    assert not attempt.is_alive()
    assert "TimeoutError" in str(errors[0])
    assert "check host, port and network; it is tried again later" in str(errors[0])
    assert (errors[0].permanent, errors[0].uncertain) == (False, False)


@pytest.mark.parametrize("security", ["none", "tls"])
def test_once_connected_a_server_has_as_long_as_ever_for_its_answers(
    tmp_path: Any, security: Literal["none", "tls"]
) -> None:
    with SmtpDouble(tmp_path, security=security) as server:
        certificate = str(server.certificate) if security == "tls" else None
        channel = EmailChannel(
            "a@example.test",
            ["b@example.test"],
            host="127.0.0.1",
            port=server.port,
            security=security,
            ca_file=certificate,
        )
        with channel._connection() as connection:
            assert connection.sock is not None
            assert connection.sock.gettimeout() == smtp_connections.TIMEOUT_SECONDS
    assert smtp_connections.CONNECT_SECONDS < smtp_connections.TIMEOUT_SECONDS


@pytest.mark.parametrize("security", ["none", "starttls"])
def test_a_server_that_says_a_little_now_and_then_is_left_in_the_end(
    monkeypatch: pytest.MonkeyPatch, security: Literal["none", "starttls"]
) -> None:
    """Each line comes within the time for an answer, and the last one never."""
    monkeypatch.setattr(smtp_connections, "ATTEMPT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet_for_ever() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                while True:
                    connection.sendall(b"220-wait\r\n")
                    time.sleep(0.01)

        server = threading.Thread(target=greet_for_ever, daemon=True)
        server.start()
        port = listener.getsockname()[1]
        channel = EmailChannel("a@example.test", ["b@example.test"], host="127.0.0.1", port=port, security=security)
        error = failure_of(channel, parcel())
        server.join(60)
    assert "not done after 0.5 seconds" in str(error)
    assert (error.permanent, error.uncertain) == (False, False)
