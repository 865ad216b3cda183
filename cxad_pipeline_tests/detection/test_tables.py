"""Tables of every kind are read alike, and one that cannot be read says so in one way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cxad_pipeline.detection.tables import MISSING, TableError, columns_of


def texts(table: Any) -> list[str | None]:
    found = columns_of(table).categories("x")
    return [found.text(row) for row in range(len(found.codes))]


@pytest.mark.parametrize(
    "values",
    [
        [True, False, None],
        [1.0, 2.5, float("nan"), 0.1, -7.0, 123456.0],
        [1, 2, 1],
        ["a", None, ""],
        ["a\0", "a"],
        [b"a", b"b"],
    ],
)
def test_a_category_has_the_same_text_whatever_table_it_comes_from(values: list[Any]):
    expected = texts(pa.table({"x": pa.array(values)}))
    assert texts({"x": values}) == expected
    assert texts({"x": np.array(values, dtype=object)}) == expected
    assert texts(pd.DataFrame({"x": values})) == expected


def test_pandas_missing_value_in_a_mapping_is_missing():
    columns = columns_of(
        {
            "x": pd.array(["a", pd.NA], dtype="string"),
            "n": [1.5, pd.NA],
            "t": [0, pd.NA],
        }
    )
    assert columns.categories("x").codes.tolist() == [0, MISSING]
    assert columns.codes("x", {"a": 4}).tolist() == [4, MISSING]
    np.testing.assert_array_equal(columns.numeric("n"), [1.5, np.nan])
    assert columns.seconds("t")[1] == np.iinfo(np.int64).min


def test_names_of_a_data_frame_may_be_numbers():
    np.testing.assert_array_equal(columns_of(pd.DataFrame([[1.0, 2.5]])).numeric("1"), [2.5])


def test_a_record_batch_is_read_as_a_table():
    columns = columns_of(pa.record_batch({"n": [1.0, None], "x": ["a", None]}))
    np.testing.assert_array_equal(columns.numeric("n"), [1.0, np.nan])
    assert columns.categories("x").codes.tolist() == [0, MISSING]


@pytest.mark.parametrize(
    "table",
    [
        pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]),
        pd.DataFrame([[1, 2]], columns=["x", "x"]),
    ],
)
def test_a_column_that_is_there_twice_is_refused(table: Any):
    with pytest.raises(TableError, match="2 columns 'x'"):
        columns_of(table).numeric("x")


@pytest.mark.parametrize("values", [[[1], [2]], [{"a": 1}]])
def test_a_category_that_is_no_text_is_refused(values: list[Any]):
    with pytest.raises(TableError, match="column 'x' is to be a category"):
        columns_of(pa.table({"x": values})).categories("x")


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(TableError, match="column 'x' is to be a category"):
        columns_of(pa.table({"x": [b"\xff"]})).categories("x")


@pytest.mark.parametrize("values", [[10**400, None], [b"a", None]])
def test_an_object_that_is_no_float_is_refused(values: list[Any]):
    with pytest.raises(TableError, match="column 'x' is to be numeric"):
        columns_of({"x": values}).numeric("x")


@pytest.mark.parametrize("table", [pd.Series([1.0]), {"x": [[1], [1, 2]]}])
def test_what_is_no_table_is_refused(table: Any):
    with pytest.raises(TableError):
        columns_of(table)


def test_seconds_beyond_64_bits_are_refused_as_too_late():
    with pytest.raises(TableError, match="beyond the year 9999"):
        columns_of(pa.table({"x": pa.array([2**63 + 5], pa.uint64())})).seconds("x")
