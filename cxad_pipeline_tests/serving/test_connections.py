"""Connections that send no request are cut, before they cost memory or descriptors."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from service_world import until
from unused_ports import unused_port

PROGRAM = """
import uvicorn
from cxad_pipeline.serving import connections
connections.HEAD_SECONDS = 2.0
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"x"})
uvicorn.run(app, host="127.0.0.1", port=PORT, http=connections.BoundedHttp, log_level="warning")
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    chosen = unused_port()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM.replace("PORT", str(chosen))])
    try:
        until(lambda: _listens(chosen))
        yield chosen
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(60)
    return connection


def _answer(connection: socket.socket) -> bytes:
    """A whole answer: its head and its body may come one after the other."""
    answer = b""
    while not answer.endswith(b"\r\n\r\nx"):
        part = connection.recv(65_536)
        assert part, "cut"
        answer += part
    return answer


def _is_cut(connection: socket.socket) -> bool:
    """Whether the server closes, without a word, before the time is up."""
    try:
        return connection.recv(1) == b""
    except (ConnectionResetError, BrokenPipeError):
        return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_arrive_is_given_up(port: int, sent: bytes) -> None:
    with _connected(port) as connection:
        connection.sendall(sent)
        assert _is_cut(connection)


def test_a_head_without_end_is_given_up_before_it_fills_the_memory(port: int) -> None:
    with _connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        sent = 0
        with contextlib.suppress(OSError):  # cut while sending
            while sent < 50_000_000:
                sent += connection.send(b"X-Long: " + b"y" * 8_000 + b"\r\n")
        assert sent < 50_000_000


def test_the_head_of_a_second_request_has_the_same_limit(port: int) -> None:
    with _connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _answer(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert _is_cut(connection)


def test_bodies_and_many_requests_on_one_connection_are_not_cut(port: int) -> None:
    with _connected(port) as connection:
        for _ in range(30):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"z" * 300_000)
            assert _answer(connection).startswith(b"HTTP/1.1 200")
