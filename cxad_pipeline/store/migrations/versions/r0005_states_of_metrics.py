"""Which metrics of a segment were not tested in a window, and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add a column; of windows that were judged before it stays empty."""
    op.add_column("segment_windows", sa.Column("metric_states", sa.JSON()))


def downgrade() -> None:
    """Drop the column with what is in it."""
    op.drop_column("segment_windows", "metric_states")
