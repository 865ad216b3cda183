"""Jobs and schedules: what runs together, and when.

Belongs here: selections, cron expressions, what is switched on. Does not belong here: what files ask for (`sensors`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from dagster import AssetSelection

from cxad_pipeline.defs.lost_runs import place_tags
from cxad_pipeline.settings import Settings

if TYPE_CHECKING:  # what Dagster's functions return has no public name
    from dagster._core.definitions.partitions.partitioned_schedule import UnresolvedPartitionedAssetScheduleDefinition
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def jobs(settings: Settings) -> list[UnresolvedAssetJobDefinition]:
    """training_job and scoring_job; calibration_job and backtest_job where incidents are looked for."""
    fitted = ("drift_reference", "incident_model") if settings.incidents.enabled else ("drift_reference",)
    training = dg.define_asset_job(
        "training_job",
        AssetSelection.groups("training") | AssetSelection.assets(*fitted),
        description="Trains on the landed training files, evaluates, promotes the new version if it passes, and "
        "calibrates incidents and drift.",
        run_tags=place_tags(),
    )
    by_window = ("segment_statistics", "incidents") if settings.incidents.enabled else ()
    scoring = dg.define_asset_job(
        "scoring_job",
        AssetSelection.groups("ingestion", "scoring", "alerting") | AssetSelection.assets("feature_drift", *by_window),
        description="Reads, scores, exports, judges and tells one window, or neighbouring windows together.",
        run_tags=place_tags(),
    )
    return [training, scoring, *(_incident_jobs() if settings.incidents.enabled else [])]


def _incident_jobs() -> list[UnresolvedAssetJobDefinition]:
    return [
        dg.define_asset_job(
            "calibration_job",
            AssetSelection.assets("incident_model"),
            description="Learns anew what is usual in each segment, from history and feedback. Training does it, too.",
            run_tags=place_tags(),
        ),
        dg.define_asset_job(
            "backtest_job",
            AssetSelection.assets("incident_backtest"),
            description="Which incidents this configuration would have raised in the last days; nobody is told.",
            run_tags=place_tags(),
        ),
    ]


def schedules(
    settings: Settings, training: UnresolvedAssetJobDefinition, scoring: UnresolvedAssetJobDefinition
) -> list[dg.ScheduleDefinition | UnresolvedPartitionedAssetScheduleDefinition]:
    """Score each window at its end; train every week."""
    status = default_schedule_status(settings)
    batch_scoring = dg.build_schedule_from_partitioned_job(
        scoring,
        name="batch_scoring",
        default_status=status,
        description="Scores each window when it ends, also when nothing landed: that shows as 'no data'.",
    )
    retraining = dg.ScheduleDefinition(
        name="retraining",
        job=training,
        cron_schedule=settings.schedule.retrain_cron,
        execution_timezone=settings.schedule.timezone,
        default_status=status,
        description="Trains again, whether or not new files have landed.",
    )
    return [batch_scoring, retraining]


def default_schedule_status(settings: Settings) -> dg.DefaultScheduleStatus:
    """Dagster starts schedules switched off unless told otherwise; `schedule.enabled` tells."""
    return dg.DefaultScheduleStatus.RUNNING if settings.schedule.enabled else dg.DefaultScheduleStatus.STOPPED
