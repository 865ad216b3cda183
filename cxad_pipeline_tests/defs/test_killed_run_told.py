"""People are told what a run died of that was killed from outside."""

import dagster as dg
from landing_world import RecordingChannel

from cxad_pipeline.defs.lost_runs import COMMAND_TAG, end_lost_runs, place_tags


def told(
    definitions: dg.Definitions, instance: dg.DagsterInstance, run: dg.DagsterRun, channel: RecordingChannel
) -> str:
    """The one message after a look of the failure sensor."""
    (failure,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert failure.dagster_event is not None
    context = dg.build_run_status_sensor_context("run_failure_sensor", failure.dagster_event, instance, run)
    definitions.resolve_sensor_def("run_failure_sensor")(context.for_run_failure())
    (message,) = channel.sent
    return message.text


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    job = dg.GraphDefinition("training_job").to_job()
    tags = place_tags() | {COMMAND_TAG: "cxad"}
    return instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)


def test_a_process_that_was_killed_beside_the_code_server(definitions, instance, channel: RecordingChannel):
    """As the code server of Dagster reports it."""
    run = started(instance)
    instance.report_engine_event("[DagsterApiServer] Run execution process was terminated by signal 9 (SIGKILL).", run)
    instance.report_run_failed(run)
    text = told(definitions, instance, run, channel)
    assert "  Run execution process was terminated by signal 9 (SIGKILL)." in text


def test_a_process_that_went_down_with_its_machine(definitions, instance, channel: RecordingChannel):
    run = started(instance)
    assert len(end_lost_runs(instance)) == 1, "it has no events, so nothing of it is recent"
    text = told(definitions, instance, run, channel)
    assert "No process has begun this run" in text


def test_a_run_without_any_reason(definitions, instance, channel: RecordingChannel):
    run = started(instance)
    instance.report_run_failed(run)
    assert "This run has been marked as failed from outside" in told(definitions, instance, run, channel)
