"""What the store forgets makes no digest come out of its time, and no dead letter come in every digest for ever."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from operations_world import NOW, RecordingChannel, World, make_settings

from cxad_pipeline.alerting.message import Message
from cxad_pipeline.operations.retention import prune_store
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.outbox import Notice, claim, queue, settle_dead
from cxad_pipeline.store.outbox_status import drop

pytest_plugins = ["store_databases"]

DAY = dt.timedelta(days=1)


@pytest.fixture
def worlds(tmp_path: Path, store_url: str) -> Iterator[Any]:
    """Makes a world in which messages are kept for ten days and one could not be delivered."""
    made: list[World] = []

    def make(**alerts: Any) -> World:
        settings = make_settings(tmp_path, store_url, alerts=alerts, store={"url": store_url, "retention_days": 10})
        world = World(settings, open_store(settings), [RecordingChannel()])
        made.append(world)
        _lose(world, NOW)
        return world

    yield make
    for world in made:
        world.store.close()


def _lose(world: World, at: dt.datetime) -> None:
    key = f"run:{at:%d}"
    with world.store.writing() as connection:
        lost = Notice(key, "run_failure", key, Message("x", "x").to_dict(), at)
        queue(connection, lost, ["gone"], at=at)
        (one,) = claim(connection, ["gone"], now=at, lease=DAY, limit=1)
        settle_dead(connection, one, "refused", at)


def _digests(world: World, now: dt.datetime) -> int:
    """How many come in a round, after which the store forgets what is old."""
    (channel,) = world.channels
    before = len(channel.parcels)
    deliver_round(world.store, world.settings, world.channels, world.teller, lambda: now)
    prune_store(world.store, world.settings, now)
    return sum(parcel.kind == "digest" for parcel in channel.parcels[before:])


def test_a_digest_that_is_rarer_than_the_store_remembers_comes_once_for_its_time(worlds: Any) -> None:
    world = worlds(digest_cron="0 7 1 * *")
    assert _digests(world, NOW) == 1
    _lose(world, NOW + 10 * DAY)  # there is something to tell
    assert [_digests(world, NOW + days * DAY) for days in (11, 12, 17, 19)] == [0, 0, 0, 1]


def test_a_dead_letter_is_in_the_digests_while_it_is_kept(worlds: Any) -> None:
    world = worlds(digest_cron="0 7 * * *")
    assert [_digests(world, NOW + days * DAY) for days in range(14)] == [1] * 12 + [0] * 2


def test_a_dead_letter_that_was_put_away_is_in_no_digest(worlds: Any) -> None:
    world = worlds(digest_cron="0 7 * * *")
    assert _digests(world, NOW) == 1
    with world.store.writing() as connection:
        assert drop(connection, None) == 1
    assert [_digests(world, NOW + days * DAY) for days in range(1, 4)] == [0, 0, 0]
