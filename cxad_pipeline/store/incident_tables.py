"""The tables of segments and of what happened in them.

Belongs here: columns, their meaning, keys and indexes. Does not belong here: what is done with the rows
(`segment_windows`, `incidents`, `feedback`, `silences`, `calibrations`, `baselines`).

A segment is written as `incidents.incident.segment_text` does it: ASCII, whatever its values are.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from cxad_pipeline.store.columns import IS_A_VERDICT, NUMBER, Moment, StorableText, metadata, numbered, required

segments = Table(
    "segments",
    metadata,
    numbered(),
    required("digest", String(64)),
    required("segment", StorableText()),
    required("level", SmallInteger()),
    UniqueConstraint("digest"),
)
"""Each segment that ever had a row in `segment_windows`; `level`: how many dimensions it names."""

segment_windows = Table(
    "segment_windows",
    metadata,
    numbered(),
    required("segment_id", NUMBER, ForeignKey("segments.id")),
    required("start", BigInteger()),
    required("seconds", Integer()),
    required("contacts", BigInteger()),
    required("anomalies", BigInteger()),
    required("complaints", BigInteger()),
    required("together", BigInteger()),
    required("metrics", JSON()),
    required("recorded_at", Moment()),
    Column("state", String(16)),
    Column("score", Double()),
    Column("leading_metric", StorableText()),
    Column("leading_kind", String(16)),
    Column("observed", Double()),
    Column("expected", Double()),
    Column("metric_states", JSON(none_as_null=True)),
    UniqueConstraint("segment_id", "start", "seconds"),
    Index(None, "start"),
)
"""What was counted in a segment and a window that begins at `start`, seconds since 1970 UTC, and below `recorded_at`
what the tests found there; null where nothing was tested. `metric_states`: the metrics that were not tested where the
segment was, each with its `state` and the `usual` number of values; null where there is none."""

incidents = Table(
    "incidents",
    metadata,
    numbered("number"),
    required("id", StorableText()),
    required("id_digest", String(64)),
    required("status", String(16)),
    required("segment", StorableText()),
    required("segment_digest", String(64)),
    required("metric", StorableText()),
    required("direction", String(4)),
    required("kind", String(16)),
    required("started_at", Moment()),
    required("ended_at", Moment()),
    required("score", Double()),
    required("severity", Double()),
    required("alert_score", Double()),
    required("alert_severity", Double()),
    required("critical", Boolean()),
    required("observed", Double()),
    required("expected", Double()),
    required("affected", BigInteger()),
    required("expected_affected", Double()),
    required("contacts", BigInteger()),
    required("causes", JSON()),
    required("reasons", JSON()),
    required("examples", JSON()),
    required("model_version", StorableText()),
    required("threshold", Double()),
    required("opened_at", Moment()),
    required("updated_at", Moment()),
    Column("resolved_at", Moment()),
    Column("merged_into", StorableText()),
    Column("told_at", Moment()),
    required("told_severity", Double()),
    required("told_critical", Boolean()),
    required("told_number", Integer()),
    CheckConstraint("status IN ('open', 'resolved', 'merged', 'withdrawn')", name="status"),
    UniqueConstraint("id_digest"),
    Index(None, "started_at", "number"),
    Index(None, "status"),
    Index(None, "ended_at"),
)
"""The incidents, and in `told_...` what people were last told of each."""

incident_calls = Table(
    "incident_calls",
    metadata,
    Column("incident", NUMBER, ForeignKey("incidents.number"), primary_key=True, autoincrement=False),
    Column("position", Integer(), primary_key=True, autoincrement=False),
    required("segment", StorableText()),
    required("window", BigInteger()),
    required("score", Double()),
    required("threshold", Double()),
    required("family", StorableText()),
    required("kind", String(16)),
    required("observed", Double()),
    required("expected", Double()),
    required("affected", BigInteger()),
    required("expected_affected", Double()),
    required("contacts", BigInteger()),
)
"""The calls that an incident is made of, in their order."""

incident_feedback = Table(
    "incident_feedback",
    metadata,
    numbered(),
    required("incident", NUMBER, ForeignKey("incidents.number")),
    required("verdict", String(16)),
    required("by", StorableText()),
    required("at", Moment()),
    required("note", StorableText()),
    Column("until", Moment()),
    Column("silence", NUMBER),
    Column("segment", StorableText()),
    Column("metric", StorableText()),
    Column("started_at", Moment()),
    Column("ended_at", Moment()),
    CheckConstraint(IS_A_VERDICT, name="verdict"),
    Index(None, "incident", "id"),
)
"""What people said of an incident; rows are added and never changed. The latest counts.

`segment`, `metric`, `started_at` and `ended_at`: as the incident was then, null in rows of earlier releases; `silence`:
the number of the one that `expected` has made or extended."""

silences = Table(
    "silences",
    metadata,
    numbered(),
    required("scope", String(16)),
    required("segment", StorableText()),
    Column("metric", StorableText()),
    required("owner", StorableText()),
    required("reason", StorableText()),
    required("starts_at", Moment()),
    required("ends_at", Moment()),
    Column("ended_by", StorableText()),
    Column("asked_until", Moment()),
    CheckConstraint("scope IN ('incidents', 'anomalies')", name="scope"),
    CheckConstraint("ends_at >= starts_at", name="ends_after_start"),
    Index(None, "ends_at"),
)
"""What is not to be told; rows are ended and never deleted. `asked_until`: the latest end that somebody asked for by
hand; null where verdicts alone have made it."""

calibrations = Table(
    "calibrations",
    metadata,
    numbered(),
    required("at", Moment()),
    required("history_start", Moment()),
    required("history_end", Moment()),
    required("contacts", BigInteger()),
    required("segments", Integer()),
    required("metrics", JSON()),
    required("threshold", Double()),
    required("promised_per_week", Double()),
    required("replayed_per_week", Double()),
    required("weeks", Double()),
    required("shifts", JSON()),
    Index(None, "at"),
)
"""Each calibration of the threshold: what it learned from, what was promised, and what history would have raised."""

baselines = Table(
    "baselines",
    metadata,
    Column("segment_digest", String(64), primary_key=True),
    Column("calibration_id", NUMBER, ForeignKey("calibrations.id"), primary_key=True, autoincrement=False),
    required("known", JSON()),
    required("slots", LargeBinary()),
)
"""What a calibration found usual in each of its segments, to draw bands with; `known` says what lies in `slots`."""
