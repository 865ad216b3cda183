"""What the tables of the store are made of: their one `MetaData`, and the types that texts, moments and rows have.

Belongs here: types of columns and how they are named. Does not belong here: the tables (`tables`, `incident_tables`,
`outbox_tables`).

Texts come from callers, of any length, and PostgreSQL's indexes refuse long values. So no such text is in an index:
what is looked up by a text goes by its `digest`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any, Literal, get_args

from sqlalchemy import BigInteger, Column, DateTime, Dialect, Integer, MetaData, Text
from sqlalchemy.types import TypeDecorator

Verdict = Literal["confirmed", "expected", "false_alarm", "new_trend"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
IS_A_VERDICT = "verdict IN ('confirmed', 'expected', 'false_alarm', 'new_trend')"


class Moment(TypeDecorator[dt.datetime]):
    """A moment in UTC with microseconds: `timestamptz` in PostgreSQL, a text that sorts in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """To the database."""
        if value is None:
            return None
        value = value.astimezone(dt.UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002
        """From the database. What has no zone, in SQLite, is in UTC; a session of PostgreSQL may be in any other."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class StorableText(TypeDecorator[str]):
    """Any text that a caller may send: what PostgreSQL can't hold, NUL and lone surrogates, is replaced by `�`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """To the database."""
        return None if value is None else storable(value)


_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """A text as the store can hold it."""
    if not text.isascii():
        text = "".join(_REPLACEMENT if "\ud800" <= letter <= "\udfff" else letter for letter in text)
    return text.replace("\x00", _REPLACEMENT)


def digest(text: str) -> str:
    """SHA-256 of a text as it is stored, in hexadecimal."""
    return hashlib.sha256(storable(text).encode()).hexdigest()


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)

NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows itself in INTEGER columns alone


def numbered(name: str = "id") -> Column[int]:
    """The column that numbers the rows of a table."""
    return Column(name, NUMBER, primary_key=True, autoincrement=True)


def required(name: str, type_: Any, *more: Any) -> Column[Any]:
    """A column that is never empty."""
    return Column(name, type_, *more, nullable=False)
