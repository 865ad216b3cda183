"""What an incident was when a verdict was given; which silence a verdict has made, and who else asked for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add columns; of verdicts that were given before they stay empty."""
    op.add_column("feedback", sa.Column("silence", _NUMBER))
    op.add_column("incident_feedback", sa.Column("silence", _NUMBER))
    op.add_column("incident_feedback", sa.Column("segment", sa.Text()))
    op.add_column("incident_feedback", sa.Column("metric", sa.Text()))
    op.add_column("incident_feedback", sa.Column("started_at", _MOMENT))
    op.add_column("incident_feedback", sa.Column("ended_at", _MOMENT))
    op.add_column("silences", sa.Column("asked_until", _MOMENT))
    # Who made those that there are is not known: as if by hand, so that no verdict ends what somebody asked for.
    op.execute("UPDATE silences SET asked_until = ends_at")


def downgrade() -> None:
    """Drop the columns with what is in them."""
    op.drop_column("silences", "asked_until")
    for name in ("ended_at", "started_at", "metric", "segment", "silence"):
        op.drop_column("incident_feedback", name)
    op.drop_column("feedback", "silence")
