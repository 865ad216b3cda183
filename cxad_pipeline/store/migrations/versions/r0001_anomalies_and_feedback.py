"""Anomalies, and what people said of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "anomalies",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("interaction_digest", sa.String(64), nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("timestamp", _MOMENT, nullable=False),
        sa.Column("scored_at", _MOMENT, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("severity", sa.Double(), nullable=False),
        sa.Column("channel", sa.Text()),
        sa.Column("language", sa.Text()),
        sa.Column("queue", sa.Text()),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("is_anomaly", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("interaction", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_anomalies"),
        sa.UniqueConstraint(
            "interaction_digest", "model_version", name="uq_anomalies_interaction_digest_model_version"
        ),
    )
    op.create_index("ix_anomalies_timestamp_id", "anomalies", ["timestamp", "id"])
    op.create_table(
        "feedback",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("interaction_digest", sa.String(64), nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
        sa.CheckConstraint(
            "verdict IN ('confirmed', 'expected', 'false_alarm', 'new_trend')", name="ck_feedback_verdict"
        ),
    )
    op.create_index("ix_feedback_interaction_digest_id", "feedback", ["interaction_digest", "id"])


def downgrade() -> None:
    """Drop both tables with what is in them."""
    op.drop_table("feedback")
    op.drop_table("anomalies")
