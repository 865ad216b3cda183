"""Runs whose process was killed are ended, with real processes; those that go on, here or elsewhere, are left alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from cxad_pipeline.defs import lost_runs
from cxad_pipeline.defs.lost_runs import COMMAND_TAG, HOST_TAG, end_lost_runs, lost_run_sensor, place_tags
from cxad_pipeline.defs.processes import age_by_ps, process_age

COMMAND = place_tags() | {COMMAND_TAG: "cxad"}
LAUNCHED = {".dagster/grpc_info": '{"host": "localhost", "socket": "s"}'}
ELSEWHERE = {HOST_TAG: "another-machine"}
WAITS = """
import json, sys
import dagster as dg

@dg.op
def waits() -> None:
    print("runs", flush=True)
    sys.stdin.read()

@dg.job
def job() -> None:
    waits()

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    job.execute_in_process(instance=instance, tags=json.loads(sys.argv[2]))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """On the disk: another process records its run there."""
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


@contextmanager
def a_run(home: Path, tags: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own, which waits until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(home), json.dumps(dict(tags))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def only(instance: dg.DagsterInstance) -> dg.DagsterRun:
    (run,) = instance.get_runs()
    return run


def test_a_killed_run_has_failed_and_says_why(home: Path, instance: dg.DagsterInstance):
    with a_run(home, COMMAND) as process:
        assert end_lost_runs(instance) == []
        assert only(instance).status is dg.DagsterRunStatus.STARTED
        process.kill()
        process.wait()
        assert [run.run_id for run in end_lost_runs(instance)] == [only(instance).run_id]
    assert only(instance).status is dg.DagsterRunStatus.FAILURE
    failures = instance.all_logs(only(instance).run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    (event,) = [entry.dagster_event for entry in failures]
    assert event is not None
    assert f"The process of this run ({process.pid} on {socket.gethostname()}" in (event.message or "")
    assert end_lost_runs(instance) == []


def test_a_run_that_goes_on_ends_by_itself(home: Path, instance: dg.DagsterInstance):
    with a_run(home, COMMAND) as process:
        process.send_signal(signal.SIGSTOP)  # busy, or asleep with the machine
        assert end_lost_runs(instance) == []
        process.send_signal(signal.SIGCONT)
        process.communicate()
    assert only(instance).status is dg.DagsterRunStatus.SUCCESS
    assert end_lost_runs(instance) == []


def test_a_killed_run_that_was_to_be_canceled_is_canceled(home: Path, instance: dg.DagsterInstance):
    with a_run(home, COMMAND):
        instance.report_run_canceling(only(instance))
        assert end_lost_runs(instance) == []
    assert len(end_lost_runs(instance)) == 1
    assert only(instance).status is dg.DagsterRunStatus.CANCELED


@pytest.mark.parametrize(
    ("tags", "ended"),
    [
        (LAUNCHED, True),  # from the UI, without a job: the storage is a file of this machine
        (LAUNCHED | COMMAND, True),
        (COMMAND | ELSEWHERE, False),
        (place_tags(), False),  # by the launcher of a cluster, in a container
        ({}, False),
    ],
)
def test_only_runs_of_this_machine_are_ended(home: Path, instance: dg.DagsterInstance, tags, ended: bool):
    with a_run(home, tags):
        pass
    assert bool(end_lost_runs(instance)) is ended
    assert only(instance).is_finished is ended


def recorded(
    instance: dg.DagsterInstance, tags: Mapping[str, str], *, seconds_ago: float, pid: int | None = None
) -> dg.DagsterRun:
    """A run that began some time ago in a process, or has not begun in any."""

    @dg.job
    def job() -> None: ...

    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING, tags=dict(tags))
    place = EngineEventData() if pid is None else EngineEventData.in_process(pid)
    event = dg.DagsterEvent("ENGINE_EVENT", "job", event_specific_data=place)
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level="INFO",
            user_message="",
            run_id=run.run_id,
            timestamp=time.time() - seconds_ago,
            job_name="job",
            dagster_event=event,
        )
    )
    return run


def test_another_process_with_the_number_of_the_one_that_is_gone_is_not_taken_for_it(instance: dg.DagsterInstance):
    age = process_age(os.getpid())
    assert age is not None
    recorded(instance, COMMAND, pid=os.getpid(), seconds_ago=0)
    lost = recorded(instance, COMMAND, pid=os.getpid(), seconds_ago=age + 3600)
    assert [run.run_id for run in end_lost_runs(instance)] == [lost.run_id]


def test_a_run_whose_process_has_not_begun_yet_is_waited_for_but_not_for_good(instance: dg.DagsterInstance):
    recorded(instance, LAUNCHED, seconds_ago=5)
    assert end_lost_runs(instance) == []
    lost = recorded(instance, LAUNCHED, seconds_ago=3600)
    assert [run.run_id for run in end_lost_runs(instance)] == [lost.run_id]


def test_a_run_that_began_again_in_another_process_is_in_the_latter(instance: dg.DagsterInstance):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run = recorded(instance, COMMAND, pid=gone.pid, seconds_ago=3600)
    instance.report_engine_event("goes on", run, EngineEventData.in_process(os.getpid()))
    assert end_lost_runs(instance) == []


def test_a_run_that_ends_while_it_is_looked_at_stays_as_it_ended(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    run = recorded(instance, LAUNCHED, seconds_ago=3600)
    why_lost = lost_runs._why_lost

    def ends_meanwhile(run: dg.DagsterRun, instance: dg.DagsterInstance) -> str:
        reason = why_lost(run, instance)
        instance.report_run_canceled(run)
        return reason

    monkeypatch.setattr(lost_runs, "_why_lost", ends_meanwhile)
    assert end_lost_runs(instance) == []
    assert only(instance).status is dg.DagsterRunStatus.CANCELED
    assert instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE) == []


def test_launched_runs_on_a_shared_instance_are_those_of_the_machine_that_they_name():
    with dg.DagsterInstance.ephemeral() as shared:
        recorded(shared, LAUNCHED, seconds_ago=3600)
        recorded(shared, LAUNCHED | ELSEWHERE, seconds_ago=3600)
        assert end_lost_runs(shared) == []
        recorded(shared, LAUNCHED | place_tags(), seconds_ago=3600)
        assert len(end_lost_runs(shared)) == 1


def test_the_sensor_ends_them_and_says_so(instance: dg.DagsterInstance):
    sensor = lost_run_sensor(dg.DefaultSensorStatus.RUNNING)
    recorded(instance, LAUNCHED, seconds_ago=3600)
    said = [sensor(dg.build_sensor_context(instance)) for _ in range(2)]
    assert [skip.skip_message for skip in said] == ["1 run ended", "each run has its process"]


def test_the_age_of_a_process_is_what_ps_says():
    for pid in (os.getpid(), os.getppid()):
        before, said, after = process_age(pid), age_by_ps(pid), process_age(pid)
        assert before is not None
        assert said is not None
        assert after is not None
        assert before - 2 <= said <= after + 2


def test_a_process_that_has_ended_has_no_age_even_while_nobody_asked_about_it():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert process_age(process.pid) is None
    assert age_by_ps(process.pid) is None
    process.communicate()
    assert process_age(process.pid) is None
    assert age_by_ps(process.pid) is None
