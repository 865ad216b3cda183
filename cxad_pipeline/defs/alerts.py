"""Scores -> a digest for people, once for each window.

Belongs here: which windows are told, and the records of it. Does not belong here: words and channels (`alerting`).
"""

import datetime as dt
import json
from collections import Counter

import dagster as dg
import pyarrow as pa

from cxad_pipeline.alerting import (
    Channel,
    ConsoleChannel,
    DeliveryError,
    DeliveryRecord,
    SlackWebhookChannel,
    build_digest,
    deliver_once,
)
from cxad_pipeline.defs.checks import rejected_rows
from cxad_pipeline.defs.io import WindowTables
from cxad_pipeline.defs.metadata import OWNERS
from cxad_pipeline.defs.partitions import scoring_windows, windows_for
from cxad_pipeline.defs.scoring import expected_rate_of
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.interactions.landing import Window
from cxad_pipeline.settings import Settings

RECORDS = "alert_notifications"


def alert_channel(settings: Settings) -> Channel:
    """Slack where a webhook is configured, else the console."""
    url = settings.alerts.slack_webhook_url
    return ConsoleChannel() if url is None else SlackWebhookChannel(url)


def fill_link(link: str, settings: Settings, **values: str) -> str:
    """An address with its placeholders filled: {port} is that of the Dagster UI, others are given by name."""
    for name, value in {"port": str(settings.ports.dagster), **values}.items():
        link = link.replace(f"{{{name}}}", value)
    return link


def alerting_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """alert_notifications: what was told about each window. It keeps its own records, since it must read them first."""
    partitions = scoring_windows(settings)

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(settings.schedule.max_windows_per_run),
        group_name="alerting",
        owners=OWNERS,
        kinds={"slack"},
        description="One digest for each scored window, told once; scoring a window again does not tell it again.",
    )
    def alert_notifications(
        context: dg.AssetExecutionContext,
        alert_channel: dg.ResourceParam[Channel],
        ensemble_scores: WindowTables,
        rejected_interactions: WindowTables,
    ) -> dg.MaterializeResult[None]:
        storage = Folder(settings.paths.storage)
        told: list[str] = []
        statuses: Counter[str] = Counter()
        for window in windows_for(partitions, context.partition_keys):
            rejected = rejected_rows(rejected_interactions[window.key])
            try:
                record = tell(ensemble_scores[window.key], rejected, window, alert_channel, storage, settings)
            except DeliveryError as error:
                raise dg.Failure(
                    f"{window.key}: {error}", metadata={"told": told, "not_told": window.key}, allow_retries=True
                ) from None
            told.append(window.key)
            context.add_asset_metadata(
                {
                    "delivery": record.status,
                    "channel": record.channel,
                    "headline": record.headline,
                    "note": record.note,
                },
                partition_key=window.key,
            )
            statuses[record.status] += 1
        context.log.info(", ".join(f"{count} {status}" for status, count in statuses.items()))
        return dg.MaterializeResult()

    return [alert_notifications]


def tell(
    scored: pa.Table, rejected: int, window: Window, channel: Channel, storage: Folder, settings: Settings
) -> DeliveryRecord:
    """Tell a window's digest, unless it has been told, and keep the record.

    The record is kept right after the message has gone: a crash between the two tells the window twice,
    never not at all.

    Raises
    ------
    DeliveryError
        If the channel fails; nothing is kept then, and the next run tells the window.
    """
    path = f"{RECORDS}/{window.key}.json"
    before = DeliveryRecord.from_dict(json.loads(storage.read(path))) if storage.exists(path) else None
    schema = schema_of(settings)
    digest = build_digest(
        scored,
        window=(window.start, window.end),
        expected_rate=expected_rate_of(scored),
        dimensions=settings.segments.dimensions,
        metrics=[schema[name] for name in settings.features.numeric if name in schema],
        links={label: fill_link(link, settings, window=window.key) for label, link in settings.alerts.links.items()},
        model_version=scored["model_version"][0].as_py() if scored.num_rows else None,
        rejected=rejected,
    )
    if before is not None and before.window != digest.window_key:
        before = None  # the windows have been cut anew since; this one was not told
    hours = settings.alerts.max_age_hours
    record = deliver_once(
        digest,
        channel,
        before,
        enabled=settings.alerts.enabled,
        max_age=None if hours is None else dt.timedelta(hours=hours),
    )
    storage.write(path, json.dumps(record.to_dict()).encode())
    return record
