"""What is wrong with a value of a request, in words; the same for every kind of body.

Belongs here: wording. Does not belong here: finding faults (`json_bodies`, `arrow_bodies`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from cxad_pipeline.interactions.record import LARGEST_WHOLE, LONGEST_TEXT
from cxad_pipeline.interactions.schema import Column
from cxad_pipeline.serving.batch import MOST_FAULTS, BodyError, Fault

REQUIRED = "is required"
EMPTY = "must not be empty"
NO_NUL = "must not contain the character U+0000"
NO_OBJECT = "must be an object with the fields of an interaction"

_LONGEST_QUOTE, _LONGEST_ID = 60, 200


def wrong_type(column: Column, value: Any) -> str:
    """The value is of another type than the column."""
    if value is None:
        return REQUIRED
    if column.type == "timestamp":
        return no_time(value)
    return f"must be {'a number' if column.is_metric else 'text'}; got {quoted(value)}"


def no_time(value: Any) -> str:
    """The value is no text of a time."""
    return (
        "must be text, a date with the time of day by ISO 8601 in the years 1900 to 2199, such as "
        f"2026-03-02T09:30:00Z; got {quoted(value)}"
    )


def too_long(length: int) -> str:
    """The text has too many characters."""
    return f"must have at most {LONGEST_TEXT:,} characters; got {length:,}"


def not_finite(value: Any) -> str:
    """The number is not finite."""
    return f"must be a finite number, or null where it is missing; got {quoted(value)}"


def not_whole(value: Any) -> str:
    """The number has a fraction."""
    return f"must be a whole number; got {quoted(value)}"


def out_of_range(column: Column, value: float) -> str:
    """The number is outside of the column's range."""
    low, high = column.minimum, column.maximum
    if column.type == "integer" and abs(value) > LARGEST_WHOLE:
        allowed = f"between -{LARGEST_WHOLE} and {LARGEST_WHOLE}" if low is None else f"at most {LARGEST_WHOLE}"
    elif low is None:
        allowed = f"at most {quoted(high)}"
    elif high is None:
        allowed = f"at least {quoted(low)}"
    else:
        allowed = f"from {quoted(low)} to {quoted(high)}"
    return f"must be {allowed}; got {quoted(value)}"


def quoted(value: Any) -> str:
    """A value as JSON writes it, shortened."""
    if isinstance(value, str):
        shown = json.dumps(value[:_LONGEST_QUOTE], ensure_ascii=False)
        return shown if len(value) <= _LONGEST_QUOTE else f"{shown} and {len(value) - _LONGEST_QUOTE:,} more characters"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**_LONGEST_QUOTE else f"a number of more than {_LONGEST_QUOTE} digits"
    if isinstance(value, float):
        return repr(value).removesuffix(".0") if math.isfinite(value) else json.dumps(value)
    return "an array" if isinstance(value, list) else "an object"


def readable_id(value: Any) -> str | None:
    """An interaction_id to name a record by, shortened; None where it is none."""
    if not isinstance(value, str) or not value:
        return None
    return value if len(value) <= _LONGEST_ID else f"{value[:_LONGEST_ID]}..."


def bad_body(faults: Sequence[Fault], n_faults: int) -> BodyError:
    """The error of a body whose records have faults.

    Parameters
    ----------
    faults
        The first of them, in order.
    n_faults
        How many there are in all.
    """
    count = "1 fault" if n_faults == 1 else f"{n_faults:,} faults"
    first = "" if not faults else f" First: {_in_words(faults[0])}."
    return BodyError(f"The body has {count}; nothing was scored.{first}", faults[:MOST_FAULTS], n_faults)


def unreadable(message: str) -> BodyError:
    """The error of a body that holds no records that could be looked at."""
    return BodyError(message, [Fault(message)])


def _in_words(fault: Fault) -> str:
    place = [] if fault.line is None else [f"line {fault.line}"]
    if fault.index is not None and fault.line is None:
        place.append(f"record {fault.index}")
    if fault.interaction_id is not None:
        place.append(f"interaction_id {quoted(fault.interaction_id)}")
    if fault.field is not None:
        place.append(fault.field)
    return f"{', '.join(place)}: {fault.message}" if place else fault.message
