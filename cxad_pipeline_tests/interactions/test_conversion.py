"""Texts and typed values of an export become ours, and what can't be is named."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.interactions.conversion import (
    apply_codes,
    as_text,
    blank_to_null,
    missing_to_null,
    to_metric,
    to_timestamp,
)
from cxad_pipeline.interactions.schema import Column, InteractionSchema

SCHEMA = InteractionSchema()
BERLIN = "Europe/Berlin"


def metric(
    values: pa.Array | list[Any], name: str = "aht_seconds", unit: str | None = None, decimal: str = "."
) -> tuple[list[Any], dict[int, list[str]]]:
    values = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    converted, faults = to_metric(values, SCHEMA[name], unit=unit, decimal=decimal)
    assert len(converted) == len(values)
    return converted.to_pylist(), reasons(faults)


def moments(
    values: pa.Array | list[Any], pattern: str | None = None, zone: str = "UTC"
) -> tuple[list[Any], dict[int, list[str]]]:
    values = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    converted, faults = to_timestamp(values, SCHEMA["timestamp"], pattern=pattern, zone=zone)
    assert converted.type == pa.timestamp("us", tz="UTC")
    return converted.to_pylist(), reasons(faults)


def reasons(faults: list[Any]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for fault in faults:
        for row in np.flatnonzero(fault.rows):
            found.setdefault(int(row), []).append(fault.describe(int(row)))
    return found


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc]


# Metrics


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("90", None, 90.0),
        ("90", "seconds", 90.0),
        ("1500", "milliseconds", 1.5),
        ("1.5", "minutes", 90.0),
        ("0.5", "hours", 1800.0),
        ("0:01:30", "h:mm:ss", 90.0),
        ("100:00:01", "h:mm:ss", 360_001.0),
        ("0:00:01.25", "h:mm:ss", 1.25),
        ("0:1:2", "h:mm:ss", 62.0),
        ("+1e2", None, 100.0),
        (".5", None, 0.5),
        ("5.", None, 5.0),
    ],
)
def test_units_become_seconds(text: str, unit: str | None, expected: float) -> None:
    assert metric([text], unit=unit) == ([expected], {})


def test_a_fraction_becomes_percent() -> None:
    assert metric(["0.25", "1"], "ies", "fraction") == ([25.0, 100.0], {})
    assert metric(["25"], "ies", "percent") == ([25.0], {})
    assert metric(["1.01"], "ies", "fraction")[1] == {0: ["ies = '1.01': must be 0-100"]}


def test_decimal_commas_are_read_where_they_are_declared() -> None:
    assert metric(["1,5", "2"], decimal=",") == ([1.5, 2.0], {})
    assert metric(["0:00:01,5"], unit="h:mm:ss", decimal=",") == ([1.5], {})
    assert metric(["1,5"])[1] == {0: ["aht_seconds = '1,5': not a number"]}
    assert metric(["1.234,5"], decimal=",")[1] == {0: ["aht_seconds = '1.234,5': not a number"]}


@pytest.mark.parametrize(
    ("text", "name", "unit", "reason"),
    [
        ("soon", "aht_seconds", None, "aht_seconds = 'soon': not a number"),
        ("1 000", "aht_seconds", None, "aht_seconds = '1 000': not a number"),
        ("1_000", "aht_seconds", None, "aht_seconds = '1_000': not a number"),
        ("0x10", "aht_seconds", None, "aht_seconds = '0x10': not a number"),
        ("inf", "aht_seconds", None, "aht_seconds = 'inf': not a number"),
        ("1e999", "aht_seconds", None, "aht_seconds = '1e999': not finite"),
        ("-1", "aht_seconds", None, "aht_seconds = '-1': must be >= 0"),
        ("0.99", "csat", None, "csat = '0.99': must be 1-5"),
        ("5.01", "csat", None, "csat = '5.01': must be 1-5"),
        ("1.5", "transfers", None, "transfers = '1.5': not a whole number"),
        ("1e30", "transfers", None, "transfers = '1e30': too large"),
        ("1:60:00", "aht_seconds", "h:mm:ss", "aht_seconds = '1:60:00': not a duration h:mm:ss"),
        ("1:00", "aht_seconds", "h:mm:ss", "aht_seconds = '1:00': not a duration h:mm:ss"),
        ("90", "aht_seconds", "h:mm:ss", "aht_seconds = '90': not a duration h:mm:ss"),
        ("-0:00:01", "aht_seconds", "h:mm:ss", "aht_seconds = '-0:00:01': must be >= 0"),
    ],
)
def test_a_bad_metric_is_refused_with_column_value_and_what_is_allowed(
    text: str, name: str, unit: str | None, reason: str
) -> None:
    _, found = metric(["1", text, None], name, unit)
    assert found.pop(1) == [reason]
    assert unit is not None or found == {}


def test_ranges_are_inclusive() -> None:
    assert metric(["1", "5"], "csat") == ([1.0, 5.0], {})
    assert metric(["0", "100"], "ies") == ([0.0, 100.0], {})


def test_a_range_with_an_end_at_zero_judges_missing_values_by_nothing() -> None:
    below = Column("depth", "float", "", maximum=-1)
    values, faults = to_metric(pa.array([None, "-2", "0"]), below, unit=None, decimal=".")
    assert values.to_pylist()[:2] == [None, -2.0]
    assert reasons(faults) == {2: ["depth = '0': must be <= -1"]}


def test_whole_numbers_may_be_written_with_a_point() -> None:
    assert metric(["2.0", "3", "1e2"], "transfers") == ([2, 3, 100], {})
    assert metric(pa.array([2.0, None]), "transfers") == ([2, None], {})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([90, None], pa.int8()), [90.0, None]),
        (pa.array([1.5], pa.float32()), [1.5]),
        (pa.array([Decimal("1.50")]), [1.5]),
        (pa.array([dt.timedelta(minutes=2)]), [120.0]),
        (pa.array([2], pa.duration("s")), [2.0]),
        (pa.array(["90"], pa.large_string()), [90.0]),
        (pa.array(["90", None]).dictionary_encode(), [90.0, None]),
        (pa.nulls(2), [None, None]),
        (pa.array([float("nan")]), [None]),
    ],
)
def test_typed_columns_are_taken_as_they_are(values: pa.Array, expected: list[float | None]) -> None:
    assert metric(values) == (expected, {})


def test_a_typed_duration_carries_its_own_unit() -> None:
    values = pa.array([dt.timedelta(seconds=61)])
    for unit in (None, "seconds", "minutes", "h:mm:ss"):
        assert metric(values, unit=unit) == ([61.0], {})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pa.array([True]), "transfers = True: not a number"),
        (pa.array([float("inf")]), "transfers = inf: not finite"),
        (pa.array([-float("inf")]), "transfers = -inf: not finite"),
        (pa.array([2**63 - 1]), "transfers = 9223372036854775807: too large"),
        (pa.array([2**64 - 1], pa.uint64()), "transfers = 18446744073709551615: too large"),
        (pa.array([-1]), "transfers = -1: must be >= 0"),
        (pa.array([[1]]), "transfers = [1]: not a number"),
    ],
)
def test_typed_values_that_are_no_metric_are_refused(values: pa.Array, reason: str) -> None:
    assert metric(values, "transfers") == ([None], {0: [reason]}) or metric(values, "transfers")[1] == {0: [reason]}


@given(st.lists(st.one_of(st.none(), st.text(max_size=8), st.floats().map(repr), st.integers().map(str))))
def test_a_metric_is_a_number_in_range_or_missing_or_named(texts: list[str | None]) -> None:
    values, found = metric(pa.array(blank_to_null(pa.array(texts, pa.string()), [""])), "ies")
    for row, text in enumerate(texts):
        if row in found:
            continue
        if values[row] is None:
            assert text is None or not text.strip()
        else:
            assert text is not None
            assert 0 <= values[row] <= 100
            assert values[row] == float(text)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_h_mm_ss_is_read_as_people_write_it(hours: int, minutes: int, seconds: int) -> None:
    assert metric([f"{hours}:{minutes:02}:{seconds:02}"], unit="h:mm:ss") == (
        [hours * 3600.0 + minutes * 60 + seconds],
        {},
    )


# Texts and codes


def test_missing_texts_are_trimmed_first() -> None:
    assert blank_to_null(pa.array([" a ", "  ", "NA", " NA\t", None, "na"]), ["", "NA"]).to_pylist() == [
        "a", None, None, None, None, "na",
    ]  # fmt: skip


def test_missing_texts_mean_the_same_in_typed_columns() -> None:
    assert missing_to_null(pa.array([0, 5]), ["0"]).to_pylist() == [None, 5]
    assert missing_to_null(pa.array([0.0, 5.5]), ["0"]).to_pylist() == [None, 5.5]
    assert missing_to_null(pa.array([" ", "a"], pa.large_string()), [""]).to_pylist() == [None, "a"]


def test_a_code_held_as_a_float_is_its_digits_whatever_its_neighbours() -> None:
    assert as_text(pa.array([7.0, 1e15])).to_pylist() == ["7", "1000000000000000"]
    assert as_text(pa.array([7.0, 7.5, None, float("nan"), 1e15])).to_pylist() == [
        "7", "7.5", None, "nan", "1000000000000000",
    ]  # fmt: skip
    assert as_text(pa.array([7.0, 1e300])).to_pylist() == ["7", "1e+300"]


def test_codes_are_mapped_kept_replaced_or_refused() -> None:
    texts, queue = pa.array(["A", "B", None]), SCHEMA["queue"]
    assert apply_codes(texts, queue, {"A": "sales"}, None, strict=False)[0].to_pylist() == ["sales", "B", None]
    assert apply_codes(texts, queue, {"A": "sales"}, "rest", strict=False)[0].to_pylist() == ["sales", "rest", None]
    values, faults = apply_codes(texts, queue, {"A": "sales", "C": "care"}, None, strict=True)
    assert values.to_pylist() == ["sales", None, None]
    assert reasons(faults) == {1: ["queue = 'B': not a listed code (A, C)"]}


# Times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-10-12T06:00:00Z", utc(2026, 10, 12, 6)),
        ("2026-10-12 06:00", utc(2026, 10, 12, 4)),
        ("2026-10-12", utc(2026, 10, 11, 22)),
        ("2026-10-12T06:00:00+05:30", utc(2026, 10, 12, 0, 30)),
        ("2026-10-12T06:00:00-0200", utc(2026, 10, 12, 8)),
        ("2026-10-12T06:00:00.250", utc(2026, 10, 12, 4, 0, 0, 250_000)),
        ("20261012T060000", utc(2026, 10, 12, 4)),
        ("2026-10-12t06:00:00z", utc(2026, 10, 12, 6)),
    ],
)
def test_iso_times_are_read_with_and_without_zone(text: str, expected: dt.datetime) -> None:
    assert moments([text], zone=BERLIN) == ([expected], {})
    assert moments([text, "broken"], zone=BERLIN)[0] == [expected, None]  # one by one, too


@pytest.mark.parametrize(
    "text",
    ["soon", "1.10.2026", "2026-13-01", "2026-02-30", "2026-10-12T25:00", "2026-10-25-0500", "2026-10-12x06:00",
     "2026", "\uff11\uff12", "1899-12-31", "2200-01-01T00:00Z", "0001-01-01T00:00+14:00", "9999-12-31T23:00-10:00"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    assert moments([text]) == ([None], {0: [f"timestamp = {text!r}: not an ISO 8601 time"]})
    assert moments([text, "broken"])[1][0] == [f"timestamp = {text!r}: not an ISO 8601 time"]


def test_one_column_may_mix_zones() -> None:
    texts = ["2026-07-01T12:00Z", "2026-07-01T12:00", None, "2026-07-01T12:00+05:00"]
    expected = [utc(2026, 7, 1, 12), utc(2026, 7, 1, 10), None, utc(2026, 7, 1, 7)]
    assert moments(texts, zone=BERLIN) == (expected, {})


CLOCK_CHANGES = [
    # set back at 01:00 UTC: 02:30 comes twice and means the first
    ("2026-10-25T02:30:00", utc(2026, 10, 25, 0, 30)),
    ("2026-10-25T01:59:59", utc(2026, 10, 24, 23, 59, 59)),
    ("2026-10-25T03:00:00", utc(2026, 10, 25, 2)),
    # set forward at 01:00 UTC: 02:30 does not exist and means that moment
    ("2026-03-29T02:30:00", utc(2026, 3, 29, 1)),
    ("2026-03-29T01:59:59", utc(2026, 3, 29, 0, 59, 59)),
    ("2026-03-29T03:00:00", utc(2026, 3, 29, 1)),
]


@pytest.mark.parametrize(("text", "expected"), CLOCK_CHANGES)
def test_both_clock_changes_mean_the_same_on_every_path(text: str, expected: dt.datetime) -> None:
    day, clock = text.split("T")
    naive = dt.datetime.fromisoformat(text)
    paths = [
        moments([text], zone=BERLIN),
        moments([text, "broken"], zone=BERLIN),
        moments([f"{day} {clock}"], "%Y-%m-%d %H:%M:%S", BERLIN),
        moments([f"{day} {clock}.5"], "%Y-%m-%d %H:%M:%S.%f", BERLIN),
        moments(pa.array([naive], pa.timestamp("us")), zone=BERLIN),
    ]
    for values, _ in paths:
        assert values[0].replace(microsecond=0) == expected


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("990101 0:00:31", "%y%m%d %H:%M:%S", utc(1999, 1, 1, 0, 0, 31)),
        ("12.10.2026 06:05", "%d.%m.%Y %H:%M", utc(2026, 10, 12, 6, 5)),
        ("1.2.2026 6:05", "%d.%m.%Y %H:%M", utc(2026, 2, 1, 6, 5)),
        ("10/12/2026 06:05 PM", "%m/%d/%Y %I:%M %p", utc(2026, 10, 12, 18, 5)),
        ("12 Oct 2026", "%d %b %Y", utc(2026, 10, 12)),
        ("2026-10-12 06:05:01.25", "%Y-%m-%d %H:%M:%S.%f", utc(2026, 10, 12, 6, 5, 1, 250_000)),
        ("12.10.2026 06:05 +0200", "%d.%m.%Y %H:%M %z", utc(2026, 10, 12, 4, 5)),
    ],
)
def test_times_of_a_given_form_are_read(text: str, pattern: str, expected: dt.datetime) -> None:
    assert moments([text, None], pattern) == ([expected, None], {})


@pytest.mark.parametrize(
    "text", ["31.02.2026", "29.02.2026", "31.04.2026", "1.13.2026", "1.1.2026 x", "2026-01-01", ""]
)
def test_days_that_the_calendar_lacks_are_refused(text: str) -> None:
    assert moments([text, "01.03.2026"], "%d.%m.%Y") == (
        [None, utc(2026, 3, 1)],
        {0: [f"timestamp = {text!r}: not a time of the form %d.%m.%Y"]},
    )


@given(
    st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
    st.sampled_from(["%d.%m.%Y %H:%M:%S", "%Y%m%d%H%M%S", "%m/%d/%Y %I:%M:%S %p", "%d %b %Y %H:%M:%S"]),
)
def test_a_form_reads_what_it_writes(moment: dt.datetime, pattern: str) -> None:
    assert moments([moment.strftime(pattern)], pattern) == ([moment.replace(tzinfo=dt.UTC)], {})


@given(st.from_regex(r"[0-3][0-9]\.[0-1][0-9]\.20[0-9]{2} [0-2]?[0-9]:[0-6][0-9]", fullmatch=True))
def test_a_form_agrees_with_pythons_strptime(text: str) -> None:
    pattern = "%d.%m.%Y %H:%M"
    try:
        expected = dt.datetime.strptime(text, pattern).replace(tzinfo=dt.UTC)
    except ValueError:
        expected = None
    assert moments([text], pattern)[0] == [expected]


@given(
    st.lists(
        st.one_of(
            st.datetimes(dt.datetime(1900, 1, 2), dt.datetime(2199, 12, 30)).map(dt.datetime.isoformat),
            st.datetimes(
                dt.datetime(1901, 1, 1), dt.datetime(2199, 1, 1), timezones=st.just(dt.timezone(dt.timedelta(hours=-3)))
            ).map(lambda moment: moment.isoformat(" ")),
            st.from_regex(
                r"20[0-9]{2}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9])?Z?)?", fullmatch=True
            ),
            st.from_regex(r"[0-9T :.Z+-]{0,25}", fullmatch=True),
            st.none(),
        ),
        max_size=5,
    ),
    st.sampled_from(["UTC", BERLIN, "America/St_Johns", "Australia/Lord_Howe"]),
)
def test_the_fast_and_the_slow_path_agree(texts: list[str | None], zone: str) -> None:
    slow, _ = moments([*texts, "broken"], zone=zone)
    each = [moments([text], zone=zone)[0][0] for text in texts]
    assert slow == [*each, None]
    assert moments(texts, zone=zone)[0] == each


@given(st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2037, 1, 1)), st.sampled_from([BERLIN, "America/St_Johns"]))
def test_times_without_zone_agree_with_zoneinfo_where_they_exist(naive: dt.datetime, zone: str) -> None:
    expected = naive.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(dt.UTC)
    exists = expected.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == naive
    value = moments([naive.isoformat()], zone=zone)[0][0]
    if exists:
        assert value == expected
    else:  # the moment of the change: a microsecond before it, the clock shows less
        assert value.astimezone(ZoneInfo(zone)).utcoffset() != (
            (value - dt.timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).utcoffset()
        )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([dt.datetime(2026, 7, 1, 12)], pa.timestamp("s")), utc(2026, 7, 1, 10)),
        (pa.array([dt.datetime(2026, 7, 1, 12)], pa.timestamp("ns", tz="Asia/Tokyo")), utc(2026, 7, 1, 12)),
        (pa.array([1_782_900_000_123_456_789], pa.timestamp("ns", tz="UTC")), utc(2026, 7, 1, 10, 0, 0, 123_456)),
        (pa.array([dt.date(2026, 7, 1)]), utc(2026, 6, 30, 22)),
        (pa.array([dt.date(2026, 7, 1)], pa.date64()), utc(2026, 6, 30, 22)),
        (pa.array([20_260_701]), utc(2026, 6, 30, 22)),
        (pa.array(["2026-07-01T12:00"]).dictionary_encode(), utc(2026, 7, 1, 10)),
    ],
)
def test_typed_times_are_taken_as_they_are(values: pa.Array, expected: dt.datetime) -> None:
    assert moments(values, zone=BERLIN) == ([expected], {})


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**62, 0], pa.timestamp("s")),
        pa.array([-(2**62), 0], pa.timestamp("s", tz="UTC")),
        pa.array([2**62, 0], pa.timestamp("ms")),
        pa.array([2**31 - 1, 0], pa.date32()),
        pa.array([dt.datetime(1, 1, 1), dt.datetime(1970, 1, 1)], pa.timestamp("us")),
        pa.array([1_774_747_800, 19_700_101]),
        pa.array([1.5, 19_700_101.0]),
    ],
)
def test_a_typed_time_out_of_reach_costs_its_row_alone(values: pa.Array) -> None:
    converted, found = moments(values)
    assert converted == [None, utc(1970, 1, 1)]
    assert list(found) == [0]
    assert "not an ISO 8601 time" in found[0][0]
