"""Windows that are corrected or filled in late: what was false goes, and incidents are what they would have been."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operations_world import NOW, START, STEP, RecordingChannel, World, between, make_settings, training_rows
from operations_world import as_scored as with_scores

from cxad_pipeline.incidents import Windows
from cxad_pipeline.incidents.contacts import contacts_of
from cxad_pipeline.incidents.incident import Call
from cxad_pipeline.incidents.life import calls_of
from cxad_pipeline.operations.calibration import Judgements, fitted
from cxad_pipeline.operations.standing_calls import standing_calls
from cxad_pipeline.operations.watched import watched_metrics
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.incidents import IncidentFilter, StoredIncident, find_incidents

pytest_plugins = ["store_databases"]

FAULT = START + dt.timedelta(hours=14), START + dt.timedelta(hours=34)
"""In the scoring windows 2 to 5."""


def clean() -> pa.Table:
    """Two days as they were a week before."""
    week = dt.timedelta(days=7)
    rows = between(training_rows(), START - week, START - week + 8 * STEP)
    at = rows.schema.get_field_index("timestamp")
    return with_scores(rows.set_column(at, rows.schema.field(at), pc.add(rows["timestamp"], pa.scalar(week))))


def faulty() -> pa.Table:
    """The same, with an export that says half as much again of handle time in billing for 20 hours, and for the first
    four of them four more minutes of hold."""
    rows = changed(clean(), "aht_seconds", FAULT, 1.5, 0.0)
    return changed(rows, "hold_time_seconds", (FAULT[0], FAULT[0] + dt.timedelta(hours=4)), 1.0, 240.0)


def changed(
    rows: pa.Table, name: str, period: tuple[dt.datetime, dt.datetime], factor: float, added: float
) -> pa.Table:
    """Rows with another metric in billing."""
    at, kind = rows["timestamp"], rows.schema.field("timestamp").type
    start, end = (pa.scalar(moment, kind) for moment in period)
    inside = pc.and_(
        pc.and_(pc.greater_equal(at, start), pc.less(at, end)), pc.equal(rows["queue"], pa.scalar("billing"))
    )
    other = pc.add(pc.multiply(rows[name], factor), added)
    values = pc.if_else(inside, other, rows[name]).cast(rows.schema.field(name).type)
    return rows.set_column(rows.column_names.index(name), name, values)


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    yield from made(tmp_path, store_url)


@pytest.fixture
def small_world(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    yield from made(tmp_path, sqlite_url)


def made(folder: Path, url: str) -> Iterator[World]:
    configured = make_settings(folder, url)
    store = open_store(configured)
    yield World(configured, store, [RecordingChannel()])
    store.close()


def stored(world: World) -> list[StoredIncident]:
    with world.store.reading() as connection:
        return find_incidents(connection, IncidentFilter(), limit=500)[0]


def alive(world: World) -> list[StoredIncident]:
    return [each for each in stored(world) if each.incident.status in ("open", "resolved")]


def calls(world: World) -> set[tuple[Call, ...]]:
    return {each.calls for each in alive(world)}


def places(found: list[StoredIncident]) -> set[tuple[int, object]]:
    return {(call.window, call.segment) for each in found for call in each.calls}


def test_a_false_incident_is_withdrawn_when_its_windows_are_corrected(world: World) -> None:
    world.judge(faulty())
    false = alive(world)
    assert max(each.incident.severity for each in false) > 50
    kinds = {call.kind for each in false for call in each.calls}
    assert {"drift", "shift"} & kinds
    assert kinds & {"far tail", "near tail"}
    world.judge(clean(), first=2, windows=4, together=1)  # those that the file touches; sums reach beyond them
    assert alive(world) == []
    assert {each.incident.status for each in stored(world)} == {"withdrawn"}


def test_what_another_calibration_called_stands_while_its_contacts_show_the_same(small_world: World) -> None:
    """The rows are scored and counted again, too, by the tails of a calibration on three weeks in place of four."""
    small_world.judge(faulty())
    before = alive(small_world)
    rows = between(training_rows(), START - dt.timedelta(days=21), START)
    configured = small_world.settings
    contacts = contacts_of(rows, configured.segments.dimensions, watched_metrics(configured))
    small_world.model = fitted(contacts, configured, Judgements((), {}))[0]
    small_world.judge(faulty(), together=2)
    assert {each.incident.status for each in stored(small_world)} <= {"open", "resolved", "merged"}
    after = alive(small_world)
    lost = [call for each in before for call in each.calls if (call.window, call.segment) not in places(after)]
    # A drift needs three contacts beyond the near threshold, and that is of the calibration that counts them.
    assert all(call.kind in ("drift", "slow drift") and call.affected <= 4 for call in lost), lost
    assert all(places([each]) & places(after) for each in before), "no incident is lost"
    small_world.model = replace(small_world.model, threshold=99.0)
    again = alive(small_world)
    small_world.judge(faulty())
    assert [(each.incident, each.calls) for each in alive(small_world)] == [
        (each.incident, each.calls) for each in again
    ]


def test_what_another_calibration_called_goes_where_its_contacts_are_corrected(small_world: World) -> None:
    small_world.judge(faulty())
    assert alive(small_world)
    small_world.model = replace(small_world.model, threshold=99.0)
    small_world.judge(clean())
    assert alive(small_world) == []


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[Call, ...]]:
    folder = tmp_path_factory.mktemp("at-once")
    (world,) = made(folder, f"sqlite:///{folder}/store.db")
    world.judge(faulty())
    return calls(world)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(8)))
def test_windows_in_any_order_come_to_the_same_incidents(
    order: list[int], at_once: set[tuple[Call, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("in-order")
    for world in made(folder, f"sqlite:///{folder}/store.db"):
        for number in order:
            world.judge(faulty(), first=number, windows=1, together=1, now=NOW)
        assert calls(world) == at_once


def test_a_call_of_the_present_calibration_never_stands_and_one_of_another_does(small_world: World) -> None:
    """Made by this calibration, it would have been made again; here nothing but the thresholds differs."""
    model, hours = small_world.model, Windows(int(START.timestamp()), 48)
    rows = contacts_of(faulty(), model.tree.dimensions, model.metrics)
    rollups = model.rollups(rows, hours)
    findings = model.test(rollups)
    made_before = calls_of(model, findings, rollups, 0, 48)
    assert made_before
    assert standing_calls(made_before, [], model, findings, rollups, hours) == []
    other = replace(model, threshold=99.0)
    stand = standing_calls(made_before, [], other, findings, rollups, hours)
    assert stand == made_before
    assert standing_calls(made_before, made_before, other, findings, rollups, hours) == []
