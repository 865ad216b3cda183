"""The tables of messages and of their way to each channel.

Belongs here: columns, their meaning, keys and indexes. Does not belong here: what is done with the rows (`outbox`).
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from cxad_pipeline.store.columns import NUMBER, Moment, StorableText, metadata, numbered, required

messages = Table(
    "messages",
    metadata,
    numbered(),
    required("key_digest", String(64)),
    required("key", StorableText()),
    required("kind", String(64)),
    required("topic", StorableText()),
    required("content", JSON()),
    required("due_at", Moment()),
    required("queued_at", Moment()),
    UniqueConstraint("key_digest"),
    Index(None, "kind", "id"),
)
"""What is to be told, once for each key."""

deliveries = Table(
    "deliveries",
    metadata,
    numbered(),
    required("message_id", NUMBER, ForeignKey("messages.id")),
    required("channel", String(64)),
    required("topic_digest", String(64)),
    required("state", String(8)),
    required("attempts", Integer()),
    required("claims", Integer()),
    required("uncertain", Boolean()),
    required("due_at", Moment()),
    Column("leased_until", Moment()),
    Column("settled_at", Moment()),
    Column("receipt", JSON(none_as_null=True)),
    Column("error", StorableText()),
    CheckConstraint("state IN ('pending', 'sent', 'dead', 'dropped')", name="state"),
    UniqueConstraint("message_id", "channel"),
    Index(None, "state", "due_at"),
    Index(None, "topic_digest", "channel", "state", "id"),
)
"""The way of a message to one channel; `dropped` is a dead letter that somebody put away. `attempts` are those since it
was queued or revived, `claims` all of them: the number by which a claim is known. `leased_until` is set while an
attempt runs; `settled_at` is when it was sent or given up. `uncertain`: an attempt began and its end is not known."""

resting_channels = Table(
    "resting_channels", metadata, Column("channel", String(64), primary_key=True), required("until", Moment())
)
"""Channels that asked to be left alone; nothing of them is claimed before then."""
