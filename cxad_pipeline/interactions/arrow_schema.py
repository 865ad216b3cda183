"""The schema of interactions as Arrow types.

Belongs here: types and field metadata. Does not belong here: ranges, which are checked by `conversion` and `contract`.
"""

from __future__ import annotations

import pyarrow as pa

from cxad_pipeline.interactions.schema import Column, ColumnType, InteractionSchema

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "float": pa.float64(),
    "integer": pa.int64(),
}


def arrow_field(column: Column) -> pa.Field:
    """A column as an Arrow field, with unit and meaning as metadata."""
    metadata = {"meaning": column.meaning} | ({"unit": column.unit} if column.unit else {})
    return pa.field(column.name, ARROW_TYPES[column.type], nullable=not column.required, metadata=metadata)


def arrow_schema(schema: InteractionSchema) -> pa.Schema:
    """All columns of a deployment as an Arrow schema."""
    return pa.schema([arrow_field(column) for column in schema.columns])
