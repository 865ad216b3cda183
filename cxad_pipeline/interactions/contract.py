"""The data contract as a Pandera schema: a second pair of eyes on what landing accepted.

Landing gives each row its verdict; this module knows nothing of how, and checks the accepted rows against the schema
once more, so that a fault in landing can't pass unnoticed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
from pandera.errors import SchemaErrors

from cxad_pipeline.interactions.schema import ID, Column, InteractionSchema


def pandera_schema(schema: InteractionSchema, present: list[str]) -> pandera.DataFrameSchema:
    """The contract for a table that has some of the columns.

    Parameters
    ----------
    schema
        The deployment's columns.
    present
        Columns of the table. Required ones are demanded whether they are there or not.
    """
    columns = [column for column in schema.columns if column.required or column.name in present]
    return pandera.DataFrameSchema({column.name: _pandera_column(column) for column in columns}, strict=False)


def contract_violations(table: pa.Table, schema: InteractionSchema, limit: int = 20) -> list[str]:
    """Faults of a table of accepted interactions, in words.

    Parameters
    ----------
    table
        Accepted interactions; a table without rows has no faults.
    schema
        The deployment's columns.
    limit
        Most faults to name.

    Returns
    -------
    list of str
        Empty when the contract holds.
    """
    if table.num_rows == 0:
        return []
    names = [name for name in table.column_names if name in schema]
    frame = table.select(names).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    try:
        pandera_schema(schema, names).validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases.head(limit)
        return [_in_words(case) for case in cases.to_dict("records")]
    return []


def _in_words(case: dict[str, Any]) -> str:
    if case["check"] == "column_in_dataframe":
        return f"column {case['failure_case']}: missing"
    if case["index"] is None or pd.isna(case["index"]):
        return f"column {case['column']} = {case['failure_case']!r}: {case['check']}"
    return f"row {int(case['index'])}, {case['column']} = {case['failure_case']!r}: {case['check']}"


def _pandera_column(column: Column) -> pandera.Column:
    dtype = {"string": "str", "float": float, "integer": "Int64", "timestamp": "datetime64[us, UTC]"}[column.type]
    checks = []
    if column.minimum is not None:
        checks.append(pandera.Check.ge(column.minimum))
    if column.maximum is not None:
        checks.append(pandera.Check.le(column.maximum))
    if column.type == "float":
        checks.append(pandera.Check(np.isfinite, name="finite", error="not finite"))
    if column.name == ID:
        checks.append(pandera.Check.str_length(min_value=1))
    return pandera.Column(
        dtype, checks, nullable=not column.required, unique=column.name == ID, required=column.required
    )
