"""What every request passes on its way in and out.

Belongs here: the one middleware around the app: request id, admission, limits, security headers, errors, and the log
line and metrics of each request. Does not belong here: what is admitted (`security`, `limits`), how errors look
(`problems`), what a line holds (`request_log`).

Written against ASGI itself: Starlette's `BaseHTTPMiddleware` starts a task and a channel for each request, which costs
more than scoring one interaction.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import random
import re
import time
from collections.abc import Container

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxad_pipeline.serving.limits import (
    BODY_SECONDS,
    WRONG_KEYS_PER_MINUTE,
    Body,
    Places,
    Rate,
    address_group,
    too_long,
)
from cxad_pipeline.serving.metrics import Metrics
from cxad_pipeline.serving.problems import INTERNAL_ERROR, ProblemError, problem_response
from cxad_pipeline.serving.request_log import LogFields, log_request
from cxad_pipeline.serving.security import LOCAL, Caller, Keyring, bearer_key, header_bytes
from cxad_pipeline.settings.serving import ServingSettings

_log = logging.getLogger(__name__)

STREAM = "/api/stream"
# Answered even when the service is busy: they tell that it is. Probes are not limited in rate either.
_PROBES = frozenset({"/health", "/livez", "/readyz"})
_NOT_COUNTED_AS_BUSY = _PROBES | {"/metrics", STREAM}
_ASSETS = "/docs-assets/"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# As nginx logs a client that did not wait for its answer.
_CLIENT_LEFT = 499

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_DATA_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_NO_STORE = (b"cache-control", b"no-store")


def page_policy(page: str = "") -> str:
    """The Content-Security-Policy of an HTML page: what this server sends, and the scripts that stand in the page.

    A page without scripts of its own gets it by itself; another sends the header along.
    """
    hashes = (
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    )
    scripts = " ".join(["'self'", *(f"'sha256-{found}'" for found in hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


_PAGE_POLICY = (b"content-security-policy", page_policy().encode())


class _Exchange:
    """One request and what became of it."""

    __slots__ = ("ended", "fields", "path", "request_id", "root_path", "started", "status")

    def __init__(self, scope: Scope) -> None:
        self.started = time.perf_counter()
        self.ended: float | None = None
        self.status: int | None = None
        self.fields = LogFields()
        self.root_path: str = scope.get("root_path", "")
        self.path: str = scope["path"].removeprefix(self.root_path)
        given = header_bytes(scope, b"x-request-id")
        if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
            self.request_id = given[0].decode()
        else:
            self.request_id = f"{random.getrandbits(128):032x}"


class Front:
    """The middleware: `app.add_middleware(Front, serving=..., keyring=..., metrics=...)`, the only one.

    A request's state gets `request_id`, `caller` (a `Caller`, or None without a known key) and `log_fields`
    (`LogFields`, for the route to fill in).

    Parameters
    ----------
    app
        What answers.
    serving
        Limits and origins.
    keyring
        Who calls.
    metrics
        Where requests are counted.
    body_seconds
        How long a body may take to arrive.
    paths
        The app's paths without parameters, by which refused requests are counted that reached no route.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        serving: ServingSettings,
        keyring: Keyring,
        metrics: Metrics,
        body_seconds: float = BODY_SECONDS,
        paths: Container[str] = (),
    ) -> None:
        self._app, self._keyring, self._metrics, self._paths = app, keyring, metrics, paths
        self._most_bytes, self._body_seconds = serving.max_body_bytes, body_seconds
        self._places = Places(serving.max_concurrent)
        self._rate = Rate(serving.requests_per_minute) if serving.requests_per_minute else None
        self._wrong_keys = Rate(WRONG_KEYS_PER_MINUTE)
        # Inside the part that logs and around the one that refuses, so that a page can read refusals too.
        self._answer: ASGIApp = self._guarded
        if serving.cors_origins:
            self._answer = CORSMiddleware(
                self._guarded,
                allow_origins=serving.cors_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "X-Request-ID"],
                expose_headers=["X-Request-ID", "X-Model-Version", "Retry-After"],
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope)
        state = scope.setdefault("state", {})
        state["request_id"], state["log_fields"], state["caller"] = exchange.request_id, exchange.fields, None
        scope["cxad.exchange"] = exchange

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = _with_our_headers(message.get("headers", ()), exchange)
            elif not message.get("more_body", False):
                exchange.ended = time.perf_counter()
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._answer(scope, receive, send_on)
        finally:
            self._metrics.in_flight.dec()
            self._note(scope, exchange)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit a request, have it answered, and answer what goes wrong."""
        exchange: _Exchange = scope["cxad.exchange"]
        problem: ProblemError | None = None
        body: Body | None = None
        placed = False

        async def send_on(message: Message) -> None:
            # An app that was refused the body answers something of its own, which is dropped for our answer.
            if body is None or body.refused is None or exchange.status is not None:
                await send(message)

        try:
            self._admit(scope, exchange)
            if exchange.path not in _NOT_COUNTED_AS_BUSY:
                placed = self._places.take()
                if not placed:
                    raise ProblemError(
                        503,
                        f"{self._places.most} requests are in flight (serving.max_concurrent). Try again.",
                        headers={"Retry-After": "1"},
                    )
            body = Body(receive, self._most_bytes, self._body_seconds)
            await self._app(scope, body.receive, send_on)
        except ProblemError as error:
            problem = error
        except ClientDisconnect:
            exchange.status = exchange.status or _CLIENT_LEFT
        except Exception:  # noqa: BLE001  # whatever it is, the caller gets an answer and the log the trace
            if body is None or body.refused is None:
                _log.exception("a request failed", extra={"request_id": exchange.request_id})
                problem = ProblemError(500, INTERNAL_ERROR)
        finally:
            if placed:
                self._places.give_back()
        if body is not None and body.refused is not None:
            problem = body.refused
        # Where an answer had begun, the server cuts the connection, by which the client sees that it is not whole.
        if problem is not None and exchange.status is None:
            response = problem_response(
                problem.status,
                problem.detail,
                request_id=exchange.request_id,
                headers=problem.headers,
                **problem.extensions,
            )
            await response(scope, receive, send)

    def _admit(self, scope: Scope, exchange: _Exchange) -> None:
        """Find out who calls, and refuse what is too much.

        Raises
        ------
        ProblemError
            403, 413 or 429.
        """
        client = scope.get("client")
        address = address_group(client[0]) if client else "unix"
        caller: Caller | None = None
        if self._keyring.empty:
            self._keyring.check_local(scope)
            caller = LOCAL
        elif (key := bearer_key(scope)) is not None:
            caller = self._keyring.caller(key)
            # A right key passes always: behind a proxy many callers have one address, and one of them an old key.
            # Nobody guesses 256 bits; the limit keeps the log and the time of the service from those who try.
            if caller is None and (wait := self._wrong_keys.hit(address)):
                raise _too_many("Too many wrong API keys came from this address.", wait)
        scope["state"]["caller"] = caller
        if self._rate is not None and exchange.path not in _PROBES:
            who = f"address {address}" if caller is None or caller is LOCAL else f"key {caller.name}"
            if wait := self._rate.hit(who):
                raise _too_many("Too many requests in a minute (serving.requests_per_minute).", wait)
        for length in header_bytes(scope, b"content-length"):
            if length.isdigit() and (len(length) > 15 or int(length) > self._most_bytes):
                raise too_long(self._most_bytes)

    def _note(self, scope: Scope, exchange: _Exchange) -> None:
        """Log and count a request that is over."""
        status = exchange.status or _CLIENT_LEFT
        seconds = (exchange.ended or time.perf_counter()) - exchange.started
        route = _template(scope, exchange, self._paths)
        self._metrics.request_ended(scope["method"], route, status, None if exchange.path == STREAM else seconds)
        caller: Caller | None = scope["state"]["caller"]
        log_request(
            request_id=exchange.request_id,
            method=scope["method"],
            route=route,
            status=status,
            seconds=seconds,
            caller=None if caller is None else caller.name,
            fields=exchange.fields,
        )


def _template(scope: Scope, exchange: _Exchange, paths: Container[str]) -> str:
    """The pattern of the path: one of the app's own, since a path may hold anything."""
    # FastAPI's route of an included router knows its path without the router's prefix.
    included = scope.get("fastapi", {}).get("effective_route_context")
    path = getattr(included, "path", None) or getattr(scope.get("route"), "path", None)
    if path:
        return str(path)
    mounted = scope.get("root_path", "").removeprefix(exchange.root_path)
    if mounted:
        return f"{mounted}/*"
    if exchange.path in paths or ("endpoint" in scope and not scope.get("path_params")):
        return exchange.path
    return "unmatched"


def _with_our_headers(headers: list[tuple[bytes, bytes]] | tuple[()], exchange: _Exchange) -> list[tuple[bytes, bytes]]:
    """Headers of an answer with ours; a policy or caching rule that it has already stays."""
    added = [*headers, (b"x-request-id", exchange.request_id.encode()), *_ALWAYS]
    given = dict(headers)
    if b"content-security-policy" not in given:
        added.append(_PAGE_POLICY if given.get(b"content-type", b"").startswith(b"text/html") else _DATA_POLICY)
    if b"cache-control" not in given and not exchange.path.startswith(_ASSETS):
        added.append(_NO_STORE)
    return added


def _too_many(what: str, wait: int) -> ProblemError:
    return ProblemError(429, f"{what} Try again in {wait} seconds.", headers={"Retry-After": str(wait)})
