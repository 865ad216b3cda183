"""What the front does to every request: limits, headers, pages of other origins, and what becomes of failures."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from front_examples import SECRET, ask, bearer, read, real_server, settings_with_keys, small_app, until
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.responses import HTMLResponse
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from cxad_pipeline.serving.front import Front, page_policy
from cxad_pipeline.serving.limits import WRONG_KEYS_PER_MINUTE, Body, Rate, address_group
from cxad_pipeline.serving.metrics import Metrics
from cxad_pipeline.serving.problems import ProblemError
from cxad_pipeline.serving.security import Keyring
from cxad_pipeline.settings.serving import ServingSettings

LOCAL: dict[str, Any] = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 5)}


def local_client(serving: ServingSettings | None = None, **front: Any) -> TestClient:
    return TestClient(small_app(serving, **front), **LOCAL)


# --- size and duration of bodies


def test_a_long_body_is_refused_by_its_announced_length_before_it_is_read() -> None:
    read_parts: list[int] = []

    async def receive() -> Message:
        read_parts.append(1)
        return {"type": "http.request", "body": b"x" * 101, "more_body": False}

    app = small_app(ServingSettings(max_body_bytes=100))
    headers = [(b"host", b"localhost"), (b"content-length", b"101")]
    assert asyncio.run(ask(app, "/score", "POST", headers=headers, receive=receive)).status == 413
    assert not read_parts


@pytest.mark.parametrize("path", ["/score", "/api/review"])  # read by us, and by the framework
def test_a_long_body_is_counted_while_it_streams_in(path: str) -> None:
    app = small_app(ServingSettings(max_body_bytes=100))
    found = asyncio.run(ask(app, path, "POST", body=[b"x" * 60, b"x" * 60, b"x" * 60]))
    assert found.status == 413
    assert "100 bytes" in found.json()["detail"]


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=12), st.integers(1, 40))
def test_a_body_passes_whole_or_not_at_all(parts: list[bytes], most: int) -> None:
    async def main() -> bytes | int:
        waiting = list(parts)

        async def receive() -> Message:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

        body, got, more = Body(receive, most, 10), b"", True
        while more:
            message = await body.receive()
            got, more = got + message["body"], message["more_body"]
        return got

    whole = b"".join(parts)
    if len(whole) <= most:
        assert asyncio.run(main()) == whole
    else:
        with pytest.raises(ProblemError) as refused:
            asyncio.run(main())
        assert refused.value.status == 413


def test_chunks_over_a_real_connection_are_counted(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(real_server(tmp_path, ServingSettings(max_body_bytes=1000), "--port", "0"))
        connection = stack.enter_context(contextlib.closing(server.connect()))
        for length, status in ((1001, 413), (1000, 200), (50_000, 413)):
            connection.request("POST", "/score", iter([b"x" * length]), encode_chunked=True)
            found = read(connection)
            assert found.status == status
        connection.request("POST", "/score", b"x" * 300_000)  # the connection goes on after what was refused
        assert read(connection).status == 413
        connection.request("POST", "/score", b"x" * 1000)
        assert read(connection).json()["n_bytes"] == 1000


def test_a_body_that_does_not_arrive_is_cut_off_and_frees_its_place(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        settings = ServingSettings(max_concurrent=1)
        server = stack.enter_context(real_server(tmp_path, settings, "--port", "0", body_seconds=6.0))
        slow, quick = (stack.enter_context(contextlib.closing(server.connect())) for _ in range(2))
        slow.putrequest("POST", "/score")
        slow.putheader("Content-Length", "10")
        slow.endheaders(b"[")
        until(lambda: server.get("/models").status == 503)  # it has the only place
        found = read(slow)
        assert found.status == 408
        assert found.headers["connection"] == "close"
        quick.request("POST", "/score", b"[]")
        assert read(quick).status == 200


# --- how many at a time


def test_more_at_a_time_than_allowed_are_sent_away_and_probes_are_not() -> None:
    async def main() -> None:
        app = small_app(ServingSettings(max_concurrent=2))
        come = asyncio.Event()

        async def receive() -> Message:
            await come.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        waiting = [asyncio.create_task(ask(app, "/score", "POST", receive=receive)) for _ in range(2)]
        await asyncio.sleep(0)
        full = await ask(app, "/score", "POST")
        assert (full.status, full.headers["retry-after"]) == (503, "1")
        assert (await ask(app, "/fail")).status == 503
        for path in ("/health", "/metrics"):
            assert (await ask(app, path)).status == 200
        come.set()
        assert [found.status for found in await asyncio.gather(*waiting)] == [200, 200]
        for path, status in (("/fail", 500), ("/nowhere", 404), ("/busy", 503), ("/models", 200)) * 2:
            assert (await ask(app, path)).status == status  # whatever became of it, the place is free again

    asyncio.run(main())


def test_an_endless_stream_takes_no_place() -> None:
    async def main() -> None:
        app = small_app(ServingSettings(max_concurrent=1))
        begun, leave = asyncio.Event(), asyncio.Event()
        body: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if body:
                return body.pop()
            await leave.wait()
            return {"type": "http.disconnect"}

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_on(message: Message) -> None:
                begun.set()
                await send(message)

            await app(scope, receive, send_on)

        stream = asyncio.create_task(ask(watched, "/api/stream", receive=receive))
        await asyncio.wait_for(begun.wait(), 60)
        assert (await ask(app, "/score", "POST")).status == 200
        leave.set()
        assert (await asyncio.wait_for(stream, 60)).status == 200

    asyncio.run(main())


# --- how many a minute


def statuses(client: TestClient, n: int, **how: Any) -> list[int]:
    return [client.get("/models", **how).status_code for _ in range(n)]


@pytest.fixture
def _in_one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the rates stands still: where a new minute begins, a sliding window lets one more pass."""
    monkeypatch.setattr("cxad_pipeline.serving.front.Rate", partial(Rate, clock=lambda: 630.0))


@pytest.mark.usefixtures("_in_one_minute")
def test_each_key_has_a_rate_of_its_own() -> None:
    client = TestClient(small_app(settings_with_keys(requests_per_minute=5)))
    assert statuses(client, 12, headers=bearer("read")) == [200] * 5 + [429] * 7
    refused = client.get("/models", headers=bearer("read"))
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert statuses(client, 1, headers=bearer("admin")) == [200]
    assert client.get("/health").status_code == 200


@pytest.mark.usefixtures("_in_one_minute")
def test_without_keys_each_address_has_a_rate_and_probes_have_none() -> None:
    client = local_client(ServingSettings(requests_per_minute=5))
    assert statuses(client, 12) == [200] * 5 + [429] * 7
    assert {client.get("/health").status_code for _ in range(20)} == {200}
    assert statuses(TestClient(client.app, base_url="http://127.0.0.1", client=("127.0.0.2", 5)), 1) == [200]


def test_no_limit_is_no_limit() -> None:
    assert statuses(local_client(ServingSettings(requests_per_minute=None)), 50) == [200] * 50


@pytest.mark.usefixtures("_in_one_minute")
def test_keys_cannot_be_guessed_quickly() -> None:
    app = small_app(settings_with_keys())
    guesser, other = (TestClient(app, client=(host, 5)) for host in ("2001:db8::1", "2001:db8:0:1::1"))
    found = [guesser.get("/models", headers=bearer(f"guess-{i}")).status_code for i in range(WRONG_KEYS_PER_MINUTE + 3)]
    assert found == [401] * WRONG_KEYS_PER_MINUTE + [429] * 3
    neighbour = TestClient(app, client=("2001:db8::2", 5))  # of the same customer
    assert statuses(neighbour, 1, headers=bearer("guess")) == [429]
    assert statuses(neighbour, 1, headers=bearer("read")) == [200]  # a right key passes, whoever shares its address
    assert neighbour.get("/health").status_code == 200
    assert statuses(other, 1, headers=bearer("read")) == [200]


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("x" * 500, "x" * 64),
    ],
)
def test_an_address_belongs_to_its_network(host: str, group: str) -> None:
    assert address_group(host) == group


def test_many_addresses_take_bounded_memory_and_the_known_keep_their_count() -> None:
    now = 600.0
    rate = Rate(3, most_callers=100, clock=lambda: now)
    assert [rate.hit("known") for _ in range(3)] == [0, 0, 0]
    for now in (600.0, 660.0, 720.0):
        refused = [rate.hit(f"address {i} at {now}") for i in range(5000)]
        assert rate.n_counts <= 2 * 102
        assert any(refused)  # those beyond share one count
    now = 600.0 + 60 * 9
    rate.hit("any")
    assert rate.n_counts == 1
    rate = Rate(3, most_callers=100, clock=lambda: now)
    for who in ["known"] * 3 + [f"address {i}" for i in range(5000)]:
        rate.hit(who)
    assert rate.hit("known") > 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 20)), min_size=30, max_size=80))
def test_the_rate_is_that_of_the_library_limits(per_minute: int, requests: list[tuple[str, float]]) -> None:
    now = 1_700_000_000.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now)
        rate, theirs = Rate(per_minute, clock=lambda: now), SlidingWindowCounterRateLimiter(MemoryStorage())
        for who, gap in requests:
            now += gap
            assert (rate.hit(who) == 0) == theirs.hit(RateLimitItemPerMinute(per_minute), who)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.lists(st.floats(0, 20), min_size=30, max_size=80))
def test_after_the_time_to_wait_one_more_passes(per_minute: int, gaps: list[float]) -> None:
    now = 600.0
    rate = Rate(per_minute, clock=lambda: now)
    for gap in gaps:
        now += gap
        if wait := rate.hit("somebody"):
            assert 1 <= wait <= 61
            assert rate.reached("somebody") == wait
            if wait > 1:
                now += wait - 1.001
                assert rate.reached("somebody") > 0
                now += 1.001
            else:
                now += 1
            assert rate.reached("somebody") == 0


# --- headers


@pytest.mark.parametrize(
    "path", ["/health", "/docs", "/fail", "/nowhere", "/busy", "/openapi.json", "/api/anomalies/x"]
)
def test_every_answer_has_the_security_headers(path: str) -> None:
    headers = local_client().get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert ("script-src 'self';" in policy) == (path == "/docs")


def test_a_page_may_run_the_scripts_that_stand_in_it_and_no_others() -> None:
    page = "<script src='/a.js'></script><script>\nlet a = 1;\n</script><p onclick='x()'>"
    policy = page_policy(page)
    wanted = base64.b64encode(hashlib.sha256(b"\nlet a = 1;\n").digest()).decode()
    (scripts,) = [rule.strip() for rule in policy.split(";") if rule.strip().startswith("script-src")]
    assert scripts == f"script-src 'self' 'sha256-{wanted}'"
    app = FastAPI()
    app.get("/")(lambda: HTMLResponse(page, headers={"Content-Security-Policy": policy}))
    serving = settings_with_keys()
    app.add_middleware(Front, serving=serving, keyring=Keyring(serving), metrics=Metrics())
    assert TestClient(app).get("/").headers.get_list("content-security-policy") == [policy]


def test_refusals_of_the_front_have_them_too_and_a_routes_own_rule_stays() -> None:
    client = TestClient(small_app(ServingSettings()))  # from a foreign address
    refused = client.get("/models")
    assert refused.status_code == 403
    assert refused.headers["x-content-type-options"] == "nosniff"
    assert local_client().get("/models").headers["cache-control"] == "max-age=5"


@pytest.mark.parametrize("given_id", ["a", "A.b_c-9", "x" * 64])
def test_a_callers_request_id_is_kept(given_id: str) -> None:
    assert local_client().get("/health", headers={"X-Request-ID": given_id}).headers["x-request-id"] == given_id


@pytest.mark.parametrize("given_id", ["", "x" * 65, "a b", 'a"b', "a\\nb", "ä", None])
def test_any_other_is_replaced_by_a_new_one(given_id: str | None) -> None:
    client = local_client()
    headers = {} if given_id is None else {"X-Request-ID": given_id.encode()}
    ids = {client.get("/nowhere", headers=headers).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5
    assert given_id not in ids


# --- pages of other origins


def test_other_origins_are_not_let_in_unless_configured() -> None:
    page = {"Origin": "https://desk.example.org"}
    asked = {**page, "Access-Control-Request-Method": "POST"}
    for found in (local_client().get("/health", headers=page), local_client().options("/score", headers=asked)):
        assert not [name for name in found.headers if name.startswith("access-control")]


def test_a_configured_origin_may_ask_first_without_a_key_and_reads_refusals() -> None:
    client = TestClient(small_app(settings_with_keys(cors_origins=["https://desk.example.org"])))
    page = {"Origin": "https://desk.example.org"}
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = client.options("/score", headers={**page, **wanted})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == page["Origin"]
    assert "x-request-id" in preflight.headers
    for path in ("/models", "/nowhere", "/fail", "/health"):
        found = client.get(path, headers=page)
        assert found.headers["access-control-allow-origin"] == page["Origin"], path
        exposed = {name.strip() for name in found.headers["access-control-expose-headers"].split(",")}
        assert {"X-Request-ID", "X-Model-Version"} <= exposed
    other = client.get("/health", headers={"Origin": "https://evil.example.org"})
    assert "access-control-allow-origin" not in other.headers
    assert client.options("/score", headers={**wanted, "Origin": "https://evil.example.org"}).status_code == 400


# --- failures


def test_an_internal_error_tells_the_caller_nothing_and_the_log_all(caplog: pytest.LogCaptureFixture) -> None:
    found = local_client().get("/fail")
    assert found.status_code == 500
    assert SECRET not in found.text
    assert "ZeroDivisionError" not in found.text
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert record.__dict__["request_id"] == found.json()["request_id"]


def test_an_answer_that_fails_halfway_is_seen_to_be_cut(tmp_path: Path) -> None:
    with real_server(tmp_path, ServingSettings(), "--port", "0") as server:
        with contextlib.closing(server.connect()) as connection:
            connection.request("GET", "/fail-late")
            with pytest.raises(Exception, match="IncompleteRead"):
                read(connection)
        assert server.get("/health").status == 200


def test_a_client_that_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    caplog.set_level(logging.INFO)
    assert asyncio.run(ask(small_app(), "/score", "POST", receive=gone)).status == 0
    (record,) = [record for record in caplog.records if record.getMessage() == "request"]
    assert (record.levelname, record.__dict__["status"]) == ("INFO", 499)


def test_web_sockets_are_closed() -> None:
    async def main() -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await small_app()({"type": "websocket", "path": "/score", "headers": []}, None, send)  # type: ignore[arg-type]
        return sent

    assert asyncio.run(main()) == [{"type": "websocket.close", "code": 1008}]
