"""The budget that people read: the same in a message, in the digest and in the API's answer, also for old data."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from operations_world import NOW, RecordingChannel, World, make_settings

from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.store.budget import budget_status
from cxad_pipeline.store.database import open_store


@pytest.mark.parametrize("later", [dt.timedelta(0), dt.timedelta(days=40)], ids=["at once", "forty days later"])
def test_an_incident_stands_beside_a_budget_that_counts_it(tmp_path: Path, later: dt.timedelta) -> None:
    """Two days with one incident, which a laptop judges when they come or long after."""
    alerts = {"max_age_hours": None, "critical_severity": 10}
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/store.db", alerts=alerts)
    world = World(settings, open_store(settings), [RecordingChannel()])
    world.judge(now=NOW + later)
    deliver_round(world.store, settings, world.channels, world.teller, lambda: NOW + later)
    told = "budget: 1 of 5 incidents in the week to 14 Oct 00:00"
    texts = {parcel.kind: parcel.message.text for parcel in world.channels[0].parcels}
    assert set(texts) == {"resolved", "digest"}
    assert all(told in text for text in texts.values()), texts
    with world.store.reading() as connection:
        status = budget_status(connection, 9.0)
    world.store.close()
    assert (status.used, status.until) == (1, dt.datetime(2026, 10, 14, tzinfo=dt.UTC))
