"""The schema of interactions as Pydantic validates it in API bodies, and as OpenAPI shows it.

Belongs here: the strict form of one record, and its JSON schema; both say exactly the same. Does not belong here:
reading bodies and wording faults (`serving`). Imports neither Pandera, pandas nor pyarrow.

A record is a typed dictionary and no model: a dictionary keeps its unknown fields, so that they can be counted, and
costs less to make. After validation every column of the schema is there, in the schema's order, None where missing.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import GetPydanticSchema, TypeAdapter
from pydantic_core import PydanticCustomError, core_schema

from cxad_pipeline.interactions.schema import Column, InteractionSchema

Record: TypeAlias = dict[str, Any]

LONGEST_TEXT = 1_000
"""Most characters of an interaction_id or another text."""

LARGEST_WHOLE = 2**53 - 1
"""Whole numbers beyond, in either direction, are not told apart by a float."""

NOT_WHOLE = "not_whole"
"""Type of Pydantic's error for a number with a fraction in an integer column."""

# PostgreSQL cannot store the character U+0000; `$` of Pydantic's and of ECMA's expressions is the end of the text.
TEXT_PATTERN = r"^[^\x00]*$"

_YEAR = "(?:19|2[01])[0-9]{2}"
_MONTH_AND_DAY = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
# 1900 and 2100 are no leap years.
_LEAP_DAY = "(?:(?:19|2[01])(?:0[48]|[2468][048]|[13579][26])|2000)-02-29"
_HOUR, _MINUTE = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
TIMESTAMP_PATTERN = (
    f"^(?:{_YEAR}-{_MONTH_AND_DAY}|{_LEAP_DAY})[Tt ]{_HOUR}:{_MINUTE}(?::{_MINUTE}(?:[.,][0-9]{{1,9}})?)?"
    f"(?:[Zz]|[+-]{_HOUR}:?{_MINUTE})?$"
)
"""Date and time of day of ISO 8601 in the years 1900 to 2199 as written, with or without zone.

Every text of this form is a time, and Python reads it. Files may also hold bare dates and week dates; in a request they
are refused. The year is the one written: the first hours of 1900 east of Greenwich lie in 1899 UTC, which files refuse.
"""

_EXAMPLES: dict[str, Any] = {
    "interaction_id": "call-000017",
    "timestamp": "2026-03-02T09:30:00Z",
    "csat": 4.5,
    "ies": 81.5,
    "complaints": 0,
    "aht_seconds": 312.0,
    "hold_time_seconds": 24.5,
    "transfers": 1,
    "channel": "voice",
    "language": "en",
    "queue": "billing",
}


def record_adapter(schema: InteractionSchema, max_records: int | None = None) -> TypeAdapter[list[Record]]:
    """What validates a list of records.

    Parameters
    ----------
    schema
        The deployment's columns.
    max_records
        A longer list is refused at once, with an error of the type `too_long`.
    """
    records = core_schema.list_schema(_record_schema(schema), max_length=max_records, strict=True)
    return TypeAdapter(Annotated[list[Record], GetPydanticSchema(lambda _source, _handler: records)])


def single_record_adapter(schema: InteractionSchema) -> TypeAdapter[Record]:
    """What validates one record by itself, as in a line of NDJSON."""
    record = _record_schema(schema)
    return TypeAdapter(Annotated[Record, GetPydanticSchema(lambda _source, _handler: record)])


def record_json_schema(schema: InteractionSchema) -> dict[str, Any]:
    """JSON schema (2020-12, as OpenAPI 3.1 has it) of one record: exactly what `record_adapter` accepts."""
    return {
        "title": "Interaction",
        "description": "One contact with a customer. Fields beside these are ignored; the answer counts them.",
        "type": "object",
        "properties": {column.name: _property(column) for column in schema.columns},
        "required": schema.required,
        "additionalProperties": True,
    }


def limits(column: Column) -> tuple[float | None, float | None]:
    """Inclusive range of a metric as it is validated; a whole number has one even where the schema names none."""
    low, high = column.minimum, column.maximum
    if column.type == "integer":
        low = -LARGEST_WHOLE if low is None else max(low, -LARGEST_WHOLE)
        high = LARGEST_WHOLE if high is None else min(high, LARGEST_WHOLE)
    return low, high


def _record_schema(schema: InteractionSchema) -> core_schema.CoreSchema:
    fields = {column.name: _field(column) for column in schema.columns}
    return core_schema.typed_dict_schema(fields, extra_behavior="allow", strict=True)


def _field(column: Column) -> core_schema.TypedDictField:
    value = _value_schema(column)
    if column.required:
        return core_schema.typed_dict_field(value, required=True)
    return core_schema.typed_dict_field(
        core_schema.with_default_schema(core_schema.nullable_schema(value), default=None), required=False
    )


def _value_schema(column: Column) -> core_schema.CoreSchema:
    if column.type == "timestamp":
        return core_schema.str_schema(pattern=TIMESTAMP_PATTERN, strict=True)
    if column.type == "string":
        shortest = 1 if column.required else None
        return core_schema.str_schema(pattern=TEXT_PATTERN, min_length=shortest, max_length=LONGEST_TEXT, strict=True)
    low, high = limits(column)
    number = core_schema.float_schema(ge=low, le=high, allow_inf_nan=False, strict=True)
    if column.type == "float":
        return number
    # Pydantic's strict integers refuse 2.0, and its `multiple_of` lets 2.0000000001 pass.
    return core_schema.no_info_after_validator_function(_whole, number)


def _whole(number: float) -> float:
    if not number.is_integer():
        raise PydanticCustomError(NOT_WHOLE, "Input should be a whole number")
    return number


def _property(column: Column) -> dict[str, Any]:
    kind = {"float": "number", "integer": "integer"}.get(column.type, "string")
    described: dict[str, Any] = {
        "type": kind if column.required else [kind, "null"],
        "description": _description(column),
    }
    if column.type == "timestamp":
        described["pattern"] = TIMESTAMP_PATTERN
    elif column.type == "string":
        described |= {"minLength": 1} if column.required else {}
        described |= {"maxLength": LONGEST_TEXT, "pattern": TEXT_PATTERN}
    else:
        low, high = limits(column)
        described |= {"format": "double"} if column.type == "float" else {}
        described |= {} if low is None else {"minimum": _plain(low)}
        described |= {} if high is None else {"maximum": _plain(high)}
    if column.unit:
        described["x-unit"] = column.unit
    example = _example(column)
    return described if example is None else described | {"examples": [example]}


def _description(column: Column) -> str:
    sentences = [column.meaning]
    if column.unit:
        sentences.append(f"Unit: {column.unit}.")
    if column.type == "timestamp":
        sentences.append("ISO 8601, date and time of day, years 1900 to 2199.")
    if not column.required:
        sentences.append("Missing where null, empty or absent." if column.type == "string" else "May be missing.")
    return " ".join(sentences)


def _example(column: Column) -> Any:
    if column.name in _EXAMPLES:
        return _EXAMPLES[column.name]
    if not column.is_metric:
        return None
    known = [limit for limit in (column.minimum, column.maximum) if limit is not None]
    middle = sum(known) / len(known) if known else 0.0
    # a middle that is no whole number may round to one outside of the range
    return _plain(middle) if column.type == "float" else None


def _plain(number: float) -> float | int:
    """A whole number without its fraction of zero, as people write it."""
    return int(number) if float(number).is_integer() else number
