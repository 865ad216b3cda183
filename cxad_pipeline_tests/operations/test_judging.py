"""From scored windows to incidents, their messages and their states, on both databases, in one transaction."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from operations_world import (
    NOW,
    START,
    STEP,
    RecordingChannel,
    World,
    between,
    make_settings,
    scored_rows,
    training_rows,
)

from cxad_pipeline.incidents.bands import baselines_of
from cxad_pipeline.incidents.contacts import contacts_of
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.operations.calibration import Judgements, fitted, record_of
from cxad_pipeline.operations.judging import judge
from cxad_pipeline.operations.statistics import record_statistics
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.operations.watched import watched_metrics
from cxad_pipeline.store.baselines import record_baselines
from cxad_pipeline.store.calibrations import record_calibration
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.incidents import IncidentFilter, StoredIncident, find_incidents
from cxad_pipeline.store.known_segments import check_segment
from cxad_pipeline.store.outbox import find_deliveries
from cxad_pipeline.store.segment_windows import find_windows
from cxad_pipeline.store.silences import add_silence

pytest_plugins = ["store_databases"]


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Any:
    settings = make_settings(tmp_path, store_url)
    store = open_store(settings)
    yield World(settings, store, [RecordingChannel(), RecordingChannel("editing", edits=True)])
    store.close()


@pytest.fixture
def small_world(tmp_path: Path, sqlite_url: str) -> Any:
    settings = make_settings(tmp_path, sqlite_url)
    store = open_store(settings)
    yield World(settings, store, [RecordingChannel()])
    store.close()


def stored(store: Store) -> list[StoredIncident]:
    with store.reading() as connection:
        return find_incidents(connection, IncidentFilter(), limit=500)[0]


def keys(store: Store) -> list[tuple[str, str]]:
    with store.reading() as connection:
        return [(row["key"], row["channel"]) for row in find_deliveries(connection, state=None, limit=500)[0]]


def without_times(incident: Incident) -> Incident:
    return replace(incident, opened_at=START, updated_at=START, resolved_at=None)


def test_the_samples_one_incident_is_found_described_and_told_once(world: World) -> None:
    judged = world.judge()[0]
    assert len(judged.changes) == 1
    incident = stored(world.store)[0].incident
    assert dict(incident.segment)["queue"] == "billing"
    assert incident.metric == "hold_time_seconds"
    assert incident.direction == "high"
    assert START + dt.timedelta(hours=33) <= incident.started_at < START + dt.timedelta(hours=38)
    assert incident.affected > 5 * incident.expected_affected
    assert incident.affected <= incident.contacts
    assert incident.model_version == "v1"
    assert incident.status == "resolved"  # quiet hours followed it
    assert incident.critical
    assert ("queue", "billing") in incident.causes[0].segment
    opened = f"incident:{incident.id}:opened"
    assert sorted(keys(world.store)) == [(opened, "editing"), (opened, "recording")]
    assert judged.achieved == 1
    assert judged.states["tested"] > 200


def test_the_examples_are_the_worst_contacts_of_the_incident(world: World) -> None:
    world.judge()
    incident = stored(world.store)[0].incident
    assert len(incident.examples) == 3
    rows = between(scored_rows(), incident.started_at, incident.ended_at)
    for name, value in dict([*incident.segment, *incident.causes[0].segment]).items():
        rows = rows.filter(pc.equal(rows[name], value))
    worst = rows.sort_by([("hold_time_seconds", "descending")]).slice(0, 3)
    assert [example.value for example in incident.examples] == worst["hold_time_seconds"].to_pylist()
    assert [example.interaction_id for example in incident.examples] == worst["interaction_id"].to_pylist()


def test_window_by_window_comes_to_the_same_incidents_as_all_at_once(small_world: World, tmp_path: Path) -> None:
    small_world.judge(together=1)
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/other.db")
    other = World(settings, open_store(settings), [RecordingChannel()])
    other.judge(together=8)
    ours, theirs = stored(small_world.store), stored(other.store)
    assert [each.incident.id for each in ours] == [each.incident.id for each in theirs]
    assert [each.calls for each in ours] == [each.calls for each in theirs]
    assert [each.incident.status for each in ours] == [each.incident.status for each in theirs]
    other.store.close()


def test_judging_again_changes_nothing_and_tells_nobody_again(world: World) -> None:
    world.judge()
    before, queued = stored(world.store), keys(world.store)
    for judged in world.judge(together=2, now=NOW + dt.timedelta(hours=1)):
        assert judged.changes == ()
    assert stored(world.store) == before
    assert keys(world.store) == queued


def test_an_incident_of_which_nothing_is_left_is_withdrawn_and_comes_back_under_its_name(small_world: World) -> None:
    small_world.judge()
    found = stored(small_world.store)[0].incident
    rows = scored_rows()
    held = rows["hold_time_seconds"]
    long = pc.and_(pc.equal(rows["queue"], "billing"), pc.greater(held, 150))
    short = pc.if_else(long, pa.scalar(20, held.type), held)
    cured = rows.set_column(rows.column_names.index("hold_time_seconds"), "hold_time_seconds", short)
    small_world.judge(cured)
    assert [each.incident.status for each in stored(small_world.store)] == ["withdrawn"]
    small_world.judge()
    back = stored(small_world.store)
    assert [each.incident.id for each in back] == [found.id]
    assert back[0].incident.status == "resolved"
    assert back[0].incident.opened_at == found.opened_at


def test_another_calibration_withdraws_nothing_where_the_contacts_are_the_same(world: World) -> None:
    world.judge()
    before, queued = stored(world.store), keys(world.store)
    assert before
    world.model = replace(world.model, threshold=99.0)
    world.judge(together=2, now=NOW + dt.timedelta(hours=1))
    assert [(each.incident, each.calls) for each in stored(world.store)] == [
        (each.incident, each.calls) for each in before
    ]
    assert keys(world.store) == queued


def test_an_incident_whose_segment_has_another_name_now_is_resolved_all_the_same(small_world: World) -> None:
    """Where a centre has one language, `billing / voice` has its name, and an old store may have the longer one."""
    small_world.judge(windows=6)
    (one,) = stored(small_world.store)
    assert one.incident.status == "open"
    tree = small_world.model.tree
    names = {call.segment for call in one.calls} | {one.incident.segment}
    keys_now = [(("queue", f"another name {s}"),) if key in names else key for s, key in enumerate(tree.keys)]
    renamed = replace(tree, keys=keys_now)
    small_world.model = replace(
        small_world.model, tree=renamed, monitor=replace(small_world.model.monitor, tree=renamed)
    )
    small_world.judge(first=6, windows=2)
    assert [each.incident.status for each in stored(small_world.store)] == ["resolved"]


def test_a_silence_by_any_value_that_its_contacts_share_holds(small_world: World) -> None:
    settings, covered = small_world.settings, (("channel", "line"), ("language", "xy"))

    def rewired(table: pa.Table) -> pa.Table:
        """One language, and all of billing on a line of its own."""
        channel = pc.if_else(pc.equal(table["queue"], "billing"), "line", table["channel"])
        for name, values in (("language", pa.array(["xy"] * table.num_rows)), ("channel", channel)):
            table = table.set_column(table.column_names.index(name), name, values)
        return table

    contacts = contacts_of(rewired(training_rows()), settings.segments.dimensions, watched_metrics(settings))
    small_world.model, replay = fitted(contacts, settings, Judgements((), {}))
    assert (("queue", "billing"),) in small_world.model.tree.keys
    assert (("channel", "line"),) not in small_world.model.tree.keys
    with small_world.store.writing() as connection:
        number = record_calibration(connection, record_of(small_world.model, START))
        record_baselines(connection, number, baselines_of(small_world.model, replay))
        check_segment(connection, covered)
        add_silence(
            connection,
            scope="incidents",
            segment=covered,
            metric=None,
            owner="ann",
            starts_at=START,
            ends_at=NOW + dt.timedelta(days=1),
        )
    small_world.judge(rewired(scored_rows()))
    assert {each.incident.segment for each in stored(small_world.store)} == {(("queue", "billing"),)}
    assert keys(small_world.store) == []


def test_who_is_interrupted_in_the_middle_has_done_nothing(world: World) -> None:
    class Broken(Teller):
        def tell(self, *arguments: Any) -> Any:
            super().tell(*arguments)
            raise KeyboardInterrupt

    whole, world.teller = world.teller, Broken(world.settings, world.channels, lambda _: "")
    with pytest.raises(KeyboardInterrupt):
        world.judge()
    assert stored(world.store) == []
    assert keys(world.store) == []
    with world.store.reading() as connection:
        windows = find_windows(connection, since=START, until=NOW, segment=(), level=None, limit=100)
    assert {row["state"] for row in windows} == {None}  # counted, not judged
    world.teller = whole
    world.judge()
    assert len(stored(world.store)) == 1
    assert len(keys(world.store)) == 2


def test_a_silence_keeps_an_incident_from_being_told_and_not_from_being_found(small_world: World) -> None:
    with small_world.store.writing() as connection:
        add_silence(
            connection,
            scope="incidents",
            segment=(("queue", "billing"),),
            metric="hold_time_seconds",
            owner="lead",
            reason="maintenance",
            starts_at=NOW - dt.timedelta(days=1),
            ends_at=NOW + dt.timedelta(days=1),
        )
    small_world.judge()
    assert len(stored(small_world.store)) == 1
    assert keys(small_world.store) == []


def test_hours_without_data_are_missing_and_no_incident(small_world: World) -> None:
    nothing = scored_rows().slice(0, 0)
    judged = small_world.judge(nothing, first=2, windows=1)[0]  # Monday, 12 to 18
    assert judged.changes == ()
    assert set(judged.states) <= {"missing", "cold_start"}
    with small_world.store.reading() as connection:
        rows = find_windows(connection, since=START, until=NOW, segment=(), level=None, limit=100)
    assert [(row["state"], row["contacts"]) for row in rows] == [("missing", 0)] * 6


def test_a_queue_that_history_does_not_know_is_counted_and_not_tested(small_world: World) -> None:
    rows = scored_rows()
    queues = pc.if_else(pc.equal(rows["queue"], "billing"), "refunds", rows["queue"])
    renamed = rows.set_column(rows.column_names.index("queue"), "queue", queues)
    judged = small_world.judge(renamed)[0]
    assert judged.states["cold_start"] > 0
    with small_world.store.reading() as connection:
        found = find_windows(connection, since=START, until=NOW, segment=(("queue", "refunds"),), level=None, limit=100)
    assert sum(row["contacts"] for row in found) == pc.sum(pc.equal(rows["queue"], "billing")).as_py()
    assert {row["state"] for row in found} == {"cold_start"}
    for each in stored(small_world.store):
        assert ("queue", "refunds") not in each.incident.segment


def test_a_window_that_was_late_is_judged_with_the_next(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path, sqlite_url, incidents={"late_minutes": 60})
    world = World(settings, open_store(settings), [RecordingChannel()])
    states = []
    for number in (4, 5):
        begin = START + number * STEP
        end = begin + STEP
        table = between(scored_rows(), begin, end)
        record_statistics(world.store, world.model, table, begin, end, end)
        judge(world.store, world.model, [table], begin, end, settings, world.teller, lambda end=end: end)
        with world.store.reading() as connection:
            rows = find_windows(connection, since=START, until=NOW, segment=(), level=None, limit=100)
        states.append([row["state"] for row in sorted(rows, key=lambda row: row["start"])])
    assert states[0][-1] == "late"
    assert "late" not in states[1][:-1]
    assert states[1][-1] == "late"
    world.store.close()


def test_a_period_that_is_not_made_of_whole_windows_says_what_to_do(small_world: World) -> None:
    with pytest.raises(ValueError, match=r"not made of windows of 60 minutes.*cxad calibrate"):
        record_statistics(
            small_world.store, small_world.model, scored_rows(), START, START + dt.timedelta(minutes=90), NOW
        )


def test_old_incidents_are_recorded_and_not_told(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path, sqlite_url, alerts={"max_age_hours": 2})
    world = World(settings, open_store(settings), [RecordingChannel()])
    world.judge()
    assert len(stored(world.store)) == 1
    assert keys(world.store) == []
    world.store.close()


def slower(rows: pa.Table, factor: float, queue: str = "billing") -> pa.Table:
    """The rows with a longer handle time in one queue: a drift, and no jump."""
    handled = rows["aht_seconds"]
    longer = pc.if_else(pc.equal(rows["queue"], queue), pc.multiply(handled, factor), handled).cast(handled.type)
    return rows.set_column(rows.column_names.index("aht_seconds"), "aht_seconds", longer)


def test_a_drift_that_is_scored_again_window_by_window_says_what_it_said(small_world: World) -> None:
    drifting = slower(scored_rows(), 1.3)
    small_world.judge(drifting)
    before, queued = stored(small_world.store), keys(small_world.store)
    assert any("drift" in call.kind for each in before for call in each.calls)
    for judged in small_world.judge(drifting, together=1):
        assert judged.changes == ()
    assert stored(small_world.store) == before
    assert keys(small_world.store) == queued


def test_a_window_that_was_counted_and_not_judged_is_judged_with_the_next(small_world: World) -> None:
    for number in range(6):  # the run of the sixth, in which the incident begins, fails between counting and judging
        begin = START + number * STEP
        table = between(scored_rows(), begin, begin + STEP)
        record_statistics(small_world.store, small_world.model, table, begin, begin + STEP, NOW)
        if number < 5:
            judge(
                small_world.store,
                small_world.model,
                [table],
                begin,
                begin + STEP,
                small_world.settings,
                small_world.teller,
                lambda: NOW,
            )
    assert stored(small_world.store) == []
    small_world.judge(first=6, windows=2, together=1)
    (found,) = stored(small_world.store)
    assert found.incident.started_at < START + 6 * STEP
    with small_world.store.reading() as connection:
        rows = find_windows(connection, since=START, until=NOW, segment=(), level=None, limit=100)
    assert None not in {row["state"] for row in rows}


def test_runs_that_count_the_same_window_at_once_do_not_get_in_each_others_way(world: World) -> None:
    table = between(scored_rows(), START, START + STEP)

    def count(_: int) -> int:
        return record_statistics(world.store, world.model, table, START, START + STEP, NOW).rows

    with ThreadPoolExecutor(2) as threads:
        assert len(set(threads.map(count, range(12)))) == 1


def test_examples_of_another_metric_are_not_taken_for_the_present_one(small_world: World) -> None:
    rows = scored_rows()
    held = rows["hold_time_seconds"]
    worse = slower(rows, 2.5)
    small_world.judge(worse.set_column(rows.column_names.index("hold_time_seconds"), "hold_time_seconds", held))
    small_world.judge()
    by_id = {row["interaction_id"]: row for row in rows.to_pylist()}
    for each in stored(small_world.store):
        if each.incident.status in ("open", "resolved") and each.incident.metric in rows.column_names:
            for example in each.incident.examples:
                assert example.value == by_id[example.interaction_id][each.incident.metric]
