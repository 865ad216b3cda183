"""Requests sent to a server on this machine, and how long each answer took.

Belongs here: connections, the schedule, the clock, and whether an answer is whole and of the right size. Does not
belong here: what requests hold and whether scores are right (`scoring_requests`), which load is measured (`serving`).

The generator shares the machine with the server that it measures, so it is as light as Python lets it be: requests are
bytes made beforehand, each connection is a thread with a blocking socket, and one request costs it some 0.05 ms. An
event loop took longer for the same, and its timers, rounded up to milliseconds, sent 1.2 ms late.

*Closed loop*: a connection sends its next request when the answer is there. *Open loop*: request `i` is due at
`start + i / rate` whether or not earlier ones were answered, and its latency counts from then, so that a server that
stalls is charged for every request that it kept waiting (no coordinated omission; G. Tene, How not to measure latency,
2013). A request that is due while all connections wait for answers is sent late and charged all the same.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import socket
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import BinaryIO, NamedTuple

TIMEOUT_SECONDS = 120
_LEAD_NS = 50_000_000  # all connections stand before the first request is due


class LoadError(RuntimeError):
    """An answer was missing or wrong: there is no result. The message says which request and what came back."""


class Call(NamedTuple):
    """One request, and how often each of some texts occurs in a right answer."""

    request: bytes
    holds: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True)
class Load:
    """What to send.

    Attributes
    ----------
    port
        Of the server, on 127.0.0.1.
    calls
        Sent in turn, again and again.
    requests
        How many requests are measured.
    connections
        How many are kept open; each sends one request at a time.
    rate
        Requests a second of an open loop; None: closed loop.
    warm_up
        Requests sent before in a closed loop, and checked, but not measured.
    keep
        How many answers are given back, evenly spread.
    """

    port: int
    calls: Sequence[Call]
    requests: int
    connections: int = 1
    rate: float | None = None
    warm_up: int = 0
    keep: int = 10


@dataclass(frozen=True)
class Answers:
    """What came of it.

    Attributes
    ----------
    latencies
        Nanoseconds from when each request was due, or sent in a closed loop, until its answer was whole; (requests,).
    lateness
        Nanoseconds from when each was due until it was sent: the generator's own, and waiting for a connection.
    seconds
        From the first request to the last answer.
    kept
        Some answers, each with the position of its call.
    """

    latencies: array[int]
    lateness: array[int]
    seconds: float
    kept: list[tuple[int, bytes]]

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return len(self.latencies) / self.seconds


def percentile(values: Iterable[int], share: float) -> int:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


@contextmanager
def own_process() -> Iterator[ProcessPoolExecutor]:
    """Another process for the generator, so that it does not share an interpreter with whoever asks.

    `submit(generate, load).result()` gives the answers or raises LoadError.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def generate(load: Load) -> Answers:
    """Send a load and measure it.

    Raises
    ------
    LoadError
        If an answer is not as it has to be: nothing is measured then.
    """
    if load.warm_up:
        _Run(load, load.warm_up, None, 0).answers()
    gc.collect()
    gc.disable()  # its pauses would be counted as the server's
    try:
        return _Run(load, load.requests, load.rate, load.keep).answers()
    finally:
        gc.enable()


class _Run:
    """So many requests over all connections."""

    def __init__(self, load: Load, requests: int, rate: float | None, keep: int) -> None:
        self._load, self._rate = load, rate
        self._keep = {(2 * part + 1) * requests // (2 * keep) for part in range(keep)}
        self._next = iter(range(requests))  # shared: each connection takes the next one
        self._failed = Event()
        self._latencies, self._lateness = (array("q", bytes(8 * requests)) for _ in range(2))
        self._kept: list[tuple[int, bytes]] = []
        self._start = 0

    def answers(self) -> Answers:
        connections = self._load.connections
        sockets = [_connected(self._load.port) for _ in range(connections)]
        try:
            with ThreadPoolExecutor(connections) as threads:
                self._start = time.perf_counter_ns() + _LEAD_NS
                ends = [each.result() for each in [threads.submit(self._connection, sock) for sock in sockets]]
        finally:
            for sock in sockets:
                sock.close()
        return Answers(self._latencies, self._lateness, (max(ends) - self._start) / 1e9, self._kept)

    def _connection(self, sock: socket.socket) -> int:
        """Send requests until there are no more; when the last answer was there."""
        end = self._start
        try:
            with sock.makefile("rb") as answers:
                _sleep_until(self._start)
                for number in self._next:
                    if self._failed.is_set():
                        break
                    end = self._request(number, sock, answers)
        except OSError as error:
            self._failed.set()
            raise LoadError(f"the connection broke: {error}") from error
        except LoadError:
            self._failed.set()
            raise
        return end

    def _request(self, number: int, sock: socket.socket, answers: BinaryIO) -> int:
        position = number % len(self._load.calls)
        call = self._load.calls[position]
        due = None if self._rate is None else self._start + int(number * 1e9 / self._rate)
        if due is not None:
            _sleep_until(due)
        sent = time.perf_counter_ns()
        sock.sendall(call.request)
        status, body = read_answer(answers)
        end = time.perf_counter_ns()
        self._latencies[number] = end - (sent if due is None else due)
        self._lateness[number] = 0 if due is None else sent - due
        _check(number, call, status, body)
        if number in self._keep:
            self._kept.append((position, body))
        return end


def read_answer(answers: BinaryIO) -> tuple[int, bytes]:
    """Status and body of the next HTTP/1.1 response of a connection that stays open.

    Raises
    ------
    LoadError
        If the server ends the connection, or does not say where the body ends.
    """
    status_line = answers.readline()
    if not status_line.startswith(b"HTTP/1.1 "):
        raise LoadError(f"the server ended the connection (status line {status_line[:100]!r})")
    length, chunked, closing = None, False, False
    while (line := _line(answers)) != b"\r\n":
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = b"chunked" in value
        elif name == b"connection":
            closing = b"close" in value
    if closing:
        raise LoadError(f"the server closes its connections (status line {status_line[:100]!r})")
    if chunked:
        return int(status_line[9:12]), _chunks(answers)
    if length is None:
        raise LoadError("an answer has neither Content-Length nor chunks")
    return int(status_line[9:12]), _exactly(answers, length)


def _chunks(answers: BinaryIO) -> bytes:
    parts = []
    while size := int(_line(answers).partition(b";")[0], 16):
        parts.append(_exactly(answers, size))
        _line(answers)
    while _line(answers) != b"\r\n":
        continue  # trailing fields
    return b"".join(parts)


def _line(answers: BinaryIO) -> bytes:
    line = answers.readline()
    if not line.endswith(b"\r\n"):
        raise LoadError("the server ended the connection within an answer")
    return line


def _exactly(answers: BinaryIO, length: int) -> bytes:
    body = answers.read(length)
    if len(body) < length:
        raise LoadError(f"the server ended the connection after {len(body):,} of {length:,} bytes")
    return body


def _check(number: int, call: Call, status: int, body: bytes) -> None:
    if status != 200:
        raise LoadError(f"request {number} was answered with status {status}: {body[:300]!r}")
    for text, times in call.holds:
        found = body.count(text)
        if found != times:
            raise LoadError(
                f"the answer to request {number} holds {text[:60]!r} {found} times and not {times}: {body[:300]!r}"
            )


def _connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _sleep_until(moment: int) -> None:
    """Until `time.perf_counter_ns()` has come so far."""
    nanoseconds = moment - time.perf_counter_ns()
    if nanoseconds > 0:
        time.sleep(nanoseconds / 1e9)
