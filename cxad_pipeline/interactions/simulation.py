"""Realistic interactions with labelled anomalies and incidents, as tables and as files; the committed samples.

Belongs here: the public names of the simulation, its files, the two samples. Does not belong here: how a normal
day looks (`simulated_day`), what goes wrong (`simulated_faults`), how days become a stream (`simulated_stream`).

Same configuration, same bytes. The labels are for evaluation only: they lie in files of their own, and no
detector reads them.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.schema import TIMESTAMP
from cxad_pipeline.interactions.simulated_faults import Incident
from cxad_pipeline.interactions.simulated_stream import (
    INCIDENTS_SCHEMA,
    INTERACTIONS_SCHEMA,
    LABELS_SCHEMA,
    SimulatedChunk,
    Simulation,
    SimulationConfig,
    expected_interactions,
    incident_table,
    simulate,
    simulate_table,
)

__all__ = [
    "INFERENCE_SAMPLE",
    "TRAINING_SAMPLE",
    "Incident",
    "SimulatedChunk",
    "Simulation",
    "SimulationConfig",
    "expected_interactions",
    "simulate",
    "simulate_table",
    "write_samples",
    "write_simulation",
]


def write_simulation(
    config: SimulationConfig,
    interactions_path: Path | str,
    labels_path: Path | str,
    incidents_path: Path | str | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Simulate into files, in constant memory.

    Each file appears whole or not at all, the interactions last, so that whoever finds them finds their labels.

    Parameters
    ----------
    config
        What to simulate.
    interactions_path, labels_path, incidents_path
        Where to, a path or an `s3://` address; the ending says how: `.csv`, `.csv.gz` or `.parquet`. Missing
        folders are made.
    progress
        Called with the number of interactions after each chunk.

    Returns
    -------
    int
        Number of interactions written.

    Raises
    ------
    ValueError
        If a path ends in anything else, or two paths are the same.
    """
    given = (interactions_path, labels_path, incidents_path)
    paths = [path.as_posix() if isinstance(path, Path) else path for path in given if path is not None]
    if len(set(paths)) < len(paths):
        raise ValueError(f"interactions, labels and incidents need a file each, got {paths[0]} more than once")
    rows, last = 0, None
    with ExitStack() as files:
        schemas = (INTERACTIONS_SCHEMA, LABELS_SCHEMA, INCIDENTS_SCHEMA)
        writers = [files.enter_context(_table_file(path, schema)) for path, schema in zip(paths, schemas, strict=False)]
        for chunk in simulate(config):
            writers[0](chunk.interactions)
            writers[1](chunk.labels)
            rows += chunk.interactions.num_rows
            last = chunk.interactions[TIMESTAMP][-1].as_py()
            if progress is not None:
                progress(chunk.interactions.num_rows)
        if incidents_path is not None:
            writers[2](incident_table(config, last))
    return rows


#: Four weeks, thinned so that the file stays under 3 MB, with single anomalies and no incident.
TRAINING_SAMPLE = SimulationConfig(
    start=datetime(2026, 9, 14, tzinfo=UTC),
    end=datetime(2026, 10, 12, tzinfo=UTC),
    seed=20260914,
    anomaly_rate=0.01,
    incidents=(),
    volume_scale=0.33,
)
#: The Monday and Tuesday after, as thin as the weeks before, else every segment would have more contacts than usual.
INFERENCE_SAMPLE = SimulationConfig(
    start=datetime(2026, 10, 12, tzinfo=UTC),
    end=datetime(2026, 10, 14, tzinfo=UTC),
    seed=20261012,
    anomaly_rate=0.015,
    incidents=(
        Incident(
            name="billing-voice-hold",
            metric="hold_time_seconds",
            size=240,
            start=datetime(2026, 10, 13, 9, tzinfo=UTC),
            end=datetime(2026, 10, 13, 14, tzinfo=UTC),
            queue="billing",
            channel="voice",
        ),
    ),
    volume_scale=0.33,
)


def write_samples(folder: Path | str) -> list[str]:
    """Write the committed samples and their labels below `folder`, the repository's `data` folder; give their paths."""
    inputs, labels = Path(folder, "input"), Path(folder, "labels")
    training, training_labels = inputs / "training" / "mock_train.csv", labels / "mock_train_labels.csv"
    inference, inference_labels = inputs / "inference" / "mock_inference.csv", labels / "mock_inference_labels.csv"
    incidents = labels / "mock_inference_incidents.csv"
    write_simulation(TRAINING_SAMPLE, training, training_labels)
    write_simulation(INFERENCE_SAMPLE, inference, inference_labels, incidents)
    return [str(path) for path in (training, training_labels, inference, inference_labels, incidents)]


@contextmanager
def _table_file(path: str, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Open a file for tables of `schema`; it takes its name when the block ends without an error."""
    if not path.endswith((".csv", ".csv.gz", ".parquet")):
        raise ValueError(f"{path}: the name must end in .csv, .csv.gz or .parquet")
    folder, slash, name = path.rpartition("/")
    with Folder(folder or slash or ".").replacing(name) as raw, ExitStack() as files:
        if name.endswith(".parquet"):
            yield files.enter_context(pq.ParquetWriter(raw, schema)).write_table
            return
        sink: IO[bytes] = raw
        if name.endswith(".gz"):
            # No name and no time in the header: the bytes depend on the rows alone.
            packed = gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0)
            sink = cast(IO[bytes], files.enter_context(packed))
        sink.write((",".join(schema.names) + "\n").encode())
        yield lambda table: _write_csv_rows(table, sink)


def _write_csv_rows(table: pa.Table, sink: IO[bytes]) -> None:
    if not table.num_rows:
        return
    for position, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            seconds = pc.cast(pc.cast(table[field.name], pa.timestamp("us")), pa.timestamp("s"), safe=False)
            table = table.set_column(position, field.name, pc.strftime(seconds, format="%Y-%m-%dT%H:%M:%SZ"))
    # No value needs quotes: identifiers, numbers, and words of this package without a comma.
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none", batch_size=16_384)
    # One piece, and never an empty one: for that pyarrow writes a stale or unset buffer (apache/arrow#36889).
    pyarrow.csv.write_csv(table.combine_chunks(), sink, options)
