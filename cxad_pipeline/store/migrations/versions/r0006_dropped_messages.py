"""Dead letters that were put away, and channels that asked to be left alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOMENT = sa.DateTime(timezone=True)
_CHECK = "ck_deliveries_ck_deliveries_state"
"""As the second migration left it: what it gave as the name became a part of the name."""
_BEFORE = "state IN ('pending', 'sent', 'dead')"
_SINCE = "state IN ('pending', 'sent', 'dead', 'dropped')"


def upgrade() -> None:
    """Allow another state of deliveries, and make a table; no channel rests yet."""
    _allow(_SINCE)
    op.create_table(
        "resting_channels",
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("until", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("channel", name="pk_resting_channels"),
    )


def _allow(states: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f(_CHECK), "deliveries", type_="check")
        op.create_check_constraint(op.f(_CHECK), "deliveries", states)
    else:
        _move(states)


def _move(states: str) -> None:
    """SQLite changes no constraint of a table: the rows move to a new one, which gets its name."""
    op.create_table(
        "moved_deliveries",
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
        sa.CheckConstraint(states, name=op.f(_CHECK)),
        sa.UniqueConstraint("message_id", "channel", name="uq_deliveries_message_id_channel"),
    )
    op.execute("INSERT INTO moved_deliveries SELECT * FROM deliveries")
    op.drop_table("deliveries")
    op.rename_table("moved_deliveries", "deliveries")
    op.create_index("ix_deliveries_state_due_at", "deliveries", ["state", "due_at"])
    op.create_index(
        "ix_deliveries_topic_digest_channel_state_id", "deliveries", ["topic_digest", "channel", "state", "id"]
    )


def downgrade() -> None:
    """Drop the table; what was put away is a dead letter again."""
    op.drop_table("resting_channels")
    op.execute("UPDATE deliveries SET state = 'dead' WHERE state = 'dropped'")
    _allow(_BEFORE)
