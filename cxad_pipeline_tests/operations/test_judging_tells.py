"""What judging remembers of what people were told: by the clock of its transaction, and through all that follows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from operations_world import NOW, START, STEP, RecordingChannel, World, make_settings, scored_rows
from sqlalchemy import Connection

from cxad_pipeline.operations import judging
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.operations.statistics import record_statistics
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.incidents import IncidentFilter, StoredIncident, find_incidents, lock_incidents, save_incident
from cxad_pipeline.store.outbox import find_deliveries

pytest_plugins = ["store_databases"]
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    settings = make_settings(tmp_path, sqlite_url)
    store = open_store(settings)
    yield World(settings, store, [RecordingChannel(), RecordingChannel("editing", edits=True)])
    store.close()


def stored(world: World) -> StoredIncident:
    with world.store.reading() as connection:
        (found,) = find_incidents(connection, IncidentFilter(), limit=10)[0]
    return found


def deliver(world: World, now: dt.datetime) -> list[list[str]]:
    """What a round sends to each channel: kinds, without the digest."""
    before = [len(channel.parcels) for channel in world.channels]
    deliver_round(world.store, world.settings, world.channels, world.teller, lambda: now)
    return [
        [parcel.kind for parcel in channel.parcels[number:] if parcel.kind != "digest"]
        for number, channel in zip(before, world.channels, strict=True)
    ]


def longer(rows: pa.Table, seconds: float) -> pa.Table:
    """The rows with even longer holds where they are long."""
    held = rows["hold_time_seconds"]
    long = pc.and_(pc.equal(rows["queue"], "billing"), pc.greater(held, 150))
    values = pc.if_else(long, pc.add(held, pa.scalar(seconds, held.type)), held)
    return rows.set_column(rows.column_names.index("hold_time_seconds"), "hold_time_seconds", values)


def test_what_is_told_goes_by_the_clock_when_the_transaction_takes_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who judges may have read, tested and waited for others for minutes by then."""
    times = [NOW, NOW + HOUR]

    def lock_late(connection: Connection) -> None:
        lock_incidents(connection)
        times.pop(0)

    monkeypatch.setattr(judging, "lock_incidents", lock_late)
    rows, end = scored_rows(), START + 8 * STEP
    record_statistics(world.store, world.model, rows, START, end, NOW)
    judging.judge(world.store, world.model, [rows], START, end, world.settings, world.teller, lambda: times[0])
    found = stored(world)
    assert (found.incident.opened_at, found.incident.updated_at, found.told.at) == (NOW + HOUR,) * 3
    with world.store.reading() as connection:
        deliveries, _ = find_deliveries(connection, limit=10)
    assert {dt.datetime.fromisoformat(str(row["due_at"])) for row in deliveries} == {NOW + HOUR}


def test_one_that_comes_back_from_another_that_had_taken_it_in_is_known_to_have_been_told(world: World) -> None:
    world.judge()
    assert deliver(world, NOW) == [["resolved"], ["resolved"]]
    found = stored(world)
    merged = replace(found.incident, status="merged", merged_into="20261013-000000")
    with world.store.writing() as connection:
        save_incident(connection, merged, (), found.told)
    world.judge(now=NOW + HOUR)
    back = stored(world)
    assert back.incident.status == "resolved"
    assert back.told == replace(found.told, number=2)
    assert deliver(world, NOW + HOUR) == [[], ["edit"]]


def test_every_edit_of_a_message_reaches_the_channels_that_edit(world: World) -> None:
    world.judge()
    assert deliver(world, NOW) == [["resolved"], ["resolved"]]
    for number, seconds in enumerate((5.0, 10.0, 15.0), start=1):
        now = NOW + number * HOUR
        world.judge(longer(scored_rows(), seconds), now=now)
        assert deliver(world, now) == [[], ["edit"]]
        assert stored(world).told.number == 1 + number
    texts = [parcel.message.text for parcel in world.channels[1].parcels if parcel.kind != "digest"]
    assert len(set(texts)) == 4
