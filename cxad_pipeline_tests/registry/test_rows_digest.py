"""The digest of training rows: the same rows have the same one, any other rows another one."""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.registry.training_rows import columns_with_values, rows_digest

MOMENT = dt.datetime(2026, 3, 2, 8, tzinfo=dt.UTC)
TABLE = pa.table(
    {
        "interaction_id": ["a", "b", "c", "d"],
        "timestamp": pa.array([MOMENT, MOMENT, None, MOMENT], pa.timestamp("us", tz="UTC")),
        "csat": pa.array([1.0, None, 3.0, 3.0]),
        "transfers": pa.array([0, 1, None, 1], pa.int64()),
        "queue": ["sales", None, "", "billing"],
    }
)


def replaced(name: str, values: pa.Array) -> pa.Table:
    return TABLE.set_column(TABLE.column_names.index(name), name, values)


def test_the_digest_is_a_sha256_and_always_the_same():
    assert rows_digest(TABLE) == rows_digest(TABLE)
    assert len(rows_digest(TABLE)) == 64


@given(cuts=st.lists(st.integers(0, 4), max_size=6))
def test_the_digest_does_not_depend_on_chunks(cuts: list[int]):
    edges = [0, *sorted(cuts), 4]
    pieces = [TABLE.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]
    assert rows_digest(pa.concat_tables(pieces)) == rows_digest(TABLE)


def test_the_digest_survives_parquet(rows: pa.Table):
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, row_group_size=700)
    assert rows_digest(pq.read_table(pa.BufferReader(sink.getvalue()))) == rows_digest(rows)


def test_what_lies_in_memory_behind_a_missing_value_does_not_count():
    mask = np.array([False, True, False, False])
    one, two = (pa.array(np.array([1.0, hidden, 3.0, 3.0]), mask=mask) for hidden in (7.0, 8.0))
    assert one.buffers()[1] != two.buffers()[1]
    assert rows_digest(replaced("csat", one)) == rows_digest(replaced("csat", two)) == rows_digest(TABLE)


@pytest.mark.parametrize(
    "other",
    [
        replaced("csat", pa.array([1.0, None, 3.0, 4.0])),
        replaced("csat", pa.array([1.0, 0.0, 3.0, 3.0])),
        replaced("csat", pa.array([1.0, None, 3.0, None])),
        replaced("transfers", pa.array([0, 1, 0, 1], pa.int64())),
        replaced("transfers", pa.array([0, 1, None, 1], pa.int32())),
        replaced("queue", pa.array(["sales", "", None, "billing"])),
        replaced("queue", pa.array(["sale", None, "s", "billing"])),
        replaced("timestamp", pa.array([MOMENT, MOMENT, MOMENT, MOMENT], pa.timestamp("us", tz="UTC"))),
        TABLE.rename_columns(["interaction_id", "timestamp", "csat", "transfers", "line"]),
        TABLE.select([1, 0, 2, 3, 4]),
        TABLE.take([1, 0, 2, 3]),
        TABLE.slice(0, 3),
        TABLE.drop_columns(["queue"]),
    ],
)
def test_another_value_null_name_type_or_order_is_another_digest(other: pa.Table):
    assert rows_digest(other) != rows_digest(TABLE)


def test_columns_without_a_value_are_not_present():
    assert columns_with_values(replaced("csat", pa.nulls(4, pa.float64()))) == [
        "interaction_id",
        "timestamp",
        "transfers",
        "queue",
    ]
