"""A backtest takes what is known of incidents as calibration does, and changes nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from operations_world import (
    NOW,
    START,
    RecordingChannel,
    World,
    as_scored,
    between,
    make_settings,
    scored_rows,
    training_rows,
    write_history,
    write_scored,
)
from unused_ports import unused_port

from cxad_pipeline.cli.backtesting import summary_rows
from cxad_pipeline.operations.backtest import Backtest, backtest
from cxad_pipeline.operations.calibration import SHIFT_OF_ONE, calibrate
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.calibrations import latest_calibration
from cxad_pipeline.store.database import StoreAwayError, open_store
from cxad_pipeline.store.feedback import add_incident_feedback
from cxad_pipeline.store.incidents import IncidentFilter, find_incidents

pytest_plugins = ["store_databases"]
WEEK = dt.timedelta(days=7)


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    """Four weeks and two days, all of which calibration takes; the store knows the incident of the last day."""
    settings = make_settings(tmp_path, sqlite_url, incidents={"history_days": 60})
    made = World(settings, open_store(settings), [RecordingChannel()])
    write_history(settings)
    write_scored(settings, scored_rows())
    made.judge()
    yield made
    made.store.close()


def say(world: World, verdict: str) -> Any:
    with world.store.writing() as connection:
        (stored,), _ = find_incidents(connection, IncidentFilter(), limit=10)
        add_incident_feedback(connection, stored.incident.id, verdict, by="lead", at=NOW, expected_for=WEEK)
    return stored.incident


def without_store(world: World) -> Settings:
    return make_settings(
        Path(world.settings.paths.storage).parent,
        f"{world.settings.store.url}.absent",
        incidents={"history_days": 60},
    )


def rows_of(found: Backtest, settings: Settings) -> dict[str, str]:
    return dict(summary_rows(found, "picture.png", settings))


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (None, "hours of 1 incident of which nobody has said anything, as in a calibration"),
        ("new_trend", "what came before 1 new trend, as in a calibration"),
        ("false_alarm", None),
    ],
)
def test_of_the_same_days_it_finds_the_threshold_of_a_calibration_and_says_what_was_left_out(
    world: World, verdict: str | None, words: str | None
) -> None:
    incident = say(world, verdict) if verdict else None
    tried = backtest(world.settings, 28, NOW)
    with world.store.reading() as connection:
        assert latest_calibration(connection) is None
    model, _ = calibrate(world.store, world.settings, NOW)
    assert tried.threshold == model.threshold
    assert tried.raised == model.shifts
    rows = rows_of(tried, world.settings)
    assert rows.get("left out") == words
    if verdict == "false_alarm":
        assert incident is not None
        assert tried.raised == {incident.segment: SHIFT_OF_ONE}
        assert rows["raised by false alarms"].endswith("+0.25")


def test_a_real_outage_raises_no_threshold_once_the_store_knows_it(world: World) -> None:
    say(world, "confirmed")
    known, unknown = backtest(world.settings, 28, NOW), backtest(without_store(world), 28, NOW)
    assert known.threshold < unknown.threshold
    assert rows_of(known, world.settings)["left out"] == "hours of 1 confirmed incident, as in a calibration"
    assert "left out" not in rows_of(unknown, world.settings)


def test_incidents_of_days_that_others_judge_are_raised_again(world: World) -> None:
    """The days before them know nothing of them, whatever is said today."""
    incident = say(world, "new_trend")
    found = backtest(world.settings, 1, NOW)
    assert "days of contacts before them" in found.judged_by
    assert found.left_out is None
    assert [raised.id for raised in found.incidents] == [incident.id]


def test_an_outage_in_the_days_before_teaches_them_nothing(world: World) -> None:
    """A day after the incident, on which all is as it was a week ago."""
    begin, rows = START + dt.timedelta(days=2), training_rows()
    day = as_scored(between(rows, begin - WEEK, begin - WEEK + dt.timedelta(days=1)))
    later = pc.add(day["timestamp"], pa.scalar(WEEK, pa.duration("us"))).cast(day.schema.field("timestamp").type)
    day = day.set_column(day.schema.get_field_index("timestamp"), day.schema.field("timestamp"), later)
    new = pc.binary_join_element_wise(day["interaction_id"].cast(pa.string()), "again", "-")
    day = day.set_column(day.schema.get_field_index("interaction_id"), "interaction_id", new)
    write_scored(world.settings, day, begin, 4)
    now = NOW + dt.timedelta(days=1)
    known, unknown = backtest(world.settings, 1, now), backtest(without_store(world), 1, now)
    assert known.left_out == "hours of 1 incident of which nobody has said anything"
    assert unknown.left_out is None
    assert known.threshold < unknown.threshold


def test_a_store_that_does_not_answer_is_an_error_and_not_an_empty_one(world: World) -> None:
    address = f"postgresql://cx:x@127.0.0.1:{unused_port()}/cx"
    away = make_settings(Path(world.settings.paths.storage).parent, address)
    with pytest.raises(StoreAwayError):
        backtest(away, 1, NOW)
