"""Records for tests of request bodies: valid ones, ones with a single fault, and near misses."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cxad_pipeline.interactions.schema import Column, InteractionSchema
from cxad_pipeline.serving.batch import Batch

SCHEMA = InteractionSchema(
    [
        Column("sentiment", "float", "Tone of the customer.", minimum=-1, maximum=1),
        Column("balance", "integer", "Cents on the account."),
        Column("site", "string", "Where the agent sits."),
        Column("closed_at", "timestamp", "End of the case."),
    ]
)
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]
VALID = {"interaction_id": "call-1", "timestamp": "2026-03-02T09:30:00Z"}

LARGEST = 2**53 - 1
characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
texts = st.text(characters, max_size=12)


@st.composite
def times(draw: st.DrawFn, last_year: int = 2199) -> str:
    """Times as people and programs write them."""
    time = draw(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(last_year, 12, 31, 23, 59, 59)))
    text = time.strftime("%Y-%m-%d") + draw(st.sampled_from("Tt ")) + time.strftime("%H:%M")
    if draw(st.booleans()):
        text += time.strftime(":%S")
        if draw(st.booleans()):
            digits = draw(st.text("0123456789", min_size=1, max_size=9))
            text += draw(st.sampled_from(".,")) + digits
    zone = draw(st.sampled_from(["", "Z", "z", "+00:00", "-00:00", "+0530", "-03:30", "+14:00", "-12:00", "+23:59"]))
    return text + zone


def values(column: Column) -> st.SearchStrategy[Any]:
    """Valid values of a column."""
    if column.type == "timestamp":
        return times()
    if column.type == "string":
        return st.text(characters, min_size=1, max_size=12) if column.required else texts
    low, high = column.minimum, column.maximum
    if column.type == "integer":
        whole = st.integers(-LARGEST if low is None else int(low), LARGEST if high is None else int(high))
        return whole | whole.filter(lambda number: abs(number) < 2**40).map(float)
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """Valid records; columns that may be missing are null, absent or there."""
    record = {}
    for column in SCHEMA.columns:
        if column.required:
            record[column.name] = draw(values(column))
        elif draw(st.booleans()):
            record[column.name] = draw(st.none() | values(column))
    return record


FAULTS: list[tuple[str, Any, str]] = [
    ("interaction_id", "", "must not be empty"),
    ("interaction_id", None, "is required"),
    ("interaction_id", 17, "must be text; got 17"),
    ("interaction_id", "a\0b", "must not contain the character U+0000"),
    ("interaction_id", "x" * 1_001, "must have at most 1,000 characters; got 1,001"),
    ("timestamp", None, "is required"),
    ("timestamp", 1_772_443_800, "such as 2026-03-02T09:30:00Z; got 1772443800"),
    ("timestamp", "yesterday", 'such as 2026-03-02T09:30:00Z; got "yesterday"'),
    ("timestamp", "2026-02-29T10:00:00Z", 'got "2026-02-29T10:00:00Z"'),
    ("timestamp", "2026-02-28", 'got "2026-02-28"'),
    ("timestamp", "2026-02-28T10:00:00Z\n", 'got "2026-02-28T10:00:00Z\\n"'),
    ("timestamp", "x" * 1_000, 'x" and 940 more characters'),
    ("csat", 0.5, "must be from 1 to 5; got 0.5"),
    ("csat", 6, "must be from 1 to 5; got 6"),
    ("csat", True, "must be a number; got true"),
    ("csat", "4", 'must be a number; got "4"'),
    ("csat", [4], "must be a number; got an array"),
    ("ies", {"value": 4}, "must be a number; got an object"),
    ("ies", float("nan"), "must be a finite number, or null where it is missing; got NaN"),
    ("ies", float("-inf"), "must be a finite number, or null where it is missing; got -Infinity"),
    ("aht_seconds", -3, "must be at least 0; got -3"),
    (
        "aht_seconds",
        10**400,
        "must be a finite number, or null where it is missing; got a number of more than 60 digits",
    ),
    ("complaints", -1, "must be at least 0; got -1"),
    ("complaints", 2.5, "must be a whole number; got 2.5"),
    ("complaints", 2.0000000001, "must be a whole number; got 2.0000000001"),
    ("transfers", 2**53, "must be at most 9007199254740991; got 9007199254740992"),
    ("transfers", 2**53 + 1, "must be at most 9007199254740991; got 9007199254740993"),
    ("balance", -(2**60), "must be between -9007199254740991 and 9007199254740991; got -1152921504606846976"),
    ("sentiment", -1.5, "must be from -1 to 1; got -1.5"),
    ("channel", False, "must be text; got false"),
    ("queue", "bill\0ing", "must not contain the character U+0000"),
    ("language", "x" * 1_001, "must have at most 1,000 characters; got 1,001"),
    ("site", 4.5, "must be text; got 4.5"),
    ("closed_at", "", 'got ""'),
    ("closed_at", "soon", 'got "soon"'),
]
"""Column, a value that it must not have, and words of the fault."""


def as_json(records: Any) -> bytes:
    return json.dumps(records).encode()


def as_lines(records: list[Any]) -> bytes:
    return b"\n".join(as_json(record) for record in records)


def content(batch: Batch) -> dict[str, Any]:
    """All that a batch says, in a form that compares."""
    numbers = {name: np.where(np.isnan(values), None, values).tolist() for name, values in batch.numbers.items()}
    return {
        "ids": list(batch.ids),
        "numbers": numbers,
        "texts": {name: list(values) for name, values in batch.texts.items()},
        "moments": batch.moments().tolist(),
        "ignored": dict(batch.ignored),
    }
