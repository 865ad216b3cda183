"""The tables of the store, as the code reads and writes them; here those of single anomalies.

Belongs here: columns, their meaning, keys and indexes; those of segments and incidents are in `incident_tables`, those
of messages in `outbox_tables`, and `metadata` knows all. Does not belong here: how an older database comes to this form
(`migrations`; a test compares the two), and what is done with the rows (`anomalies`, `feedback`).
"""

from __future__ import annotations

from sqlalchemy import JSON, CheckConstraint, Column, Double, Index, String, Table, UniqueConstraint

from cxad_pipeline.store.columns import IS_A_VERDICT, NUMBER, Moment, StorableText, numbered, required
from cxad_pipeline.store.columns import metadata as metadata
from cxad_pipeline.store.incident_tables import incidents as incidents
from cxad_pipeline.store.outbox_tables import messages as messages

anomalies = Table(
    "anomalies",
    metadata,
    numbered(),
    required("interaction_digest", String(64)),
    required("interaction_id", StorableText()),
    required("timestamp", Moment()),
    required("scored_at", Moment()),
    required("model", StorableText()),
    required("model_version", String(64)),
    required("source", String(16)),
    required("severity", Double()),
    Column("channel", StorableText()),
    Column("language", StorableText()),
    Column("queue", StorableText()),
    required("scores", JSON()),
    required("is_anomaly", JSON()),
    required("reasons", JSON()),
    required("interaction", JSON()),
    UniqueConstraint("interaction_digest", "model_version"),
    Index(None, "timestamp", "id"),
)
"""One row for an interaction and the model version that found it unusual; `source` says by which way it came."""

feedback = Table(
    "feedback",
    metadata,
    numbered(),
    required("interaction_digest", String(64)),
    required("interaction_id", StorableText()),
    required("verdict", String(16)),
    required("by", StorableText()),
    required("at", Moment()),
    required("note", StorableText()),
    Column("until", Moment()),
    Column("silence", NUMBER),
    CheckConstraint(IS_A_VERDICT, name="verdict"),
    Index(None, "interaction_digest", "id"),
)
"""What people said of an interaction; rows are added and never changed. The latest counts. `until` is the end of the
silence that `expected` brings about, and `silence` its number."""
