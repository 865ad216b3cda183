"""A server on a free port that answers like the service and like MLflow's server, by Detector.score; it can misbehave.

Belongs here: what the tests of the load generator send to. Does not belong here: the service itself, which other tests
run.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.detection import Detector

Reply = Callable[["StandIn", bytes], bytes]


class StandIn(BaseHTTPRequestHandler):
    """One connection; `reply` makes an answer of a body, the other attributes say how it is sent."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else an answer's body waits for its head to be acknowledged
    reply: Reply
    status = 200
    framing = "length"  # or chunked, none, cut, close
    stalls: dict[int, float]  # by number of the request: seconds for which every answer waits
    bodies: list[bytes]
    _gate = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self._gate:
            self.bodies.append(body)
            time.sleep(self.stalls.get(len(self.bodies) - 1, 0))
        answer = self.reply(body)
        self.send_response(self.status)
        if self.framing == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            middle = len(answer) // 2
            parts = (part for part in (answer[:middle], answer[middle:]) if part)
            answer = (
                b"".join(b"%x;name=value\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: 1\r\n\r\n"
            )
        elif self.framing != "none":
            self.send_header("Content-Length", str(len(answer) + (9 if self.framing == "cut" else 0)))
        if self.framing == "close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer)
        self.close_connection = self.framing in ("cut", "close")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the output is the tests'."""


@contextmanager
def standing_in(reply: Reply, **changes: Any) -> Iterator[tuple[int, list[bytes]]]:
    """Serve until the block ends; the port, and the bodies that came so far."""
    bodies: list[bytes] = []
    handler = type("Handler", (StandIn,), {"reply": reply, "bodies": bodies, "stalls": {}, **changes})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1], bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def scoring(detector: Detector, **factors: float) -> Reply:
    """Answers of `POST /score?model=ensemble` and of `POST /invocations`, in the kind of the body.

    `factors`: by model, how many times the right score is said.
    """

    def reply(handler: StandIn, body: bytes) -> bytes:
        kind = handler.headers["Content-Type"]
        if handler.path == "/invocations":
            split = json.loads(body)["dataframe_split"]
            records = [dict(zip(split["columns"], values, strict=True)) for values in split["data"]]
            predictions = [
                {f"{name}_score": score for name, score in row.items()}
                for row in _scores(detector, _table(records), factors)
            ]
            return json.dumps({"predictions": predictions}).encode()
        assert handler.path == "/score?model=ensemble"
        if kind == "application/vnd.apache.arrow.stream":
            table = pa.ipc.open_stream(body).read_all()
            return _arrow(_scores(detector, table, factors), table)
        records = [json.loads(line) for line in body.splitlines()] if "ndjson" in kind else json.loads(body)
        entries = [
            {"interaction_id": record["interaction_id"], "scores": scores}
            for record, scores in zip(records, _scores(detector, _table(records), factors), strict=True)
        ]
        if "ndjson" in kind:
            return b"".join(_compact(entry) + b"\n" for entry in entries)
        return _compact({"scores": entries, "total_records": len(entries)})

    return reply


def _table(records: list[dict[str, Any]]) -> pa.Table:
    """Records as columns; numbers as float64 also where every value is missing."""
    table = pa.Table.from_pylist(records)
    return table.set_column(table.column_names.index("csat"), "csat", pc.cast(table["csat"], pa.float64()))


def _scores(detector: Detector, table: pa.Table, factors: dict[str, float]) -> list[dict[str, float]]:
    found = detector.score(table)
    columns = found.raw | {"ensemble": found.ensemble}
    rows = zip(*((values * factors.get(name, 1)).tolist() for name, values in columns.items()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _arrow(rows: list[dict[str, float]], table: pa.Table) -> bytes:
    columns = {"interaction_id": table["interaction_id"]}
    columns |= {f"{name}_score": pa.array([row[name] for row in rows]) for name in rows[0]}
    answer, sink = pa.table(columns), io.BytesIO()
    with pa.ipc.new_stream(sink, answer.schema) as writer:
        writer.write_table(answer)
    return sink.getvalue()


def _compact(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
