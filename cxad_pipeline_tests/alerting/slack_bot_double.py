"""A real HTTP server that stands in for Slack's Web API: it keeps messages, threads and edits, and fails as scripted.

Belongs here: the methods that our bot calls, Slack's answers and published limits, faults, and a record of all that was
posted. Does not belong here: claims about our code.

In a test: `with SlackBotDouble() as slack: ...`. As a process of its own, which survives whoever talks to it:

    python slack_bot_double.py --record messages.jsonl      # prints its address, serves until it is ended
A GET is answered when all requests before it are done with.

The record is a file of JSON lines, one for each change that people see: {"method", "channel", "ts", "thread_ts", "key",
"text", "broadcast", "at"}. `posts_in(path)` reads it, also while it is written.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from slack_double import assert_within_slack_limits

TOKEN = "xoxb-1234567890-s3cr3tS3cr3tS3cr3t"
CHANNEL = "C0ALERTS01"


@dataclass(frozen=True)
class Fault:
    """What happens to one call of `method` ("" for any) in place of the ordinary answer.

    `done`: the call does its work first, as when an answer is lost on its way. `reset` drops the connection, `silent`
    gives no answer; else `status`, `body` (JSON where it is a dict) and `headers` are the answer.
    """

    method: str = ""
    status: int = 200
    body: Mapping[str, Any] | str = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False
    silent: bool = False
    done: bool = False


def refusal(method: str, error: str, **more: Any) -> Fault:
    """Slack's way to say no: status 200 and a code."""
    return Fault(method, body={"ok": False, "error": error, **more})


class SlackBotDouble:
    """One workspace with channels that the bot is a member of.

    `messages` are what the channels hold now, `calls` (method, arguments) what came, `faults` what is to go wrong; each
    fault is used once, by the first call that it fits. An answer takes `answer_seconds` after its work is done.
    """

    def __init__(
        self, record: Path | None = None, *, channels: tuple[str, ...] = (CHANNEL,), answer_seconds: float = 0
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Fault] = []
        self.most_per_page = 1000
        self._channels, self._record = channels, record
        self._lock = threading.Lock()
        self._last = 0.0
        self._ended = threading.Event()
        self._served, self._connections = threading.Condition(), 0
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answer when all requests that came before are done with: what a killed client sent is in then."""
                with double._served:
                    others_done = double._served.wait_for(lambda: double._connections == 1, 60)
                self.send_response(200 if others_done else 503)
                self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
                as_json = self.headers.get_content_type() == "application/json"
                arguments = json.loads(body) if as_json else dict(parse_qsl(body))
                method = self.path.removeprefix("/api/")
                answer = double._answer(method, arguments, self.headers.get("Authorization", ""))
                double._ended.wait(answer_seconds)
                if answer.silent:
                    double._ended.wait()
                elif answer.reset:
                    # With linger 0, close sends RST: the client sees "connection reset by peer".
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                else:
                    text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing on standard error."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True  # a silent answer must not hold the end of the process

            def process_request(self, request: Any, client_address: Any) -> None:
                with double._served:
                    double._connections += 1
                super().process_request(request, client_address)

            def shutdown_request(self, request: Any) -> None:
                super().shutdown_request(request)
                with double._served:
                    double._connections -= 1
                    double._served.notify_all()

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that are killed in mid-request are expected."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> SlackBotDouble:
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
        return f"http://127.0.0.1:{self._server.server_port}/api/"

    def methods(self) -> list[str]:
        """The methods that were called, in their order."""
        return [method for method, _ in self.calls]

    def delete(self, ts: str) -> None:
        """What a person does who wants a message gone."""
        with self._lock:
            self.messages = [message for message in self.messages if message["ts"] != ts]

    def post_by_people(self, count: int) -> None:
        """Other people's messages."""
        with self._lock:
            for number in range(count):
                self.messages.append({"channel": CHANNEL, "ts": self._next_ts(), "text": f"lunch {number}?"})

    def _answer(self, method: str, arguments: dict[str, Any], authorization: str) -> Fault:
        with self._lock:
            self.calls.append((method, arguments))
            fault = next((fault for fault in self.faults if fault.method in ("", method)), None)
            if fault is not None:
                self.faults.remove(fault)
                if not fault.done:
                    return fault
            if authorization != f"Bearer {TOKEN}":
                body: dict[str, Any] = {"ok": False, "error": "invalid_auth" if authorization else "not_authed"}
            elif method == "auth.test":
                body = {"ok": True, "user_id": "U0BOT"}
            elif arguments.get("channel") not in self._channels:
                body = {"ok": False, "error": "channel_not_found"}
            else:
                known = {
                    "chat.postMessage": self._post,
                    "chat.update": self._update,
                    "conversations.history": self._history,
                    "conversations.replies": self._replies,
                }
                body = known[method](arguments) if method in known else {"ok": False, "error": "unknown_method"}
            return fault or Fault(body=body)

    def _post(self, given: dict[str, Any]) -> dict[str, Any]:
        metadata = given.get("metadata")
        if (error := _refused(given, 40_000)) is not None:
            return {"ok": False, "error": error}
        if metadata is not None and not (
            isinstance(metadata["event_type"], str) and isinstance(metadata["event_payload"], dict)
        ):
            return {"ok": False, "error": "invalid_metadata_format"}
        message = {
            "channel": given["channel"],
            "ts": self._next_ts(),
            "text": given["text"],
            "blocks": given.get("blocks", []),
            "metadata": metadata,
            "edited": 0,
        }
        if "thread_ts" in given:
            message |= {"thread_ts": given["thread_ts"], "broadcast": bool(given.get("reply_broadcast"))}
        self.messages.append(message)
        self._note("chat.postMessage", message)
        return {"ok": True, "channel": message["channel"], "ts": message["ts"], "message": {"text": message["text"]}}

    def _update(self, given: dict[str, Any]) -> dict[str, Any]:
        found = next((message for message in self.messages if message["ts"] == given["ts"]), None)
        if found is None:
            return {"ok": False, "error": "message_not_found"}
        if (error := _refused(given, 4_000)) is not None:
            return {"ok": False, "error": error}
        # Slack keeps blocks and metadata that an update leaves out.
        found |= {name: given[name] for name in ("text", "blocks", "metadata") if name in given}
        found["edited"] += 1
        self._note("chat.update", found)
        return {"ok": True, "channel": found["channel"], "ts": found["ts"], "text": found["text"]}

    def _history(self, given: dict[str, Any]) -> dict[str, Any]:
        top = [m for m in self.messages if "thread_ts" not in m or m.get("broadcast")]
        return self._page(given, top)

    def _replies(self, given: dict[str, Any]) -> dict[str, Any]:
        thread = [m for m in self.messages if given["ts"] in (m["ts"], m.get("thread_ts"))]
        if not thread:
            return {"ok": False, "error": "thread_not_found"}
        return self._page(given, thread)

    def _page(self, given: dict[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any]:
        oldest = float(given.get("oldest", 0))
        fitting = [m for m in messages if m["channel"] == given["channel"] and float(m["ts"]) > oldest][::-1]
        begin = int(given.get("cursor") or 0)
        end = begin + min(int(given.get("limit", 100)), self.most_per_page)
        shown = [{name: value for name, value in m.items() if value is not None} for m in fitting[begin:end]]
        if given.get("include_all_metadata") not in ("1", "true"):
            shown = [{name: value for name, value in m.items() if name != "metadata"} for m in shown]
        return {
            "ok": True,
            "messages": shown,
            "has_more": end < len(fitting),
            "response_metadata": {"next_cursor": str(end) if end < len(fitting) else ""},
        }

    def _next_ts(self) -> str:
        self._last = max(time.time(), self._last + 0.000_01)
        return f"{self._last:.6f}"

    def _note(self, method: str, message: dict[str, Any]) -> None:
        if self._record is None:
            return
        metadata = message.get("metadata") or {}
        line = {
            "method": method,
            "channel": message["channel"],
            "ts": message["ts"],
            "thread_ts": message.get("thread_ts"),
            "key": metadata.get("event_payload", {}).get("key"),
            "text": message["text"],
            "broadcast": message.get("broadcast", False),
            "at": time.time(),
        }
        with self._record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def posts_in(record: Path) -> list[dict[str, Any]]:
    """The whole lines of a record, the file of a double that may still be writing it."""
    if not record.exists():
        return []
    return [
        json.loads(line) for line in record.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"
    ]


def _refused(given: dict[str, Any], longest: int) -> str | None:
    """Slack's code for a message that it does not take."""
    if not given.get("text") and not given.get("blocks"):
        return "no_text"
    if len(given.get("text", "")) > longest:
        return "msg_too_long"
    if given.get("blocks"):
        try:
            assert_within_slack_limits(given["blocks"])
        except (AssertionError, KeyError):
            return "invalid_blocks"
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--answer-seconds", type=float, default=0)
    with SlackBotDouble(**vars(parser.parse_args())) as double:
        print(double.url, flush=True)
        threading.Event().wait()
