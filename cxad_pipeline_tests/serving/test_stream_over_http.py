"""The live stream as clients see it: a real server, real connections."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from stream_examples import an_event, events_named
from stream_service import StreamService, blocks, running, wait_until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamService]:
    with running(tmp_path_factory.mktemp("stream"), heartbeat_seconds=0.1, buffer=50) as service:
        yield service


@contextmanager
def _listening(
    service: StreamService, query: str = "", headers: dict[str, str] | None = None
) -> Iterator[Iterator[dict[str, str]]]:
    """The blocks of a stream; it has begun when this is entered."""
    with service.client() as client, client.stream("GET", f"/api/stream{query}", headers=headers) as response:
        assert response.status_code == 200, response.read()
        yield blocks(response.iter_bytes())


def _take(stream: Iterator[dict[str, str]], n: int) -> list[dict[str, str]]:
    """The next n events, without heartbeats and what only sets the id."""
    events: list[dict[str, str]] = []
    while len(events) < n:
        block = next(stream)
        if "data" in block:
            events.append(block)
    return events


def _names(events: list[dict[str, str]]) -> list[str]:
    return [orjson.loads(event["data"])["interaction_id"] for event in events]


def test_events_come_as_they_are_published(service: StreamService) -> None:
    with service.client() as client, client.stream("GET", "/api/stream") as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        stream = blocks(response.iter_bytes())
        opening = next(stream)
        assert int(opening["retry"]) > 0
        published = [an_event("Grüße\r\n\u2028data: x", reasons=["über\n\nalles"]), an_event(2)]
        service.publish(published)
        events = _take(stream, 2)
        assert [orjson.loads(event["data"]) for event in events] == published
        assert [event["event"] for event in events] == ["interaction", "interaction"]
        assert len({opening["id"], events[0]["id"], events[1]["id"]}) == 3


def test_comments_come_while_there_is_nothing_to_send(service: StreamService) -> None:
    with _listening(service) as stream:
        next(stream)
        assert [next(stream) for _ in range(3)] == [{"": "heartbeat"}] * 3


def test_a_heartbeat_carries_the_place_past_what_the_client_does_not_want(service: StreamService) -> None:
    with _listening(service, "?anomalies_only=true") as stream:
        opening = next(stream)
        service.publish(events_named([1, 2, 3]))
        while "id" not in (block := next(stream)):
            pass
        assert "data" not in block
        assert block["id"] != opening["id"]


@pytest.mark.parametrize("by_header", [True, False])
def test_a_client_resumes_by_header_or_parameter(service: StreamService, by_header: bool) -> None:
    with _listening(service) as stream:
        next(stream)
        service.publish(events_named(["a", "b"]))
        first, _ = _take(stream, 2)
    service.publish(events_named(["c"]))
    query = "" if by_header else f"?last_event_id={first['id']}"
    with _listening(service, query, {"Last-Event-ID": first["id"]} if by_header else None) as stream:
        assert _names(_take(stream, 2)) == ["b", "c"]


def test_the_header_goes_before_the_parameter_since_a_browser_keeps_the_address(service: StreamService) -> None:
    with _listening(service) as stream:
        next(stream)
        service.publish(events_named(["a", "b", "c"]))
        first, second, _ = _take(stream, 3)
    with _listening(service, f"?last_event_id={first['id']}", {"Last-Event-ID": second["id"]}) as stream:
        assert _names(_take(stream, 1)) == ["c"]


@pytest.mark.parametrize(
    "text", ["17", "0123456789ab-1", "-", "%00", "x" * 5000, "%F0%9F%98%80", "0123456789ab-" + "9" * 30]
)
def test_an_unknown_id_is_answered_with_a_gap(service: StreamService, text: str) -> None:
    service.publish(events_named(["a"]))
    with _listening(service, f"?last_event_id={text}") as stream:
        assert [event["event"] for event in _take(stream, 2)] == ["gap", "interaction"]


def test_a_client_sees_only_what_it_asks_for(service: StreamService) -> None:
    rows = [
        {"anomaly": True, "severity": 90.0, "channel": "voice", "language": "en", "queue": "sales"},
        {"anomaly": True, "severity": 40.0, "channel": "chat", "language": "de", "queue": "sales"},
        {"anomaly": False, "severity": 5.0, "channel": "chat", "language": "en", "queue": "billing"},
    ]
    asked = {
        "?anomalies_only=true": ["0", "1"],
        "?min_severity=40": ["0", "1"],
        "?channel=chat&language=en": ["2"],
        "?queue=sales&min_severity=50": ["0"],
    }
    for query, expected in asked.items():
        with _listening(service, query) as stream:
            next(stream)
            service.publish([an_event(number, **row) for number, row in enumerate(rows)])
            end = {"anomaly": True, "severity": 100.0, "channel": "chat", "language": "en", "queue": "sales"}
            service.publish([an_event("end", **end)])
            events = _take(stream, len(expected) + 1)
            assert _names(events) == [*expected, "end"]


@pytest.mark.parametrize("query", ["min_severity=nan", "min_severity=101", "anomalies_only=perhaps"])
def test_a_parameter_that_makes_no_sense_is_refused(service: StreamService, query: str) -> None:
    with service.client() as client:
        assert client.get(f"/api/stream?{query}").status_code == 422


def test_a_client_that_goes_away_gives_its_place_back(service: StreamService) -> None:
    wait_until(lambda: service.state()["subscribers"] == 0, service)
    with _listening(service), _listening(service):
        assert service.state()["subscribers"] == 2
    wait_until(lambda: service.state()["subscribers"] == 0, service)


def test_the_schema_says_that_the_answer_is_a_stream(service: StreamService) -> None:
    with service.client() as client:
        operation = client.get("/openapi.json").json()["paths"]["/api/stream"]["get"]
    assert set(operation["responses"]["200"]["content"]) == {"text/event-stream"}
    assert set(operation["responses"]["503"]["content"]) == {"application/problem+json"}
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {
        "anomalies_only", "min_severity", "channel", "language", "queue", "last_event_id", "Last-Event-ID",
    }  # fmt: skip


def test_sigterm_ends_the_streams_in_good_order(tmp_path: Path) -> None:
    with running(tmp_path, workers=2, grace=600) as service, _listening(service) as one, _listening(service) as other:
        next(one), next(other)
        service.terminate()  # within its patience: it does not wait for the clients to go
        # To the client it is the end of the answer, not a broken connection: the iteration ends without an error.
        assert [block for stream in (one, other) for block in stream if "data" in block] == []
    log = service.log.read_text()
    assert "Traceback" not in log
    assert "without completing response" not in log


def _stuck_client(service: StreamService) -> socket.socket:
    """A client that asks for the stream and then reads nothing."""
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(("127.0.0.1", service.port))
    stuck.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until(lambda: service.state()["subscribers"] == 2, service)
    return stuck


def test_a_client_that_reads_nothing_delays_nobody_and_is_told_what_it_missed(tmp_path: Path) -> None:
    with running(tmp_path, grace=1, buffer=50) as service, _listening(service) as quick:
        next(quick)
        with _stuck_client(service) as stuck:
            number = 0
            while service.state()["dropped"] < 100:
                service.publish([an_event(n, note="x" * 15_000) for n in range(number, number + 50)])
                assert _names(_take(quick, 50)) == [str(n) for n in range(number, number + 50)]
                number += 50
            got = missed = 0
            with stuck.makefile("r", encoding="utf-8", newline="\n") as lines:
                while got + missed < number:
                    line = lines.readline()
                    told = re.fullmatch(r'data: {"missed":(\d+)}\n', line)
                    got += line.startswith("event: interaction")
                    missed += int(told[1]) if told else 0
            assert missed == service.state()["dropped"] > 0
        wait_until(lambda: service.state()["subscribers"] == 1, service)
        # Again, and this time the service is asked to end while the client takes nothing.
        with _stuck_client(service):
            for _ in range(20):
                service.publish([an_event(n, note="x" * 15_000) for n in range(50)])
            service.terminate()


def test_a_client_of_one_worker_sees_the_events_of_all(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as service:
        streams: list[Any] = []
        with _listening(service) as one, _listening(service) as other, _listening(service) as third:
            streams = [one, other, third]
            for stream in streams:
                next(stream)
            published: dict[str, str] = {}
            while len(published) < 40 or len(set(published.values())) < 2:
                name = f"interaction {len(published)}"
                published[name] = service.publish([an_event(name)])
            events = [_take(stream, len(published)) for stream in streams]
        for seen in events:
            assert sorted(_names(seen)) == sorted(published)
        # Whichever worker it comes back to, a client gets the rest once.
        for seen in events:
            with _listening(service, headers={"Last-Event-ID": seen[19]["id"]}) as stream:
                rest = _take(stream, len(published) - 20)
            assert sorted(_names(seen[:20]) + _names(rest)) == sorted(published)
