"""Failed runs: what went wrong, and the sensor that tells of it through the outbox.

Belongs here: taking job, run and errors out of Dagster's objects. Does not belong here: the words
(`alerting.run_failure`).
"""

import datetime as dt
from collections.abc import Callable

import dagster as dg

from cxad_pipeline.alerting.channels import Channel
from cxad_pipeline.alerting.run_failure import FailedStep, RunFailure, run_failure_notice
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.operations.watched import filled_link
from cxad_pipeline.settings import Settings
from cxad_pipeline.settings.reading import secrets_of
from cxad_pipeline.store.database import Store, StoreError

_NO_REASON = "This run has been marked as failed from outside"  # Dagster's words


def run_failure_sensor(
    settings: Settings,
    store_of: Callable[[], Store],
    channels: list[Channel],
    teller: Teller,
    status: dg.DefaultSensorStatus,
) -> dg.SensorDefinition:
    """The sensor that tells of failed runs."""

    @dg.run_failure_sensor(
        name="run_failure_sensor",
        default_status=status,
        description="Tells of a failed run through the outbox, by all channels.",
    )
    def tell(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        if not settings.alerts.enabled:
            return dg.SkipReason("alerts are switched off")
        steps = [FailedStep(event.step_key or "", step_error(event)) for event in context.get_step_failure_events()]
        run = context.dagster_run
        link = settings.alerts.run_link or ""
        failure = RunFailure(
            job=run.job_name,
            run_id=run.run_id,
            steps=tuple(steps),
            link=filled_link(link, settings, run_id=run.run_id),
            error=_run_error(context),
        )
        now = dt.datetime.now(dt.UTC)
        notice = run_failure_notice(failure, now=now, secrets=secrets_of(settings))
        try:
            with store_of().writing() as connection:
                teller.queue(connection, [notice], now)
            done = deliver_round(store_of(), settings, channels, teller, lambda: dt.datetime.now(dt.UTC))
        except StoreError as error:
            # Raised as a Failure, so that the tick shows one line in place of a traceback; the run is told of later.
            raise dg.Failure(str(error)) from None
        for channel, reason in done.errors.items():
            context.log.warning(f"{channel}: {reason}")
        return None

    return tell


def _run_error(context: dg.RunFailureSensorContext) -> str:
    """What a run that failed outside its steps died of.

    Where the code server ends a run whose process was killed, its reason is in the engine event before.
    """
    message = context.failure_event.message or ""
    if not message.startswith(_NO_REASON):
        return message
    events = context.instance.all_logs(context.dagster_run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    told = [entry.dagster_event.message or "" for entry in events if entry.dagster_event is not None]
    return told[-1].removeprefix("[DagsterApiServer] ") if told else message


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
