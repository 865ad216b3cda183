"""Tables as CSV that a spreadsheet opens and does not run."""

from __future__ import annotations

import csv
import datetime as dt
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.interactions.export import CsvExport, write_csv


def written(*tables: pa.Table) -> str:
    sink = io.BytesIO()
    export = CsvExport(sink)
    for table in tables:
        export.write(table)
    export.close()
    assert not sink.closed
    return sink.getvalue().decode("utf-8")


def rows(*tables: pa.Table) -> list[list[str]]:
    return list(csv.reader(io.StringIO(written(*tables), newline="")))


def cell(value: object, kind: pa.DataType | None = None) -> str:
    return rows(pa.table({"x": pa.array([value], kind), "y": ["end"]}))[1][0]


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=", "+", "-", "@"]
)
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        assert cell(text, kind) == f"'{text}"


@pytest.mark.parametrize("text", ["a=1", " =1", "'=1", "", "-5", "+5.5", "-1,5", "-1e5", "a-b", "x@y.z"])
def test_other_text_stays(text: str) -> None:
    assert cell(text, pa.string()) == text


def test_numbers_stay_numbers() -> None:
    assert cell(-1.5) == "-1.5"
    assert cell(-3) == "-3"
    assert cell(1e-7) == "1e-07" or float(cell(1e-7)) == 1e-7
    assert cell(True) == "true"


def test_missing_values_are_empty() -> None:
    table = pa.table({"a": pa.array([None], pa.string()), "b": pa.array([None], pa.float64()), "c": ["end"]})
    assert rows(table)[1] == ["", "", "end"]
    assert written(table).splitlines()[1].startswith(",,")


@pytest.mark.parametrize(
    "kind", [pa.timestamp("us", "UTC"), pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("s", "UTC")]
)
def test_times_are_iso_in_utc_whatever_their_zone(kind: pa.DataType) -> None:
    assert cell(dt.datetime(2026, 10, 12, 6, tzinfo=dt.UTC), kind) == "2026-10-12T06:00:00Z"


def test_fractions_of_seconds_are_kept() -> None:
    moment = dt.datetime(2026, 10, 12, 6, 0, 0, 1500, tzinfo=dt.UTC)
    assert dt.datetime.fromisoformat(cell(moment, pa.timestamp("us", "UTC"))) == moment


def test_names_of_columns_are_cells_too() -> None:
    assert rows(pa.table({"=x": [1], "": [2], "a,b": [3]}))[0] == ["'=x", "", "a,b"]


def test_a_table_without_rows_is_a_header() -> None:
    empty = pa.table({"a": pa.array([], pa.string()), "b": pa.array([], pa.int64())})
    assert written(empty) == '"a","b"\n'
    sink = io.BytesIO()
    write_csv(empty, sink)
    assert sink.getvalue() == b'"a","b"\n'


def test_empty_pieces_write_nothing_and_repeat_nothing() -> None:
    """pyarrow writes a stale buffer for an empty first chunk (apache/arrow#36889)."""
    for one, two in (("first", "second"), (1, 2), (1.5, 2.5), (None, None)):
        first, second = (pa.table({"a": [value], "b": ["end"]}) for value in (one, two))
        none = first.slice(0, 0)
        holed = pa.concat_tables([none, second, none])
        assert holed["a"].num_chunks == 3
        expected = [["a", "b"], *([str(value or ""), "end"] for value in (one, two))]
        assert rows(first, none, holed, none) == expected
        assert rows(none, first) == expected[:2]


def test_nothing_written_is_an_empty_file() -> None:
    assert written() == ""


TEXT = st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12))


@given(st.lists(st.tuples(TEXT, st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1))))
def test_pythons_csv_reads_what_was_written(values: list[tuple[str | None, float, int]]) -> None:
    table = pa.table(
        {
            "text": pa.array([row[0] for row in values], pa.string()),
            "float": pa.array([row[1] for row in values], pa.float64()),
            "whole": pa.array([row[2] for row in values], pa.int64()),
        }
    )
    header, *read = rows(table)
    assert header == ["text", "float", "whole"]
    assert len(read) == len(values)
    for (text, number, whole), (cell_text, cell_number, cell_whole) in zip(values, read, strict=True):
        assert cell_text in (text or "", f"'{text}")
        assert not cell_text or cell_text[0] not in "=@\t\r\n"
        assert float(cell_number) == number
        assert int(cell_whole) == whole
