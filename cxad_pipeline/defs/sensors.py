"""Sensors: landed files and drift ask for runs.

Belongs here: cursors, run requests and events. Does not belong here: which windows a file asks for
(`interactions.landing_plan`), messages (`alerts`, `failures`).
"""

import datetime as dt
import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.defs.drift import newest_drift, trained_on_these, training_files
from cxad_pipeline.defs.ingestion import LANDED_INFERENCE, LANDED_TRAINING
from cxad_pipeline.defs.partitions import ended_windows, neighbouring_runs, range_tags, scoring_windows, windows_for
from cxad_pipeline.defs.unjudged_windows import runs_to_judge
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.landing import Listing, list_landed
from cxad_pipeline.interactions.landing_index import FileIndex, LandingIndex, files_digest
from cxad_pipeline.interactions.landing_plan import (
    LandingPlan,
    Seen,
    ask_again,
    plan_scoring,
    plan_training,
    trained_on,
)
from cxad_pipeline.interactions.sources import readers
from cxad_pipeline.operations.retraining import TrainingMemory, asks_for_training, new_trend_reasons, newer_files_wanted
from cxad_pipeline.registry import versions
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, StoreError
from cxad_pipeline.store.feedback import new_trends_since

if TYPE_CHECKING:  # what Dagster returns has no public name
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

TICK_SECONDS = 30
"""A tick searches new files for this long and leaves the rest to the next: Dagster ends ticks after a minute."""


def sensors(
    settings: Settings,
    store_of: Callable[[], Store],
    training: "UnresolvedAssetJobDefinition",
    scoring: "UnresolvedAssetJobDefinition",
) -> list[dg.SensorDefinition]:
    """landing_sensor and training_sensor."""
    status = default_sensor_status(settings)
    return [
        _landing_sensor(settings, scoring, status),
        _training_sensor(settings, store_of, training, status),
    ]


def default_sensor_status(settings: Settings) -> dg.DefaultSensorStatus:
    """Dagster starts sensors switched off unless told otherwise; `schedule.enabled` tells."""
    return dg.DefaultSensorStatus.RUNNING if settings.schedule.enabled else dg.DefaultSensorStatus.STOPPED


def _landing_sensor(
    settings: Settings, job: "UnresolvedAssetJobDefinition", status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    partitions = scoring_windows(settings)

    @dg.sensor(
        job=job,
        minimum_interval_seconds=30,
        default_status=status,
        description="A new or changed file: the ended windows that it touches are scored (again). Windows that were "
        "scored and, since their run was killed, not searched for incidents: they are.",
    )
    def landing_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now, started = dt.datetime.now(dt.UTC), time.monotonic()
        landed = Folder(settings.paths.inference)
        listing = list_landed(landed, settings, now)
        index = LandingIndex(Folder(settings.paths.storage), landed, readers(settings), settings)
        plan = plan_scoring(
            listing.ready,
            index,
            lambda start, end: ended_windows(partitions, start, end, now),
            Seen.from_json(context.cursor),
            lambda: time.monotonic() - started > TICK_SECONDS,
        )
        for path, reason in plan.unreadable.items():
            context.log.warning(f"{path} can't be read: {reason}")
        if not plan.complete:
            # What the put-off files touch is not known yet, and to find out would break the tick's limit.
            plan.seen.pending.update(dict.fromkeys(plan.windows, ""))
            return dg.SensorResult(
                skip_reason=f"{plural(len(plan.changed), 'file')} searched, the rest is left for the next tick",
                cursor=plan.seen.to_json(),
                asset_events=_landed_events(landed, plan),
            )
        # Windows remembered from before the cron expression was changed are no windows any more.
        keys = [k for k in sorted({*plan.windows, *plan.seen.pending}) if partitions.has_partition_key(k)]
        windows = windows_for(partitions, keys)
        files = {w.key: files_digest(index.files_in_window(listing.ready, w), w) for w in windows}
        unscored = [key for key in keys if files[key] != _scored_files(context.instance, key)]
        champion = versions.champion_version(settings) if unscored else ""
        asked = ask_again(unscored, plan, champion)
        runs = neighbouring_runs(partitions, asked, settings.schedule.max_windows_per_run)
        requests = [dg.RunRequest(run_key=_run_key(listing, *run, champion), tags=range_tags(run)) for run in runs]
        requests += runs_to_judge(context.instance, settings, now, asked)
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else _nothing_asked(listing, len(unscored), champion),
            cursor=plan.seen.to_json(),
            asset_events=_landed_events(landed, plan),
        )

    return landing_sensor


def _training_sensor(
    settings: Settings,
    store_of: Callable[[], Store],
    job: "UnresolvedAssetJobDefinition",
    status: dg.DefaultSensorStatus,
) -> dg.SensorDefinition:
    partitions = scoring_windows(settings)

    @dg.sensor(
        job=job,
        minimum_interval_seconds=60,
        default_status=status,
        description="A new training file, enough new rows in files that have changed, or drift in the newest window: "
        "train again; so do interactions said to be a new trend. These two at most once in drift.cooldown_hours, and "
        "only where the training files are not those of the last training.",
    )
    def training_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = dt.datetime.now(dt.UTC)
        landed = Folder(settings.paths.training)
        listing, files = training_files(settings, now)
        same_files = trained_on_these(context.instance, files)
        memory = TrainingMemory.from_json(context.cursor)
        nothing = f"{plural(len(files), 'file')}, no new one, fewer new rows than training.retrain_new_rows"
        if context.cursor is None and same_files:
            memory = TrainingMemory(trained_on(files))
            context.update_cursor(memory.to_json())
            nothing = f"the models are trained on {plural(len(files), 'landed file')}"
        plan = plan_training(files, memory.seen, settings.training.retrain_new_rows)
        drift = newest_drift(context.instance, partitions) if settings.drift.retrain else None
        trained_at = _trained_at(context.instance)
        others: list[str] = []
        try:
            with store_of().reading() as connection:
                others = new_trend_reasons(new_trends_since(connection, trained_at))
        except StoreError as error:
            context.log.warning(f"verdicts can't be read, new files and drift are looked at alone: {error}")
        reason = asks_for_training(
            plan.reason,
            drift,
            others,
            memory=memory,
            trained_at=trained_at,
            cooldown=dt.timedelta(hours=settings.drift.cooldown_hours),
            now=now,
            same_files=same_files,
        )
        if not reason:
            waiting = "; drift waits for the cool-down and a newer window" if drift else ""
            if same_files and (drift or others):
                waiting = f"; {newer_files_wanted(landed.uri)}"
            return dg.SkipReason(f"{nothing}{waiting}")
        asked = TrainingMemory(plan.seen, now, drift.window if drift else memory.drifted_window)
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=_run_key(listing, reason, memory.stamp), tags={"cxad/reason": reason})],
            cursor=asked.to_json(),
            asset_events=[_landed_event(landed, entry) for entry in files] if plan.reason else [],
        )

    return training_sensor


def _nothing_asked(listing: Listing, unscored: int, champion: str) -> str:
    """Why a look at the landing folder asks for no run."""
    if unscored and not champion:
        return f"{plural(unscored, 'window waits', 'windows wait')} for the first champion: train one"
    waiting = f"; {len(listing.unsettled)} may still be written" if listing.unsettled else ""
    failed = f"; {plural(unscored, 'window is', 'windows are')} asked for and not scored yet" if unscored else ""
    return f"{plural(len(listing.ready), 'file')}, none new or changed{waiting}{failed}"


def _scored_files(instance: dg.DagsterInstance, key: str) -> str | None:
    """Digest of the files that a window's scores came from; None where it was never scored."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey("ensemble_scores"), asset_partitions=[key]), limit=1
    ).records
    return _landed_digest(records[0].asset_materialization) if records else None


def _trained_at(instance: dg.DagsterInstance) -> dt.datetime | None:
    """When the last training began."""
    event = instance.get_latest_materialization_event(dg.AssetKey("training_interactions"))
    return dt.datetime.fromtimestamp(event.timestamp, tz=dt.UTC) if event else None


def _landed_digest(materialization: dg.AssetMaterialization | None) -> str | None:
    value = materialization.metadata.get("landed") if materialization else None
    return str(value.value) if value is not None else None


def _run_key(listing: Listing, *parts: str) -> str:
    """Deterministic, so that a tick that is evaluated twice asks for one run.

    When the files landed is part of it, and not only what they are: a file that changes back to what it was asks for a
    run of its own.
    """
    stamps = [f"{stat.path} {stat.modified.isoformat()}" for stat in listing.ready]
    return hashlib.sha256("|".join([*parts, *stamps]).encode()).hexdigest()


def _landed_events(landed: Folder, plan: LandingPlan) -> list[dg.AssetMaterialization]:
    """What the UI shows of new and changed files."""
    return [
        dg.AssetMaterialization(
            LANDED_INFERENCE,
            description=path,
            metadata={
                "file": landed.address(path),
                "windows": touched,
                "sha256": plan.seen.files[path].sha256,
                "unreadable": plan.unreadable.get(path, ""),
            },
        )
        for path, touched in plan.changed.items()
    ]


def _landed_event(landed: Folder, entry: FileIndex) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        LANDED_TRAINING,
        description=entry.path,
        metadata={"file": landed.address(entry.path), "rows": entry.rows, "sha256": entry.sha256},
    )
