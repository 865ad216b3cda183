"""Runs whose process is gone, killed or down with its machine: ended, so that the queue goes on and people are told.

Belongs here: which runs are lost, and the sensor that looks for them. Does not belong here: telling (`failures`).

A worker that dies beside a living code server is ended by that server. Nobody ends one that died with it: Dagster's run
monitoring asks the run launcher, and the default one can't tell. The queue would wait for such a run for good.
"""

import datetime as dt
import socket
import time

import dagster as dg
from dagster._core.storage.runs import SqliteRunStorage

from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.defs.processes import process_age

HOST_TAG = "cxad/host"
"""Tag of a run: the machine of the code server or the command that asked for it (`place_tags`)."""

COMMAND_TAG = "cxad/started_by"
"""Tag of a run that runs in the process of a command."""

_LAUNCHED_TAG = ".dagster/grpc_info"  # the default run launcher's: the run is a process beside the code server
_IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_SECONDS_TO_START = 300.0
_CLOCK_SECONDS = 60.0  # by which the clock may be set while a run goes on


def place_tags() -> dict[str, str]:
    """Tags of runs that are asked for here, by which `end_lost_runs` knows those of this machine."""
    return {HOST_TAG: socket.gethostname()}


def end_lost_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Mark the runs of this machine whose process is gone as failed, or as canceled where that was asked for.

    Runs of other machines are left alone, and so are those that a launcher of containers has started.

    Parameters
    ----------
    instance
        Where runs are recorded.

    Returns
    -------
    list of DagsterRun
        The runs that have been ended.
    """
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_IN_PROGRESS)):
        if not _is_here(run, instance) or not (reason := _why_lost(run, instance)):
            continue
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished:
            continue  # its process has ended as it should, since it was looked for
        if now.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(now, reason)
        else:
            instance.report_run_failed(now, reason)
        ended.append(now)
    return ended


def lost_run_sensor(status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """The sensor that ends lost runs; it looks from the code server, beside which the default launcher starts them."""

    @dg.sensor(
        name="lost_run_sensor",
        minimum_interval_seconds=30,
        default_status=status,
        description="A run whose process is gone, killed or down with its machine, has failed: the next one starts.",
    )
    def end(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = end_lost_runs(context.instance)
        for run in ended:
            context.log.warning(f"{run.job_name} {run.run_id}: its process is gone")
        return dg.SkipReason(f"{plural(len(ended), 'run')} ended" if ended else "each run has its process")

    return end


def _is_here(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Whether the run's process is, or was, one of this machine."""
    here = run.tags.get(HOST_TAG) == socket.gethostname()
    if _LAUNCHED_TAG in run.tags:
        # Runs that a person asks for in the UI without a job have no tags of ours; a file has no other machine's runs.
        return here or isinstance(instance.run_storage, SqliteRunStorage)
    return here and COMMAND_TAG in run.tags


def _why_lost(run: dg.DagsterRun, instance: dg.DagsterInstance) -> str:
    """What is said of a run whose process is gone; empty where it is there, or may still come."""
    events = instance.all_logs(run.run_id)
    begun = [(event.timestamp, int(told)) for event in events if (told := _process_of(event))]
    if not begun:
        waited = time.time() - max((event.timestamp for event in events), default=0.0)
        return "No process has begun this run" if waited > _SECONDS_TO_START else ""
    moment, pid = begun[-1]
    age = process_age(pid)
    # A younger process has got the number of the one that is gone.
    if age is not None and age > time.time() - moment - _CLOCK_SECONDS:
        return ""
    since = dt.datetime.fromtimestamp(moment, tz=dt.UTC)
    return (
        f"The process of this run ({pid} on {socket.gethostname()}, there at {since:%Y-%m-%d %H:%M} UTC) is gone: it "
        "was killed, or its machine went down"
    )


def _process_of(event: dg.EventLogEntry) -> str:
    """The process that an event says the run is in; empty where it says nothing of that."""
    told = event.dagster_event
    if told is None or told.event_type is not dg.DagsterEventType.ENGINE_EVENT:
        return ""
    pid = told.engine_event_data.metadata.get("pid")
    return "" if pid is None else str(pid.value)
