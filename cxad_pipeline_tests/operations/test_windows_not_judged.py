"""Hours that never landed between hours that did: the digest says so, once."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operations_world import NOW, START, RecordingChannel, World, make_settings

from cxad_pipeline.incidents.bands import CountBaseline, SegmentBaselines
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.store.baselines import record_baselines
from cxad_pipeline.store.calibrations import CalibrationRecord, record_calibration
from cxad_pipeline.store.database import Store

pytest_plugins = ["store_databases"]

DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)


def world_of(folder: Path, store: Store, **sections: Any) -> World:
    url = str(store.engine.url.render_as_string(hide_password=False))
    return World(make_settings(folder, url, **sections), store, [RecordingChannel()])


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    return world_of(tmp_path, store)


def digests(world: World, now: dt.datetime) -> str:
    """What is said by the digests of a round."""
    (channel,) = world.channels
    before = len(channel.parcels)
    deliver_round(world.store, world.settings, world.channels, world.teller, lambda: now)
    return "\n".join(parcel.message.text for parcel in channel.parcels[before:] if parcel.kind == "digest")


def missed(text: str) -> list[str]:
    return re.findall(r"^([0-9]+ windows? of .*) never judged: not quiet, but unknown", text, re.MULTILINE)


def landed(world: World, *numbers: int, now: dt.datetime = NOW) -> None:
    """Scoring windows of six hours, by their number from 12 October on."""
    for number in numbers:
        world.judge(first=number, windows=1, now=now)


def test_half_a_day_that_never_landed_is_told_once_and_not_as_quiet(world: World) -> None:
    landed(world, 0, 1, 2, 3, 6, 7)
    text = digests(world, NOW)
    assert missed(text) == ["12 windows of 13 Oct 00:00-12:00 UTC"]
    assert "12 windows NEVER JUDGED" in text.splitlines()[0]
    for days in range(1, 4):
        assert "judged" not in digests(world, NOW + days * DAY)


def test_where_all_has_landed_nothing_is_missed(world: World) -> None:
    landed(world, *range(8))
    text = digests(world, NOW)
    assert "scored" in text
    assert "judged" not in text.lower()


def test_hours_after_what_an_earlier_digest_told_are_missed_too(world: World) -> None:
    landed(world, 0, 1, now=NOW - DAY)
    assert not missed(digests(world, NOW - DAY))
    landed(world, 4, 6)
    assert missed(digests(world, NOW)) == ["18 windows of 12 Oct 12:00 to 13 Oct 12:00 UTC"]


def test_what_lands_late_after_all_is_told_as_scored_and_the_rest_is_not_told_again(world: World) -> None:
    landed(world, 0, 1, 6)
    assert missed(digests(world, NOW))
    landed(world, 4, now=NOW + HOUR)
    text = digests(world, NOW + DAY)
    assert "13 Oct 00:00-06:00 UTC: " in text
    assert not missed(text)


def test_before_the_first_window_that_was_ever_told_nothing_is_missed(world: World) -> None:
    landed(world, 5, 6)
    assert not missed(digests(world, NOW))


def calibrate(store: Store, open_from: int, seconds: int = 3_600) -> None:
    """A calibration that expects contacts from some hour of each day on."""
    rate = np.tile(np.where(np.arange(24) >= open_from, 5.0, 0.2), 7)
    known = SegmentBaselines(seconds, "UTC", {}, {"contacts": CountBaseline("contacts", rate, 0.05)})
    record = CalibrationRecord(START, START - DAY, START, 900, 7, ["aht_seconds"], 4.5, 5.0, 4.25, 4.0, {})
    with store.writing() as connection:
        record_baselines(connection, record_calibration(connection, record), [((), known)])


def test_closed_hours_are_not_missed(world: World) -> None:
    calibrate(world.store, open_from=8)
    landed(world, 0, 1, 2, 3, 6, 7)
    assert missed(digests(world, NOW)) == ["4 windows of 13 Oct 08:00-12:00 UTC"]


def test_what_a_calibration_of_other_windows_knows_says_nothing_of_these(world: World) -> None:
    calibrate(world.store, open_from=8, seconds=7_200)
    landed(world, 0, 1, 2, 3, 6, 7)
    assert missed(digests(world, NOW)) == ["12 windows of 13 Oct 00:00-12:00 UTC"]


def test_special_days_are_not_missed(tmp_path: Path, store: Store) -> None:
    world = world_of(tmp_path, store, incidents={"special_days": ["2026-10-13"]})
    landed(world, 0, 1, 3, 6, 7)
    assert missed(digests(world, NOW)) == ["6 windows of 12 Oct 12:00-18:00 UTC"]


def test_what_is_too_old_to_be_told_is_not_missed(tmp_path: Path, store: Store) -> None:
    world = world_of(tmp_path, store, alerts={"max_age_hours": 24})
    landed(world, 0, 2, 4, 6, 7)
    assert missed(digests(world, NOW - 5 * dt.timedelta(minutes=1))) == ["6 windows of 13 Oct 06:00-12:00 UTC"]
