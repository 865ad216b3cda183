"""A verdict goes on to mean the segment and the hours that it was given for, whatever becomes of the incident."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from incident_store_world import incident
from operations_world import (
    NOW,
    RecordingChannel,
    World,
    make_settings,
    scored_rows,
    write_history,
    write_scored,
)

from cxad_pipeline.incidents.incident_model import LeftOut
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.operations.calibration import SHIFT_OF_ONE, Judgements, calibrate, judgements_of
from cxad_pipeline.operations.judged_hours import as_judged
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.counted_verdicts import counted_verdicts
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.feedback import add_incident_feedback
from cxad_pipeline.store.incidents import NOTHING_TOLD, IncidentFilter, find_incidents, save_incident

pytest_plugins = ["store_databases"]

HOUR = dt.timedelta(hours=1)
TECHNICAL: Key = (("queue", "technical"),)
EMAIL: Key = (("queue", "billing"), ("channel", "email"))
FIRST, LAST = 1_791_849_600, 1_791_856_800  # two hours of 13 October 2026, seconds since 1970
MONTH = dt.timedelta(days=30)


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    return make_settings(tmp_path, store_url)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = open_store(settings)
    yield opened
    opened.close()


@pytest.fixture
def save(store: Store) -> Any:
    """Writes an incident of two hours in technical, with changes."""
    made = incident(1, segment=TECHNICAL, started_at=_at(FIRST), ended_at=_at(LAST), status="resolved")

    def write(name: str = "one", **changes: Any) -> None:
        with store.writing() as connection:
            save_incident(connection, replace(made, id=name, **changes), (), NOTHING_TOLD)

    return write


def test_a_new_trend_starts_the_segment_again_that_it_was_said_of(store: Store, settings: Settings, save: Any) -> None:
    save()
    _say(store, "new_trend")
    save(segment=EMAIL, started_at=_at(FIRST) - HOUR, ended_at=_at(LAST) + HOUR)
    late = _judgements(store, settings, MONTH)
    assert late == Judgements((LeftOut(TECHNICAL, 0, FIRST, "new trend"),), {})


def test_what_an_incident_has_become_under_another_name_is_unsaid(store: Store, settings: Settings, save: Any) -> None:
    save()
    _say(store, "confirmed")
    save(segment=EMAIL, started_at=_at(FIRST) - HOUR, ended_at=_at(LAST) + HOUR)
    soon, late = _judgements(store, settings, HOUR), _judgements(store, settings, MONTH)
    confirmed = LeftOut(TECHNICAL, FIRST, LAST, "confirmed")
    assert late.left_out == (confirmed,)
    assert soon.left_out == (confirmed, LeftOut(EMAIL, FIRST - 3600, LAST + 3600, "unsaid"))


def test_the_hours_that_a_confirmed_incident_goes_on_under_its_name_are_confirmed(
    store: Store, settings: Settings, save: Any
) -> None:
    save()
    _say(store, "confirmed")
    save(started_at=_at(FIRST) - HOUR, ended_at=_at(LAST) + HOUR)
    confirmed = LeftOut(TECHNICAL, FIRST - 3600, LAST + 3600, "confirmed")
    assert _judgements(store, settings, MONTH).left_out == (confirmed,)
    save(started_at=_at(FIRST) + HOUR, ended_at=_at(FIRST) + HOUR)
    assert _judgements(store, settings, MONTH).left_out == (LeftOut(TECHNICAL, FIRST, LAST, "confirmed"),), "no less"


def test_a_false_alarm_moves_the_threshold_of_the_segment_that_it_was_said_of(
    store: Store, settings: Settings, save: Any
) -> None:
    save()
    _say(store, "false_alarm")
    save(segment=EMAIL)
    assert _judgements(store, settings, MONTH) == Judgements((), {TECHNICAL: SHIFT_OF_ONE})


def test_the_verdict_on_an_incident_that_was_taken_in_counts_once_for_the_taker(
    store: Store, settings: Settings, save: Any
) -> None:
    save("one")
    save("other", segment=EMAIL)
    _say(store, "false_alarm")
    save("one", status="merged", merged_into="other")
    assert _judgements(store, settings, MONTH) == Judgements((), {TECHNICAL: SHIFT_OF_ONE})
    _say(store, "new_trend", "other")
    assert _judgements(store, settings, MONTH) == Judgements((LeftOut(EMAIL, 0, FIRST, "new trend"),), {})


def test_a_calibration_restarts_what_was_said_to_be_a_new_trend_and_not_what_it_was_renamed_to(
    tmp_path: Path, sqlite_url: str
) -> None:
    settings = make_settings(tmp_path, sqlite_url)
    world = World(settings, open_store(settings), [RecordingChannel()])
    write_history(settings)
    write_scored(settings, scored_rows())
    world.judge()
    with world.store.writing() as connection:
        (stored,), _ = find_incidents(connection, IncidentFilter(), limit=10)
        save_incident(connection, replace(stored.incident, segment=TECHNICAL), stored.calls, stored.told)
        add_incident_feedback(connection, stored.incident.id, "new_trend", by="lead", at=NOW, expected_for=HOUR)
        save_incident(connection, stored.incident, stored.calls, stored.told)
    model, _ = calibrate(world.store, settings, NOW)
    world.store.close()
    cold = dict(zip(model.tree.keys, model.monitor.cold, strict=True))
    assert cold[TECHNICAL]
    assert not cold[stored.incident.segment]


def _at(second: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(second, dt.UTC)


def _say(store: Store, verdict: str, name: str = "one") -> None:
    with store.writing() as connection:
        add_incident_feedback(connection, name, verdict, by="lead", at=NOW, expected_for=HOUR)


def _judgements(store: Store, settings: Settings, after: dt.timedelta) -> Judgements:
    """By a history that ends so long after the incident."""
    with store.reading() as connection:
        said = counted_verdicts(connection)
        found, _ = find_incidents(connection, IncidentFilter(statuses=["open", "resolved"]), limit=10)
    return judgements_of(as_judged(found, said), settings, _at(LAST) + after)
