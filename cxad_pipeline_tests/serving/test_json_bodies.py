"""Bodies of JSON and NDJSON become a batch, or an error that says which record and which field."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_examples import FAULTS, SCHEMA, VALID, ZONES, as_json, as_lines, content, records, times

from cxad_pipeline.interactions.conversion import to_timestamp
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.serving.batch import BodyError, TooManyRecordsError
from cxad_pipeline.serving.bodies import ARROW, JSON, NDJSON, BodyReader, UnsupportedMediaTypeError, kind_of
from cxad_pipeline.serving.moments import microseconds

READER = BodyReader(SCHEMA, "Europe/Berlin", 50)
BOTH = pytest.mark.parametrize("kind", [JSON, NDJSON])


def body_of(rows: list[Any], kind: str) -> bytes:
    return as_json(rows) if kind == JSON else as_lines(rows)


def refused(body: bytes, kind: str = JSON, reader: BodyReader = READER) -> BodyError:
    with pytest.raises(BodyError) as caught:
        reader.read(body, kind)
    return caught.value


# What a batch holds


@given(st.lists(records(), max_size=8))
def test_a_batch_holds_what_the_records_say(rows: list[dict[str, Any]]) -> None:
    batch = READER.read(as_json(rows), JSON)
    assert list(batch.ids) == [row["interaction_id"] for row in rows]
    for column in SCHEMA.columns[2:]:
        given_values = [row.get(column.name) for row in rows]
        if column.is_metric:
            expected = [np.nan if value is None else value for value in given_values]
            there = any(value is not None for value in given_values)
            assert (column.name in batch.numbers) == there
            if there:
                np.testing.assert_array_equal(batch.numbers[column.name], expected)
                assert batch.numbers[column.name].dtype == np.float64
        elif column.type == "string":
            assert (column.name in batch.texts) == any(given_values)
            if any(given_values):
                assert list(batch.texts[column.name]) == [value or None for value in given_values]
    assert batch.ignored == {}


@given(st.lists(records(), max_size=8))
def test_json_and_ndjson_of_the_same_records_give_equal_batches(rows: list[dict[str, Any]]) -> None:
    assert content(READER.read(as_json(rows), JSON)) == content(READER.read(as_lines(rows), NDJSON))


# Arrow, which reads files, takes the rules of a zone no further than 2037.
@given(st.lists(times(last_year=2037), max_size=8), st.sampled_from(ZONES))
def test_moments_are_those_of_files_with_the_same_texts(texts: list[str], zone: str) -> None:
    from_files, _ = to_timestamp(pa.array(texts, pa.string()), SCHEMA["timestamp"], pattern=None, zone=zone)
    batch = BodyReader(SCHEMA, zone, 50).read(as_json([VALID | {"timestamp": text} for text in texts]), JSON)
    for moment, text, in_file in zip(
        batch.moments().tolist(), texts, from_files.cast(pa.int64()).to_pylist(), strict=True
    ):
        if in_file is None:
            # Files count the years in UTC, a request as they are written.
            assert text[:10] == "1900-01-01"
        else:
            assert moment == in_file, text


@given(st.data(), st.sampled_from(ZONES[1:]))
def test_moments_are_those_of_files_also_where_clocks_are_set(data: Any, zone: str) -> None:
    change = data.draw(st.sampled_from(CHANGES[zone]))
    local = change + dt.timedelta(seconds=data.draw(st.integers(-8_000, 8_000)))
    text = local.isoformat(timespec="seconds")
    from_file, _ = to_timestamp(pa.array([text]), SCHEMA["timestamp"], pattern=None, zone=zone)
    assert microseconds([text], zone).tolist() == from_file.cast(pa.int64()).to_pylist()


# Local times near which clocks were set forward or back
CHANGES = {
    "Europe/Berlin": [dt.datetime(2026, 3, 29, 2), dt.datetime(2026, 10, 25, 3), dt.datetime(1945, 5, 24, 2)],
    "America/St_Johns": [dt.datetime(2026, 3, 8, 2), dt.datetime(2026, 11, 1, 2), dt.datetime(1988, 4, 3, 0, 1)],
    "Australia/Lord_Howe": [dt.datetime(2026, 10, 4, 2), dt.datetime(2026, 4, 5, 2), dt.datetime(2036, 10, 5, 2)],
}


def test_a_time_that_does_not_exist_is_the_moment_at_which_clocks_were_set() -> None:
    texts = ["2026-03-29T02:30", "2026-03-29T02:00", "2026-03-29T03:00", "2026-10-25T02:30"]
    moments = [dt.datetime.fromtimestamp(moment / 1e6, dt.UTC) for moment in microseconds(texts, "Europe/Berlin")]
    assert [f"{moment:%d %H:%M}" for moment in moments] == ["29 01:00", "29 01:00", "29 01:00", "25 00:30"]


def test_a_time_beyond_the_table_of_changes_follows_the_zone_s_rule() -> None:
    winter, summer = microseconds(["2099-01-15T12:00", "2099-07-15T12:00"], "Europe/Berlin").tolist()
    assert [dt.datetime.fromtimestamp(moment / 1e6, dt.UTC).hour for moment in (winter, summer)] == [11, 10]


def test_a_time_beside_timestamp_is_a_text_in_utc() -> None:
    rows = [VALID | {"closed_at": "2026-07-01 12:00"}, VALID]
    batch = READER.read(as_json(rows), JSON)
    assert batch.texts == {"closed_at": ["2026-07-01T10:00:00.000000Z", None]}


def test_unknown_fields_are_counted_by_record() -> None:
    rows = [VALID | {"agent": "a", "x": None}, VALID, VALID | {"agent": {"csat": 7}}]
    assert READER.read(as_json(rows), JSON).ignored == {"agent": 2, "x": 1}


def test_many_or_long_unknown_names_are_not_kept() -> None:
    row = VALID | {"y" * 1_000: 0} | {f"x{number}": 0 for number in range(500)}
    ignored = READER.read(as_json([row, row]), JSON).ignored
    assert ignored == {f"x{number}": 2 for number in range(100)}


def test_the_same_record_twice_is_two_records() -> None:
    assert READER.read(as_json([VALID, VALID]), JSON).ids == ("call-1", "call-1")


@pytest.mark.parametrize(("body", "kind"), [(b"[]", JSON), (b" [ ] ", JSON), (b"", NDJSON), (b"\n \r\n", NDJSON)])
def test_a_body_of_no_records_is_valid(body: bytes, kind: str) -> None:
    batch = READER.read(body, kind)
    assert (batch.n_rows, batch.numbers, batch.texts, batch.moments().tolist()) == (0, {}, {}, [])


# Faults


@BOTH
@pytest.mark.parametrize(("name", "value", "words"), FAULTS)
def test_a_fault_is_named_with_record_and_field(kind: str, name: str, value: Any, words: str) -> None:
    rows = [VALID | {"interaction_id": f"call-{number}"} for number in range(3)]
    rows[1] = rows[1] | {name: value}
    error = refused(body_of(rows, kind), kind)
    (fault,) = error.faults
    assert words in fault.message
    assert (fault.index, fault.field, fault.line) == (1, name, 2 if kind == NDJSON else None)
    assert error.n_faults == 1
    if name != "interaction_id":
        assert fault.interaction_id == "call-1"
    assert len(str(error)) < 600


@BOTH
@given(st.lists(records(), min_size=1, max_size=6), st.data())
def test_all_faults_are_found_in_the_order_of_records_and_columns(kind: str, rows: list[Any], data: Any) -> None:
    expected = []
    for index, row in enumerate(rows):
        chosen = {
            name: (value, words) for name, value, words in data.draw(st.lists(st.sampled_from(FAULTS), max_size=3))
        }
        for name in sorted(chosen, key=SCHEMA.names.index):
            row[name] = chosen[name][0]
            expected.append((index, name, chosen[name][1]))
    if not expected:
        assert READER.read(body_of(rows, kind), kind).n_rows == len(rows)
        return
    error = refused(body_of(rows, kind), kind)
    assert error.n_faults == len(expected)
    assert [(fault.index, fault.field) for fault in error.faults] == [fault[:2] for fault in expected][:20]
    for fault, (_, _, words) in zip(error.faults, expected, strict=False):
        assert words in fault.message


@BOTH
def test_twenty_faults_are_named_and_all_are_counted(kind: str) -> None:
    rows = [VALID, *[VALID | {"csat": 9, "ies": -1}] * 49]
    error = refused(body_of(rows, kind), kind)
    assert error.n_faults == 98
    assert [fault.index for fault in error.faults] == [index for index in range(1, 11) for _ in range(2)]
    assert "98 faults" in str(error)


@BOTH
@pytest.mark.parametrize("absent", ["interaction_id", "timestamp"])
def test_an_absent_required_field_is_a_fault(kind: str, absent: str) -> None:
    row = {name: value for name, value in VALID.items() if name != absent}
    (fault,) = refused(body_of([VALID, row], kind), kind).faults
    assert (fault.index, fault.field, fault.message) == (1, absent, "is required")
    assert fault.interaction_id == row.get("interaction_id")


@BOTH
@pytest.mark.parametrize(("other", "shown"), [(12, "12"), (None, "null"), ("x", '"x"'), ([1], "an array")])
def test_a_record_that_is_no_object_is_a_fault(kind: str, other: Any, shown: str) -> None:
    (fault,) = refused(body_of([VALID, other], kind), kind).faults
    assert (fault.index, fault.field) == (1, None)
    assert fault.message == f"must be an object with the fields of an interaction; got {shown}"


def test_a_long_interaction_id_is_shortened_in_the_error() -> None:
    (fault,) = refused(as_json([VALID | {"interaction_id": "x" * 900, "csat": 9}])).faults
    assert fault.interaction_id == "x" * 200 + "..."


def test_the_reader_can_still_be_used_after_a_fault() -> None:
    refused(b"[1]")
    assert READER.read(as_json([VALID]), JSON).n_rows == 1


# Bodies that hold no records


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (b"  ", "is empty"),
        (b"{", "line 1 column"),
        (b"[\n{]", "line 2 column 2"),
        (b"[] x", "trailing characters at line 1 column 4"),
        (b"nope", "no valid JSON"),
        (b'[{"interaction_id": "\xff"}]', "no valid JSON"),
        (b'[{"interaction_id": "\\ud800"}]', "no valid JSON"),
        (b'[{"interaction_id": "a\x00"}]', "no valid JSON"),
        (b"\xef\xbb\xbf[]", "byte order mark"),
        ("[]".encode("utf-16"), "no valid JSON"),
        (b"\x1f\x8b\x08\x00", "no valid JSON"),
        (b"[" * 400, "recursion limit"),
        (b'[{"x": ' + b'{"x": ' * 300, "recursion limit"),
        (b'[{"x": 1' + b"0" * 5_000 + b"}]", "no valid JSON"),
        (b"{}", "must be an array of interactions; got an object"),
        (b"null", "must be an array of interactions; got null"),
        (b'"[]"', "must be an array of interactions"),
    ],
)
def test_a_body_that_is_no_array_is_refused_in_one_sentence(body: bytes, words: str) -> None:
    error = refused(body)
    (fault,) = error.faults
    assert words in str(error)
    assert (fault.index, fault.field, error.n_faults) == (None, None, 1)


@given(st.binary(max_size=40) | st.text('[]{},:"\\ue019.-tfn \n', max_size=40).map(str.encode))
def test_no_body_leads_to_another_error(body: bytes) -> None:
    for kind in (JSON, NDJSON, ARROW):
        with contextlib.suppress(BodyError, TooManyRecordsError):
            READER.read(body, kind)


def test_a_broken_line_is_named_and_so_are_the_faults_of_others() -> None:
    body = as_json(VALID) + b'\n\n{"interaction_id": \n' + as_json(VALID | {"csat": 9})
    first, second = refused(body, NDJSON).faults
    assert (first.index, first.line, first.field) == (1, 3, None)
    assert "no valid JSON" in first.message
    assert (second.index, second.line, second.field) == (2, 4, "csat")


def test_lines_may_end_in_a_carriage_return_and_be_blank() -> None:
    body = b"\r\n".join([as_json(VALID), b"", b"  ", as_json(VALID), b""])
    assert READER.read(body, NDJSON).n_rows == 2


@pytest.mark.parametrize(
    "body",
    [
        as_json(VALID) + b"," + as_json(VALID),
        as_json(VALID) + as_json(VALID),
        as_json(VALID).replace(b", ", b",\n"),
        as_json([VALID]),
        # as many records as lines, if lines were read together
        as_json(VALID) + b"," + as_json(VALID) + b'\n{"x": [{}\n{}], ' + as_json(VALID)[1:],
    ],
)
def test_a_line_holds_one_record(body: bytes) -> None:
    assert all(fault.line for fault in refused(body, NDJSON).faults)


# Limits


@BOTH
def test_as_many_records_as_allowed_are_read_and_one_more_is_too_many(kind: str) -> None:
    assert READER.read(body_of([VALID] * 50, kind), kind).n_rows == 50
    for row in (VALID, {}, 7):
        with pytest.raises(TooManyRecordsError, match="more than 50 records"):
            READER.read(body_of([row] * 51, kind), kind)


@BOTH
@pytest.mark.parametrize(
    "unknown", [b"[" + b"[]," * 1_999 + b"[]]", b"[" + b"{}," * 1_999 + b"{}]", b"[" + b"0," * 19_999 + b"0]"]
)
def test_what_would_take_far_more_memory_than_its_length_is_not_parsed(kind: str, unknown: bytes) -> None:
    record = as_json(VALID)[:-1] + b', "x": ' + unknown + b"}"
    body = b"[" + record + b"]" if kind == JSON else record
    with pytest.raises(TooManyRecordsError, match=r"values|objects and arrays"):
        READER.read(body, kind)
    # Among many records it is little, however few of them have it.
    others = [as_json(VALID)] * 300
    whole = b"[" + b",".join([*others, record]) + b"]" if kind == JSON else b"\n".join([*others, record])
    assert BodyReader(SCHEMA, "UTC", 5_000).read(whole, kind).ignored == {"x": 1}
    with pytest.raises(TooManyRecordsError):
        BodyReader(SCHEMA, "UTC", 5_000).read(body, kind)


def test_a_body_of_blank_lines_alone_is_not_walked_through() -> None:
    with pytest.raises(TooManyRecordsError, match="lines"):
        READER.read(b"\n" * 20_000, NDJSON)
    assert READER.read(b"\n" * 10_000, NDJSON).n_rows == 0


# Content types


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("", JSON),
        ("application/json", JSON),
        ("Application/JSON; charset=UTF-8", JSON),
        ('application/x-ndjson;charset="utf-8"', NDJSON),
        ("application/json; version=1", JSON),
        ("application/vnd.apache.arrow.stream", ARROW),
    ],
)
def test_content_types_that_are_read(content_type: str, kind: str) -> None:
    assert kind_of(content_type) == kind


@pytest.mark.parametrize(
    ("content_type", "words"),
    [
        ("text/csv", "application/json, application/x-ndjson, application/vnd.apache.arrow.stream"),
        ("application/x-www-form-urlencoded", "application/json"),
        ("application/json; charset=latin-1", "UTF-8"),
        ("application/x-ndjson; charset=utf-16", "UTF-8"),
    ],
)
def test_other_content_types_are_refused_with_those_that_are_read(content_type: str, words: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match=words):
        READER.read(b"[]", content_type)


def test_the_standard_schema_reads_the_documented_example() -> None:
    body = json.dumps(
        [VALID | {"csat": 4.5, "complaints": 0, "channel": "voice", "language": "en", "queue": "billing"}]
    )
    batch = BodyReader(InteractionSchema(), "UTC", 10).read(body.encode(), JSON)
    assert batch.interaction(0) == {
        "interaction_id": "call-1",
        "timestamp": "2026-03-02T09:30:00.000000Z",
        "csat": 4.5,
        "complaints": 0.0,
        "channel": "voice",
        "language": "en",
        "queue": "billing",
    }
