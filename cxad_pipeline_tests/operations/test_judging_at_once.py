"""Judging beside others: who writes need not wait for the tests, and what others count or judge meanwhile is heeded."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from operations_world import NOW, START, STEP, RecordingChannel, World, between, make_settings, scored_rows
from sqlalchemy import Connection

from cxad_pipeline.incidents import Rollups
from cxad_pipeline.operations import judging
from cxad_pipeline.operations.statistics import record_statistics
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.incidents import IncidentFilter, StoredIncident, find_incidents
from cxad_pipeline.store.outbox import find_deliveries
from cxad_pipeline.store.segment_windows import SegmentWindow, find_windows
from cxad_pipeline.store.silences import add_silence, find_silences

pytest_plugins = ["store_databases"]


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Any:
    settings = make_settings(tmp_path, store_url)
    store = open_store(settings)
    yield World(settings, store, [RecordingChannel()])
    store.close()


@pytest.fixture
def expected(tmp_path: Path) -> Any:
    """A world of its own, in which nothing happens at once."""
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/expected.db")
    store = open_store(settings)
    yield World(settings, store, [RecordingChannel()])
    store.close()


def after_reading(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object], times: int) -> list[int]:
    """Let something happen the first times that rollups have been read for judging; counts all readings."""
    readings: list[int] = []
    read = judging.read_rollups

    def read_then(connection: Connection, *wanted: Any) -> Rollups:
        found = read(connection, *wanted)
        readings.append(len(readings) + 1)
        if len(readings) <= times:
            happens()
        return found

    monkeypatch.setattr(judging, "read_rollups", read_then)
    return readings


def cured(rows: pa.Table, to: float = 20) -> pa.Table:
    """The rows without the long holds of billing: without the incident."""
    held = rows["hold_time_seconds"]
    long = pc.and_(pc.equal(rows["queue"], "billing"), pc.greater(held, 150))
    values = pc.if_else(long, pa.scalar(to, held.type), held)
    return rows.set_column(rows.column_names.index("hold_time_seconds"), "hold_time_seconds", values)


def count(world: World, rows: pa.Table, windows: range) -> None:
    for number in windows:
        begin = START + number * STEP
        record_statistics(world.store, world.model, between(rows, begin, begin + STEP), begin, begin + STEP, NOW)


def judge(world: World, windows: range) -> judging.Judged:
    parts = [(START + number * STEP, START + (number + 1) * STEP) for number in windows]
    tables = [between(scored_rows(), *part) for part in parts]
    start, end = parts[0][0], parts[-1][1]
    return judging.judge(world.store, world.model, tables, start, end, world.settings, world.teller, lambda: NOW)


def incidents(world: World) -> list[StoredIncident]:
    with world.store.reading() as connection:
        return find_incidents(connection, IncidentFilter(), limit=500)[0]


def windows_of(world: World) -> list[SegmentWindow]:
    with world.store.reading() as connection:
        found = find_windows(connection, since=START, until=NOW, limit=100_000)
    for row in found:
        row["recorded_at"] = ""
    return sorted(found, key=lambda row: (row["start"], row["segment"]))


def keys(world: World) -> list[str]:
    with world.store.reading() as connection:
        return sorted(row["key"] for row in find_deliveries(connection, limit=500)[0])


def test_others_write_while_windows_are_read_and_tested(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def silence() -> None:
        with world.store.writing() as connection:
            add_silence(
                connection,
                scope="incidents",
                segment=(("queue", "sales"),),
                metric=None,
                owner="lead",
                reason="price change",
                starts_at=NOW,
                ends_at=NOW + dt.timedelta(days=1),
            )

    count(world, scored_rows(), range(8))
    readings = after_reading(monkeypatch, silence, 1)
    judge(world, range(8))
    assert len(readings) == 1  # what they wrote changes nothing of what was tested
    assert len(incidents(world)) == 1
    with world.store.reading() as connection:
        assert len(find_silences(connection, active_at=NOW)) == 1


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_is_counted_anew_while_it_is_tested_is_tested_again_however_often(
    world: World, expected: World, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The clock stands still here: that what was counted again is counted later does not depend on it."""
    count(world, scored_rows(), range(8))
    holds = iter(range(1, times + 1))
    readings = after_reading(monkeypatch, lambda: count(world, cured(scored_rows(), next(holds)), range(5, 7)), times)
    judge(world, range(8))
    assert len(readings) == times + 1
    monkeypatch.undo()
    count(expected, scored_rows(), range(8))
    count(expected, cured(scored_rows(), times), range(5, 7))
    judge(expected, range(8))
    assert incidents(world) == incidents(expected) == []
    assert windows_of(world) == windows_of(expected)


def test_a_window_that_another_run_has_judged_meanwhile_is_not_judged_with_the_next(
    world: World, expected: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (world, expected):
        count(each, scored_rows(), range(6))
        judge(each, range(5))
        count(each, scored_rows(), range(6, 7))
    judge(expected, range(5, 6))
    one = judge(expected, range(6, 7))
    readings = after_reading(monkeypatch, lambda: judge(world, range(5, 6)), 1)
    other = judge(world, range(6, 7))
    assert len(readings) == 3  # the one within, and again
    assert other.windows == one.windows
    assert other.windows.number == 6
    assert without_order(incidents(world)) == without_order(incidents(expected))
    assert windows_of(world) == windows_of(expected)
    assert keys(world) == keys(expected)


def without_order(found: list[StoredIncident]) -> list[StoredIncident]:
    return sorted((replace(stored, verdict=None) for stored in found), key=lambda stored: stored.incident.id)


def test_runs_that_judge_at_once_come_to_what_one_after_the_other_does(world: World, expected: World) -> None:
    count(expected, scored_rows(), range(8))
    judge(expected, range(8))
    count(world, scored_rows(), range(8))
    runs = [range(0, 3), range(3, 6), range(6, 8), range(3, 6), range(0, 8)]
    with ThreadPoolExecutor(len(runs)) as threads:
        list(threads.map(lambda windows: judge(world, windows), runs))
    (found,), (known,) = incidents(world), incidents(expected)
    assert (found.incident.id, found.incident.status, found.calls) == (
        known.incident.id,
        known.incident.status,
        known.calls,
    )
    assert windows_of(world) == windows_of(expected)
    opened = [key for key in keys(world) if key.endswith(":opened")]
    assert opened == [f"incident:{known.incident.id}:opened"]
