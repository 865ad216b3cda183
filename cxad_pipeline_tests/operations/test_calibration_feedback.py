"""What history teaches, and what verdicts change about it: at the next calibration, within bounds, never before."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from operations_world import (
    NOW,
    START,
    RecordingChannel,
    World,
    make_settings,
    scored_rows,
    training_rows,
    write_history,
    write_scored,
)

from cxad_pipeline.operations.calibration import SHIFT_OF_ONE, calibrate, judgements_of
from cxad_pipeline.operations.history import NoHistoryError, history
from cxad_pipeline.operations.watched import watched_metrics
from cxad_pipeline.settings import SettingsError
from cxad_pipeline.store.baselines import baselines_at
from cxad_pipeline.store.calibrations import latest_calibration
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.feedback import add_incident_feedback
from cxad_pipeline.store.incidents import IncidentFilter, find_incidents

pytest_plugins = ["store_databases"]
WEEK = dt.timedelta(days=7)


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> Any:
    settings = make_settings(tmp_path, sqlite_url)
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


def test_a_calibration_is_recorded_with_the_promise_and_what_the_replay_came_to(world: World) -> None:
    model, _ = calibrate(world.store, world.settings, NOW)
    with world.store.reading() as connection:
        record = latest_calibration(connection)
    assert record is not None
    assert record.promised_per_week == 5
    assert record.replayed_per_week == pytest.approx(model.replayed_per_week)
    assert record.threshold == pytest.approx(model.threshold)
    assert record.replayed_per_week <= record.promised_per_week
    assert record.contacts == history(world.settings, 28).moments.size
    assert record.history_end == START + dt.timedelta(days=2)


def test_a_calibration_keeps_what_is_usual_in_each_segment(world: World) -> None:
    model, _ = calibrate(world.store, world.settings, NOW)
    with world.store.reading() as connection:
        for s, key in enumerate(model.tree.keys):
            (known,) = baselines_at(connection, key, [NOW])
            assert known is not None
            assert bool(known.counts) == bool(known.means) == (not model.monitor.cold[s])
            for m, metric in enumerate(model.metrics):
                if metric.name in known.means:
                    value = model.monitor.profiles.means[m].baseline.value[s]
                    assert known.means[metric.name].value == pytest.approx(value)
    assert known.means["csat"].bounds == (1, 5)
    assert known.means["hold_time_seconds"].logarithmic


def test_a_verdict_changes_nothing_before_the_next_calibration(world: World) -> None:
    with world.store.reading() as connection:
        before, _ = find_incidents(connection, IncidentFilter(), limit=10)
    say(world, "false_alarm")
    world.judge()
    with world.store.reading() as connection:
        after, _ = find_incidents(connection, IncidentFilter(), limit=10)
    assert [s.incident for s in after] == [s.incident for s in before]


def test_a_false_alarm_raises_the_threshold_of_its_exact_segment_alone(world: World) -> None:
    before, _ = calibrate(world.store, world.settings, NOW)
    incident = say(world, "false_alarm")
    after, _ = calibrate(world.store, world.settings, NOW)
    raised = dict(zip(after.tree.keys, after.thresholds() - after.threshold, strict=True))
    assert raised.pop(incident.segment) == pytest.approx(SHIFT_OF_ONE)
    assert set(raised.values()) == {0.0}
    assert set(before.thresholds()) == {before.threshold}


def test_shifts_stay_within_the_stated_bounds_and_confirmed_incidents_take_them_back(world: World) -> None:
    with world.store.reading() as connection:
        (stored,), _ = find_incidents(connection, IncidentFilter(), limit=10)
    segment, settings = stored.incident.segment, world.settings
    assert judgements_of([(stored, "false_alarm")] * 100, settings, NOW).shifts == {segment: 1.0}
    assert judgements_of([(stored, "false_alarm")] * 3 + [(stored, "confirmed")] * 2, settings, NOW).shifts == {
        segment: 0.25
    }
    assert judgements_of([(stored, "confirmed")] * 3 + [(stored, "false_alarm")], settings, NOW).shifts == {}
    assert judgements_of([(stored, "expected")], settings, NOW) == judgements_of([], settings, NOW)


def test_the_hours_of_an_incident_teach_nothing_unless_it_is_said_to_be_none(world: World) -> None:
    def taught() -> float:
        model, _ = calibrate(world.store, world.settings, NOW)
        with world.store.reading() as connection:
            (stored,), _ = find_incidents(connection, IncidentFilter(), limit=10)
        row = model.tree.keys.index(stored.incident.segment)
        hold = [metric.name for metric in model.metrics].index("hold_time_seconds")
        slots = slice(24 + 9, 24 + 14)  # Tuesday, when it happened
        return float(model.monitor.profiles.means[hold].baseline.value[row, slots].mean())

    unsaid = taught()
    say(world, "confirmed")
    assert taught() == unsaid
    say(world, "false_alarm")
    assert taught() > unsaid


def test_windows_judged_again_after_a_calibration_that_knows_them_keep_their_incident(world: World) -> None:
    with world.store.reading() as connection:
        (before,), _ = find_incidents(connection, IncidentFilter(), limit=10)
    world.model, _ = calibrate(world.store, world.settings, NOW)
    world.judge()
    with world.store.reading() as connection:
        (after,), _ = find_incidents(connection, IncidentFilter(), limit=10)
    assert after.incident.id == before.incident.id
    assert after.incident.status == "resolved"
    # Hours of the outage that were not found teach, so that it may look smaller; what people were told stays.
    assert after.incident.alert_severity == before.incident.alert_severity
    assert after.incident.critical


def test_a_new_trend_makes_its_segment_a_cold_start_until_there_is_enough_of_the_new(world: World) -> None:
    incident = say(world, "new_trend")
    model, _ = calibrate(world.store, world.settings, NOW)
    cold = dict(zip(model.tree.keys, model.monitor.cold, strict=True))
    assert cold[incident.segment]
    assert not cold[()]


def test_contacts_that_trained_and_were_scored_count_once(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path, sqlite_url)
    both = pa.concat_tables([training_rows(), scored_rows().select(training_rows().column_names)])
    write_history(settings, both)
    write_scored(settings, scored_rows())
    assert len(history(settings, 100)) == both.num_rows
    flagged = history(settings, 100).flagged
    assert flagged is not None
    assert flagged.sum() == sum(scored_rows()["ensemble_anomaly"].to_pylist())


def test_history_goes_back_as_far_as_it_is_asked_to_and_no_further(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path, sqlite_url)
    write_history(settings)
    write_scored(settings, scored_rows())
    found = history(settings, 3)
    assert found.moments.max() - found.moments.min() <= 3 * 86_400
    assert found.moments.min() < START.timestamp()


def test_no_history_says_what_to_do(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path, sqlite_url)
    with pytest.raises(NoHistoryError, match="run `cxad train` first"):
        history(settings, 28)


def test_too_little_history_makes_everything_a_cold_start(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path, sqlite_url)
    write_history(settings, training_rows().slice(0, 2_000))
    store = open_store(settings)
    model, _ = calibrate(store, settings, NOW)
    assert model.monitor.cold.all()
    world = World(settings, store, [RecordingChannel()])
    world.model = model
    (judged,) = world.judge()
    assert judged.changes == ()
    assert "tested" not in judged.states
    store.close()


def test_the_metrics_that_are_watched_come_from_the_schema_or_from_the_configuration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    names = {metric.name: (metric.bad, metric.logarithmic) for metric in watched_metrics(make_settings(tmp_path, url))}
    assert names == {
        "csat": ("low", False),
        "ies": ("low", False),
        "aht_seconds": ("high", True),
        "hold_time_seconds": ("high", True),
        "transfers": ("high", False),
    }
    chosen = [{"name": "aht_seconds", "bad": "low"}]
    (metric,) = watched_metrics(make_settings(tmp_path, url, incidents={"metrics": chosen}))
    assert (metric.name, metric.bad) == ("aht_seconds", "low")
    for name, words in (
        ("queue", "is no metric of the schema"),
        ("complaints", "tested anyway"),
        ("x", "is no metric"),
    ):
        wrong = make_settings(tmp_path, url, incidents={"metrics": [{"name": name, "bad": "high"}]})
        with pytest.raises(SettingsError, match=words):
            watched_metrics(wrong)


def test_a_damaged_table_of_storage_is_no_silent_loss(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path, sqlite_url)
    write_history(settings)
    path = Path(settings.paths.storage) / "training_interactions.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(pa.ArrowInvalid):
        history(settings, 28)
    pq.write_table(training_rows(), path)
    assert len(history(settings, 28)) == training_rows().num_rows


def test_a_contact_of_the_future_is_not_the_end_of_history(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path, sqlite_url)
    rows = training_rows()
    times = rows["timestamp"].to_pylist()
    times[-1] = times[-1].replace(year=2031)
    wrong = rows.set_column(1, rows.schema.field("timestamp"), pa.array(times, rows.schema.field("timestamp").type))
    assert rows.column_names[1] == "timestamp"
    write_history(settings, wrong)
    assert len(history(settings, 28, NOW)) == rows.num_rows - 1


def test_an_incident_of_which_nobody_says_anything_teaches_after_two_weeks(world: World) -> None:
    with world.store.reading() as connection:
        (stored,), _ = find_incidents(connection, IncidentFilter(), limit=10)
    ended = stored.incident.ended_at
    soon, late = (judgements_of([(stored, None)], world.settings, ended + dt.timedelta(days=n)) for n in (13, 15))
    assert [each.segment for each in soon.left_out] == [stored.incident.segment]
    assert set(soon.left_out[0].called) == {call.segment for call in stored.calls}
    assert late.left_out == ()
    confirmed = judgements_of([(stored, "confirmed")], world.settings, ended + dt.timedelta(days=100))
    assert [replace(each, reason="unsaid") for each in confirmed.left_out] == list(soon.left_out)
    assert [each.reason for each in confirmed.left_out] == ["confirmed"]
