"""The outbox: delivered at the end of a scoring run, and by a sensor that does what the clock asks for.

Belongs here: the asset, its check, the sensor. Does not belong here: what is told (`alerting`), one round of deliveries
(`operations`).
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg

from cxad_pipeline.alerting.channel_names import channel_labels
from cxad_pipeline.alerting.channels import Channel
from cxad_pipeline.alerting.delivery import DeliverySummary
from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.defs.metadata import OWNERS, records_table
from cxad_pipeline.defs.partitions import scoring_windows
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, StoreError
from cxad_pipeline.store.outbox import find_deliveries, outbox_status

_SHOWN = 20


def alerting_assets(
    settings: Settings, store_of: Callable[[], Store], channels: list[Channel], teller: Teller
) -> list[dg.AssetsDefinition]:
    """alert_notifications: what left the outbox at the end of a run."""
    labels = channel_labels(settings)

    @dg.asset(
        partitions_def=scoring_windows(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(settings.schedule.max_windows_per_run),
        group_name="alerting",
        owners=OWNERS,
        kinds={"slack"},
        deps=["incidents"] if settings.incidents.enabled else ["ensemble_scores"],
        check_specs=[
            dg.AssetCheckSpec(
                "dead_letters",
                asset="alert_notifications",
                description="No message has been given up, and none has failed and waits for its next attempt; "
                "`cxad alerts --retry` sends those that were given up, `cxad alerts --drop` puts them away.",
            )
        ],
        description="What was due in the outbox, delivered: at least once, dropped by key where a channel can tell. "
        "What fails is tried again by the delivery sensor, and never fails the run.",
    )
    def alert_notifications(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        done = deliver_round(store_of(), settings, channels, teller, _now)
        for channel, error in done.errors.items():
            context.log.warning(f"{channel}: {error}")
        context.log.info(in_words(done))
        for key in context.partition_keys[:-1]:
            context.add_asset_metadata({"delivery": f"with window {context.partition_keys[-1]}"}, partition_key=key)
        shown = _metadata(done, store_of(), labels)
        context.add_asset_metadata(shown, partition_key=context.partition_keys[-1])
        yield dg.MaterializeResult(check_results=[_dead_letter_check(store_of(), labels)])

    return [alert_notifications]


def delivery_sensor(
    settings: Settings,
    store_of: Callable[[], Store],
    channels: list[Channel],
    teller: Teller,
    status: dg.DefaultSensorStatus,
) -> dg.SensorDefinition:
    """The sensor that delivers what waits: first messages, retries, reminders, the digest."""

    @dg.sensor(
        name="delivery_sensor",
        minimum_interval_seconds=30,
        default_status=status,
        description="Delivers what is due in the outbox: what waited, failed before, goes on, and the digest.",
    )
    def deliver(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        try:
            done = deliver_round(store_of(), settings, channels, teller, _now)
        except StoreError as error:
            raise dg.Failure(str(error)) from None
        for channel, reason in done.errors.items():
            context.log.warning(f"{channel}: {reason}")
        return dg.SkipReason(in_words(done))

    return deliver


def in_words(done: DeliverySummary) -> str:
    """A round in one line."""
    parts = [f"{plural(done.sent, 'message')} sent"]
    if done.failed:
        parts.append(f"{done.failed} failed and will be tried again")
    if done.dead:
        parts.append(f"{done.dead} given up")
    return ", ".join(parts)


def _metadata(done: DeliverySummary, store: Store, labels: Mapping[str, str]) -> dict[str, Any]:
    with store.reading() as connection:
        status = outbox_status(connection, _now())
    return {
        "sent": done.sent,
        "failed": done.failed,
        "dead": done.dead,
        "pending": status.pending,
        "failing": status.failing,
        "dead_letters": status.dead,
        "by_channel": {
            labels.get(name, name): {"pending": c.pending, "failing": c.failing, "dead": c.dead}
            for name, c in status.by_channel.items()
        },
    }


def _dead_letter_check(store: Store, labels: Mapping[str, str]) -> dg.AssetCheckResult:
    with store.reading() as connection:
        status = outbox_status(connection, _now())
        shown = {state: find_deliveries(connection, state=state, limit=_SHOWN)[0] for state in ("dead", "failing")}
    said = []
    if status.dead:
        given_up = plural(status.dead, "message was", "messages were")
        said.append(f"{given_up} given up; `cxad alerts --retry` makes another try, `cxad alerts --drop` puts away")
    if status.failing:
        said.append(f"{plural(status.failing, 'message')} failed and will be tried again")
    return dg.AssetCheckResult(
        check_name="dead_letters",
        asset_key="alert_notifications",
        passed=not said,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(said) or "none",
        metadata={
            "dead_letters": records_table([_shown(row, labels) for row in shown["dead"]]),
            "failing": records_table([_shown(row, labels) for row in shown["failing"]]),
        },
    )


def _shown(row: Any, labels: Mapping[str, str]) -> dict[str, Any]:
    channel = labels.get(row["channel"], row["channel"])
    return {"key": row["key"], "channel": channel, "attempts": row["attempts"], "error": row["error"]}


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
