"""The live stream's route in real worker processes, for tests: an app with it and one to publish, and its server."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
from fastapi import FastAPI, Request

from cxad_pipeline.serving.routes_stream import stream_routes
from cxad_pipeline.serving.stream import LiveStream
from cxad_pipeline.settings.serving import ServingSettings

_SETTINGS = "STREAM_SERVICE_SETTINGS"
_LISTENS = re.compile(rb"running on http://127\.0\.0\.1:(\d+) ")
"""What uvicorn says when it has a port, which the system chose."""


def create_app() -> FastAPI:
    stream = LiveStream(ServingSettings.model_validate_json(os.environ[_SETTINGS]))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await stream.start()
        yield
        await stream.stop()

    async def read() -> None:
        """Everybody may."""

    app = FastAPI(lifespan=lifespan)
    app.include_router(stream_routes(stream, read=read))

    @app.post("/publish")
    async def publish(request: Request) -> str:
        stream.publish(await request.json())
        return stream.origin

    @app.get("/state")
    async def state() -> dict[str, Any]:
        return {
            "origin": stream.origin,
            "subscribers": stream.subscribers,
            "siblings": stream.siblings,
            "published": stream.published,
            "dropped": stream.dropped,
        }

    return app


class StreamService:
    """A running service."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self.log = process, log
        self.port = 0
        """Not 0 as soon as it listens."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> httpx2.Client:
        # A connection for each request, so that every worker gets some; no certificates, which take time to load.
        limits = httpx2.Limits(max_keepalive_connections=0)
        return httpx2.Client(base_url=self.url, timeout=120, trust_env=False, verify=False, limits=limits)

    def publish(self, events: list[dict[str, Any]]) -> str:
        with self.client() as client:
            return str(client.post("/publish", json=events).raise_for_status().json())

    def state(self) -> dict[str, Any]:
        with self.client() as client:
            return dict(client.get("/state").raise_for_status().json())

    def terminate(self) -> None:
        """Ask it to end, and wait for it; two minutes are enough on any machine."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=120)


@contextmanager
def running(folder: Path, *, workers: int = 1, grace: int = 20, **stream: Any) -> Iterator[StreamService]:
    """The service on a free port of this machine, ready."""
    settings = orjson.dumps({"state": str(folder / "state"), "stream": stream}).decode()
    environment = os.environ | {_SETTINGS: settings, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-m", "uvicorn", "--factory", "stream_service:create_app", "--host", "127.0.0.1"]
    command += ["--port", "0", "--workers", str(workers), "--timeout-graceful-shutdown", str(grace)]
    command += ["--timeout-worker-healthcheck", "120"]  # a worker that starts slowly is not to be killed for that
    log = folder / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        service = StreamService(process, log)
        try:
            wait_until(lambda: _LISTENS.search(log.read_bytes()), service)
            service.port = int(_LISTENS.findall(log.read_bytes())[0])
            wait_until(lambda: _answers(service, workers), service)
            yield service
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=120)


def wait_until(condition: Any, service: StreamService) -> None:
    """Wait for a condition, and end with the service's log when it does not come or the service is gone."""
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline or service.process.poll() is not None:
            raise AssertionError(service.log.read_text())
        time.sleep(0.02)


def _answers(service: StreamService, workers: int) -> bool:
    try:
        return bool(service.state()["siblings"] == workers - 1)
    except httpx2.TransportError:
        return False


def lines_of(chunks: Iterator[bytes]) -> Iterator[str]:
    """Lines as of server-sent events, which end at CR and LF only, unlike those of `str.splitlines`."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()


def blocks(chunks: Iterator[bytes]) -> Iterator[dict[str, str]]:
    """Server-sent events, heartbeats among them, by field; the field of a comment is empty."""
    block: dict[str, str] = {}
    for line in lines_of(chunks):
        if line:
            name, _, value = line.partition(":")
            block[name] = value.removeprefix(" ")
        else:
            yield block
            block = {}
