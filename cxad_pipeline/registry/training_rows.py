"""Training rows, as models and MLflow see them.

Belongs here: which rows and columns, their digest. Does not belong here: features (`detection.features`).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.detection.detector import Detector, FeatureSet
from cxad_pipeline.registry.tracking import log_dataset

if TYPE_CHECKING:
    import pandas as pd

_SAMPLE = 1_000


def columns_with_values(table: pa.Table) -> list[str]:
    """Columns that hold at least one value."""
    return [name for name in table.column_names if table[name].null_count < table.num_rows]


def held_out_rows(table: pa.Table, features: FeatureSet) -> pa.Table:
    """The training rows that thresholds and calibration come from."""
    return table.filter(pa.array(features.held_out))


def rows_digest(table: pa.Table) -> str:
    """SHA-256 of a table's columns and values.

    It depends on names, types, values, their order and which are missing; not on how the table's memory is cut into
    chunks, nor on what lies in memory behind a missing value.
    """
    digest = hashlib.sha256()
    for name, values in zip(table.column_names, table.columns, strict=True):
        missing, lengths, content = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        for chunk in values.chunks:
            missing.update(chunk.is_null().to_numpy(zero_copy_only=False).tobytes())
            fixed_width = _fixed_width(chunk)
            if fixed_width is None:
                texts = pc.fill_null(pc.cast(chunk, pa.large_string()), "")
                lengths.update(pc.binary_length(texts).to_numpy().tobytes())
                content.update("".join(texts.to_pylist()).encode())
            else:
                content.update(pc.fill_null(fixed_width, 0).to_numpy(zero_copy_only=False).tobytes())
        parts = (part.hexdigest() for part in (missing, lengths, content))
        digest.update(json.dumps([name, str(values.type), len(values), *parts]).encode())
    return digest.hexdigest()


def _fixed_width(chunk: pa.Array) -> pa.Array | None:
    """The chunk as numbers; None for text."""
    if pa.types.is_timestamp(chunk.type):
        return pc.cast(chunk, pa.int64())
    if pa.types.is_boolean(chunk.type):
        return pc.cast(chunk, pa.int8())
    return chunk if pa.types.is_integer(chunk.type) or pa.types.is_floating(chunk.type) else None


def log_training_rows(table: pa.Table, source: str, context: str) -> None:
    """Note in the active MLflow run which rows were used; a sample gives their schema, the digest is of all."""
    sample = table.slice(0, _SAMPLE)
    for position, field in enumerate(sample.schema):
        if pa.types.is_timestamp(field.type):  # UTC here; MLflow's schemas know no zones
            sample = sample.set_column(position, field.name, pc.cast(sample[field.name], pa.timestamp("us")))
    log_dataset(
        sample.to_pandas(),
        name="interactions",
        source=source,
        digest=rows_digest(table),
        context=context,
    )


def model_input(table: pa.Table, detector: Detector) -> pd.DataFrame:
    """The columns that the registered model takes, with its types."""
    config = detector.config
    arrays = {name: pc.cast(table[name], pa.float64()) for name in config.numeric}
    arrays |= {name: table[name] for name in config.category_inputs}
    if config.timestamp is not None:  # UTC; MLflow's schemas know no zones
        arrays[config.timestamp] = pc.cast(table[config.timestamp], pa.timestamp("us"))
    return pa.table(arrays).to_pandas()
