"""A small app behind the front, asked as ASGI directly or as a real server."""

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.types import Message, Scope

from cxad_pipeline.serving import problems
from cxad_pipeline.serving.front import Front
from cxad_pipeline.serving.metrics import Metrics
from cxad_pipeline.serving.request_log import configure_logging, note
from cxad_pipeline.serving.security import Caller, Keyring
from cxad_pipeline.settings.serving import ApiKey, ServingSettings

SECRET = "the caller was unhappy about 4711"
SETTINGS_VARIABLE = "FRONT_EXAMPLE_SETTINGS"
BODY_SECONDS_VARIABLE = "FRONT_EXAMPLE_BODY_SECONDS"


class Review(BaseModel):
    anomaly: int
    real: bool


def api_key(text: str, *roles: str) -> ApiKey:
    return ApiKey(sha256=hashlib.sha256(text.encode()).hexdigest(), roles=list(roles))


def settings_with_keys(**more: Any) -> ServingSettings:
    """Each role has the key `<role>-key`."""
    keys = {f"{role}-desk": api_key(f"{role}-key", role) for role in ("score", "read", "reviewer", "admin")}
    return ServingSettings(keys=keys, **more)


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {role}-key"}


def small_app(serving: ServingSettings | None = None, metrics: Metrics | None = None, **front: Any) -> FastAPI:
    serving = serving or ServingSettings()
    keyring, metrics = Keyring(serving), metrics or Metrics()
    app = FastAPI(docs_url=None, redoc_url=None)
    problems.install(app)
    app.add_middleware(Front, serving=serving, keyring=keyring, metrics=metrics, **front)
    routes = APIRouter()

    @routes.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse("<p>hello</p>")

    @routes.post("/score")
    async def score(
        request: Request,
        caller: Annotated[Caller, Depends(keyring.require("score"))],
        limit: Annotated[int, Query(ge=1)] = 1,
    ) -> dict[str, Any]:
        content = await request.body()
        note(request, records=limit, anomalies=0, model_version="v3")
        return {"n_bytes": len(content), "caller": caller.name}

    @routes.get("/models", dependencies=[Depends(keyring.require("read"))])
    async def models(response: Response) -> dict[str, str]:
        response.headers["Cache-Control"] = "max-age=5"
        return {}

    @routes.post("/reload", dependencies=[Depends(keyring.require("reviewer"))])
    async def reload() -> dict[str, str]:
        return {}

    @routes.post("/admin", dependencies=[Depends(keyring.require("admin"))])
    async def admin() -> dict[str, str]:
        return {}

    @routes.get("/metrics")
    async def scrape(request: Request) -> Response:
        content, media_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    @routes.get("/fail")
    async def fail() -> None:
        raise ZeroDivisionError(SECRET)

    @routes.get("/fail-late")
    async def fail_late() -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            raise ZeroDivisionError(SECRET)

        return StreamingResponse(parts())

    @routes.get("/busy")
    async def busy() -> None:
        raise problems.ProblemError(503, "No model yet.", headers={"Retry-After": "5"}, concerns=["mlflow"])

    @routes.get("/api/stream")
    async def stream() -> Response:
        async def events() -> AsyncIterator[bytes]:
            while True:
                yield b": heartbeat\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(events(), media_type="text/event-stream")

    prefixed = APIRouter(prefix="/api")

    @prefixed.get("/anomalies/{number}", responses=problems.problems({410: "It was cleaned away."}))
    async def anomaly(number: int) -> dict[str, int]:
        return {"number": number}

    @prefixed.delete("/anomalies/{number}")
    async def forget(number: int) -> dict[str, int]:
        return {"number": number}

    @prefixed.post("/review")
    async def review(given: Review) -> Review:
        return given

    app.include_router(routes)
    app.include_router(prefixed)
    return app


def serve() -> FastAPI:
    """The factory for a real server."""
    configure_logging()
    serving = ServingSettings.model_validate_json(os.environ[SETTINGS_VARIABLE])
    return small_app(serving, body_seconds=float(os.environ[BODY_SECONDS_VARIABLE]))


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes
    messages: list[Message] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.content)


async def ask(
    app: Callable[..., Awaitable[None]],
    path: str,
    method: str = "GET",
    headers: list[tuple[bytes, bytes]] | None = None,
    body: list[bytes] | None = None,
    receive: Callable[[], Awaitable[Message]] | None = None,
    **scope: Any,
) -> Answer:
    """Ask an app as a server would, from this machine unless `scope` says otherwise."""
    parts = list(body or [b""])
    messages: list[Message] = []

    async def from_parts() -> Message:
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Message) -> None:
        messages.append(message)

    route, _, query = path.partition("?")
    full: Scope = {
        "type": "http",
        "method": method,
        "path": route,
        "raw_path": route.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50_000),
        "headers": [(b"host", b"127.0.0.1:8000")] if headers is None else headers,
        **scope,
    }
    await app(full, receive or from_parts, send)
    if not messages:
        return Answer(0, {}, b"")
    return Answer(
        messages[0]["status"],
        {name.decode(): value.decode() for name, value in messages[0]["headers"]},
        b"".join(message.get("body", b"") for message in messages[1:]),
        messages,
    )


@dataclass
class Server:
    """A running uvicorn; `port` is None on a unix socket."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int | None

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]

    def connect(self, host: str = "127.0.0.1") -> http.client.HTTPConnection:
        assert self.port is not None
        return http.client.HTTPConnection(host, self.port, timeout=120)

    def get(self, path: str, host: str = "127.0.0.1", headers: dict[str, str] | None = None) -> Answer:
        with contextlib.closing(self.connect(host)) as connection:
            connection.request("GET", path, headers=headers or {})
            return read(connection)


def read(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until a condition holds, and give what it gave."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"did not come true within {seconds} s")


@contextlib.contextmanager
def real_server(folder: Path, serving: ServingSettings, *options: str, body_seconds: float = 30) -> Iterator[Server]:
    """`uvicorn` of the command line, as somebody may start it without `cxad serve`."""
    log = folder / "server.log"
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "front_examples:serve",
        "--app-dir",
        str(Path(__file__).parent),
        "--timeout-worker-healthcheck",  # of several workers; one that starts slowly is not to be killed for that
        "120",
    ]
    environment = {
        **os.environ,
        SETTINGS_VARIABLE: serving.model_dump_json(),
        BODY_SECONDS_VARIABLE: str(body_seconds),
    }
    with log.open("wb") as stderr:
        process = subprocess.Popen([*command, *options], stderr=stderr, stdout=stderr, env=environment)
    try:
        running = until(lambda: process.poll() is None and re.search(rb"running on (\S+)", log.read_bytes()))
        port = re.search(rb"://[^/]*:(\d+)", running[1])
        yield Server(process, log, int(port[1]) if port else None)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
