"""A mail server that does not answer the connection holds nobody for long; one that is there has its time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Literal

import pytest
from alert_parcels import failure_of, parcel
from smtp_double import SmtpDouble

from cxad_pipeline.alerting.channels import EmailChannel
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
    monkeypatch.setattr(email_channel, "CONNECT_SECONDS", 0.2)
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
            assert connection.sock.gettimeout() == email_channel.TIMEOUT_SECONDS
    assert email_channel.CONNECT_SECONDS < email_channel.TIMEOUT_SECONDS
