"""What digests count: each window once, whenever it comes; and no silence that looks like quiet."""

from __future__ import annotations

import datetime as dt
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from operations_world import NOW, START, STEP, RecordingChannel, World, between, make_settings, scored_rows

from cxad_pipeline.operations.digests import Record, _joined
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.store.anomalies import record_anomalies
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.records import AnomalyRecord

pytest_plugins = ["store_databases"]

DAY, HOUR, MINUTE = dt.timedelta(days=1), dt.timedelta(hours=1), dt.timedelta(minutes=1)


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> Any:
    made = world_of(tmp_path, sqlite_url)
    yield made
    made.store.close()


def world_of(tmp_path: Path, url: str, **sections: Any) -> World:
    alerts = {"critical_severity": 100, **sections.pop("alerts", {})}
    settings = make_settings(tmp_path, url, alerts=alerts, **sections)
    return World(settings, open_store(settings), [RecordingChannel()])


def digests_at(world: World, now: dt.datetime) -> list[str]:
    """Texts of the digests that a round sends."""
    (channel,) = world.channels
    before = len(channel.parcels)
    deliver_round(world.store, world.settings, world.channels, world.teller, lambda: now)
    return [parcel.message.text for parcel in channel.parcels[before:] if parcel.kind == "digest"]


def contacts_told(texts: list[str]) -> list[int]:
    """Contacts that each digest counts."""
    found = [re.search(r"([0-9,]+) contacts? scored", text) for text in texts]
    return [0 if match is None else int(match[1].replace(",", "")) for match in found]


def window_end(number: int) -> dt.datetime:
    return START + (number + 1) * STEP


def rows_of(*numbers: int) -> int:
    """Contacts of scoring windows, counted in the rows themselves."""
    return sum(between(scored_rows(), window_end(n) - STEP, window_end(n)).num_rows for n in numbers)


def test_each_window_is_in_one_digest_whenever_it_is_scored(world: World) -> None:
    """Scored half an hour after its end, so that the digest of seven comes in the middle of one; and one lands late."""
    now, told, late = START, [], 3
    for number in range(8):
        while now < window_end(number) + HOUR / 2:
            told += digests_at(world, now)
            now += HOUR
        if number != late:
            world.judge(first=number, windows=1, now=now)
    world.judge(first=late, windows=1, now=now)
    for hours in range(0, 48, 4):
        told += digests_at(world, now + hours * HOUR)
    counted = contacts_told(told)
    assert sum(counted) == scored_rows().num_rows
    assert len([number for number in counted if number]) == 3


def test_a_window_that_is_counted_again_is_not_told_again(world: World) -> None:
    world.judge(windows=4, now=NOW - DAY)
    assert contacts_told(digests_at(world, NOW - DAY + MINUTE)) == [rows_of(0, 1, 2, 3)]
    world.judge(now=NOW)
    assert contacts_told(digests_at(world, NOW + DAY / 2)) == [rows_of(4, 5, 6, 7)]


def test_what_was_counted_and_not_judged_while_a_digest_was_made_is_in_the_next(
    tmp_path: Path, sqlite_url: str
) -> None:
    world = world_of(tmp_path, sqlite_url, incidents={"late_minutes": 300})
    world.judge(windows=4, now=window_end(3) + MINUTE)  # its last five hours are late
    (first,) = contacts_told(digests_at(world, window_end(3) + 2 * MINUTE))
    assert 0 < first < rows_of(0, 1, 2, 3)
    world.judge(first=4, windows=1, now=window_end(4) + MINUTE)
    (second,) = contacts_told(digests_at(world, window_end(4) + DAY))
    judged = between(scored_rows(), window_end(3), window_end(3) + HOUR)
    assert first + second == rows_of(0, 1, 2, 3) + judged.num_rows
    world.store.close()


def test_the_first_digest_tells_what_was_counted_in_the_day_before_it_and_no_later_one_the_rest(world: World) -> None:
    world.judge(windows=4, now=NOW - 3 * DAY + MINUTE)
    world.judge(first=4, windows=4, now=NOW)
    assert contacts_told(digests_at(world, NOW + MINUTE)) == [rows_of(4, 5, 6, 7)]
    assert contacts_told(digests_at(world, NOW + 8 * HOUR)) == []
    assert contacts_told(digests_at(world, NOW + 3 * DAY)) == [0]


def test_what_is_too_old_to_be_told_is_not_counted_either(tmp_path: Path, sqlite_url: str) -> None:
    world = world_of(tmp_path, sqlite_url, alerts={"max_age_hours": 24})
    world.judge(now=NOW)
    assert contacts_told(digests_at(world, window_end(7))) == [rows_of(4, 5, 6, 7)]
    world.store.close()


@pytest.mark.parametrize(
    ("hours", "sections", "says"),
    [
        (8, {}, False),
        (23, {}, False),
        (25, {}, True),
        (25, {"incidents": {"late_minutes": 600}}, False),
        (47, {"schedule": {"batch_score_cron": "0 0 * * *"}}, False),
        (49, {"schedule": {"batch_score_cron": "0 0 * * *"}}, True),
        (24 * 6, {"schedule": {"batch_score_cron": "0 0 * * 1"}}, False),
        (24 * 15, {"schedule": {"batch_score_cron": "0 0 * * 1"}}, True),
        (24 * 15, {"schedule": {"last_window": "2026-10-14T00:00:00+00:00"}}, False),
    ],
)
def test_a_digest_says_that_nothing_is_scored_any_more(
    tmp_path: Path, sqlite_url: str, hours: int, sections: dict[str, Any], says: bool
) -> None:
    world = world_of(tmp_path, sqlite_url, **sections)
    world.judge(now=NOW)
    digests_at(world, NOW)
    texts = digests_at(world, NOW + hours * HOUR)
    assert [text.startswith("Digest: NOTHING SCORED since 14 Oct 00:05") for text in texts] == [True] * says
    world.store.close()


def test_where_nothing_was_ever_scored_there_is_nothing_to_miss(world: World) -> None:
    assert digests_at(world, NOW) == []
    assert digests_at(world, NOW + 10 * DAY) == []


def test_days_without_any_contact_are_no_quiet_days(world: World) -> None:
    world.judge(scored_rows().slice(0, 0), now=NOW)
    (text,) = digests_at(world, NOW)
    assert text.startswith("Digest: NO DATA came")


def anomaly(name: str, began: dt.datetime, scored_at: dt.datetime) -> AnomalyRecord:
    record: Any = {
        "interaction_id": name,
        "timestamp": began.isoformat(),
        "scored_at": scored_at.isoformat(),
        "model": "m",
        "model_version": "1",
        "severity": 90.0,
        "scores": {},
        "is_anomaly": {},
        "reasons": [],
        "interaction": {"queue": "billing"},
    }
    return cast(AnomalyRecord, record)


def test_an_interaction_is_told_once_with_its_window_or_when_it_is_scored(world: World) -> None:
    def record(name: str, began: dt.datetime, scored_at: dt.datetime, source: str) -> None:
        with world.store.writing() as connection:
            record_anomalies(connection, [anomaly(name, began, scored_at)], source=source)

    def told(now: dt.datetime) -> set[str]:
        return set(re.findall(r"x-\w+", "".join(digests_at(world, now))))

    world.judge(windows=4, now=NOW - DAY)
    record("x-counted", START + HOUR, NOW - DAY, "batch")
    assert told(NOW - DAY + MINUTE) == {"x-counted"}
    record("x-live", START + 4 * STEP + HOUR, NOW - DAY + HOUR, "api")
    record("x-late", START + 5 * STEP, NOW - DAY - 30 * MINUTE, "batch")  # scored before that digest, stored after it
    assert told(NOW - DAY + 8 * HOUR) == {"x-live", "x-late"}
    world.judge(first=4, windows=4, now=NOW)
    record("x-live", START + 4 * STEP + HOUR, NOW, "batch")
    record("x-counted", START + HOUR, NOW, "batch")  # scored again
    record("x-new", START + 7 * STEP, NOW, "batch")
    assert told(NOW + 8 * HOUR) == {"x-new"}


PERIODS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)).map(lambda at: (at[0], at[0] + at[1])), max_size=12)


@hypothesis_settings(max_examples=100)
@given(PERIODS)
def test_joined_periods_cover_the_same_moments_and_do_not_touch(periods: list[tuple[int, int]]) -> None:
    joined = _joined(periods)
    covered = {moment for start, end in periods for moment in range(start, end)}
    assert {moment for moment in range(80) if Record(joined).covers(moment)} == covered
    assert all(earlier[1] < later[0] for earlier, later in pairwise(joined))
