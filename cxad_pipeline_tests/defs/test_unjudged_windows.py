"""Windows that were scored and never judged are asked for, once; by real ticks on a real instance."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest
from landing_world import land, make_settings

from cxad_pipeline.definitions import build_definitions
from cxad_pipeline.defs import unjudged_windows
from cxad_pipeline.defs.partitions import ended_windows, scoring_windows
from cxad_pipeline.operations.judging import MEMORY
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.segment_windows import find_windows

NOW = dt.datetime.now(dt.UTC)
FIRST = (NOW - dt.timedelta(days=30)).date().isoformat()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, schedule={"first_window": FIRST})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of tests are not waited for; one test below is about the patience."""
    monkeypatch.setattr(unjudged_windows, "PATIENCE", dt.timedelta(0))


def made(instance: dg.DagsterInstance, asset: str, *keys: str | None) -> None:
    for key in keys:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))


def asked(settings: Settings, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    context = dg.build_sensor_context(instance, definitions=build_definitions(settings))
    result = build_definitions(settings).resolve_sensor_def("landing_sensor")(context)
    assert isinstance(result, dg.SensorResult)
    return list(result.run_requests or [])


def spans(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    ends = ("start", "end")
    return [tuple(request.tags[f"dagster/asset_partition_range_{end}"] for end in ends) for request in requests]


def keys_before(settings: Settings, moment: dt.datetime, number: int) -> list[str]:
    partitions = scoring_windows(settings)
    return [w.key for w in ended_windows(partitions, moment - dt.timedelta(days=number), moment, NOW)][-number:]


def test_neighbouring_windows_that_were_scored_and_not_judged_are_one_run_which_scores_nothing(settings, instance):
    keys = keys_before(settings, NOW - dt.timedelta(days=1), 4)
    made(instance, "incident_model", None)
    made(instance, "ensemble_scores", *keys)
    made(instance, "segment_statistics", *keys[:2])
    made(instance, "incidents", keys[0], keys[1])
    (request,) = asked(settings, instance)
    assert spans([request]) == [(keys[2], keys[3])]
    names = {key.to_user_string() for key in request.asset_selection}
    assert names == {"segment_statistics", "incidents", "alert_notifications"}
    made(instance, "ensemble_scores", keys[1])  # scored again, not judged again
    assert spans(asked(settings, instance)) == [(keys[1], keys[3])]
    made(instance, "incidents", *keys)
    assert asked(settings, instance) == []


def test_the_same_scores_and_the_same_model_are_asked_for_by_the_same_key(settings, instance):
    (key,) = keys_before(settings, NOW, 1)
    made(instance, "incident_model", None)
    made(instance, "ensemble_scores", key)
    run_keys = [asked(settings, instance)[0].run_key for _ in range(2)]
    assert len(set(run_keys)) == 1, "Dagster drops a run request whose key it has seen, so what fails is not repeated"
    made(instance, "incident_model", None)
    run_keys.append(asked(settings, instance)[0].run_key)
    made(instance, "ensemble_scores", key)
    run_keys.append(asked(settings, instance)[0].run_key)
    assert len(set(run_keys)) == 3


def test_nothing_is_asked_for_without_an_incident_model_or_where_incidents_are_switched_off(
    tmp_path, settings, instance
):
    made(instance, "ensemble_scores", *keys_before(settings, NOW, 2))
    assert asked(settings, instance) == []
    made(instance, "incident_model", None)
    assert len(asked(settings, instance)) == 1
    without = make_settings(tmp_path, schedule={"first_window": FIRST}, incidents={"enabled": False})
    assert asked(without, instance) == []


def test_windows_from_before_the_memory_of_incidents_are_left_alone(settings, instance):
    made(instance, "incident_model", None)
    made(instance, "ensemble_scores", *keys_before(settings, NOW - MEMORY - dt.timedelta(days=1), 2))
    assert asked(settings, instance) == []


def test_a_run_that_may_still_come_to_it_is_waited_for(settings, instance, monkeypatch):
    made(instance, "incident_model", None)
    made(instance, "ensemble_scores", *keys_before(settings, NOW, 1))
    monkeypatch.setattr(unjudged_windows, "PATIENCE", dt.timedelta(hours=1))
    assert asked(settings, instance) == []


def test_the_run_that_is_asked_for_counts_and_judges_the_window(settings, instance):
    """The whole way: a run that ends after its scores, as one that is killed there; then what the sensor asks for."""
    start = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - dt.timedelta(days=2)
    land(settings, "train.csv", start=start - dt.timedelta(days=16), rows=1500, folder="training")
    landed = Path(settings.paths.inference) / "a.csv"
    landed.parent.mkdir(parents=True, exist_ok=True)
    landed.write_text(
        f"interaction_id,timestamp,aht_seconds\na-1,{start + dt.timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ},300\n"
    )
    definitions = build_definitions(settings, channels=[])
    assert definitions.resolve_job_def("training_job").execute_in_process(instance=instance).success
    job, key = definitions.resolve_job_def("scoring_job"), f"{start:%Y-%m-%d-%H%M}"
    tags = {f"dagster/asset_partition_range_{end}": key for end in ("start", "end")}
    upstream = [dg.AssetKey(name) for name in ("raw_interactions", "rejected_interactions", "ensemble_scores")]
    assert job.execute_in_process(instance=instance, tags=tags, asset_selection=upstream).success
    landed.unlink()  # scores outlive their files
    (request,) = asked(settings, instance)
    assert spans([request]) == [(key, key)]
    again = job.execute_in_process(instance=instance, tags=request.tags, asset_selection=request.asset_selection)
    assert again.success
    store = open_store(settings)
    with store.reading() as connection:
        rows = find_windows(connection, since=start, until=NOW, segment=(), level=None, limit=100)
    store.close()
    assert len(rows) == 6
    assert sum(row["contacts"] for row in rows) == 1
    assert None not in {row["state"] for row in rows}
    assert asked(settings, instance) == []
