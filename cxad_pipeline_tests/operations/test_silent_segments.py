"""A segment without contacts while others have some: what judging writes, and what the next digest says."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from operations_world import NOW, START, RecordingChannel, World, make_settings, scored_rows

from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.segment_windows import find_windows

pytest_plugins = ["store_databases"]

VOICE = (("channel", "voice"),)
FROM = START + dt.timedelta(days=1, hours=8)


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    url = str(store.engine.url.render_as_string(hide_password=False))
    return World(make_settings(tmp_path, url), store, [RecordingChannel()])


def without_voice() -> Any:
    rows = scored_rows()
    gone = pc.and_(
        pc.equal(pc.cast(rows["channel"], "string"), "voice"),
        pc.greater_equal(rows["timestamp"], pc.cast(FROM, rows.schema.field("timestamp").type)),
    )
    return rows.filter(pc.invert(gone))


def digest(world: World, now: dt.datetime) -> str:
    (channel,) = world.channels
    before = len(channel.parcels)
    deliver_round(world.store, world.settings, world.channels, world.teller, lambda: now)
    (text,) = [parcel.message.text for parcel in channel.parcels[before:] if parcel.kind == "digest"]
    return text


def silent_hours(world: World) -> list[str]:
    with world.store.reading() as connection:
        rows = find_windows(connection, since=None, until=None, segment=VOICE, limit=100)
    return [row["start"][:16] for row in reversed(rows) if row["state"] == "missing"]


def test_calls_that_stop_while_chats_go_on_are_told_in_the_digest_and_not_as_quiet(world: World) -> None:
    world.judge(without_voice())
    hours = silent_hours(world)
    assert hours[0] in ("2026-10-13T08:00", "2026-10-13T09:00")
    assert len(hours) >= 8
    text = digest(world, NOW)
    assert "segment WITHOUT CONTACTS" in text.splitlines()[0] or "segments WITHOUT CONTACTS" in text.splitlines()[0]
    assert f"  voice · none in {len(hours)} windows of 13 Oct " in text
    assert "billing / voice · none" not in text, "it is a part of voice"


def test_windows_judged_one_by_one_say_the_same(world: World) -> None:
    world.judge(without_voice())
    at_once = silent_hours(world)
    world.judge(without_voice(), together=1)
    assert silent_hours(world) == at_once


def test_contacts_that_land_late_take_it_back(world: World) -> None:
    world.judge(without_voice())
    assert silent_hours(world)
    world.judge(scored_rows(), now=NOW + dt.timedelta(hours=1))
    assert not silent_hours(world)
    assert "WITHOUT CONTACTS" not in digest(world, NOW + dt.timedelta(hours=2))


def test_the_hours_before_the_first_that_was_counted_are_no_silence(world: World) -> None:
    world.judge(first=4)
    with world.store.reading() as connection:
        rows = find_windows(connection, since=None, until=None, limit=10_000)
    assert not [row for row in rows if row["state"] == "missing"]
