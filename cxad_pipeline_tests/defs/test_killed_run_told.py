"""People are told what a run died of that was killed from outside."""

import dagster as dg
from landing_world import RecordingChannel

from cxad_pipeline.defs.lost_runs import COMMAND_TAG, end_lost_runs, place_tags


def told(definitions: dg.Definitions, instance: dg.DagsterInstance, channel: RecordingChannel) -> str:
    """The one message after a look of the failure sensor."""
    definitions.resolve_sensor_def("run_failure_sensor")(dg.build_sensor_context(instance, cursor="0"))
    (message,) = channel.sent
    return message.text


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    job = dg.GraphDefinition("training_job").to_job()
    tags = place_tags() | {COMMAND_TAG: "cxad"}
    return instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)


def test_a_process_that_was_killed_beside_the_code_server(definitions, instance, channel: RecordingChannel):
    """As the code server of Dagster reports it, which the daemon then tries again."""
    run = started(instance)
    instance.report_engine_event("Started process for run (pid: 41).", run)
    instance.report_engine_event("[DagsterApiServer] Run execution process was terminated by signal 9 (SIGKILL).", run)
    instance.report_run_failed(run)
    instance.report_engine_event("Retrying the run", run)
    text = told(definitions, instance, channel)
    assert "  Run execution process was terminated by signal 9 (SIGKILL)." in text


def test_a_process_that_went_down_with_its_machine(definitions, instance, channel: RecordingChannel):
    started(instance)
    assert len(end_lost_runs(instance)) == 1, "it has no events, so nothing of it is recent"
    text = told(definitions, instance, channel)
    assert "No process has begun this run" in text


def test_a_run_without_any_reason(definitions, instance, channel: RecordingChannel):
    run = started(instance)
    instance.report_run_failed(run)
    assert "This run has been marked as failed from outside" in told(definitions, instance, channel)


def test_an_event_that_is_no_reason_is_not_told_as_one(definitions, instance, channel: RecordingChannel):
    run = started(instance)
    instance.report_run_failed(run)
    instance.report_engine_event("Retrying the run", run)
    assert "This run has been marked as failed from outside" in told(definitions, instance, channel)
