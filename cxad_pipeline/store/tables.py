"""The tables of the store, as the code reads and writes them.

Belongs here: columns, their meaning, keys and indexes. Does not belong here: how an older database comes to this form
(`migrations`; a test compares the two), and what is done with the rows (`anomalies`, `feedback`).

Texts come from callers, of any length, and PostgreSQL's indexes refuse long values. So no such text is in an index:
what is looked up by interaction goes by `interaction_digest`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any, Literal, get_args

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

Verdict = Literal["confirmed", "expected", "false_alarm", "new_trend"]
VERDICTS: tuple[str, ...] = get_args(Verdict)


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
        """From the database; its sessions are in UTC."""
        return None if value is None else value.replace(tzinfo=dt.UTC)


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


def digest(interaction_id: str) -> str:
    """SHA-256 of an interaction's id as it is stored, in hexadecimal."""
    return hashlib.sha256(storable(interaction_id).encode()).hexdigest()


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows itself in INTEGER columns alone


def _id() -> Column[int]:
    return Column("id", _NUMBER, primary_key=True, autoincrement=True)


def _required(name: str, type_: Any) -> Column[Any]:
    return Column(name, type_, nullable=False)


anomalies = Table(
    "anomalies",
    metadata,
    _id(),
    _required("interaction_digest", String(64)),
    _required("interaction_id", StorableText()),
    _required("timestamp", Moment()),
    _required("scored_at", Moment()),
    _required("model", StorableText()),
    _required("model_version", String(64)),
    _required("source", String(16)),
    _required("severity", Double()),
    Column("channel", StorableText()),
    Column("language", StorableText()),
    Column("queue", StorableText()),
    _required("scores", JSON()),
    _required("is_anomaly", JSON()),
    _required("reasons", JSON()),
    _required("interaction", JSON()),
    UniqueConstraint("interaction_digest", "model_version"),
    Index(None, "timestamp", "id"),
)
"""One row for an interaction and the model version that found it unusual; `source` says by which way it came."""

feedback = Table(
    "feedback",
    metadata,
    _id(),
    _required("interaction_digest", String(64)),
    _required("interaction_id", StorableText()),
    _required("verdict", String(16)),
    _required("by", StorableText()),
    _required("at", Moment()),
    _required("note", StorableText()),
    CheckConstraint("verdict IN ('confirmed', 'expected', 'false_alarm', 'new_trend')", name="verdict"),
    Index(None, "interaction_digest", "id"),
)
"""What people said of an interaction; rows are added and never changed. The latest counts."""
