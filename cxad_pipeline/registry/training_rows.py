"""Training rows, as models and MLflow see them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from cxad_pipeline.detection.detector import Detector, FeatureSet
from cxad_pipeline.registry.tracking import log_dataset

if TYPE_CHECKING:
    import pandas as pd

_SAMPLE = 1_000


def columns_with_values(table: pa.Table) -> list[str]:
    """Columns that hold at least one value."""
    return [name for name in table.column_names if table[name].null_count < table.num_rows]


def held_out_rows(table: pa.Table, features: FeatureSet) -> pa.Table:
    """The training rows that no forest has seen."""
    return table.filter(pa.array(features.held_out))


def rows_digest(table: pa.Table) -> str:
    """SHA-256 of a table's columns and values, independent of how its memory is cut into chunks."""
    digest = hashlib.sha256()
    for name in table.column_names:
        values = table[name]
        digest.update(f"{name}:{values.type}:{len(values)};".encode())
        digest.update(pc.is_null(values).combine_chunks().to_numpy(zero_copy_only=False).tobytes())
        for chunk in pa.table({name: values}).combine_chunks().to_batches(max_chunksize=1 << 16):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, chunk.schema.remove_metadata()) as writer:
                writer.write_batch(pa.RecordBatch.from_arrays(chunk.columns, schema=chunk.schema.remove_metadata()))
            digest.update(sink.getvalue())
    return digest.hexdigest()


def log_training_rows(table: pa.Table, source: str, context: str) -> None:
    """Note in the active MLflow run which rows were used; a sample gives their schema, the digest is of all."""
    log_dataset(
        table.slice(0, _SAMPLE).to_pandas(),
        name="interactions",
        source=source,
        digest=rows_digest(table),
        context=context,
    )


def model_input(table: pa.Table, detector: Detector) -> pd.DataFrame:
    """The columns that the registered model takes, with its types."""
    arrays = {name: pc.cast(table[name], pa.float64()) for name in detector.config.numeric}
    arrays |= {name: table[name] for name in detector.config.categorical}
    return pa.table(arrays).to_pandas()
