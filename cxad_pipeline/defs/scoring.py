"""Interactions -> scores -> a file for reviewers, window by window.

Belongs here: windows through the champion, and what the UI shows of them. Does not belong here: scores (`detection`),
files of a form (`interactions.export`).
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from cronsim import CronSim

from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.defs.checks import scoring_check_results, scoring_check_specs
from cxad_pipeline.defs.io import WindowTables
from cxad_pipeline.defs.metadata import OWNERS, records_table, same_columns, table_metadata
from cxad_pipeline.defs.partitions import scoring_windows, windows_for
from cxad_pipeline.defs.retention import rows_pruned
from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.detection.detector import Detector
from cxad_pipeline.detection.output import UnknownModelError, output_columns, score_table
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.interactions.export import write_csv
from cxad_pipeline.interactions.landing_index import digest_of
from cxad_pipeline.interactions.schema import ID
from cxad_pipeline.interactions.sources import PROVENANCE
from cxad_pipeline.operations.reviewing import record_flagged
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.detector_config import expected_rate
from cxad_pipeline.registry.tracking import RegistryError
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store

GROUP = "scoring"
_EXPECTED_RATE = b"expected_rate"


class ExportConfig(dg.Config):
    """Run configuration of the export."""

    model: str = ENSEMBLE
    """`ensemble` for all models and the ensemble, or the name of one model."""


def scoring_assets(settings: Settings, store_of: Callable[[], Store]) -> list[dg.AssetsDefinition]:
    """ensemble_scores, anomaly_export and recorded_anomalies."""
    partitions = scoring_windows(settings)
    backfill = dg.BackfillPolicy.multi_run(settings.schedule.max_windows_per_run)
    window = _window_length(settings.schedule.batch_score_cron)

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=backfill,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"numba", "parquet"},
        deps=["champion_model"],
        check_specs=scoring_check_specs(),
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=2 * window + dt.timedelta(hours=1), warn_window=window + dt.timedelta(hours=1)
        ),
        description="Scores, flags, severity and reasons of every interaction, by the champion.",
    )
    def ensemble_scores(
        context: dg.AssetExecutionContext, raw_interactions: WindowTables
    ) -> Iterator[dg.MaterializeResult[Any]]:
        try:
            champion = versions.load(settings)
        except RegistryError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        scored: dict[str, pa.Table] = {}
        for key in context.partition_keys:
            unknown: Counter[str] = Counter()
            table = score_table(champion.detector, raw_interactions[key], model_version=champion.label, unknown=unknown)
            table = scored[key] = with_expected_rate(table, expected_rate(champion.detector))
            context.add_asset_metadata(_window_metadata(table, champion, unknown), partition_key=key)
        rows = sum(table.num_rows for table in scored.values())
        flagged = plural(sum(anomalies(table) for table in scored.values()), "anomaly", "anomalies")
        context.log.info(f"{plural(rows, 'interaction')} scored by {champion.label}, {flagged}")
        yield dg.MaterializeResult(
            value=scored, check_results=scoring_check_results(scored, champion.detector, settings)
        )

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=backfill,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"csv"},
        description="The scored interactions as CSV for reviewers, one file for each window and model.",
    )
    def anomaly_export(
        context: dg.AssetExecutionContext, config: ExportConfig, ensemble_scores: WindowTables
    ) -> dg.MaterializeResult[None]:
        processed = Folder(settings.paths.processed)
        files = []
        for window in windows_for(partitions, context.partition_keys):
            name = export_name(config.model, window.start)
            try:
                table = as_exported(ensemble_scores[window.key], config.model, settings)
            except (UnknownModelError, RegistryError) as error:
                raise dg.Failure(str(error), allow_retries=False) from None
            if table.num_rows == 0:
                processed.delete(name)  # a file of an earlier run would speak of rows that are no longer there
            else:
                with processed.replacing(name) as sink:
                    write_csv(table, sink)
                files.append(processed.address(name))
            context.add_asset_metadata(
                {
                    "dagster/row_count": table.num_rows,
                    "anomalies": anomalies(table, config.model) if table.num_rows else 0,
                    "file": files[-1] if table.num_rows else "no data",
                },
                partition_key=window.key,
            )
        context.log.info(f"wrote {plural(len(files), 'file')} to {processed.uri}")
        return dg.MaterializeResult()

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=backfill,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"sql"},
        description="The flagged interactions with their reasons, in the store that reviewers read.",
    )
    def recorded_anomalies(
        context: dg.AssetExecutionContext, ensemble_scores: WindowTables
    ) -> dg.MaterializeResult[None]:
        schema, now = schema_of(settings), dt.datetime.now(dt.UTC)
        detectors: dict[str, Detector] = {}
        for window in windows_for(partitions, context.partition_keys):
            table = ensemble_scores[window.key]
            label = table["model_version"][0].as_py() if table.num_rows else ""
            if label and label not in detectors:
                try:
                    detectors[label] = versions.load(settings, label.removeprefix("v")).detector
                except RegistryError as error:
                    raise dg.Failure(str(error), allow_retries=False) from None
            rows = record_flagged(store_of(), detectors.get(label), table, schema, window.start, window.end, now)
            context.add_asset_metadata({"dagster/row_count": rows}, partition_key=window.key)
        if not settings.incidents.enabled:  # else calibration does
            removed = rows_pruned(context, store_of, settings, now)
            context.add_asset_metadata({"rows_pruned": removed}, partition_key=context.partition_keys[-1])
        return dg.MaterializeResult()

    return [ensemble_scores, anomaly_export, recorded_anomalies]


def with_expected_rate(scored: pa.Table, rate: float) -> pa.Table:
    """Note in a table's schema the share that its model was expected to flag, for whoever tells of the window."""
    return scored.replace_schema_metadata({**(scored.schema.metadata or {}), _EXPECTED_RATE: repr(rate).encode()})


def expected_rate_of(scored: pa.Table) -> float:
    """What `with_expected_rate` noted."""
    return float(scored.schema.metadata[_EXPECTED_RATE])


def anomalies(scored: pa.Table, model: str = ENSEMBLE) -> int:
    """Rows that a model flags."""
    return int(pc.sum(scored[f"{model}_anomaly"]).as_py() or 0)


def export_name(model: str, start: dt.datetime) -> str:
    """Name of the CSV of a window: made again under the same name, so that nothing doubles."""
    return f"anomalies_{model}_{start:%Y%m%dT%H%M%SZ}.csv"


def as_exported(scored: pa.Table, model: str, settings: Settings) -> pa.Table:
    """A window's scores as they are exported: without provenance, and for one model only that model's columns.

    Raises
    ------
    UnknownModelError
        If there is no such model.
    RegistryError
        If the version that scored the window is no longer in MLflow.
    """
    table = scored.drop_columns([name for name in PROVENANCE if name in scored.column_names])
    if model == ENSEMBLE:
        return table
    if model not in settings.model_names:
        allowed = ", ".join([ENSEMBLE, *settings.model_names])
        raise UnknownModelError(f"unknown model {model!r}; allowed: {allowed}")
    if table.num_rows == 0:
        return table
    label = table["model_version"][0].as_py()
    detector = versions.load(settings, label.removeprefix("v")).detector
    inputs = table.drop_columns(output_columns(detector.member_names))
    return score_table(detector, inputs, model=model, model_version=label)


def _window_metadata(
    table: pa.Table, champion: versions.RegisteredDetector, unknown: Counter[str]
) -> dict[str, object]:
    added = output_columns(champion.detector.member_names)
    used = champion.detector.feature_map.columns
    taken = [name for name in table.column_names if name not in added]
    top = table.sort_by([("severity", "descending")]).slice(0, 10)
    return {
        **table_metadata(table),
        "dagster/column_lineage": same_columns(taken, "raw_interactions"),
        "status": "scored" if table.num_rows else "no data",
        "anomalies": anomalies(table),
        "anomaly_rate": anomalies(table) / table.num_rows if table.num_rows else 0.0,
        "model_version": champion.label,
        "unknown_categories": dict(+unknown),
        "missing_values": {
            name: table[name].null_count if name in table.column_names else table.num_rows for name in used
        },
        "landed": digest_of(table),
        "most_unusual": records_table(top.select([ID, "severity", "ensemble_score", "top_reasons"]).to_pylist()),
    }


def _window_length(cron: str) -> dt.timedelta:
    """Time between two ends of windows; the first such time in a year, since cron allows several."""
    ticks = CronSim(cron, dt.datetime(2026, 1, 1))
    return -(next(ticks) - next(ticks))
