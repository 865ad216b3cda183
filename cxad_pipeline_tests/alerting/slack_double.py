"""A real HTTP server that stands in for Slack's webhooks: it records requests and answers as a test scripts it.

Belongs here: the server and Slack's published limits for blocks. Does not belong here: claims about our code.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET_PATH = "/services/T0SECRET0/B0SECRET0/s3cr3tS3cr3tS3cr3tS3cr3t"
SECRET_PARTS = ("T0SECRET0", "B0SECRET0", "s3cr3tS3cr3tS3cr3tS3cr3t")


@dataclass(frozen=True)
class Answer:
    """What the double does with one request; `reset` drops the connection, `silent` gives no answer at all."""

    status: int = 200
    body: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False
    silent: bool = False


class SlackDouble:
    """Answers the scripted `answers` in turn, then "ok"; `bodies` are what came."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.bodies: list[dict[str, Any]] = []
        self._ended = threading.Event()
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path.split("?")[0] == SECRET_PATH
                double.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                answer = double.answers.pop(0) if double.answers else Answer()
                if answer.silent:
                    double._ended.wait()
                    return
                if answer.reset:
                    # With linger 0, close sends RST: the client sees "connection reset by peer".
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing on standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> SlackDouble:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening; the port refuses connections from now on."""
        self._ended.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{SECRET_PATH}"


def texts_of(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All text objects of the blocks."""
    found: list[dict[str, Any]] = []
    for block in blocks:
        found += [block["text"]] if "text" in block else []
        found += block.get("elements", [])
    return found


def assert_within_slack_limits(blocks: list[dict[str, Any]]) -> None:
    """Slack's published limits for the kinds of block that we use."""
    assert 1 <= len(blocks) <= 50
    for block in blocks:
        assert block["type"] in {"header", "section", "context", "divider"}
        if block["type"] == "header":
            assert block["text"]["type"] == "plain_text"
            assert 1 <= len(block["text"]["text"]) <= 150
        if block["type"] == "section":
            assert 1 <= len(block["text"]["text"]) <= 3000
        if block["type"] == "context":
            assert 1 <= len(block["elements"]) <= 10
            assert all(1 <= len(element["text"]) <= 3000 for element in block["elements"])
    for text in texts_of(blocks):
        assert text["type"] == "plain_text" or text["verbatim"] is True
    json.dumps(blocks).encode()
