"""Scored windows -> segments -> incidents; what is usual, learned from history; the replay of a configuration.

Belongs here: assets, and what the UI shows of them. Does not belong here: the steps (`operations`), the statistics
(`incidents`), messages (`alerts`).
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import numpy as np

from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.defs.io import WindowTables
from cxad_pipeline.defs.metadata import OWNERS, picture, records_table
from cxad_pipeline.defs.partitions import scoring_windows, window_key, windows_for
from cxad_pipeline.defs.retention import rows_pruned
from cxad_pipeline.incidents import State
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.incidents.incident_words import segment_words, what
from cxad_pipeline.incidents.power import power_of, warning_of
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.operations.backtest import Backtest, backtest
from cxad_pipeline.operations.calibration import calibrate
from cxad_pipeline.operations.history import NoHistoryError
from cxad_pipeline.operations.incident_pictures import backtest_drawn, peaks_drawn
from cxad_pipeline.operations.judging import Judged, judge
from cxad_pipeline.operations.statistics import record_statistics
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.registry.incident_runs import log_incident_model
from cxad_pipeline.registry.tracking import TrainingRuns
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store

GROUP = "incidents"


class BacktestConfig(dg.Config):
    """Run configuration of the backtest."""

    days: int = 28
    """How many of the last days are replayed."""


def incident_assets(settings: Settings, store_of: Callable[[], Store], teller: Teller) -> list[dg.AssetsDefinition]:
    """incident_model, segment_statistics, incidents and incident_backtest; none where incidents are switched off."""
    if not settings.incidents.enabled:
        return []
    partitions = scoring_windows(settings)
    backfill = dg.BackfillPolicy.multi_run(settings.schedule.max_windows_per_run)

    @dg.asset(
        group_name=GROUP,
        owners=OWNERS,
        kinds={"numpy", "mlflow"},
        deps=["training_interactions", "ensemble_scores"],
        description="What is usual in each segment at each hour of the week, and the threshold that keeps the promised "
        "number of incidents: learned from the contacts of the last incidents.history_days and from feedback.",
    )
    def incident_model(context: dg.AssetExecutionContext) -> dg.MaterializeResult[IncidentModel]:
        now = dt.datetime.now(dt.UTC)
        try:
            model, replay = calibrate(store_of(), settings, now)
        except NoHistoryError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        removed = rows_pruned(context, store_of, settings, now)
        figure = peaks_drawn(model)
        run_id = log_incident_model(model, TrainingRuns(settings, context.run.run_id), figure)
        context.log.info(_model_in_words(model))
        power = power_of(model, replay)
        warning = warning_of(power, model)
        shown = {**_model_metadata(model), "replay": picture(figure, "highest scores of the replay")}
        shown["faults_found"] = f"{power.found} of {power.tried}"
        if warning is not None:
            context.log.warning(warning)
            shown["warning"] = warning
        return dg.MaterializeResult(value=model, metadata={**shown, "mlflow_run_id": run_id, "rows_pruned": removed})

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=backfill,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"numpy", "sql"},
        description="Contacts, anomalies and the sums of each metric by segment and hour, in the store's table "
        "segment_windows. Scored again, a window replaces what was there.",
    )
    def segment_statistics(
        context: dg.AssetExecutionContext, ensemble_scores: WindowTables, incident_model: IncidentModel
    ) -> dg.MaterializeResult[None]:
        now = dt.datetime.now(dt.UTC)
        for window in windows_for(partitions, context.partition_keys):
            try:
                made = record_statistics(
                    store_of(), incident_model, ensemble_scores[window.key], window.start, window.end, now
                )
            except ValueError as error:
                raise dg.Failure(str(error), allow_retries=False) from None
            contacts = made.rollups.contacts
            context.add_asset_metadata(
                {
                    "dagster/row_count": made.rows,
                    "contacts": int(contacts[0].sum()),
                    "anomalies": int(made.rollups.flagged[0].sum()),
                    "segments": len(made.model.tree),
                    "segments_not_in_history": len(made.model.tree) - len(incident_model.tree),
                    "busiest": records_table(_busiest(made.model, contacts)),
                },
                partition_key=window.key,
            )
        return dg.MaterializeResult()

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=backfill,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"numpy", "sql"},
        deps=[segment_statistics],
        description="Segments that go wrong: opened, updated, resolved. Scored again, a window updates its incidents "
        "and never doubles them. Messages about the changes are put into the outbox in the same transaction.",
    )
    def incidents(
        context: dg.AssetExecutionContext, ensemble_scores: WindowTables, incident_model: IncidentModel
    ) -> dg.MaterializeResult[None]:
        windows = windows_for(partitions, context.partition_keys)
        tables = [ensemble_scores[window.key] for window in windows]
        start, end = windows[0].start, windows[-1].end
        judged = judge(
            store_of(), incident_model, tables, start, end, settings, teller, lambda: dt.datetime.now(dt.UTC)
        )
        shown = _judged_metadata(judged, settings)
        for window in windows:
            own = [
                c.after for c in judged.changes if c.after.started_at < window.end and c.after.ended_at > window.start
            ]
            context.add_asset_metadata({"incidents": _table(own, settings)}, partition_key=window.key)
        context.add_asset_metadata(shown, partition_key=windows[-1].key)
        context.log.info(_judged_in_words(judged, settings))
        return dg.MaterializeResult()

    @dg.asset(
        group_name=GROUP,
        owners=OWNERS,
        kinds={"numpy"},
        deps=["training_interactions", "ensemble_scores"],
        description="Which incidents this configuration would have raised in the last days; nobody is told.",
    )
    def incident_backtest(context: dg.AssetExecutionContext, config: BacktestConfig) -> dg.MaterializeResult[None]:
        try:
            found = backtest(settings, config.days, dt.datetime.now(dt.UTC))
        except NoHistoryError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        number = plural(len(found.incidents), "incident")
        context.log.info(f"{number} in {plural(config.days, 'day')}; {found.judged_by}")
        if found.warning is not None:
            context.log.warning(found.warning)
        return dg.MaterializeResult(metadata=_backtest_metadata(found, settings))

    return [incident_model, segment_statistics, incidents, incident_backtest]


def window_key_of(settings: Settings) -> Callable[[dt.datetime], str]:
    """The key of the scoring window that a moment lies in."""
    partitions = scoring_windows(settings)
    return lambda moment: window_key(partitions, moment)


def _model_in_words(model: IncidentModel) -> str:
    return (
        f"{plural(len(model.tree), 'segment')}, {model.monitor.weeks:.1f} weeks; threshold {model.threshold:.2f} for "
        f"at most {model.promise.per_week:g} incidents a week, {model.replayed_per_week:.1f} in the replay"
    )


def _model_metadata(model: IncidentModel) -> dict[str, Any]:
    start, end, contacts = model.history
    return {
        "history": f"{_day(start)} to {_day(end)}",
        "contacts": contacts,
        "weeks_of_history": model.monitor.weeks,
        "segments": len(model.tree),
        "segments_without_enough_history": int(np.sum(model.monitor.cold)),
        "metrics": [metric.name for metric in model.metrics],
        "threshold": model.threshold,
        "promised_per_week": model.promise.per_week,
        "replayed_per_week": model.replayed_per_week,
        "threshold_shifts": {segment_words(key): shift for key, shift in model.shifts.items()},
    }


def _busiest(model: IncidentModel, contacts: np.ndarray, most: int = 10) -> list[dict[str, Any]]:
    totals = contacts.sum(axis=1)
    order = np.argsort(-totals, kind="stable")[:most]
    return [{"segment": segment_words(model.tree.keys[s]), "contacts": int(totals[s])} for s in order if totals[s]]


def _judged_metadata(judged: Judged, settings: Settings) -> dict[str, Any]:
    return {
        "opened": sum(change.before is None for change in judged.changes),
        "changed": sum(change.before is not None for change in judged.changes),
        "states": judged.states,
        "not_tested": {name: n for name, n in judged.states.items() if name != State.TESTED.name.lower()},
        "metrics_not_tested": judged.metrics_not_tested,
        "promised_per_week": settings.incidents.budget_per_week,
        "achieved_last_week": judged.achieved,
    }


def _judged_in_words(judged: Judged, settings: Settings) -> str:
    opened = sum(change.before is None for change in judged.changes)
    return (
        f"{plural(opened, 'incident')} opened, {len(judged.changes) - opened} changed; {judged.achieved} began in the "
        f"last week, promised at most {settings.incidents.budget_per_week:g}"
    )


def _table(incidents: Sequence[Incident], settings: Settings) -> Any:
    schema = schema_of(settings)

    def unit(name: str) -> str:
        return schema[name].unit if name in schema else ""

    return records_table(
        [
            {
                "id": incident.id,
                "status": incident.status,
                "segment": segment_words(incident.segment),
                "what": what(incident, schema.words, unit),
                "from": incident.started_at.isoformat(timespec="minutes"),
                "to": incident.ended_at.isoformat(timespec="minutes"),
                "severity": incident.severity,
                "critical": incident.critical,
            }
            for incident in incidents
        ]
    )


def _backtest_metadata(found: Backtest, settings: Settings) -> dict[str, Any]:
    return {
        "incidents": _table(found.incidents, settings),
        "number": len(found.incidents),
        "replayed_per_week": found.replayed_per_week,
        "promised_per_week": found.promised_per_week,
        "threshold": found.threshold,
        "judged_by": found.judged_by,
        "left_out": found.left_out or "nothing",
        "picture": picture(backtest_drawn(found, settings), "incidents of the replay"),
        **({} if found.warning is None else {"warning": found.warning}),
    }


def _day(seconds: int) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d}"
