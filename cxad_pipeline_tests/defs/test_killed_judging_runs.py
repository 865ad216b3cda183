"""A run that was asked for to judge a window and is killed, too, is asked for again, though not without end."""

from __future__ import annotations

import datetime as dt
import os
import signal
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import JobFailureData
from dagster._core.storage.tags import RUN_KEY_TAG
from landing_world import make_settings

from cxad_pipeline.defs import unjudged_windows
from cxad_pipeline.defs.partitions import ended_windows, scoring_windows
from cxad_pipeline.defs.unjudged_windows import MOST_KILLED, runs_to_judge
from cxad_pipeline.settings import Settings

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, schedule={"first_window": (NOW - dt.timedelta(days=4)).date().isoformat()})


@pytest.fixture(autouse=True)
def _unjudged(settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """One window has scores and no judgement; runs are not waited for, but in the test about that."""
    monkeypatch.setattr(unjudged_windows, "PATIENCE", dt.timedelta(0))
    window = ended_windows(scoring_windows(settings), NOW - dt.timedelta(days=1), NOW, NOW)[-1]
    for asset, key in (("incident_model", None), ("ensemble_scores", window.key)):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))


def asked(settings: Settings, instance: dg.DagsterInstance) -> dict[str, str]:
    """Tags of the one run that is asked for, if Dagster takes it: it passes over a key that a run has had."""
    (request,) = runs_to_judge(instance, settings, dt.datetime.now(dt.UTC), [])
    known = instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: request.run_key or ""}))
    return {} if known else {RUN_KEY_TAG: request.run_key or ""}


def begin(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun:
    assert tags, "a run is asked for"
    job = dg.GraphDefinition("scoring_job").to_job()
    return instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)


def kill(instance: dg.DagsterInstance, tags: dict[str, str]) -> None:
    """A run whose process was killed leaves no failure of a step."""
    instance.report_run_failed(begin(instance, tags))


def test_a_run_that_was_killed_is_asked_for_again_but_not_without_end(settings, instance) -> None:
    for _ in range(MOST_KILLED):
        kill(instance, asked(settings, instance))
    assert asked(settings, instance) == {}


def test_while_a_run_goes_on_no_other_is_asked_for(settings, instance) -> None:
    kill(instance, asked(settings, instance))
    run = begin(instance, asked(settings, instance))
    assert asked(settings, instance) == {}
    instance.report_run_failed(run)
    assert asked(settings, instance)


def test_a_retry_by_dagster_has_the_same_key_and_counts_as_the_run(settings, instance) -> None:
    tags = asked(settings, instance)
    kill(instance, tags)
    retry = begin(instance, tags)
    assert asked(settings, instance) == {}
    instance.report_run_failed(retry)
    assert asked(settings, instance)


def test_a_killed_run_is_left_to_the_retries_of_dagster_for_a_while(settings, instance, monkeypatch) -> None:
    """Scored now; the run that was to judge that is killed in an hour."""
    hour = dt.timedelta(hours=1)
    tags = asked(settings, instance)
    run = begin(instance, tags)
    failed = dg.DagsterEvent(
        "PIPELINE_FAILURE",
        "scoring_job",
        event_specific_data=JobFailureData(error=None, failure_reason=None, first_step_failure_event=None),
    )
    now = dt.datetime.now(dt.UTC)
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level="ERROR",
            user_message="",
            run_id=run.run_id,
            timestamp=(now + hour).timestamp(),
            job_name="scoring_job",
            dagster_event=failed,
        )
    )
    monkeypatch.setattr(unjudged_windows, "PATIENCE", hour / 2)
    early, late = (runs_to_judge(instance, settings, now + h * hour, [])[0].run_key for h in (1.4, 1.6))
    assert early == tags[RUN_KEY_TAG]
    assert late != tags[RUN_KEY_TAG]


def test_a_run_whose_step_failed_is_not_asked_for_again(settings, instance) -> None:
    @dg.op
    def judges() -> None:
        raise ValueError("what fails with these scores fails again")

    @dg.job
    def scoring_job() -> None:
        judges()

    tags = asked(settings, instance)
    assert not scoring_job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).success
    assert asked(settings, instance) == {}


def test_a_run_that_a_person_canceled_is_not_asked_for_again(settings, instance) -> None:
    run = begin(instance, asked(settings, instance))
    instance.report_run_canceling(run)
    instance.report_run_canceled(run)
    assert asked(settings, instance) == {}


def test_a_run_that_was_interrupted_with_its_container_was_killed(settings, instance) -> None:
    """Dagster records the step as failed then, and says what interrupted it."""

    @dg.op
    def judges() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    @dg.job
    def scoring_job() -> None:
        judges()

    scoring_job.execute_in_process(instance=instance, tags=asked(settings, instance), raise_on_error=False)
    (run,) = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert asked(settings, instance)


def test_a_window_that_is_to_be_scored_again_is_judged_by_that_run(settings, instance) -> None:
    now = dt.datetime.now(dt.UTC)
    window = ended_windows(scoring_windows(settings), NOW - dt.timedelta(days=1), NOW, NOW)[-1]
    assert len(runs_to_judge(instance, settings, now, [])) == 1
    assert runs_to_judge(instance, settings, now, [window.key]) == []
