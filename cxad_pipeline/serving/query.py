"""Types of parameters: forms that several routes take, in an address or in a body.

Belongs here: what is accepted, and how OpenAPI says it. Does not belong here: what the parameters mean.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from cxad_pipeline.interactions.record import LONGEST_TEXT, TEXT_PATTERN, TIMESTAMP_PATTERN

CURSOR_PATTERN = "^[A-Za-z0-9_-]{22}$"
INCIDENT_PATTERN = "^[0-9]{8}-[0-9a-f]{6,64}$"
"""An incident's id: the day of its first window, and digits of a hash."""
LARGEST_ID = 2**53 - 1
"""Of a row: what every reader of JSON holds exactly."""


def _strict(given: object) -> object:
    # Pydantic takes "1", "on" and "yes" as well, which the OpenAPI schema does not say. Python writes "True".
    if isinstance(given, str) and given.lower() not in ("true", "false"):
        raise PydanticCustomError("flag", "must be true or false")
    return given


def _moment(text: object) -> dt.datetime:
    if isinstance(text, str):  # in an address `+` stands for a blank, which few people know
        text = re.sub(r"(?<=[Tt]..:..:..) (?=\d\d:?\d\d$)", "+", text)
    if not isinstance(text, str) or not re.fullmatch(TIMESTAMP_PATTERN, text):
        raise PydanticCustomError(
            "moment", "must be a date and time of ISO 8601, such as 2026-10-13T00:00:00Z (in an address, + is %2B)"
        )
    return dt.datetime.fromisoformat(text.upper())


def _whole(given: object) -> int:
    # JSON knows one kind of number: 12.0 is 12. What is no number stays none, "12" and true among them.
    if isinstance(given, bool) or not isinstance(given, int | float) or given != given // 1:
        raise PydanticCustomError("whole_number", "must be a whole number")
    return int(given)


StrictBool = Annotated[bool, BeforeValidator(_strict)]
"""`true` or `false`, in capitals or not, and nothing else."""

Number = Annotated[int, Field(ge=1, le=LARGEST_ID), BeforeValidator(_whole)]
"""Of a row, in a body."""

Moment = Annotated[
    dt.datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "pattern": TIMESTAMP_PATTERN})
]
"""A date and time of day; without zone until `in_zone` gives it one."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT, pattern=TEXT_PATTERN)]
Cursor = Annotated[str, StringConstraints(pattern=CURSOR_PATTERN)]


def in_zone(moment: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """A moment with a zone: its own, or else this one."""
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment
