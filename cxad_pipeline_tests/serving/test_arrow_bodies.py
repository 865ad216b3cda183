"""Bodies of Arrow's stream format say the same as JSON, and a hostile one is refused before it grows."""

from __future__ import annotations

import contextlib
import datetime as dt
import subprocess
import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_examples import FAULTS, SCHEMA, VALID, ZONES, as_json, content, records

from cxad_pipeline.interactions.arrow_schema import ARROW_TYPES
from cxad_pipeline.interactions.conversion import to_timestamp
from cxad_pipeline.serving.batch import BodyError, TooManyRecordsError
from cxad_pipeline.serving.bodies import ARROW, JSON, BodyReader

READER = BodyReader(SCHEMA, "Europe/Berlin", 50)
# Texts for times, as JSON has them; whole numbers as floats, since a record may have 2.0 in such a column.
TYPES = {
    column.name: pa.string() if column.type in ("string", "timestamp") else pa.float64() for column in SCHEMA.columns
}
WIDE = pa.schema(list(TYPES.items()))


def stream(table: pa.Table, max_rows: int | None = None, **options: Any) -> bytes:
    return stream_of(table.schema, table.to_batches(max_rows), **options)


def stream_of(schema: pa.Schema, batches: Iterable[pa.RecordBatch], **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def valid(n: int = 3, **columns: Any) -> pa.Table:
    ids = [f"call-{number}" for number in range(n)]
    table = pa.table({"interaction_id": ids, "timestamp": pa.array([VALID["timestamp"]] * n, pa.string())})
    for name, values in columns.items():
        table = table.drop([name]) if name in table.column_names else table
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    return table


def refused(body: bytes, reader: BodyReader = READER) -> BodyError:
    with pytest.raises(BodyError) as caught:
        reader.read(body, ARROW)
    return caught.value


# The same as JSON


@given(st.lists(records(), max_size=8), st.integers(1, 4))
def test_arrow_and_json_of_the_same_records_give_equal_batches(rows: list[dict[str, Any]], max_rows: int) -> None:
    from_arrow = READER.read(stream(pa.Table.from_pylist(rows, WIDE), max_rows), ARROW)
    assert content(from_arrow) == content(READER.read(as_json(rows), JSON))


@given(st.lists(records(), min_size=2, max_size=6), st.data())
def test_arrow_and_json_find_the_same_faults(rows: list[dict[str, Any]], data: Any) -> None:
    for row in rows:
        for name, value, _ in data.draw(st.lists(st.sampled_from(EXPRESSIBLE), max_size=3)):
            row[name] = value
    assert outcome(stream(pa.Table.from_pylist(rows, WIDE)), ARROW) == outcome(as_json(rows), JSON)


def outcome(body: bytes, kind: str) -> Any:
    """What a body leads to, in a form that compares."""
    try:
        return content(READER.read(body, kind))
    except BodyError as error:
        return error.faults, error.n_faults, str(error)


def expressible(name: str, value: Any) -> bool:
    """Whether a column of the type in `WIDE` can hold a value and shows it as JSON does."""
    if isinstance(value, bool | list | dict):
        return False
    if TYPES[name] == pa.string():
        return value is None or isinstance(value, str)
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= 2**53)


EXPRESSIBLE = [fault for fault in FAULTS if expressible(*fault[:2])]


def test_most_faults_can_be_compared() -> None:
    assert len(EXPRESSIBLE) > 20


def test_twenty_faults_of_several_columns_are_named_in_the_order_of_rows() -> None:
    table = valid(40, csat=[9.0] * 40, ies=[-1.0] * 40, interaction_id=[""] + ["x"] * 39)
    error = refused(stream(table))
    assert error.n_faults == 81
    assert [(fault.index, fault.field) for fault in error.faults[:4]] == [
        (0, "interaction_id"),
        (0, "csat"),
        (0, "ies"),
        (1, "csat"),
    ]
    assert len(error.faults) == 20
    assert error.faults[-1].index == 9


@pytest.mark.parametrize("number", [2**53, 2**53 + 1, -(2**63), 2**63 - 1])
def test_large_whole_numbers_are_quoted_to_the_last_digit(number: int) -> None:
    (fault,) = refused(stream(valid(1, balance=pa.array([number], pa.int64())))).faults
    assert fault.message.endswith(f"; got {number}")


# Types


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()]
)
def test_a_metric_may_be_of_any_numeric_type(kind: pa.DataType) -> None:
    values = pa.array(np.array([3, 4, 5], np.float16), pa.float16()).cast(kind)
    values = pa.concat_arrays([values.slice(0, 1), pa.nulls(1, kind), values.slice(2, 1)])
    for name in ("csat", "complaints"):
        batch = READER.read(stream(valid(3, **{name: values})), ARROW)
        np.testing.assert_array_equal(batch.numbers[name], [3, np.nan, 5])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_only_null_says_that_a_number_is_missing(number: float) -> None:
    (fault,) = refused(stream(valid(3, csat=[2.0, number, None]))).faults
    assert (fault.index, fault.interaction_id, fault.field) == (1, "call-1", "csat")
    assert fault.message.startswith("must be a finite number, or null where it is missing; got")


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.uint32(), pa.large_string()),
    ],
)
def test_a_category_may_be_a_string_or_a_dictionary_of_them(kind: pa.DataType) -> None:
    table = valid(4, channel=pa.array(["voice", None, "", "voice"]).cast(kind))
    assert READER.read(stream(table, 2), ARROW).texts == {"channel": ["voice", None, None, "voice"]}


def test_a_column_without_any_value_is_missing() -> None:
    table = valid(
        2, csat=pa.nulls(2), channel=pa.nulls(2), closed_at=pa.nulls(2), ies=pa.nulls(2, pa.int8()), site=["", None]
    )
    batch = READER.read(stream(table), ARROW)
    assert (batch.numbers, batch.texts) == ({}, {})
    faults = refused(stream(valid(2, interaction_id=pa.nulls(2)))).faults
    assert [(fault.index, fault.field, fault.message) for fault in faults] == [
        (0, "interaction_id", "is required"),
        (1, "interaction_id", "is required"),
    ]


@given(
    st.lists(st.datetimes(dt.datetime(1901, 1, 1), dt.datetime(2037, 1, 1)), max_size=5),
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.sampled_from([None, "UTC", "Asia/Kolkata"]),
    st.sampled_from(ZONES),
)
def test_a_timestamp_column_is_read_as_in_files(
    times: list[dt.datetime], unit: str, column_zone: str | None, zone: str
) -> None:
    values = pa.array(times, pa.timestamp("us")).cast(pa.timestamp(unit), safe=False)
    values = values if column_zone is None else values.cast(pa.timestamp(unit, column_zone))
    from_files, faults = to_timestamp(values, SCHEMA["timestamp"], pattern=None, zone=zone)
    assert not faults
    n = len(times)
    batch = BodyReader(SCHEMA, zone, 50).read(stream(valid(n, timestamp=values, closed_at=values)), ARROW)
    assert batch.moments().tolist() == from_files.cast(pa.int64()).to_pylist()
    if n:
        texts = [text for text in batch.texts["closed_at"] if text is not None]
        assert [dt.datetime.fromisoformat(text) for text in texts] == from_files.to_pylist()


def test_a_timestamp_without_zone_is_read_as_text_is_where_clocks_are_set() -> None:
    times = [dt.datetime(2026, 3, 29, 2, 30), dt.datetime(2026, 10, 25, 2, 30), dt.datetime(2026, 7, 1)]
    typed = READER.read(stream(valid(3, timestamp=pa.array(times))), ARROW)
    texts = READER.read(stream(valid(3, timestamp=[time.isoformat() for time in times])), ARROW)
    assert typed.moments().tolist() == texts.moments().tolist()


def test_a_missing_time_beside_timestamp_stays_missing() -> None:
    there = dt.datetime(2026, 7, 1, 10, tzinfo=dt.UTC)
    for values in (pa.array([None, there]), pa.array([None, "2026-07-01T12:00"])):
        texts = READER.read(stream(valid(2, closed_at=values)), ARROW).texts
        assert texts == {"closed_at": [None, "2026-07-01T10:00:00.000000Z"]}


@pytest.mark.parametrize("moment", [-(2**63), 2**63 - 1, -(10**15)])
def test_a_timestamp_out_of_the_years_is_a_fault(moment: int) -> None:
    for kind in (pa.timestamp("s"), pa.timestamp("s", "UTC")):
        values = pa.array([0, moment], pa.int64()).cast(kind)
        (fault,) = refused(stream(valid(2, timestamp=values))).faults
        assert (fault.index, fault.field) == (1, "timestamp")
        assert "1900 to 2199" in fault.message


def nested(kind: pa.DataType) -> pa.Array:
    return pa.nulls(3, kind)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("interaction_id", pa.array(["a", "b", "c"]).dictionary_encode()),
        ("interaction_id", pa.array(["a", "b", "c"], pa.string_view())),
        ("interaction_id", pa.array([1, 2, 3])),
        ("interaction_id", pa.array([b"a", b"b", b"c"])),
        ("timestamp", pa.array([dt.date(2026, 1, 1)] * 3)),
        ("timestamp", pa.array(["2026-01-01T10:00"] * 3).dictionary_encode()),
        ("timestamp", pa.array([1, 2, 3])),
        ("csat", pa.array([True, False, None])),
        ("csat", pa.array(["1", "2", "3"])),
        ("csat", pa.array([Decimal("1.5")] * 3)),
        ("csat", pa.array([1.0, 1.0, 2.0]).dictionary_encode()),
        ("csat", pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array([2.0]))),
        ("csat", nested(pa.list_(pa.float64()))),
        ("channel", nested(pa.struct([("a", pa.string())]))),
        ("channel", nested(pa.struct([(f"a{number}", pa.string()) for number in range(99)]))),
        ("channel", pa.array(["a", "b", "c"], pa.string_view())),
        ("channel", pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array(["a"]))),
        ("channel", pa.array([1, 2, 3]).dictionary_encode()),
        ("channel", pa.array([b"a", b"b", b"c"]).dictionary_encode()),
    ],
)
def test_a_column_of_another_type_is_refused_by_its_name(name: str, values: pa.Array) -> None:
    (fault,) = refused(stream(valid(3, **{name: values}))).faults
    assert (fault.field, fault.index) == (name, None)
    assert fault.message.startswith("must be a column of the type")
    assert len(fault.message) < 150


def test_every_bad_column_is_named() -> None:
    table = pa.table({"csat": ["x"], "ies": [True], "channel": [1]})
    error = refused(stream(table))
    assert [fault.field for fault in error.faults] == ["interaction_id", "timestamp", "csat", "ies", "channel"]


def test_a_column_that_is_there_twice_is_refused() -> None:
    table = valid(2, csat=[1.0, 2.0])
    twice = pa.table([*table.columns, table["csat"]], names=[*table.column_names, "csat"])
    (fault,) = refused(stream(twice)).faults
    assert (fault.field, fault.message) == ("csat", "must be there once; the stream has it 2 times")


def test_unknown_columns_of_any_type_are_counted_and_not_read() -> None:
    table = valid(
        3,
        agents=pa.array([["a"], [], None]),
        note=pa.array(["x", "y", "z"], pa.string_view()),
        codes=pa.array([1, 2, 1]).dictionary_encode(),
        runs=pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array([2.0])),
    )
    assert READER.read(stream(table), ARROW).ignored == {"agents": 3, "note": 3, "codes": 3, "runs": 3}
    many = valid(2, **{f"x{number}": [0, 0] for number in range(300)}, **{"y" * 1_000: [0, 0]})
    assert READER.read(stream(many), ARROW).ignored == {f"x{number}": 2 for number in range(100)}


@pytest.mark.parametrize("n", [0, 50])
def test_none_and_as_many_rows_as_allowed_are_read(n: int) -> None:
    assert READER.read(stream(valid(n, csat=pa.array([4.0] * n, pa.float64()))), ARROW).n_rows == n


# Hostile streams


@pytest.mark.parametrize("max_rows", [None, 10])
def test_one_row_more_than_allowed_is_too_many(max_rows: int | None) -> None:
    with pytest.raises(TooManyRecordsError, match="more than 50 records"):
        READER.read(stream(valid(51), max_rows), ARROW)


def test_a_short_body_that_claims_a_billion_rows_is_too_many() -> None:
    names = ["interaction_id", "timestamp"]
    body = stream(pa.table([pa.nulls(10**9), pa.nulls(10**9)], names=names))
    assert len(body) < 2_000
    with pytest.raises(TooManyRecordsError):
        READER.read(body, ARROW)


def listed(*values: str) -> pa.Array:
    """One category, the last of a dictionary."""
    return pa.DictionaryArray.from_arrays(pa.array([len(values) - 1]), pa.array(values))


def growing_dictionary() -> bytes:
    tables = [valid(1, channel=listed("a")), valid(1, channel=listed("a", "b"))]
    batches = [table.to_batches()[0] for table in tables]
    return stream_of(tables[0].schema, batches, emit_dictionary_deltas=True)


def empty_batches(n: int) -> bytes:
    schema = valid().schema
    return stream_of(schema, [pa.RecordBatch.from_pylist([], schema)] * n)


def columns(n: int) -> bytes:
    return stream(pa.table([pa.array([0])] * n, names=[f"x{number}" for number in range(n)]))


HOSTILE = [
    (b"", "is empty"),
    (b"x", "no valid Arrow IPC stream"),
    (as_json([VALID]), "no valid Arrow IPC stream"),
    (b"ARROW1\0\0" + stream(valid()), "an Arrow file"),
    (b"\xff\xff\xff\xff\x00\x00\x00\x00", "no valid Arrow IPC stream"),
    (b"\xff\xff\xff\xff\xff\xff\xff\x7f", "no valid Arrow IPC stream"),
    (stream(valid())[:-40], "no valid Arrow IPC stream"),
    (stream(valid())[:100], "no valid Arrow IPC stream"),
    (stream(valid()) + b"more", "after the end"),
    (stream(valid()) * 2, "after the end"),
    (stream(valid(), compression="zstd"), "compressed"),
    (stream(valid(), compression="lz4"), "compressed"),
    (stream(valid(1, x=listed("a")), compression="zstd"), "compressed"),
    (growing_dictionary(), "adds to a dictionary"),
    (stream(valid(1, channel=listed(*map(str, range(51))))), "dictionary of more than 50"),
    (stream(valid(1, channel=listed("x" * 1_001))), "at most 1,000 characters"),
    (columns(10_001), "more than 10,000 columns"),
    (empty_batches(1_001), "more than 1,000 batches"),
]


@pytest.mark.parametrize(
    ("body", "words"), HOSTILE, ids=[f"{number} {words}" for number, (_, words) in enumerate(HOSTILE)]
)
def test_a_body_that_is_broken_or_may_grow_is_refused(body: bytes, words: str) -> None:
    assert words in str(refused(body))


def test_a_long_text_of_a_dictionary_is_refused_before_the_rows_repeat_it() -> None:
    table = valid(2, channel=pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array(["voice", "x" * 1_001])))
    (fault,) = refused(stream(table)).faults
    assert (fault.field, fault.index) == ("channel", None)


def test_offsets_that_go_backwards_are_refused_before_they_are_followed() -> None:
    offsets = pa.py_buffer(np.array([0, 5, 2, 9], np.int32))
    table = valid(3, channel=pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"voicechat")]))
    assert "Offset" in str(refused(stream(table)))


def test_a_text_that_is_no_utf8_is_refused() -> None:
    table = valid(1, channel=pa.array([b"\xff\xfe"]).view(pa.string()))
    assert "no valid Arrow IPC stream" in str(refused(stream(table)))


SAMPLE = stream(
    valid(
        4,
        timestamp=pa.array([dt.datetime(2026, 3, 2)] * 4),
        csat=[1.0, 2.0, None, 4.0],
        channel=pa.array(["voice", None, "chat", "voice"]).dictionary_encode(),
        language=["en", None, "de", ""],
        agents=pa.array([["a"], [], None, []]),
    ),
    3,
)


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.data())
def test_damage_anywhere_leads_to_a_batch_or_a_clear_error(damage: list[tuple[int, int]], data: Any) -> None:
    body = bytearray(SAMPLE)
    for position, byte in damage:
        body[position] = byte
    del body[data.draw(st.integers(len(body) // 2, len(body))) :]
    with contextlib.suppress(BodyError, TooManyRecordsError):
        batch = READER.read(bytes(body), ARROW)
        assert len(batch.moments()) == batch.n_rows <= 50
        assert all(len(values) == batch.n_rows for values in (*batch.numbers.values(), *batch.texts.values()))


def test_reading_arrow_imports_no_pandas() -> None:
    """Where it is installed, Arrow imports it for conversions of its own: 60 MB that the service does not need."""
    pytest.importorskip("pandas")
    code = """
import sys
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.serving.bodies import ARROW, BodyReader
reader = BodyReader(InteractionSchema(), "Europe/Berlin", 50)
assert "pyarrow" not in sys.modules
batch = reader.read(sys.stdin.buffer.read(), ARROW)
batch.moments()
print(batch.n_rows, "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], input=SAMPLE, capture_output=True, check=True)
    assert done.stdout == b"4 False\n"


def test_the_types_of_files_are_read() -> None:
    types = {column.name: ARROW_TYPES[column.type] for column in SCHEMA.columns}
    row = {"interaction_id": "a", "timestamp": dt.datetime(2026, 3, 2, tzinfo=dt.UTC), "csat": 2.0, "transfers": 1}
    batch = READER.read(stream(pa.Table.from_pylist([row], pa.schema(list(types.items())))), ARROW)
    assert content(batch)["numbers"] == {"csat": [2.0], "transfers": [1.0]}
