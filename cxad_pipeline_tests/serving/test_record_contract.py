"""What a record of a request may be: the validator, the published JSON schema and the calendar agree."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from record_examples import FAULTS, LARGEST, SCHEMA, VALID, as_json, records, times, values

from cxad_pipeline.interactions.record import (
    TIMESTAMP_PATTERN,
    record_adapter,
    record_json_schema,
    single_record_adapter,
)
from cxad_pipeline.interactions.schema import Column, InteractionSchema

PUBLISHED = record_json_schema(SCHEMA)
ORACLE = jsonschema_rs.Draft202012Validator(PUBLISHED)
ADAPTER = single_record_adapter(SCHEMA)


def accepted(record: Any) -> bool:
    try:
        ADAPTER.validate_json(as_json(record))
    except ValidationError:
        return False
    return True


def test_exactly_the_days_of_the_calendar_from_1900_to_2199_are_times() -> None:
    for year in range(1898, 2203):
        for month in range(14):
            for day in range(33):
                text = f"{year:04d}-{month:02d}-{day:02d}T10:00"
                assert bool(re.fullmatch(TIMESTAMP_PATTERN, text)) == is_day(year, month, day), text


def is_day(year: int, month: int, day: int) -> bool:
    try:
        dt.date(year, month, day)
    except ValueError:
        return False
    return 1900 <= year < 2200


@pytest.mark.parametrize("day", ["1900-02-29", "2100-02-29", "2000-02-29", "2024-02-29", "2199-12-31", "2026-04-31"])
def test_the_validator_reads_the_pattern_as_the_test_above_does(day: str) -> None:
    assert accepted(VALID | {"timestamp": f"{day}T00:00Z"}) == is_day(*map(int, day.split("-")))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("2026-03-02T23:59:59.999999999Z", True),
        ("2026-03-02 00:00", True),
        ("2026-03-02t00:00z", True),
        ("2026-03-02T09:30:00,5+05:30", True),
        ("2026-03-02T09:30:00-2359", True),
        ("2026-03-02T24:00", False),
        ("2026-03-02T09:60", False),
        ("2026-03-02T09:30:60Z", False),
        ("2026-03-02T09:30.5Z", False),
        ("2026-03-02T09:30:00.Z", False),
        ("2026-03-02T09:30:00.1234567890Z", False),
        ("2026-03-02T09:30:00+24:00", False),
        ("2026-03-02T09:30:00+05", False),
        ("2026-03-02T09:30:00 Z", False),
        ("2026-03-02_09:30", False),
        ("2026-03-02T09", False),
        ("2026-03-02", False),
        ("2026-W10-1T09:30", False),
        ("20260302T0930", False),
        (" 2026-03-02T09:30", False),
        ("2026-03-02T09:30\n", False),
        ("\uff12\uff10\uff12\uff16-03-02T09:30", False),
    ],
)
def test_time_of_day_and_zone(text: str, right: bool) -> None:
    record = VALID | {"timestamp": text}
    assert (accepted(record), ORACLE.is_valid(record)) == (right, right)


@given(times())
def test_times_as_people_write_them_are_accepted(text: str) -> None:
    assert accepted(VALID | {"timestamp": text})


@given(st.from_regex(TIMESTAMP_PATTERN, fullmatch=True).filter(lambda text: not text.endswith("\n")))
def test_every_text_of_the_pattern_is_a_time_that_python_reads(text: str) -> None:
    assert 1900 <= dt.datetime.fromisoformat(text.upper()).year < 2200
    assert accepted(VALID | {"timestamp": text})


@given(records())
def test_valid_records_are_accepted_by_validator_and_published_schema(record: dict[str, Any]) -> None:
    assert accepted(record)
    assert ORACLE.is_valid(record)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([LARGEST, LARGEST + 1, -LARGEST, -LARGEST - 1, 0, 1, 5, 100]),
    st.sampled_from([0.5, 2.0, 2.0000000001, 4.999, 5.0000001, -0.0, 1e300]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from(["", "\0", "x" * 1_000, "x" * 1_001, "é" * 1_000, "4", "2026-03-02T09:30:00Z", "2026-03-02"]),
    st.just([]),
    st.just({}),
)


@given(records(), st.data())
def test_the_published_schema_accepts_exactly_what_the_validator_accepts(record: dict[str, Any], data: Any) -> None:
    for name in data.draw(st.lists(st.sampled_from(SCHEMA.names), min_size=1, max_size=2)):
        if data.draw(st.integers(0, 5)):
            record[name] = data.draw(anything | values(SCHEMA[name]))
        else:
            record.pop(name, None)
    event(f"accepted: {accepted(record)}")
    assert accepted(record) == ORACLE.is_valid(record)


@pytest.mark.parametrize(("name", "value", "_words"), FAULTS)
def test_the_published_schema_refuses_each_known_fault(name: str, value: Any, _words: str) -> None:
    record = VALID | {name: value}
    assert not accepted(record)
    # JSON has no NaN, and a double ends at 1.8e308: `format: double` says so, which no validator checks
    if not (isinstance(value, float) and not abs(value) < float("inf")) and value != 10**400:
        assert not ORACLE.is_valid(record)


@pytest.mark.parametrize("other", [None, 1, "x", [], [VALID]])
def test_a_record_is_an_object(other: Any) -> None:
    assert not accepted(other)
    assert not ORACLE.is_valid(other)


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name not in SCHEMA), anything)
)
@example({"x": {"csat": 7}})
def test_unknown_fields_make_no_difference(unknown: dict[str, Any]) -> None:
    assert accepted(VALID | unknown)
    assert ORACLE.is_valid(VALID | unknown)


def test_every_column_of_the_deployment_is_published_with_meaning_unit_range_and_a_valid_example() -> None:
    for column in SCHEMA.columns:
        published = PUBLISHED["properties"][column.name]
        assert column.meaning in published["description"]
        assert published.get("x-unit", "") == column.unit
        assert f"Unit: {column.unit}." in published["description"] or not column.unit
        if column.minimum is not None:
            assert published["minimum"] == column.minimum
        if column.maximum is not None:
            assert published["maximum"] == column.maximum
        for shown in published.get("examples", []):
            assert accepted(VALID | {column.name: shown})
    assert all("examples" in PUBLISHED["properties"][column.name] for column in InteractionSchema().columns)
    assert PUBLISHED["required"] == ["interaction_id", "timestamp"]


def test_a_column_that_a_deployment_requires_is_required() -> None:
    adapter = record_adapter(InteractionSchema([Column("effort", "float", "Effort.", required=True)]))
    adapter.validate_python([VALID | {"effort": 1.0}])
    for bad in (VALID, VALID | {"effort": None}):
        with pytest.raises(ValidationError, match="effort"):
            adapter.validate_python([bad])


def test_validated_records_have_every_column_in_the_order_of_the_schema() -> None:
    (record,) = record_adapter(SCHEMA).validate_json(as_json([{"x": 1, "queue": "q"} | VALID]))
    assert list(record) == [*SCHEMA.names, "x"]


def test_the_form_of_a_record_imports_no_data_frames() -> None:
    code = "import sys, cxad_pipeline.interactions.record; print({'pandas', 'pandera', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
