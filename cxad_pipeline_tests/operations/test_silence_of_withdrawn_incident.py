"""What somebody expected of an incident keeps nobody uninformed once nothing is left of it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from operations_world import NOW, RecordingChannel, World, make_settings, scored_rows

from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.feedback import add_incident_feedback
from cxad_pipeline.store.incidents import IncidentFilter, find_incidents
from cxad_pipeline.store.silences import add_silence, find_silences

pytest_plugins = ["store_databases"]
HOUR, WEEK = dt.timedelta(hours=1), dt.timedelta(days=7)


def cured() -> pa.Table:
    """The scored rows without the long holds that are the incident."""
    rows = scored_rows()
    held = rows["hold_time_seconds"]
    long = pc.and_(pc.equal(rows["queue"], "billing"), pc.greater(held, 150))
    short = pc.if_else(long, pa.scalar(20, held.type), held)
    return rows.set_column(rows.column_names.index("hold_time_seconds"), "hold_time_seconds", short)


def test_its_silence_ends_with_it_and_one_made_by_hand_does_not(tmp_path: Path, store_url: str) -> None:
    settings = make_settings(tmp_path, store_url)
    world = World(settings, open_store(settings), [RecordingChannel()])
    try:
        world.judge()
        with world.store.writing() as connection:
            (stored,), _ = find_incidents(connection, IncidentFilter(), limit=10)
            said = add_incident_feedback(
                connection, stored.incident.id, "expected", by="lead", at=NOW, expected_for=WEEK
            )
            by_hand, _ = add_silence(
                connection, scope="incidents", segment=stored.incident.segment, metric=None, owner="ann",
                reason="works", starts_at=NOW, ends_at=NOW + WEEK,
            )  # fmt: skip
        assert said is not None
        assert said.silence is not None
        world.judge(now=NOW + HOUR)
        with world.store.reading() as connection:
            assert len(find_silences(connection, active_at=NOW + HOUR)) == 2, "nothing has changed"
        world.judge(cured(), now=NOW + 2 * HOUR)
        with world.store.reading() as connection:
            (withdrawn,), _ = find_incidents(connection, IncidentFilter(), limit=10)
            assert withdrawn.incident.status == "withdrawn"
            assert find_silences(connection, active_at=NOW + 2 * HOUR) == [by_hand]
            (ended,) = (one for one in find_silences(connection) if one.id == said.silence.id)
        assert (ended.ends_at, ended.ended_by) == (NOW + 2 * HOUR, f"withdrawal of {stored.incident.id}")
    finally:
        world.store.close()
