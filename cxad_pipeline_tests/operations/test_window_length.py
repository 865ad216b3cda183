"""`incidents.window_minutes` is changed while incidents are open and windows of the old length are in the store."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from incident_store_world import incident, save
from operations_world import NOW, START, STEP, RecordingChannel, World, make_settings, scored_rows

from cxad_pipeline.incidents.incident import Reason
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.incidents import IncidentFilter, StoredIncident, find_incidents, save_incident
from cxad_pipeline.store.outbox import find_deliveries
from cxad_pipeline.store.segment_windows import find_windows

pytest_plugins = ["store_databases"]

LENGTHS = [(60, 30), (30, 60)]


@pytest.fixture
def world_of(tmp_path: Path, sqlite_url: str) -> Any:
    """Worlds of one store, by the length of their windows."""
    opened: list[Store] = []

    def world(minutes: int, store_url: str = sqlite_url) -> World:
        settings = make_settings(tmp_path, store_url, incidents={"window_minutes": minutes})
        opened.append(open_store(settings))
        return World(settings, opened[-1], [RecordingChannel()])

    yield world
    for store in opened:
        store.close()


def found(world: World) -> list[StoredIncident]:
    with world.store.reading() as connection:
        return find_incidents(connection, IncidentFilter(statuses=("open", "resolved")), limit=500)[0]


def kinds(world: World) -> list[str]:
    with world.store.reading() as connection:
        return sorted(row["key"].split(":", 2)[2] for row in find_deliveries(connection, limit=500)[0])


def faulty(*days: int) -> pa.Table:
    """The sample with ten minutes more hold in billing from 9 to 14 on these days: more than any length needs."""
    rows = scored_rows()
    held, billing = rows["hold_time_seconds"], pc.equal(rows["queue"], "billing")
    since = pc.subtract(rows["timestamp"], pa.scalar(START, rows.schema.field("timestamp").type)).cast(pa.int64())
    hour = pc.divide(since, 3_600_000_000)
    for day in days:
        morning = pc.and_(pc.greater_equal(hour, 24 * day + 9), pc.less(hour, 24 * day + 14))
        held = pc.if_else(pc.and_(morning, billing), pc.add(held, 600), held)
    name = "hold_time_seconds"
    return rows.set_column(rows.column_names.index(name), name, held.cast(rows[name].type))


@pytest.mark.parametrize(("before", "after"), LENGTHS)
def test_an_incident_that_is_open_goes_on_and_is_resolved_by_windows_of_the_new_length(
    world_of: Callable[..., World], before: int, after: int
) -> None:
    world_of(before).judge(faulty(1), windows=6, together=1)
    world = world_of(after)
    (opened,) = found(world)
    assert opened.incident.status == "open"
    world.judge(faulty(1), first=6, windows=2, together=1)
    (later,) = found(world)
    assert later.incident.id == opened.incident.id
    assert later.incident.status == "resolved"
    assert set(opened.calls) < set(later.calls)
    assert later.incident.ended_at > opened.incident.ended_at
    assert kinds(world).count("opened") == 1


@pytest.mark.parametrize(("before", "after"), LENGTHS)
def test_an_incident_that_goes_on_keeps_the_causes_and_reasons_of_the_windows_of_the_old_length(
    world_of: Callable[..., World], before: int, after: int
) -> None:
    world_of(before).judge(faulty(1), windows=6, together=1)
    world = world_of(after)
    (opened,) = found(world)
    assert opened.incident.causes
    world.judge(faulty(1), first=6, windows=1, together=1)
    (later,) = found(world)
    assert set(opened.calls) < set(later.calls)
    assert later.incident.segment == opened.incident.segment
    assert later.incident.causes == opened.incident.causes
    assert later.incident.reasons[0] == opened.incident.reasons[0]


@pytest.mark.parametrize(("before", "after"), LENGTHS)
def test_where_a_tail_leads_the_mean_is_that_of_the_window_of_the_old_length(
    world_of: Callable[..., World], before: int, after: int
) -> None:
    """As most faults of large segments do: nobody has its mean any more but the incident itself."""
    world_of(before).judge(faulty(1), windows=6, together=1)
    world = world_of(after)
    (opened,) = found(world)
    family = opened.incident.metric
    mean = Reason(family, "shift", 451.6, 300.2, 0.1)
    tail = replace(opened.incident, kind="far tail", reasons=(Reason(family, "far tail", 9.0, 0.4, 99.0), mean))
    with world.store.writing() as connection:
        save_incident(connection, tail, [replace(call, kind="far tail") for call in opened.calls], opened.told)
    world.judge(faulty(1), first=6, windows=1, together=1)
    (later,) = found(world)
    assert {call.window for call in opened.calls} < {call.window for call in later.calls}
    assert later.incident.kind == "far tail"
    assert [reason for reason in later.incident.reasons if (reason.family, reason.kind) == (family, "shift")] == [mean]
    assert not any(math.isnan(reason.observed + reason.expected) for reason in later.incident.reasons)


@pytest.mark.parametrize(("before", "after"), LENGTHS)
def test_what_was_resolved_before_stays_as_it_was(world_of: Callable[..., World], before: int, after: int) -> None:
    rows = faulty(0, 1)
    world_of(before).judge(rows, windows=7, together=1)
    world = world_of(after)
    known = found(world)
    assert len(known) >= 2
    queued = kinds(world)
    for judged in world.judge(rows, first=7, windows=1):
        assert {change.after.id for change in judged.changes} <= {
            stored.incident.id for stored in known if stored.incident.status == "open"
        }
    assert [stored.incident.id for stored in found(world)] == [stored.incident.id for stored in known]
    assert [stored.calls for stored in found(world)] == [stored.calls for stored in known]
    assert all(stored.incident.status == "resolved" for stored in found(world))
    assert set(kinds(world)) <= {*queued, "resolved", "resolved-edit"}


def test_what_by_the_new_length_would_be_neighbours_stays_two_incidents(world_of: Callable[..., World]) -> None:
    """An hour and a half apart: three windows of half an hour, and less than two of an hour."""
    world_of(30).judge(windows=4)  # a quiet day
    world = world_of(60)
    segments = ((("queue", "billing"),), (("channel", "voice"),))
    starts = (START + dt.timedelta(hours=9), START + dt.timedelta(hours=10, minutes=30))
    save(
        world.store,
        *(
            incident(
                number,
                status="resolved",
                segment=segment,
                started_at=start,
                ended_at=start + dt.timedelta(minutes=30),
                resolved_at=start + dt.timedelta(hours=4),
            )
            for number, (segment, start) in enumerate(zip(segments, starts, strict=True))
        ),
    )
    known = found(world)
    (judged,) = world.judge(first=4, windows=1)
    assert judged.changes == ()
    assert found(world) == known
    assert len(known) == 2


@pytest.mark.parametrize(("before", "after"), LENGTHS)
def test_windows_that_are_scored_again_come_to_what_the_new_length_gives_and_keep_the_incidents_name(
    world_of: Callable[..., World], tmp_path: Path, before: int, after: int
) -> None:
    world_of(before).judge(faulty(1), together=1)
    world = world_of(after)
    (old,) = found(world)
    world.judge(faulty(1), together=1)
    fresh = world_of(after, f"sqlite:///{tmp_path}/fresh.db")
    fresh.judge(faulty(1), together=1)
    (new,), (expected,) = found(world), found(fresh)
    assert new.incident.id == old.incident.id
    assert new.calls == expected.calls
    assert (new.incident.status, new.incident.ended_at) == (expected.incident.status, expected.incident.ended_at)
    with world.store.reading() as connection:
        rows = find_windows(connection, since=START, until=NOW, segment=(), limit=10_000)
    assert {row["seconds"] for row in rows} == {60 * after}
    assert len({row["start"] for row in rows}) == len(rows) == 48 * 60 // after
    assert kinds(world).count("opened") == 1


@pytest.mark.parametrize(("before", "after"), LENGTHS)
def test_windows_of_the_old_length_warm_nothing_up_and_are_not_judged_any_more(
    world_of: Callable[..., World], tmp_path: Path, before: int, after: int
) -> None:
    """Neither do they count as windows without data, nor do their contacts as those of the new ones."""
    world_of(before).judge(windows=4, together=1)
    changed, fresh = world_of(after), world_of(after, f"sqlite:///{tmp_path}/fresh.db")
    states = [world.judge(first=4, windows=1)[0] for world in (changed, fresh)]
    assert states[0].states == states[1].states
    assert states[0].windows == states[1].windows
    scores = []
    for world in (changed, fresh):
        with world.store.reading() as connection:
            rows = find_windows(connection, since=START + 4 * STEP, until=NOW, limit=100_000)
        scores.append({(row["start"], row["segment"]): row["score"] for row in rows})
    assert scores[0] == scores[1]
