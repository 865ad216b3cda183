"""Texts of a foreign export as typed columns, and the rows that can't be.

Belongs here: whole columns of text or typed values in, an Arrow column and its faults out. Does not belong here: files,
and which column comes from where (`sources`).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.interactions.arrow_schema import ARROW_TYPES
from cxad_pipeline.interactions.schema import Column

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_CLOCK = r"^(?P<sign>-?)(?P<hours>\d+):(?P<minutes>[0-5]?\d):(?P<seconds>[0-5]?\d(?:\.\d+)?)$"
_ZONE = r"([Zz]|[+-]\d{2}:?\d{2})$"
# Python's reader takes any sign between date and time; `2026-10-25-0500` would be five in the morning
_ISO_PARTS = re.compile(r"[0-9W-]{8,10}([Tt ].+)?")
# whole numbers beyond are not told apart by a float, and Parquet's floats pass through here
_LARGEST_WHOLE = 2.0**53
_SCALE = {"seconds": 1.0, "milliseconds": 0.001, "minutes": 60.0, "hours": 3600.0, "percent": 1.0, "fraction": 100.0}
# Arrow holds microseconds since 1970 in 64 bits, people mean these years; anything else is a fault of the export.
_YEARS = (dt.datetime(1900, 1, 1, tzinfo=dt.UTC), dt.datetime(2200, 1, 1, tzinfo=dt.UTC))


@dataclass(frozen=True)
class Fault:
    """Rows of one column that break the contract.

    Attributes
    ----------
    rows
        Boolean mask of shape (n,).
    describe
        Row index -> reason in words.
    """

    rows: np.ndarray
    describe: Callable[[int], str]


def as_text(values: pa.Array) -> pa.Array:
    """A column of any type as text; binary and nested types are written as Arrow shows them."""
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_floating(values.type):
        values = pc.cast(values, pa.float64())
        # an export that holds a code as 7.0 means 7, and an id as 1e16 means its digits
        whole = pc.and_(pc.equal(values, pc.round(values)), pc.less_equal(pc.abs(values), _LARGEST_WHOLE))
        digits = pc.cast(pc.cast(pc.if_else(whole, values, None), pa.int64(), safe=False), pa.string())
        return pc.coalesce(digits, pc.cast(values, pa.string()))
    try:
        return pc.cast(values, pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return pa.array([None if value is None else str(value) for value in values.to_pylist()], pa.string())


def as_python(values: pa.Array) -> list[Any]:
    """Values as Python shows them; a time that Python can't hold is the number that the file has."""
    try:
        return list(values.to_pylist())
    except (OverflowError, ValueError):
        stored = pa.int32() if pa.types.is_date32(values.type) else pa.int64()
        return list(values.view(stored).to_pylist())


def blank_to_null(texts: pa.Array, missing: Sequence[str]) -> pa.Array:
    """Trim white space and turn the texts that mean "no value" into nulls."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(list(missing), pa.string())), None, trimmed)


def missing_to_null(values: pa.Array, missing: Sequence[str]) -> pa.Array:
    """Values with nulls where their text means "no value"; what has no type of its own to keep becomes text."""
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    kind = values.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (numeric or pa.types.is_temporal(kind) or pa.types.is_boolean(kind)):
        return blank_to_null(as_text(values), missing)
    absent = pc.is_in(as_text(values), value_set=pa.array(list(missing), pa.string()))
    return pc.if_else(absent, pa.scalar(None, kind), values)


def to_metric(values: pa.Array, column: Column, *, unit: str | None, decimal: str) -> tuple[pa.Array, list[Fault]]:
    """A metric in the schema's type and unit, with the rows that are no number or out of range.

    Parameters
    ----------
    values
        Text, or any numeric type; shape (n,).
    column
        The metric.
    unit
        Unit in the export, None where it is the schema's. Typed durations carry theirs.
    decimal
        Decimal sign of texts.
    """
    source = values
    if pa.types.is_boolean(values.type):
        return pa.nulls(len(values), ARROW_TYPES[column.type]), [
            _fault(source, column, "not a number", pc.is_valid(values))
        ]
    if pa.types.is_duration(values.type):
        numbers = pc.divide(pc.cast(pc.cast(values, pa.duration("us"), safe=False), pa.int64()), 1e6)
        expected, unit = "not a duration", None
    elif unit == "h:mm:ss":
        texts = as_text(values)
        numbers = _clock_seconds(pc.replace_substring(texts, ",", ".") if decimal == "," else texts)
        expected = "not a duration h:mm:ss"
    elif pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        numbers = pc.cast(values, pa.float64(), safe=False)
        expected = "not a number"
    else:
        texts = as_text(values)
        if decimal == ",":
            texts = pc.replace_substring(texts, ",", ".")
        numbers = _numbers(texts)
        expected = "not a number"
    faults = [_fault(source, column, expected, pc.and_(pc.is_valid(source), pc.is_null(numbers)))]
    if unit is not None and unit != "h:mm:ss":
        numbers = pc.multiply(numbers, _SCALE[unit])
    faults.append(_fault(source, column, "not finite", pc.is_inf(numbers)))
    numbers = pc.if_else(pc.is_finite(numbers), numbers, None)  # NaN of a typed file means no value
    if column.type == "integer":
        broken = pc.not_equal(numbers, pc.round(numbers))
        faults.append(_fault(source, column, "not a whole number", broken))
        numbers = pc.if_else(broken, None, numbers)
        huge = pc.greater(pc.abs(numbers), _LARGEST_WHOLE)
        faults.append(_fault(source, column, "too large", huge))
        numbers = pc.if_else(huge, None, numbers)
    outside = np.zeros(len(numbers), bool)
    plain = numbers.to_numpy(zero_copy_only=False).astype(float)  # NaN, where there is none, is not outside
    if column.minimum is not None:
        outside |= plain < column.minimum
    if column.maximum is not None:
        outside |= plain > column.maximum
    faults.append(_fault(source, column, f"must be {column.range_in_words()}", pa.array(outside)))
    return pc.cast(numbers, ARROW_TYPES[column.type], safe=False), [fault for fault in faults if fault.rows.any()]


def to_timestamp(values: pa.Array, column: Column, *, pattern: str | None, zone: str) -> tuple[pa.Array, list[Fault]]:
    """Moments in UTC, with the rows that are none.

    A time without zone is in `zone`. Where clocks are set back such a time is ambiguous and means the first of the two;
    where they are set forward a time that does not exist means the moment at which they were.
    """
    if pa.types.is_timestamp(values.type):
        low, high = (pa.scalar(year.replace(tzinfo=dt.UTC if values.type.tz else None)) for year in _YEARS)
        low, high = (pc.cast(year, pa.timestamp(values.type.unit, values.type.tz)) for year in (low, high))
        near = pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))  # others overflow in the cast
        moments = pc.cast(pc.if_else(near, values, None), pa.timestamp("us", tz=values.type.tz), safe=False)
        moments = moments if values.type.tz else _localize(moments, zone)
        moments = pc.cast(moments, ARROW_TYPES["timestamp"])
    elif pa.types.is_date(values.type):
        days = pc.cast(pc.cast(values, pa.date32()), pa.int32())
        low_day, high_day = (year.date().toordinal() - dt.date(1970, 1, 1).toordinal() for year in _YEARS)
        near = pc.and_(pc.greater_equal(days, low_day), pc.less_equal(days, high_day))
        moments = _localize(pc.cast(pc.if_else(near, values, None), pa.timestamp("us")), zone)
    elif pattern is not None:
        moments = _patterned(as_text(values), pattern, zone)
    else:
        moments = _iso(as_text(values), zone)
    low, high = (pa.scalar(year, ARROW_TYPES["timestamp"]) for year in _YEARS)
    sane = pc.fill_null(pc.and_(pc.greater_equal(moments, low), pc.less(moments, high)), False)
    expected = f"not a time of the form {pattern}" if pattern else "not an ISO 8601 time"
    broken = pc.and_(pc.is_valid(values), pc.invert(sane))
    return pc.if_else(sane, moments, None), [
        fault for fault in [_fault(values, column, expected, broken)] if fault.rows.any()
    ]


def apply_codes(
    texts: pa.Array, column: Column, codes: dict[str, str], other: str | None, *, strict: bool
) -> tuple[pa.Array, list[Fault]]:
    """Codes of an export as our values; with `strict`, rows with a code not listed are faults."""
    if not codes:
        return texts, []
    position = pc.index_in(texts, value_set=pa.array(list(codes), pa.string()))
    mapped = pc.take(pa.array(list(codes.values()), pa.string()), position)
    unlisted = pc.and_(pc.is_valid(texts), pc.is_null(position))
    if strict:
        fault = _fault(texts, column, f"not a listed code ({', '.join(codes)})", unlisted)
        return mapped, [fault] if fault.rows.any() else []
    return pc.if_else(unlisted, texts if other is None else other, mapped), []


def _fault(values: pa.Array, column: Column, reason: str, rows: pa.Array) -> Fault:
    mask = np.asarray(pc.fill_null(rows, False).to_numpy(zero_copy_only=False), bool)
    return Fault(mask, lambda row: f"{column.name} = {as_python(values.slice(row, 1))[0]!r}: {reason}")


def _numbers(texts: pa.Array) -> pa.Array:
    return pc.cast(pc.if_else(pc.match_substring_regex(texts, _NUMBER), texts, None), pa.float64())


def _clock_seconds(texts: pa.Array) -> pa.Array:
    parts = pc.extract_regex(texts, pattern=_CLOCK)
    hours, minutes, seconds = (_numbers(pc.struct_field(parts, name)) for name in ("hours", "minutes", "seconds"))
    total = pc.add(pc.add(pc.multiply(hours, 3600.0), pc.multiply(minutes, 60.0)), seconds)
    return pc.if_else(pc.equal(pc.struct_field(parts, "sign"), "-"), pc.negate(total), total)


def _localize(moments: pa.Array, zone: str) -> pa.Array:
    localized = pc.assume_timezone(moments, zone, ambiguous="earliest", nonexistent="latest")
    return pc.cast(localized, ARROW_TYPES["timestamp"])


def _patterned(texts: pa.Array, pattern: str, zone: str) -> pa.Array:
    """Texts of a strptime format.

    Arrow's parser is fast, but takes the 31st of February for the 3rd of March and knows no %f. What it reads counts
    where writing it again gives the same text; Python's parser decides on the rest.
    """
    parsed = pc.strptime(texts, format=pattern, unit="us", error_is_null=True)
    if parsed.type.tz is None:
        again = pc.strftime(pc.cast(parsed, pa.timestamp("s"), safe=False), format=pattern)
        settled = pc.fill_null(pc.equal(again, texts), False).to_numpy(zero_copy_only=False)
        moments = _localize(pc.if_else(pa.array(settled), parsed, None), zone)
    else:
        settled = np.zeros(len(texts), bool)
        moments = pa.nulls(len(texts), ARROW_TYPES["timestamp"])
    rest = np.flatnonzero(~settled & texts.is_valid().to_numpy(zero_copy_only=False))
    if len(rest) == 0:
        return moments

    def parse(text: str) -> dt.datetime:
        return dt.datetime.strptime(text, pattern)

    read = _each(texts.take(pa.array(rest)), parse, zone)
    position = np.full(len(texts), -1)
    position[rest] = np.arange(len(rest))
    return pc.coalesce(moments, read.take(pa.array(position, mask=position < 0)))


def _iso(texts: pa.Array, zone: str) -> pa.Array:
    """ISO 8601 texts, each with or without a zone."""
    zoned = pc.match_substring_regex(texts, _ZONE)
    try:
        with_zone = pc.cast(pc.if_else(zoned, texts, None), ARROW_TYPES["timestamp"])
        without = _localize(pc.cast(pc.if_else(zoned, None, texts), pa.timestamp("us")), zone)
    except pa.ArrowInvalid:
        # One bad value fails the whole cast and does not say which; this path finds it.
        return _each(texts, _iso_one, zone)
    return pc.coalesce(with_zone, without)


def _iso_one(text: str) -> dt.datetime:
    if not _ISO_PARTS.fullmatch(text):
        raise ValueError(f"not an ISO 8601 time: {text}")
    return dt.datetime.fromisoformat(text.upper())


def _each(texts: pa.Array, parse: Callable[[str], dt.datetime], zone: str) -> pa.Array:
    """Texts read one by one; those that `parse` refuses are null, those without a zone are in `zone`."""
    naive: list[dt.datetime | None] = []
    aware: list[dt.datetime | None] = []
    for text in texts.to_pylist():
        moment = None
        if text is not None:
            try:
                moment = parse(text)
                moment = moment.astimezone(dt.UTC) if moment.tzinfo else moment
            except (ValueError, OverflowError):
                moment = None
        naive.append(moment if moment and not moment.tzinfo else None)
        aware.append(moment if moment and moment.tzinfo else None)
    localized = _localize(pa.array(naive, pa.timestamp("us")), zone)
    return pc.coalesce(pa.array(aware, ARROW_TYPES["timestamp"]), localized)
