"""Interactions as bodies of each kind, and scores out of the answers.

Belongs here: what a request to our service and to `mlflow models serve` looks like, and whether an answer is right.
Does not belong here: sending it (`load_generator`), which sizes are measured (`serving`).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from load_generator import Answers, Call, LoadError

from cxad_pipeline.detection import Detector
from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.interactions.schema import ID, TIMESTAMP
from cxad_pipeline.interactions.simulation import SimulationConfig, simulate_table

Floats = npt.NDArray[np.float64]


def interactions(rows: int) -> pa.Table:
    """A busy centre's contacts as they are: most without a survey's answer, one in a hundred an anomaly."""
    start = datetime(2026, 10, 19, tzinfo=UTC)
    return simulate_table(SimulationConfig(start=start, interactions=rows, seed=4, anomaly_rate=0.01)).interactions


class Kind(ABC):
    """A kind of body with the answer that belongs to it."""

    name: str
    path: str
    content_type: str

    @abstractmethod
    def body(self, table: pa.Table) -> bytes:
        """The interactions as this kind has them."""

    @abstractmethod
    def holds(self, table: pa.Table) -> tuple[tuple[bytes, int], ...]:
        """Texts of a right answer, and how often each occurs: quick to look for in every answer."""

    @abstractmethod
    def scores(self, answer: bytes) -> dict[str, Sequence[Any]]:
        """What the answer says, by row: `interaction_id` if it is there, and the score by model."""

    def call(self, table: pa.Table) -> Call:
        """One request, whole."""
        body = self.body(table)
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n"
            f"Content-Type: {self.content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return Call(head.encode() + body, self.holds(table))


class Json(Kind):
    """An array of interactions; the service's default."""

    name, path, content_type = "JSON", "/score?model=ensemble", "application/json"

    def body(self, table: pa.Table) -> bytes:
        return _json(_records(table))

    def holds(self, table: pa.Table) -> tuple[tuple[bytes, int], ...]:
        return (b'"interaction_id":', table.num_rows), (f'"total_records":{table.num_rows}'.encode(), 1)

    def scores(self, answer: bytes) -> dict[str, Sequence[Any]]:
        return _columns(json.loads(answer)["scores"])


class Ndjson(Kind):
    """One interaction a line."""

    name, path, content_type = "NDJSON", "/score?model=ensemble", "application/x-ndjson"

    def body(self, table: pa.Table) -> bytes:
        return b"".join(_json(record) + b"\n" for record in _records(table))

    def holds(self, table: pa.Table) -> tuple[tuple[bytes, int], ...]:
        return (b'"interaction_id":', table.num_rows), (b"\n", table.num_rows)

    def scores(self, answer: bytes) -> dict[str, Sequence[Any]]:
        return _columns([json.loads(line) for line in answer.splitlines()])


class Arrow(Kind):
    """An Arrow IPC stream."""

    name, path, content_type = "Arrow", "/score?model=ensemble", "application/vnd.apache.arrow.stream"

    def body(self, table: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    def holds(self, table: pa.Table) -> tuple[tuple[bytes, int], ...]:
        return (("".join(table[ID].to_pylist()).encode(), 1),)  # the texts of a column lie one behind the other

    def scores(self, answer: bytes) -> dict[str, Sequence[Any]]:
        with pa.ipc.open_stream(answer) as reader:
            found = reader.read_all()
        named = {
            name.removesuffix("_score"): found[name].to_pylist()
            for name in found.column_names
            if name.endswith("_score")
        }
        return {ID: found[ID].to_pylist()} | named


@dataclass(frozen=True)
class Mlflow(Kind):
    """What MLflow's server takes: the columns of the model's signature, without the interactions' names."""

    columns: Sequence[str]
    name, path, content_type = "MLflow JSON", "/invocations", "application/json"

    def body(self, table: pa.Table) -> bytes:
        chosen = table.select(self.columns)
        data = [list(record.values()) for record in _records(chosen)]
        params = {"model": ENSEMBLE, "explain": False}
        return _json({"dataframe_split": {"columns": chosen.column_names, "data": data}, "params": params})

    def holds(self, table: pa.Table) -> tuple[tuple[bytes, int], ...]:
        return ((b'"ensemble_score"', table.num_rows),)

    def scores(self, answer: bytes) -> dict[str, Sequence[Any]]:
        rows = json.loads(answer)["predictions"]
        names = [name for name in rows[0] if name.endswith("_score")]
        return {name.removesuffix("_score"): [row[name] for row in rows] for name in names}


def model_columns(detector: Detector) -> list[str]:
    """The columns that a detector's signature in MLflow has."""
    config = detector.config
    return [*config.numeric, *config.category_inputs, *([config.timestamp] if config.timestamp else [])]


@dataclass(frozen=True)
class Posts:
    """Requests of one kind and size, with the interactions in each."""

    kind: Kind
    tables: Sequence[pa.Table]
    calls: Sequence[Call]

    @classmethod
    def of(cls, kind: Kind, table: pa.Table, size: int, n: int) -> Posts:
        """`n` different requests of `size` interactions."""
        tables = [table.slice(start, size) for start in range(0, n * size, size)]
        return cls(kind, tables, [kind.call(part) for part in tables])

    def check(self, answers: Answers, detector: Detector) -> None:
        """Compare the answers that were kept with what the detector says of the same interactions.

        Raises
        ------
        LoadError
            If a score differs, or there is nothing to compare.
        """
        if not answers.kept:
            raise LoadError(f"{self.kind.name}: no answer was kept, so none could be compared")
        for position, body in answers.kept:
            table = self.tables[position]
            said = self.kind.scores(body)
            if said.get(ID, names := table[ID].to_pylist()) != names:
                raise LoadError(f"{self.kind.name}: an answer names other interactions than its request")
            expected = detector.score(table)
            for model, values in (expected.raw | {ENSEMBLE: expected.ensemble}).items():
                if model not in said or not np.allclose(np.asarray(said[model], float), values, rtol=1e-9, atol=0):
                    raise LoadError(f"{self.kind.name}: the scores of {model} are not those of Detector.score")


def _records(table: pa.Table) -> list[dict[str, Any]]:
    """Interactions as JSON has them; a value that is missing is null."""
    records: list[dict[str, Any]] = table.to_pylist()
    if TIMESTAMP in table.column_names:
        for record in records:
            record[TIMESTAMP] = record[TIMESTAMP].isoformat().replace("+00:00", "Z")
    return records


def _columns(entries: Iterable[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    """Entries of an answer as columns."""
    found: dict[str, list[Any]] = {}
    for entry in entries:
        found.setdefault(ID, []).append(entry[ID])
        for model, score in entry["scores"].items():
            found.setdefault(model, []).append(score)
    return dict(found)


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
