"""Delivery rounds: what the clock asks for is queued once, and leaves."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from operations_world import NOW, RecordingChannel, World, make_settings, scored_rows

from cxad_pipeline.alerting.channels import apprise, slack_requests, smtp_connections
from cxad_pipeline.alerting.channels.channel import ATTEMPT_SECONDS
from cxad_pipeline.operations.digests import digest_tick
from cxad_pipeline.operations.rounds import LEASE, deliver_round
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.incidents import IncidentFilter, find_incidents
from cxad_pipeline.store.silences import add_silence

pytest_plugins = ["store_databases"]
HOUR = dt.timedelta(hours=1)


def make_world(tmp_path: Path, url: str, **alerts: Any) -> World:
    settings = make_settings(tmp_path, url, alerts=alerts)
    return World(settings, open_store(settings), [RecordingChannel()])


def round_at(world: World, now: dt.datetime) -> list[str]:
    """Kinds of messages that a round sends."""
    (channel,) = world.channels
    before = len(channel.parcels)
    done = deliver_round(world.store, world.settings, world.channels, world.teller, lambda: now)
    assert done.sent == len(channel.parcels) - before
    return channel.kinds()[before:]


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Any:
    made = make_world(tmp_path, store_url)
    yield made
    made.store.close()


def test_what_is_critical_leaves_at_once_and_the_first_digest_with_it(world: World) -> None:
    world.judge()
    # The windows of two days came at once: by now it is over, and that is what people are told.
    assert sorted(round_at(world, NOW)) == ["digest", "resolved"]
    assert round_at(world, NOW + HOUR) == []


def test_there_is_one_digest_for_each_tick_and_none_where_there_is_nothing_to_say(world: World) -> None:
    world.judge()
    round_at(world, NOW)
    morning = NOW.replace(hour=7, minute=0)
    assert round_at(world, morning - dt.timedelta(minutes=1)) == []
    assert round_at(world, morning) == []  # nothing has happened since
    # What is found at noon waits for the digest of the next morning.
    assert round_at(world, morning + 5 * HOUR) == []


def test_the_digest_tells_what_is_not_critical_and_remembers_it(tmp_path: Path, sqlite_url: str) -> None:
    world = make_world(tmp_path, sqlite_url, critical_severity=100)
    world.judge()
    assert round_at(world, NOW) == ["digest"]
    (parcel,) = world.channels[0].parcels
    assert "billing" in parcel.message.text
    with world.store.reading() as connection:
        (stored,), _ = find_incidents(connection, IncidentFilter(), limit=10)
    assert stored.told.at == NOW
    assert not stored.told.critical
    assert round_at(world, NOW + dt.timedelta(days=1)) == []
    world.store.close()


def test_a_silence_keeps_an_incident_out_of_the_digest_and_is_counted_there(tmp_path: Path, sqlite_url: str) -> None:
    world = make_world(tmp_path, sqlite_url, critical_severity=100)
    with world.store.writing() as connection:
        add_silence(
            connection,
            scope="incidents",
            segment=(),
            metric=None,
            owner="lead",
            reason="migration",
            starts_at=NOW - HOUR,
            ends_at=NOW + HOUR,
        )
    world.judge()
    round_at(world, NOW)
    (parcel,) = world.channels[0].parcels
    assert "hold time" not in parcel.message.text
    assert "silence" in parcel.message.text.lower()
    world.store.close()


def test_switched_off_alerts_send_nothing_and_find_everything(tmp_path: Path, sqlite_url: str) -> None:
    world = make_world(tmp_path, sqlite_url, enabled=False)
    world.judge()
    assert round_at(world, NOW) == []
    with world.store.reading() as connection:
        assert len(find_incidents(connection, IncidentFilter(), limit=10)[0]) == 1
    world.store.close()


def test_an_incident_that_goes_on_is_told_again_after_the_repeat_interval_and_not_before(
    tmp_path: Path, sqlite_url: str
) -> None:
    """Judged up to the middle of the incident, so that it is open; then an hour more of it, a day later."""
    world = make_world(tmp_path, sqlite_url, repeat_hours=24)
    start = NOW - dt.timedelta(hours=12)  # Tuesday noon: the window from 6 to 12 has just ended
    world.judge(first=0, windows=6, now=start)
    assert "opened" in round_at(world, start)
    assert round_at(world, start + 25 * HOUR) == ["digest"]  # nothing new of it since, nor of anything else
    assert "NOTHING SCORED" in world.channels[0].parcels[-1].message.headline
    with world.store.reading() as connection:
        (stored,), _ = find_incidents(connection, IncidentFilter(statuses=("open",)), limit=10)
    assert stored.incident.status == "open"


def test_what_is_found_while_a_digest_is_made_is_told_in_the_next(tmp_path: Path, sqlite_url: str) -> None:
    world = make_world(tmp_path, sqlite_url, critical_severity=100)
    world.judge(scored_rows().slice(0, 0), first=2, windows=1, now=NOW - HOUR)  # something to tell: hours without data
    assert round_at(world, NOW) == ["digest"]
    world.judge(now=NOW - dt.timedelta(seconds=5))  # began before that digest, and ended after it
    assert round_at(world, NOW + dt.timedelta(days=1)) == ["digest"]
    assert "billing" in world.channels[0].parcels[-1].message.text
    assert round_at(world, NOW + dt.timedelta(days=2)) == ["digest"]
    assert "billing" not in world.channels[0].parcels[-1].message.text
    world.store.close()


def test_a_lease_outlives_every_attempt() -> None:
    """After `ATTEMPT_SECONDS` nothing is begun; what was begun before has limits of its own, here four."""
    longest = max(slack_requests.TIMEOUT_SECONDS, apprise.TIMEOUT_SECONDS, smtp_connections.CONNECT_SECONDS)
    assert ATTEMPT_SECONDS + 4 * longest < LEASE.total_seconds()


def test_a_clock_that_is_set_back_makes_no_digest_of_the_past(world: World) -> None:
    world.judge()
    round_at(world, NOW)
    assert round_at(world, NOW - dt.timedelta(days=2)) == []


def test_the_hour_that_comes_twice_when_summer_ends_makes_one_tick(tmp_path: Path) -> None:
    settings = make_settings(
        tmp_path,
        f"sqlite:///{tmp_path}/store.db",
        alerts={"digest_cron": "30 2 * * *"},
        schedule={"timezone": "Europe/Berlin"},
    )
    begin = dt.datetime(2026, 10, 24, 22, tzinfo=dt.UTC)
    ticks = [digest_tick(settings, begin + dt.timedelta(minutes=10 * n)) for n in range(60)]
    assert ticks == sorted(ticks)


@pytest.mark.parametrize(
    ("now", "tick"),
    [
        ("2026-10-14T06:59:59+00:00", "2026-10-13T07:00:00+00:00"),
        ("2026-10-14T07:00:00+00:00", "2026-10-14T07:00:00+00:00"),
        ("2026-10-14T23:00:00+00:00", "2026-10-14T07:00:00+00:00"),
    ],
)
def test_the_tick_of_a_digest_is_the_latest_that_has_passed(tmp_path: Path, now: str, tick: str) -> None:
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/store.db")
    assert digest_tick(settings, dt.datetime.fromisoformat(now)) == dt.datetime.fromisoformat(tick)
