"""What each calibration found usual in each segment."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "baselines",
        sa.Column("segment_digest", sa.String(64), nullable=False),
        sa.Column("calibration_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("known", sa.JSON(), nullable=False),
        sa.Column("slots", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("segment_digest", "calibration_id", name="pk_baselines"),
        sa.ForeignKeyConstraint(
            ["calibration_id"], ["calibrations.id"], name="fk_baselines_calibration_id_calibrations"
        ),
    )
    _renew_levels()


def _renew_levels() -> None:
    """A level was two at most; it is how many dimensions a segment names."""
    segments = sa.table("segments", sa.column("id"), sa.column("segment"), sa.column("level"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(segments).where(segments.c.level == 2)).all():
        level = len(json.loads(row.segment))
        connection.execute(sa.update(segments).where(segments.c.id == row.id).values(level=level))


def downgrade() -> None:
    """Drop the table with what is in it."""
    op.drop_table("baselines")
