"""Drift: training rows -> what they look like -> how recent windows differ from them.

Belongs here: the assets, their check, and which windows are recent. Does not belong here: the measures
(`detection.drift`), the words (`operations.feature_drift`), and what drift asks for (`operations.retraining`).
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa
from cronsim import CronSim

from cxad_pipeline.defs.io import WindowTables
from cxad_pipeline.defs.metadata import OWNERS, picture, records_table, table_metadata
from cxad_pipeline.defs.partitions import scoring_windows, windows_for
from cxad_pipeline.detection.drift import DriftReference
from cxad_pipeline.detection.drift_figure import drift_figure
from cxad_pipeline.detection.tables import TableError
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.landing import Listing, list_landed
from cxad_pipeline.interactions.landing_index import FileIndex, LandingIndex, files_digest
from cxad_pipeline.interactions.sources import readers
from cxad_pipeline.operations.feature_drift import CountedWindows, WindowDrift, drift_table, judge, measures_words
from cxad_pipeline.operations.retraining import DriftSeen, newer_files_wanted
from cxad_pipeline.settings import Settings

GROUP = "monitoring"
_REFERENCE = "reference"
_DRIFT = "drift"
_WORST = 10


def drift_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """drift_reference, of training rows, and feature_drift, window by window."""
    return [_drift_reference(settings), _feature_drift(settings)]


def newest_drift(instance: dg.DagsterInstance, partitions: dg.TimeWindowPartitionsDefinition) -> DriftSeen | None:
    """Drift in the newest window that was compared, by its time and not by when it was compared.

    None where there is none, or where it was found against another reference than that of the last training.
    """
    asset = dg.AssetKey("feature_drift")
    keys = [key for key in instance.get_materialized_partitions(asset) if partitions.has_partition_key(key)]
    reference = instance.get_latest_materialization_event(dg.AssetKey("drift_reference"))
    if not keys or reference is None or reference.asset_materialization is None:
        return None
    newest = max(keys)
    selected = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[newest])
    found = instance.fetch_materializations(selected, limit=1).records[0].asset_materialization
    if found is None or found.metadata[_REFERENCE] != reference.asset_materialization.metadata[_REFERENCE]:
        return None
    words = str(found.metadata[_DRIFT].value)
    return DriftSeen(newest, words) if words else None


def training_files(settings: Settings, now: dt.datetime) -> tuple[Listing, list[FileIndex]]:
    """The landed training files, and what is known of those that are ready."""
    landed = Folder(settings.paths.training)
    listing = list_landed(landed, settings, now)
    index = LandingIndex(Folder(settings.paths.storage), landed, readers(settings), settings)
    return listing, [index.of(stat) for stat in listing.ready]


def trained_on_these(instance: dg.DagsterInstance, files: Sequence[FileIndex]) -> bool:
    """Whether the last training has read just these files, as they are, and made models of them."""
    rows = instance.get_latest_materialization_event(dg.AssetKey("training_interactions"))
    models = instance.get_latest_materialization_event(dg.AssetKey("ensemble_model"))
    if rows is None or rows.asset_materialization is None or models is None or models.timestamp < rows.timestamp:
        return False
    landed = rows.asset_materialization.metadata.get("landed")
    return landed is not None and landed.value == files_digest(files)


def _drift_reference(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        group_name=GROUP,
        owners=OWNERS,
        kinds={"numpy"},
        description="What the training rows look like, by feature and segment: bins that recent windows are counted "
        "in. Missing values are a bin of their own.",
    )
    def drift_reference(training_interactions: pa.Table) -> dg.MaterializeResult[DriftReference]:
        features = settings.features
        try:
            reference = DriftReference.of(
                training_interactions,
                features.numeric,
                features.categorical,
                settings.segments.dimensions,
                min_rows=settings.drift.min_contacts,
            )
        except TableError as error:
            raise dg.Failure(f"training_interactions: {error}", allow_retries=False) from None
        return dg.MaterializeResult(
            value=reference,
            metadata={
                _REFERENCE: reference.digest,
                "training_rows": training_interactions.num_rows,
                "segments": len({feature.segment for feature in reference.features}),
                "features": sorted({feature.name for feature in reference.features}),
            },
        )

    return drift_reference


def _feature_drift(settings: Settings) -> dg.AssetsDefinition:
    partitions = scoring_windows(settings)

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(settings.schedule.max_windows_per_run),
        group_name=GROUP,
        owners=OWNERS,
        kinds={"numpy", "parquet"},
        check_specs=[
            dg.AssetCheckSpec(
                "drift",
                asset="feature_drift",
                description="No feature differs from the training rows beyond drift.max_psi or drift.max_ks, and "
                "chance, in the last drift.recent_windows windows.",
            )
        ],
        description="Each feature in each segment: the window's counts in the bins of drift_reference, and how far the "
        "last drift.recent_windows windows are from the training rows.",
    )
    def feature_drift(
        context: dg.AssetExecutionContext, ensemble_scores: WindowTables, drift_reference: DriftReference
    ) -> Iterator[dg.MaterializeResult[Any]]:
        counted = CountedWindows(Folder(settings.paths.storage), drift_reference)
        tables: dict[str, pa.Table] = {}
        judged: dict[str, WindowDrift] = {}
        for window in sorted(windows_for(partitions, context.partition_keys), key=lambda window: window.start):
            counts = counted.add(window.key, ensemble_scores[window.key])
            recent = counted.there(recent_windows(partitions, window.key, settings.drift.recent_windows))
            found = judged[window.key] = judge(drift_reference, recent, settings.drift)
            tables[window.key] = drift_table(drift_reference, counts, found.figures)
            context.add_asset_metadata(
                {**table_metadata(tables[window.key]), **_window_metadata(found, drift_reference)},
                partition_key=window.key,
            )
        newest = list(judged)[-1]
        if worst := judged[newest].worst(drift_reference, _WORST):
            names = [f"{row['feature']}, {row['segment']}" for row in worst]
            figure = drift_figure(names, [row["psi"] for row in worst], [row["psi_limit"] for row in worst])
            context.add_asset_metadata({"psi": picture(figure, "population stability index")}, partition_key=newest)
        advice = _advice(settings, context.instance) if any(found.drifted for found in judged.values()) else ""
        yield dg.MaterializeResult(value=tables, check_results=[_drift_check(judged, drift_reference, advice)])

    return feature_drift


def recent_windows(partitions: dg.TimeWindowPartitionsDefinition, key: str, count: int) -> list[str]:
    """Keys of so many windows, the given one last."""
    last = partitions.time_window_for_partition_key(key)
    start: dt.datetime = last.start.astimezone(ZoneInfo(partitions.timezone))
    ticks = CronSim(partitions.cron_schedule, start, reverse=True)
    for _ in range(count - 1):
        start = next(ticks)
    # Where clocks change, a day has more or fewer windows than ticks.
    start = (start.astimezone(dt.UTC) - dt.timedelta(hours=2)).astimezone(start.tzinfo)
    return list(partitions.get_partition_keys_in_time_window(dg.TimeWindow(start, last.end)))[-count:]


def _window_metadata(found: WindowDrift, reference: DriftReference) -> dict[str, Any]:
    """What the UI and the training sensor see of it."""
    drifted = [row for row in found.worst(reference, found.drifted) if row["drifted"]]
    return {
        "status": found.status,
        _DRIFT: found.words(reference),
        "drifted": {f"{row['feature']} in {row['segment']}": measures_words(row) for row in drifted},
        "worst": records_table(found.worst(reference, _WORST)),
        "windows": found.windows,
        "contacts": int(found.figures.contacts.max()),
        _REFERENCE: reference.digest,
    }


def _advice(settings: Settings, instance: dg.DagsterInstance) -> str:
    """What to do about drift that a training can't help; empty where one can."""
    _, files = training_files(settings, dt.datetime.now(dt.UTC))
    return newer_files_wanted(Folder(settings.paths.training).uri) if trained_on_these(instance, files) else ""


def _drift_check(judged: Mapping[str, WindowDrift], reference: DriftReference, advice: str) -> dg.AssetCheckResult:
    drifted = {key: found.words(reference) for key, found in judged.items() if found.drifted}
    if drifted:
        newest = list(drifted)[-1]
        before = f"; so in {len(drifted)} of {len(judged)} windows" if len(judged) > 1 else ""
        description = ". ".join(filter(None, [f"{newest}: {drifted[newest]}{before}", advice]))
    else:
        description = "; ".join(dict.fromkeys(found.status for found in judged.values()))
    return dg.AssetCheckResult(
        check_name="drift",
        asset_key="feature_drift",
        passed=not drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={"drifted": drifted, "status": {key: found.status for key, found in judged.items()}},
    )
