"""Segments and incidents, silences, calibrations, the outbox; and until when a verdict silences."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOMENT = sa.DateTime(timezone=True)
_VERDICT = "verdict IN ('confirmed', 'expected', 'false_alarm', 'new_trend')"


def upgrade() -> None:
    """Make the tables, and add a column to `feedback`."""
    op.add_column("feedback", sa.Column("until", _MOMENT))
    _make_segments()
    _make_incidents()
    _make_silences_and_calibrations()
    _make_outbox()


def _make_segments() -> None:
    op.create_table(
        "segments",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_segments"),
        sa.UniqueConstraint("digest", name="uq_segments_digest"),
    )
    op.create_table(
        "segment_windows",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("segment_id", _NUMBER, nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("contacts", sa.BigInteger(), nullable=False),
        sa.Column("anomalies", sa.BigInteger(), nullable=False),
        sa.Column("complaints", sa.BigInteger(), nullable=False),
        sa.Column("together", sa.BigInteger(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("recorded_at", _MOMENT, nullable=False),
        sa.Column("state", sa.String(16)),
        sa.Column("score", sa.Double()),
        sa.Column("leading_metric", sa.Text()),
        sa.Column("leading_kind", sa.String(16)),
        sa.Column("observed", sa.Double()),
        sa.Column("expected", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_segment_windows"),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], name="fk_segment_windows_segment_id_segments"),
        sa.UniqueConstraint("segment_id", "start", "seconds", name="uq_segment_windows_segment_id_start_seconds"),
    )
    op.create_index("ix_segment_windows_start", "segment_windows", ["start"])


def _make_incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("id_digest", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("segment_digest", sa.String(64), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("direction", sa.String(4), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("severity", sa.Double(), nullable=False),
        sa.Column("alert_score", sa.Double(), nullable=False),
        sa.Column("alert_severity", sa.Double(), nullable=False),
        sa.Column("critical", sa.Boolean(), nullable=False),
        sa.Column("observed", sa.Double(), nullable=False),
        sa.Column("expected", sa.Double(), nullable=False),
        sa.Column("affected", sa.BigInteger(), nullable=False),
        sa.Column("expected_affected", sa.Double(), nullable=False),
        sa.Column("contacts", sa.BigInteger(), nullable=False),
        sa.Column("causes", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("examples", sa.JSON(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("resolved_at", _MOMENT),
        sa.Column("merged_into", sa.Text()),
        sa.Column("told_at", _MOMENT),
        sa.Column("told_severity", sa.Double(), nullable=False),
        sa.Column("told_critical", sa.Boolean(), nullable=False),
        sa.Column("told_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_incidents"),
        sa.CheckConstraint("status IN ('open', 'resolved', 'merged', 'withdrawn')", name="ck_incidents_status"),
        sa.UniqueConstraint("id_digest", name="uq_incidents_id_digest"),
    )
    op.create_index("ix_incidents_started_at_number", "incidents", ["started_at", "number"])
    op.create_index("ix_incidents_status", "incidents", ["status"])
    op.create_index("ix_incidents_ended_at", "incidents", ["ended_at"])
    op.create_table(
        "incident_calls",
        sa.Column("incident", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("window", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("observed", sa.Double(), nullable=False),
        sa.Column("expected", sa.Double(), nullable=False),
        sa.Column("affected", sa.BigInteger(), nullable=False),
        sa.Column("expected_affected", sa.Double(), nullable=False),
        sa.Column("contacts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("incident", "position", name="pk_incident_calls"),
        sa.ForeignKeyConstraint(["incident"], ["incidents.number"], name="fk_incident_calls_incident_incidents"),
    )
    op.create_table(
        "incident_feedback",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("incident", _NUMBER, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("until", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_incident_feedback"),
        sa.ForeignKeyConstraint(["incident"], ["incidents.number"], name="fk_incident_feedback_incident_incidents"),
        sa.CheckConstraint(_VERDICT, name="ck_incident_feedback_verdict"),
    )
    op.create_index("ix_incident_feedback_incident_id", "incident_feedback", ["incident", "id"])


def _make_silences_and_calibrations() -> None:
    op.create_table(
        "silences",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text()),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("starts_at", _MOMENT, nullable=False),
        sa.Column("ends_at", _MOMENT, nullable=False),
        sa.Column("ended_by", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_silences"),
        sa.CheckConstraint("scope IN ('incidents', 'anomalies')", name="ck_silences_scope"),
        sa.CheckConstraint("ends_at >= starts_at", name="ck_silences_ends_after_start"),
    )
    op.create_index("ix_silences_ends_at", "silences", ["ends_at"])
    op.create_table(
        "calibrations",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("history_start", _MOMENT, nullable=False),
        sa.Column("history_end", _MOMENT, nullable=False),
        sa.Column("contacts", sa.BigInteger(), nullable=False),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("promised_per_week", sa.Double(), nullable=False),
        sa.Column("replayed_per_week", sa.Double(), nullable=False),
        sa.Column("weeks", sa.Double(), nullable=False),
        sa.Column("shifts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calibrations"),
    )
    op.create_index("ix_calibrations_at", "calibrations", ["at"])


def _make_outbox() -> None:
    op.create_table(
        "messages",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("key_digest", sa.String(64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("queued_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.UniqueConstraint("key_digest", name="uq_messages_key_digest"),
    )
    op.create_index("ix_messages_kind_id", "messages", ["kind", "id"])
    op.create_table(
        "deliveries",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("message_id", _NUMBER, nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("topic_digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("uncertain", sa.Boolean(), nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("leased_until", _MOMENT),
        sa.Column("settled_at", _MOMENT),
        sa.Column("receipt", sa.JSON()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name="fk_deliveries_message_id_messages"),
        sa.CheckConstraint("state IN ('pending', 'sent', 'dead')", name="ck_deliveries_state"),
        sa.UniqueConstraint("message_id", "channel", name="uq_deliveries_message_id_channel"),
    )
    op.create_index("ix_deliveries_state_due_at", "deliveries", ["state", "due_at"])
    op.create_index(
        "ix_deliveries_topic_digest_channel_state_id", "deliveries", ["topic_digest", "channel", "state", "id"]
    )


def downgrade() -> None:
    """Drop the tables with what is in them, and the column."""
    for name in (
        "deliveries", "messages", "calibrations", "silences", "incident_feedback", "incident_calls", "incidents",
        "segment_windows", "segments",
    ):  # fmt: skip
        op.drop_table(name)
    op.drop_column("feedback", "until")
