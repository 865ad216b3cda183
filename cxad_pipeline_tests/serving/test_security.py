"""Keys and roles, and that a service without keys answers its own machine alone."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import socket
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from front_examples import api_key, ask, bearer, real_server, settings_with_keys, small_app
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from cxad_pipeline.serving import problems
from cxad_pipeline.serving.security import Keyring, check_exposure, new_key
from cxad_pipeline.settings import Settings, SettingsError
from cxad_pipeline.settings.hosts import is_loopback
from cxad_pipeline.settings.serving import ServingSettings

LOCAL_HOST = (b"host", b"localhost:8000")


def answer(path: str = "/score", method: str = "POST", app: Any = None, **how: Any) -> Any:
    return asyncio.run(ask(app or small_app(), path, method, **how))


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("score", {"/score"}),
        ("read", {"/models"}),
        ("reviewer", {"/models", "/reload"}),
        ("admin", {"/score", "/models", "/reload", "/admin"}),
    ],
)
def test_a_role_may_do_what_it_is_for_and_no_more(role: str, allowed: set[str]) -> None:
    client = TestClient(small_app(settings_with_keys()))
    for path, method in {"/score": "POST", "/models": "GET", "/reload": "POST", "/admin": "POST"}.items():
        found = client.request(method, path, headers=bearer(role))
        assert found.status_code == (200 if path in allowed else 403), path
        if path not in allowed:
            assert role in found.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, "Bearer"),
        ({"Authorization": "Basic YTpi"}, "Bearer"),
        ({"Authorization": "Bearer"}, "Bearer"),
        ({"Authorization": "score-key"}, "Bearer"),
        ({"Authorization": "Bearer Score-key"}, 'Bearer error="invalid_token"'),
        ({"Authorization": "Bearer score-key2"}, 'Bearer error="invalid_token"'),
        ({"Authorization": "Bearer ä"}, 'Bearer error="invalid_token"'),
    ],
)
def test_without_a_known_key_nothing_is_given(headers: dict[str, str], challenge: str) -> None:
    found = TestClient(small_app(settings_with_keys())).post(
        "/score", headers={k: v.encode() for k, v in headers.items()}
    )
    assert found.status_code == 401
    assert found.headers["www-authenticate"] == challenge


def test_the_scheme_is_written_in_any_case_and_two_keys_are_none() -> None:
    app = small_app(settings_with_keys())
    right, other = (b"authorization", b"bearer  score-key"), (b"authorization", b"Bearer read-key")
    assert answer(app=app, headers=[right]).json()["caller"] == "score-desk"
    assert answer(app=app, headers=[right, other]).status == 401
    assert answer(app=app, headers=[other, right]).status == 401


def test_what_is_open_needs_no_key_and_minds_no_wrong_one() -> None:
    client = TestClient(small_app(settings_with_keys()))
    for path in ("/health", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
        assert client.get(path, headers=bearer("nobody's")).status_code == 200


def test_a_new_key_is_long_random_and_known_by_its_hash_alone() -> None:
    keys = [new_key() for _ in range(50)]
    assert len({key for key, _ in keys}) == 50
    for key, sha256 in keys:
        assert key.startswith("cxad_")
        assert len(key) >= 5 + 43  # 256 bits in base64
        assert sha256 == hashlib.sha256(key.encode()).hexdigest()
    key, sha256 = keys[0]
    keyring = Keyring(ServingSettings(keys={"desk": {"sha256": sha256, "roles": ["score"]}}))
    caller = keyring.caller(key.encode())
    assert caller is not None
    assert caller.name == "desk"
    assert keyring.caller(keys[1][0].encode()) is None


def test_a_key_is_compared_with_every_stored_hash_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def watched(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return genuine(one, other)

    genuine = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", watched)
    keyring = Keyring(ServingSettings(keys={f"k{i}": api_key(f"key {i}", "read") for i in range(4)}))
    for key in (b"key 0", b"key 3", b"none"):
        compared.clear()
        keyring.caller(key)
        assert len(set(compared)) == 4


def test_without_the_middleware_a_route_is_still_closed() -> None:
    for serving, client in (
        (settings_with_keys(), {}),
        (ServingSettings(), {"base_url": "http://127.0.0.1", "client": ("192.0.2.7", 1)}),
    ):
        keyring, app = Keyring(serving), FastAPI()
        problems.install(app)
        app.get("/secret", dependencies=[Depends(keyring.require("read"))])(lambda: "secret")
        assert TestClient(app, **client).get("/secret").status_code in (401, 403)


def test_openapi_shows_where_a_key_is_wanted() -> None:
    document = small_app(settings_with_keys()).openapi()
    scheme = document["components"]["securitySchemes"]["ApiKey"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, method, wanted in (("/score", "post", True), ("/models", "get", True), ("/health", "get", False)):
        operation = document["paths"][path][method]
        assert ("security" in operation) == wanted
        assert ({"401", "403"} <= set(operation["responses"])) == wanted


def test_openapi_asks_nobody_for_a_key_where_there_are_none() -> None:
    document = small_app().openapi()
    assert "securitySchemes" not in document["components"]
    assert not any("security" in operation for path in document["paths"].values() for operation in path.values())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LocalHost", "::ffff:127.0.0.1"])
def test_a_loopback_address_needs_no_keys(host: str) -> None:
    assert is_loopback(host)
    check_exposure(Settings(serving=ServingSettings(host=host)))


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.0.2.7", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.nip.io", "127.1"],
)
def test_any_other_address_needs_them(host: str) -> None:
    with pytest.raises(SettingsError, match=r"serving.keys is empty.*cxad key"):
        check_exposure(Settings(serving=ServingSettings(host=host)))
    check_exposure(Settings(serving=settings_with_keys(host=host)))


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ({}, 200),
        ({"server": ("::1", 8000), "client": ("::1", 5)}, 200),
        ({"server": ("192.0.2.1", 8000), "client": ("192.0.2.1", 5)}, 403),  # reached by an outer address
        ({"server": ("192.0.2.1", 8000), "client": ("127.0.0.1", 5)}, 403),
        ({"server": ("127.0.0.1", 8000), "client": ("192.0.2.9", 5)}, 403),  # a trusted proxy told of its client
        ({"server": ("127.0.0.1", 8000), "client": None}, 403),
        ({"server": None, "client": None}, 403),
        ({"server": ("/run/cxad.sock", None), "client": None}, 200),
        ({"headers": []}, 403),
        ({"headers": [(b"host", b"evil.example.org")]}, 403),
        ({"headers": [(b"host", b"127.0.0.1.evil.example.org:8000")]}, 403),
        ({"headers": [(b"host", b"localhost"), (b"host", b"evil.example.org")]}, 403),
        ({"headers": [(b"host", b"localhost@evil.example.org")]}, 403),
        ({"headers": [(b"host", b"[::1]:8000")]}, 200),
        ({"headers": [(b"host", b"[::1")]}, 403),
        ({"headers": [LOCAL_HOST, (b"x-forwarded-for", b"192.0.2.9")]}, 403),
        ({"headers": [LOCAL_HOST, (b"forwarded", b"for=192.0.2.9")]}, 403),
        ({"server": ("/run/cxad.sock", None), "client": None, "headers": [(b"x-forwarded-for", b"192.0.2.9")]}, 403),
    ],
)
def test_without_keys_only_this_machine_is_answered(scope: dict[str, Any], status: int) -> None:
    for path, method in (("/score", "POST"), ("/health", "GET"), ("/nowhere", "GET")):
        found = answer(path, method, **scope)
        assert (found.status == 403) == (status == 403)
        if status == 403:
            assert "serving.keys" in found.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost:8000"}, 200),
        ({"origin": "https://localhost:8000"}, 200),
        ({"origin": "http://desk.example.org"}, 200),
        ({"origin": "http://desk.example.org", "sec-fetch-site": "cross-site"}, 200),
        ({"origin": "http://localhost:3000", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://evil.example.org"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_without_keys_a_page_of_another_origin_changes_nothing(headers: dict[str, str], status: int) -> None:
    app = small_app(ServingSettings(cors_origins=["http://desk.example.org"]))
    sent = [LOCAL_HOST, *((name.encode(), value.encode()) for name, value in headers.items())]
    assert answer(app=app, headers=sent).status == status
    assert answer("/models", "GET", app=app, headers=sent).status == 200


HEADERS = st.sampled_from(
    ["host", "authorization", "origin", "x-request-id", "content-length", "sec-fetch-site", "accept", "content-type",
     "access-control-request-method", "x-forwarded-for", "last-event-id"]
)  # fmt: skip
VALUES = st.binary(max_size=40) | st.sampled_from(
    [b"Bearer " + b"\xff" * 9, b"localhost", b"9" * 5000, b"-1", b"[::1]:x"]
)


@given(
    st.lists(st.tuples(HEADERS.map(str.encode), VALUES), max_size=6),
    st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "DELETE", "QUERY", "\x00"]),
    st.sampled_from(["/score", "/health", "/models", "/metrics", "/nowhere", "/api/anomalies/1", "", "//", "/\ufffd"]),
    st.booleans(),
    st.sampled_from([("127.0.0.1", 1), None, ("unknown", 0), ("x" * 5000, 0), ("fe80::1%eth0", 1)]),
)
@example([(b"content-length", b"9" * 5000)], "POST", "/score", True, None)
def test_junk_in_headers_is_never_an_internal_error(
    headers: list[tuple[bytes, bytes]], method: str, path: str, keys: bool, client: tuple[str, int] | None
) -> None:
    serving = settings_with_keys() if keys else ServingSettings(cors_origins=["http://desk.example.org"])
    app = small_app(serving)
    found = asyncio.run(ask(app, path, method, headers=headers, client=client, raw_path=b"/"))
    assert 200 <= found.status < 500


def outer_address() -> str:
    """An address of this machine that is not loopback."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


def test_a_server_started_past_the_check_refuses_the_network(tmp_path: Path) -> None:
    with real_server(tmp_path, ServingSettings(), "--host", "0.0.0.0", "--port", "0") as server:
        assert server.get("/models").status == 200
        assert server.get("/models", headers={"Host": "evil.example.org"}).status == 403
        assert server.get("/models", headers={"X-Forwarded-For": "192.0.2.9"}).status == 403
        found = server.get("/models", host=outer_address())
        assert found.status == 403
        assert "serving.keys" in found.json()["detail"]


def test_with_keys_the_network_is_served(tmp_path: Path) -> None:
    with real_server(tmp_path, settings_with_keys(), "--host", "0.0.0.0", "--port", "0") as server:
        assert server.get("/models", host=outer_address()).status == 401
        assert server.get("/models", host=outer_address(), headers=bearer("read")).status == 200


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_unix_socket_is_local(tmp_path: Path, loop: str) -> None:
    path = tmp_path / "s"
    with real_server(tmp_path, ServingSettings(), "--uds", str(path), "--loop", loop):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(path))
        with contextlib.closing(connection):
            connection.request("POST", "/score", b"[]", {"Host": "any"})
            assert connection.getresponse().status == 200
