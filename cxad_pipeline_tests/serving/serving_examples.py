"""What the tests of serving score and score with: simulated interactions in every form, and small fitted detectors.

Plain functions, each result made once for all tests; nothing here is to be changed by a test.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.detection import Detector, DetectorConfig, EnsembleConfig, ModelConfig
from cxad_pipeline.interactions.schema import ID, TIMESTAMP, InteractionSchema
from cxad_pipeline.interactions.simulation import SimulationConfig, simulate_table
from cxad_pipeline.serving.batch import Batch, iso
from cxad_pipeline.serving.snapshot import Snapshot

STRATEGIES = ("average", "max", "voting")
MODELS = ("both", "ensemble", "iforest", "rcf")

CONFIG = DetectorConfig(
    numeric=("csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers"),
    categorical=("channel", "language", "queue"),
    models=(
        ModelConfig("iforest", "isolation_forest", {"n_estimators": 30}, 97),
        ModelConfig("rcf", "random_cut_forest", {"n_estimators": 15, "tree_size": 128}, 97),
    ),
    ensemble=EnsembleConfig(threshold_percentile=97),
    segments=("queue", "channel", "language"),
    relative_to=("channel", "queue"),
    random_state=5,
)
"""The product's columns with small forests; flags about 3 rows of 100."""


@functools.cache
def simulated(n_rows: int, seed: int) -> pa.Table:
    """Interactions as the simulation gives them, 2 of 100 unusual."""
    config = SimulationConfig(
        start=dt.datetime(2026, 3, 2, tzinfo=dt.UTC), interactions=n_rows, seed=seed, anomaly_rate=0.02, incidents=()
    )
    return simulate_table(config).interactions


@functools.cache
def interactions(n_rows: int = 3_000, seed: int = 2) -> pa.Table:
    """Interactions to score: metrics and categories missing here and there, some categories that training had not."""
    table = simulated(n_rows, seed)
    random = np.random.default_rng(seed)
    for name in CONFIG.numeric:
        gone = pa.array(random.random(n_rows) < 0.03)
        table = _with_column(table, name, pc.if_else(gone, None, table[name]))
    for name in CONFIG.categorical:
        values = table[name].to_pylist()
        for row in random.choice(n_rows, n_rows // 50, replace=False):
            values[row] = random.choice(["never seen", None])
        table = _with_column(table, name, pa.array(values, pa.string()))
    return table


@functools.cache
def fitted_detector(strategy: str = "average", timed: bool = False) -> Detector:
    """A small detector fitted on 4,000 simulated interactions; with `timed`, one that also looks at the hour."""
    config = dataclasses.replace(CONFIG, ensemble=dataclasses.replace(CONFIG.ensemble, strategy=strategy))
    if timed:
        config = dataclasses.replace(config, timestamp=TIMESTAMP, timezone="Asia/Jerusalem")
    return Detector.fit(simulated(4_000, 1), config, train_timestamp="2026-03-20T06:00:00+00:00")


@functools.cache
def snapshot(strategy: str = "average", timed: bool = False, version: str = "3") -> Snapshot:
    """A served model, `v3` unless said otherwise."""
    loaded_at = dt.datetime(2026, 3, 21, 8, 30, tzinfo=dt.UTC)
    return Snapshot(fitted_detector(strategy, timed), version, "0123456789abcdef0123456789abcdef", loaded_at)


def records(table: pa.Table) -> list[dict[str, Any]]:
    """Interactions as a caller writes them in JSON: no key where a value is missing, times in UTC with `Z`."""
    found = []
    moments = _microseconds(table)
    for row, moment in zip(table.to_pylist(), moments.tolist(), strict=True):
        record = {name: value for name, value in row.items() if value is not None}
        found.append(record | {TIMESTAMP: iso(moment)})
    return found


def json_body(table: pa.Table) -> bytes:
    """Interactions as the JSON body of a request, by the standard library's writer."""
    return json.dumps(records(table)).encode()


def batch_of(table: pa.Table) -> Batch:
    """Interactions as the batch that a body of them is read into, by way of pyarrow."""
    metrics = [column.name for column in InteractionSchema().columns if column.is_metric]
    moments = _microseconds(table)
    numbers = {
        name: np.asarray(table[name].cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
        for name in table.column_names
        if name in metrics and table[name].null_count < table.num_rows
    }
    texts: dict[str, Sequence[str | None]] = {
        name: table[name].to_pylist()
        for name in table.column_names
        if name not in (*metrics, ID, TIMESTAMP) and table[name].null_count < table.num_rows
    }
    return Batch(ids=table[ID].to_pylist(), numbers=numbers, texts=texts, moments=lambda: moments)


def _microseconds(table: pa.Table) -> np.ndarray:
    return np.asarray(table[TIMESTAMP].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(), dtype=np.int64)


def _with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)
