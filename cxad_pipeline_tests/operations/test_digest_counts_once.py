"""An incident is counted in one digest: silenced ones, and those that were told at once; whatever the clock does."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from incident_store_world import incident
from operations_world import NOW, RecordingChannel, World, make_settings

from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.incidents import NOTHING_TOLD, get_incident, save_incident
from cxad_pipeline.store.outbox import Notice, claim, queue, settle_dead
from cxad_pipeline.store.silences import add_silence

pytest_plugins = ["store_databases"]

DAY, HOUR, MINUTE = dt.timedelta(days=1), dt.timedelta(hours=1), dt.timedelta(minutes=1)
SEVEN = NOW.replace(hour=7, minute=0)  # when digests are sent


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    settings = make_settings(tmp_path, store_url, alerts={"wait_minutes": 0, "repeat_hours": 6})
    made = World(settings, open_store(settings), [RecordingChannel()])
    yield made
    made.store.close()


def found(moment: dt.datetime, number: int = 0, **changes: object) -> Incident:
    """An incident of the hour before a moment, found then."""
    times = {"started_at": moment - HOUR, "ended_at": moment, "opened_at": moment, "updated_at": moment}
    return incident(number, **{**times, **changes})


def change(world: World, after: Incident, now: dt.datetime) -> None:
    """Store what became of an incident, and queue what is told of it."""
    with world.store.writing() as connection:
        stored = get_incident(connection, after.id)
        before, told = (None, NOTHING_TOLD) if stored is None else (stored.incident, stored.told)
        save_incident(connection, after, (), world.teller.tell(connection, before, after, told, now))


def fail_a_delivery(world: World, now: dt.datetime, key: str = "run:1") -> None:
    """So that the next digest has something to say."""
    with world.store.writing() as connection:
        queue(connection, Notice(key, "run_failure", key, {}, now), ["gone"], at=now)
        (claimed,) = claim(connection, ["gone"], now=now, lease=HOUR, limit=1)
        settle_dead(connection, claimed, "refused", now)


def digests_at(world: World, *moments: dt.datetime) -> list[str]:
    """Texts of the digests that rounds at these moments send."""
    (channel,) = world.channels
    before = len(channel.parcels)
    for now in moments:
        deliver_round(world.store, world.settings, world.channels, world.teller, lambda now=now: now)
    return [parcel.message.text for parcel in channel.parcels[before:] if parcel.kind == "digest"]


def counted(word: str, texts: list[str]) -> list[int]:
    return [int(number) for text in texts for number in re.findall(rf"{word}: (\d+) incident", text)]


def silence(world: World) -> None:
    with world.store.writing() as connection:
        add_silence(
            connection,
            scope="incidents",
            segment=(),
            metric=None,
            owner="lead",
            reason="moving house",
            starts_at=NOW - DAY,
            ends_at=NOW + 30 * DAY,
        )


def test_a_silenced_incident_is_counted_once_and_makes_no_digest_of_its_own_after_that(world: World) -> None:
    silence(world)
    one = found(NOW)
    change(world, one, NOW)
    assert counted("Silenced", digests_at(world, SEVEN)) == [1]
    change(world, replace(one, updated_at=SEVEN + HOUR, score=7.0), SEVEN + HOUR)  # it goes on
    assert digests_at(world, SEVEN + DAY, SEVEN + 2 * DAY) == []


def test_each_digest_counts_the_silenced_incidents_that_are_new(world: World) -> None:
    silence(world)
    told = []
    for number in range(3):
        now = NOW + number * DAY
        change(world, found(now, number), now)
        told += digests_at(world, SEVEN + number * DAY)
    assert counted("Silenced", told) == [1, 1, 1]


def test_silenced_incidents_are_counted_once_where_digests_come_every_hour(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path, sqlite_url, alerts={"digest_cron": "0 * * * *"})
    world = World(settings, open_store(settings), [RecordingChannel()])
    silence(world)
    change(world, found(NOW), NOW)
    assert counted("Silenced", digests_at(world, *(NOW + hours * HOUR for hours in range(30)))) == [1]
    world.store.close()


def test_what_the_digest_told_and_then_became_critical_is_counted_as_told_at_once(world: World) -> None:
    calm = found(NOW - HOUR, severity=30.0, critical=False)
    change(world, calm, NOW - HOUR)
    assert counted("Told at once", digests_at(world, SEVEN)) == [0]
    noon = SEVEN + 5 * HOUR
    change(world, replace(calm, severity=80.0, critical=True, updated_at=noon), noon)
    assert digests_at(world, noon) == []
    fail_a_delivery(world, noon)
    assert counted("Told at once", digests_at(world, SEVEN + DAY)) == [1]


def test_an_incident_that_people_are_told_of_for_days_is_counted_in_the_first_digest(world: World) -> None:
    one = found(NOW)
    change(world, one, NOW)
    texts = digests_at(world, SEVEN)
    for day in range(1, 4):
        now = SEVEN + day * DAY - HOUR
        one = replace(one, updated_at=now, ended_at=now, score=one.score + 1)
        change(world, one, now)
        fail_a_delivery(world, now, f"run:{day}")
        texts += digests_at(world, now, now + HOUR)
    over = replace(one, status="resolved", resolved_at=now + 2 * HOUR, updated_at=now + 2 * HOUR)
    change(world, over, now + 2 * HOUR)
    texts += digests_at(world, now + DAY, now + DAY + HOUR)
    kinds = [parcel.kind for parcel in world.channels[0].parcels if parcel.kind != "digest"]
    assert kinds == ["opened", "repeat", "repeat", "repeat", "resolved"]
    assert counted("Told at once", texts) == [1, 0, 0, 0, 0]


def test_what_waits_when_a_digest_is_made_is_counted_in_the_next(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path, sqlite_url, alerts={"wait_minutes": 30})
    world = World(settings, open_store(settings), [RecordingChannel()])
    fail_a_delivery(world, NOW)
    change(world, found(SEVEN - MINUTE), SEVEN - MINUTE)
    texts = digests_at(world, SEVEN, SEVEN + HOUR, SEVEN + DAY, SEVEN + 2 * DAY)
    assert counted("Told at once", texts) == [0, 1, 0]
    world.store.close()


def test_a_clock_that_is_set_back_makes_no_second_digest(world: World) -> None:
    fail_a_delivery(world, NOW)
    assert len(digests_at(world, SEVEN + DAY)) == 1
    change(world, found(SEVEN, critical=False, severity=30.0), SEVEN)
    assert digests_at(world, SEVEN + HOUR, SEVEN + 12 * HOUR) == []
    assert len(digests_at(world, SEVEN + 2 * DAY)) == 1
