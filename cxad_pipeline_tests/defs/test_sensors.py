"""What sensors ask for, by real ticks on a real instance."""

from __future__ import annotations

import datetime as dt
import json
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from anomaly_records import anomaly
from landing_world import START, RecordingChannel, land, make_settings

from cxad_pipeline.definitions import build_definitions
from cxad_pipeline.defs import sensors
from cxad_pipeline.defs.partitions import scoring_windows, windows_for
from cxad_pipeline.registry import versions
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.anomalies import record_anomalies
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.feedback import add_feedback


@pytest.fixture
def champion(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A champion that need not be trained, for tests that ask only what is asked for; its version may be changed."""
    now = {"version": "1"}
    monkeypatch.setattr(versions, "champion_version", lambda _settings: now["version"])
    return now


def tick(
    definitions: dg.Definitions, name: str, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[list[dg.RunRequest], str | None, str]:
    """One evaluation: run requests, the cursor that Dagster would keep, the reason where nothing is asked for."""
    context = dg.build_sensor_context(instance, cursor=cursor, definitions=definitions)
    result = definitions.resolve_sensor_def(name)(context)
    if isinstance(result, dg.SkipReason):
        return [], context.cursor, result.skip_message
    assert isinstance(result, dg.SensorResult)
    reason = result.skip_reason
    said = reason.skip_message if isinstance(reason, dg.SkipReason) else reason or ""
    return list(result.run_requests or []), result.cursor, said or ""


def windows_of(request: dg.RunRequest, settings: Settings) -> list[str]:
    keys = scoring_windows(settings).get_partition_keys()
    first, last = (request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
    return keys[keys.index(first) : keys.index(last) + 1]


def all_windows(requests: list[dg.RunRequest], settings: Settings) -> list[str]:
    return [key for request in requests for key in windows_of(request, settings)]


def file_with(settings: Settings, name: str, *moments: str) -> Path:
    """Land a file with one interaction for each moment."""
    path = Path(settings.paths.inference) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{name}-{number},{moment},300" for number, moment in enumerate(moments)]
    path.write_text("\n".join(["interaction_id,timestamp,aht_seconds", *rows]) + "\n")
    return path


def test_a_new_file_asks_for_exactly_the_windows_it_touches(definitions, instance, settings, champion):
    file_with(settings, "a.csv", "2026-10-05T00:00:00Z", "2026-10-05T05:59:59Z", "2026-10-05T12:00:00Z")
    requests, _, _ = tick(definitions, "landing_sensor", instance, None)
    assert [windows_of(request, settings) for request in requests] == [["2026-10-05-0000"], ["2026-10-05-1200"]]


def test_neighbouring_windows_are_one_run_up_to_the_configured_number(definitions, instance, settings, champion):
    moments = [f"{START + dt.timedelta(hours=6 * n):%Y-%m-%dT%H:%M:%SZ}" for n in range(30)]
    file_with(settings, "a.csv", *moments)
    requests, _, _ = tick(definitions, "landing_sensor", instance, None)
    assert [len(windows_of(request, settings)) for request in requests] == [28, 2]


def test_the_same_file_again_asks_for_nothing(definitions, instance, settings, champion):
    path = file_with(settings, "a.csv", "2026-10-05T01:00:00Z")
    _, cursor, _ = tick(definitions, "landing_sensor", instance, None)
    assert tick(definitions, "landing_sensor", instance, cursor)[0] == []
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)  # landed once more, unchanged
    requests, _, reason = tick(definitions, "landing_sensor", instance, cursor)
    assert requests == []
    assert "none new or changed" in reason


def test_a_changed_file_asks_for_the_windows_it_touches_and_those_it_touched(definitions, instance, settings, champion):
    file_with(settings, "a.csv", "2026-10-05T01:00:00Z", "2026-10-05T13:00:00Z")
    _, cursor, _ = tick(definitions, "landing_sensor", instance, None)
    file_with(settings, "a.csv", "2026-10-05T01:00:00Z", "2026-10-06T01:00:00Z")
    requests, cursor, _ = tick(definitions, "landing_sensor", instance, cursor)
    assert all_windows(requests, settings) == ["2026-10-05-0000", "2026-10-05-1200", "2026-10-06-0000"]
    assert tick(definitions, "landing_sensor", instance, cursor)[0] == []


def test_a_file_that_changes_back_is_scored_again(definitions, instance, settings, champion):
    keys = set()
    cursor = None
    for moment in ("2026-10-05T01:00:00Z", "2026-10-05T02:00:00Z", "2026-10-05T01:00:00Z"):
        file_with(settings, "a.csv", moment)
        requests, cursor, _ = tick(definitions, "landing_sensor", instance, cursor)
        assert all_windows(requests, settings) == ["2026-10-05-0000"]
        keys.add(requests[0].run_key)
    assert len(keys) == 3, "Dagster drops a run request whose key it has seen"


def test_a_tick_that_is_evaluated_twice_asks_for_the_same_runs(definitions, instance, settings, champion):
    file_with(settings, "a.csv", "2026-10-05T01:00:00Z")
    first, _, _ = tick(definitions, "landing_sensor", instance, None)
    again, _, _ = tick(definitions, "landing_sensor", instance, None)
    assert [request.run_key for request in first] == [request.run_key for request in again]


def test_rows_of_a_window_that_has_not_ended_are_left_to_the_schedule(definitions, instance, settings, champion):
    # A minute ahead: should a window end between these lines, the next one has not, and the minute is in that one.
    file_with(settings, "a.csv", f"{dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}")
    assert tick(definitions, "landing_sensor", instance, None)[0] == []


def test_a_file_that_may_still_be_written_is_left_for_a_later_tick(tmp_path, instance, champion):
    settings = make_settings(tmp_path, landing={"settle_seconds": 3600})
    file_with(settings, "a.csv", "2026-10-05T01:00:00Z")
    requests, cursor, reason = tick(build_definitions(settings), "landing_sensor", instance, None)
    assert requests == []
    assert "1 may still be written" in reason
    settled = make_settings(tmp_path)
    requests, _, _ = tick(build_definitions(settled), "landing_sensor", instance, cursor)
    assert all_windows(requests, settings) == ["2026-10-05-0000"]


def test_without_a_champion_windows_wait_and_are_asked_for_once_there_is_one(definitions, instance, settings, champion):
    champion["version"] = ""
    file_with(settings, "a.csv", "2026-10-05T01:00:00Z")
    requests, cursor, reason = tick(definitions, "landing_sensor", instance, None)
    assert requests == []
    assert reason == "1 window waits for the first champion: train one"
    champion["version"] = "1"
    requests, cursor, _ = tick(definitions, "landing_sensor", instance, cursor)
    assert all_windows(requests, settings) == ["2026-10-05-0000"]


def test_a_window_whose_run_failed_is_asked_for_again_by_the_next_champion(definitions, instance, settings, champion):
    """The run is asked for and never makes the scores: not again with the same version, but with the next."""
    file_with(settings, "a.csv", "2026-10-05T01:00:00Z")
    first, cursor, _ = tick(definitions, "landing_sensor", instance, None)
    again, cursor, reason = tick(definitions, "landing_sensor", instance, cursor)
    assert again == []
    assert "1 window is asked for and not scored yet" in reason
    champion["version"] = "2"
    later, cursor, _ = tick(definitions, "landing_sensor", instance, cursor)
    assert all_windows(later, settings) == ["2026-10-05-0000"]
    assert later[0].run_key != first[0].run_key, "Dagster drops a run request whose key it has seen"


def test_a_tick_that_runs_out_of_time_searches_no_further_and_the_next_one_asks(
    definitions, instance, settings, champion, monkeypatch
):
    file_with(settings, "a.csv", "2026-10-05T01:00:00Z")
    file_with(settings, "b.csv", "2026-10-05T02:00:00Z", "2026-10-05T13:00:00Z")
    searched = Path(settings.paths.storage, "landing_index")
    whole = sensors.plan_scoring

    def one_file(files, index, windows_in, seen, _out_of_time):
        looks = iter((False, True))
        return whole(files, index, windows_in, seen, lambda: next(looks))

    monkeypatch.setattr(sensors, "plan_scoring", one_file)
    requests, cursor, reason = tick(definitions, "landing_sensor", instance, None)
    assert (requests, reason) == ([], "1 file searched, the rest is left for the next tick")
    assert len(list(searched.iterdir())) == 1
    monkeypatch.undo()
    monkeypatch.setattr(versions, "champion_version", lambda _settings: "1")
    requests, _, _ = tick(definitions, "landing_sensor", instance, cursor)
    assert all_windows(requests, settings) == ["2026-10-05-0000", "2026-10-05-1200"]


def test_windows_that_were_scored_from_the_same_files_are_not_asked_for_again(definitions, instance, settings):
    """As after `make workflow`: the sensor starts without a cursor and finds the work done."""
    land(settings, "train.csv", start=START - dt.timedelta(days=14), rows=1500, folder="training")
    file_with(settings, "a.csv", "2026-10-05T01:00:00Z")
    assert definitions.resolve_job_def("training_job").execute_in_process(instance=instance).success
    tags = {f"dagster/asset_partition_range_{end}": "2026-10-05-0000" for end in ("start", "end")}
    assert definitions.resolve_job_def("scoring_job").execute_in_process(instance=instance, tags=tags).success
    requests, cursor, _ = tick(definitions, "landing_sensor", instance, None)
    assert requests == []
    file_with(settings, "a.csv", "2026-10-05T01:00:00Z", "2026-10-05T02:00:00Z")
    requests, _, _ = tick(definitions, "landing_sensor", instance, cursor)
    assert all_windows(requests, settings) == ["2026-10-05-0000"]
    requests, _, reason = tick(definitions, "training_sensor", instance, None)
    assert requests == []
    assert "trained on 1 landed file" in reason


def test_the_runs_that_the_landing_sensor_asks_for_make_those_windows(definitions, instance, settings, channel):
    """The whole way: tick, runs, scores; once more after the file has changed."""
    land(settings, "train.csv", start=START - dt.timedelta(days=14), rows=1500, folder="training")
    assert definitions.resolve_job_def("training_job").execute_in_process(instance=instance).success
    cursor = None
    for moments in (["2026-10-05T01:00:00Z"], ["2026-10-05T01:00:00Z", "2026-10-05T03:00:00Z"]):
        file_with(settings, "a.csv", *moments)
        requests, cursor, _ = tick(definitions, "landing_sensor", instance, cursor)
        for request in requests:
            run = definitions.resolve_job_def("scoring_job").execute_in_process(instance=instance, tags=request.tags)
            assert run.success
        event = instance.get_latest_materialization_event(dg.AssetKey("ensemble_scores"))
        assert event.asset_materialization.partition == "2026-10-05-0000"
        assert event.asset_materialization.metadata["dagster/row_count"].value == len(moments)
    told = [message.headline for message in channel.sent]
    assert len(told) == len(set(told)) <= 1, "scoring a window again does not tell it again"


def test_a_new_training_file_asks_for_a_training_and_the_same_one_does_not(definitions, instance, settings):
    land(settings, "a.csv", start=START, rows=300, folder="training")
    requests, cursor, _ = tick(definitions, "training_sensor", instance, None)
    assert len(requests) == 1
    assert requests[0].tags["cxad/reason"] == "new file a.csv"
    requests, cursor, reason = tick(definitions, "training_sensor", instance, cursor)
    assert requests == []
    assert "no new one" in reason
    land(settings, "b.csv", start=START, rows=300, seed=2, folder="training")
    assert len(tick(definitions, "training_sensor", instance, cursor)[0]) == 1


def test_a_training_file_that_grows_asks_once_it_has_grown_enough(tmp_path, instance):
    settings = make_settings(tmp_path, training={"retrain_new_rows": 100})
    definitions = build_definitions(settings)
    land(settings, "a.csv", start=START, rows=300, folder="training")
    _, cursor, _ = tick(definitions, "training_sensor", instance, None)
    land(settings, "a.csv", start=START, rows=360, folder="training")
    requests, cursor, _ = tick(definitions, "training_sensor", instance, cursor)
    assert requests == []
    land(settings, "a.csv", start=START, rows=420, folder="training")
    requests, _, _ = tick(definitions, "training_sensor", instance, cursor)
    assert [request.tags["cxad/reason"] for request in requests] == ["120 new rows"]


def test_interactions_said_to_be_a_new_trend_ask_for_a_training_once(definitions, instance, settings):
    land(settings, "a.csv", start=START, rows=300, folder="training")
    _, cursor, _ = tick(definitions, "training_sensor", instance, None)
    store, now = open_store(settings), dt.datetime.now(dt.UTC)
    with store.writing() as connection:
        for number in range(5):
            record_anomalies(connection, [anomaly(f"c-{number}")])
            add_feedback(connection, f"c-{number}", "new_trend", by="desk", at=now)
    store.close()
    requests, _, _ = tick(definitions, "training_sensor", instance, cursor)
    assert requests == [], "a training has just been asked for"
    memory = json.loads(cursor)
    memory["asked"]["at"] = (now - dt.timedelta(days=30)).isoformat()
    requests, cursor, _ = tick(definitions, "training_sensor", instance, json.dumps(memory))
    assert [request.tags["cxad/reason"] for request in requests] == ["5 interactions are said to be a new trend"]
    assert tick(definitions, "training_sensor", instance, cursor)[0] == []


def test_a_failed_run_is_told_in_one_line_each_step(definitions, instance, settings, channel: RecordingChannel):
    """Scoring before any training: the run fails, and people hear why."""
    file_with(settings, "a.csv", "2026-10-05T01:00:00Z")
    tags = {f"dagster/asset_partition_range_{end}": "2026-10-05-0000" for end in ("start", "end")}
    result = definitions.resolve_job_def("scoring_job").execute_in_process(
        instance=instance, tags=tags, raise_on_error=False
    )
    assert not result.success
    for _ in range(2):  # an event that is looked at twice is told once
        tick(definitions, "run_failure_sensor", instance, "0")
    assert len(channel.sent) == 1
    assert "train one first" in channel.sent[0].text
    assert "ensemble_scores" in channel.sent[0].text


def test_rows_before_the_first_window_and_after_the_last_ask_for_nothing(tmp_path, instance, champion):
    settings = make_settings(tmp_path, schedule={"first_window": "2026-10-05", "last_window": "2026-10-06"})
    file_with(settings, "a.csv", *(f"2026-10-0{day}T{hour}:00:00Z" for day in (4, 5, 6) for hour in ("01", "23")))
    requests, _, _ = tick(build_definitions(settings), "landing_sensor", instance, None)
    assert all_windows(requests, settings) == ["2026-10-05-0000", "2026-10-05-1800"]


def test_windows_are_cut_by_the_cron_expression_in_its_zone(tmp_path):
    settings = make_settings(
        tmp_path,
        schedule={"batch_score_cron": "0 6,18 * * *", "timezone": "Europe/Berlin", "first_window": "2026-10-24"},
    )
    partitions = scoring_windows(settings)
    windows = windows_for(partitions, partitions.get_partition_keys()[:3])
    hours = [(window.end - window.start) / dt.timedelta(hours=1) for window in windows]
    assert hours == [12, 12, 13], "the night in which clocks are set back is an hour longer"
    assert windows[0].start <= settings.schedule.first_window < windows[0].end, "no row after first_window is left out"
    assert all(before.end == after.start for before, after in pairwise(windows))
