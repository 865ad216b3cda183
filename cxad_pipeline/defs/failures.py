"""Failed runs: what went wrong, and the sensor that tells of it through the outbox.

Belongs here: taking job, run and errors out of Dagster's objects, and which runs have been told. Does not belong here:
the words (`alerting.run_failure`).

Dagster's own run failure sensors pass over a run for good where telling fails. So this one keeps its place by itself:
it moves on once the message is in the outbox. What fails while the store is away is told when it is back.
"""

import datetime as dt
import json
from collections.abc import Callable

import dagster as dg

from cxad_pipeline.alerting.channels import Channel
from cxad_pipeline.alerting.run_failure import FailedStep, RunFailure, run_failure_notice
from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.operations.watched import filled_link
from cxad_pipeline.settings import Settings
from cxad_pipeline.settings.reading import secrets_of
from cxad_pipeline.store.database import Store, StoreError

_NO_REASON = "This run has been marked as failed from outside"  # Dagster's words
_CODE_SERVER = "[DagsterApiServer] "
_MOST = 50


def run_failure_sensor(
    settings: Settings,
    store_of: Callable[[], Store],
    channels: list[Channel],
    teller: Teller,
    status: dg.DefaultSensorStatus,
) -> dg.SensorDefinition:
    """The sensor that tells of failed runs of this code location, from its first look on."""

    @dg.sensor(
        name="run_failure_sensor",
        minimum_interval_seconds=30,
        default_status=status,
        description="Tells of a failed run through the outbox, by all channels; once the store is back where it is "
        "away.",
    )
    def tell(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if context.cursor is None or not settings.alerts.enabled:
            context.update_cursor(str(_last_failure(context.instance)))
            return dg.SkipReason("runs that fail from now on" if settings.alerts.enabled else "alerts are switched off")
        failed = failures_after(context.instance, _place(context.cursor), _MOST)
        if not failed:
            return dg.SkipReason("no run has failed")
        now = dt.datetime.now(dt.UTC)
        notices = []
        for record in failed:
            run = context.instance.get_run_by_id(record.run_id)
            if run is not None and _is_ours(run, context):
                failure = failure_of(context.instance, run, record.event_log_entry, settings)
                notices.append(run_failure_notice(failure, now=now, secrets=secrets_of(settings)))
        if notices:
            try:
                with store_of().writing() as connection:
                    teller.queue(connection, notices, now)
                done = deliver_round(store_of(), settings, channels, teller, lambda: dt.datetime.now(dt.UTC))
            except StoreError as error:
                # Raised as a Failure, so that the tick shows one line in place of a traceback. It keeps its place.
                raise dg.Failure(str(error)) from None
            for channel, reason in done.errors.items():
                context.log.warning(f"{channel}: {reason}")
        context.update_cursor(str(failed[-1].storage_id))
        return dg.SkipReason(f"{plural(len(notices), 'failed run')} told")

    return tell


def failures_after(instance: dg.DagsterInstance, place: int, most: int) -> list[dg.EventLogRecord]:
    """The first so many failures of runs that were recorded after a place in the event log, in their order."""
    wanted = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=place)
    return list(instance.fetch_run_status_changes(wanted, limit=most, ascending=True).records)


def failure_of(
    instance: dg.DagsterInstance, run: dg.DagsterRun, failed: dg.EventLogEntry, settings: Settings
) -> RunFailure:
    """What is told of a failed run, given the event of its failure."""
    steps = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    events = [entry.dagster_event for entry in steps if entry.dagster_event is not None]
    return RunFailure(
        job=run.job_name,
        run_id=run.run_id,
        steps=tuple(FailedStep(event.step_key or "", step_error(event)) for event in events),
        link=filled_link(settings.alerts.run_link or "", settings, run_id=run.run_id),
        error=_run_error(instance, run, failed),
    )


def _run_error(instance: dg.DagsterInstance, run: dg.DagsterRun, failed: dg.EventLogEntry) -> str:
    """What a run that failed outside its steps died of.

    Where the code server ends a run whose process was killed, its reason is in an engine event of its own; others
    follow that one, such as that the run is tried again.
    """
    message = (failed.dagster_event.message if failed.dagster_event is not None else None) or ""
    if not message.startswith(_NO_REASON):
        return message
    events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    told = [entry.dagster_event.message or "" for entry in events if entry.dagster_event is not None]
    of_server = [reason for reason in told if reason.startswith(_CODE_SERVER)]
    return of_server[-1].removeprefix(_CODE_SERVER) if of_server else message


def _last_failure(instance: dg.DagsterInstance) -> int:
    """Place in the event log of the latest failure of a run; 0 where none has failed."""
    latest = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    return latest[0].storage_id if latest else 0


def _place(cursor: str) -> int:
    """The place that was kept; earlier versions left Dagster's own record of it."""
    kept = json.loads(cursor)
    return int(kept["record_id"] if isinstance(kept, dict) else kept)


def _is_ours(run: dg.DagsterRun, context: dg.SensorEvaluationContext) -> bool:
    """Whether a run is one of this code location: others may share the instance, and a command tells its own."""
    origin, here = run.remote_job_origin, context.code_location_origin
    asked = (
        (None, None)
        if origin is None
        else (origin.repository_origin.code_location_origin.location_name, origin.repository_origin.repository_name)
    )
    return asked == (None if here is None else here.location_name, context.repository_name)


def step_error(event: dg.DagsterEvent) -> str:
    """The message of the error that a failed step began with: its own description, else the innermost cause."""
    failure = event.step_failure_data
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return event.message or "failed"
    # Our own errors speak for themselves; the class of any other says what kind of fault it is.
    name, _, message = error.message.strip().partition(": ")
    return message if name.startswith("cxad_pipeline.") else error.message.strip()
