"""Training: rows -> features -> models -> ensemble -> report -> champion.

Belongs here: the assets, and what the UI shows of them. Does not belong here: the steps (`registry.training`).
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa

from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.defs.checks import contract_check, landing_check_specs, share_rejected_check
from cxad_pipeline.defs.ingestion import LANDED_TRAINING, kinds_of
from cxad_pipeline.defs.metadata import OWNERS, lineage, picture, records_table, table_metadata
from cxad_pipeline.detection.algorithms import ALGORITHMS
from cxad_pipeline.detection.detector import Detector, FeatureSet, Member
from cxad_pipeline.detection.figures import report_figures
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.landing import list_landed, read_period
from cxad_pipeline.interactions.landing_index import LandingIndex, files_digest
from cxad_pipeline.interactions.sources import readers
from cxad_pipeline.registry.evaluation_report import EvaluationReport, evaluate
from cxad_pipeline.registry.tracking import TrainingRuns
from cxad_pipeline.registry.training import fit_features, fit_model, judge_challenger, register_ensemble
from cxad_pipeline.registry.training_rows import held_out_rows, rows_digest
from cxad_pipeline.settings import Settings
from cxad_pipeline.settings.models import ModelSettings

GROUP = "training"
# Inputs by keyword have no annotation of their own that Dagster could read.
_MEMBER = dg.PythonObjectDagsterType(Member, name="EnsembleMember")


class EvaluationConfig(dg.Config):
    """Run configuration of the evaluation report."""

    labels: str | None = None
    """CSV with interaction_id and kind of known anomalies. No asset reads labels unless somebody asks for it here."""


def training_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the group, one model asset for each configured model."""
    return [
        _training_interactions(settings),
        _features(settings),
        *(_member_model(settings, model) for model in settings.models),
        _ensemble_model(settings),
        _evaluation_report(settings),
        _champion_model(settings),
    ]


def _training_interactions(settings: Settings) -> dg.AssetsDefinition:
    common: dict[str, Any] = {"group_name": GROUP, "owners": OWNERS, "kinds": {"parquet"}}

    @dg.multi_asset(
        name="landed_training_interactions",
        outs={
            "training_interactions": dg.AssetOut(description="Rows that the models learn from.", **common),
            "rejected_training_interactions": dg.AssetOut(
                description="Training rows that are no interactions or break the contract, each with its reason.",
                **common,
            ),
        },
        deps=[LANDED_TRAINING],
        check_specs=landing_check_specs("training_interactions", "rejected_training_interactions"),
    )
    def landed_training_interactions(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        folder = Folder(settings.paths.training)
        listing = list_landed(folder, settings, dt.datetime.now(dt.UTC))
        training = settings.training
        sources = readers(settings)
        rows = read_period(folder, listing.ready, training.start, training.end, sources)
        index = LandingIndex(Folder(settings.paths.storage), folder, sources, settings)
        if rows.accepted.num_rows < training.min_rows:
            waiting = f"; {len(listing.unsettled)} more may still be written" if listing.unsettled else ""
            raise dg.Failure(
                f"{plural(rows.accepted.num_rows, 'training row')} in {folder.uri} "
                f"({plural(len(listing.ready), 'file')}{waiting}), training.min_rows asks for {training.min_rows}: "
                "land more files there",
                metadata={"rejected": rows.rejected.num_rows},
                allow_retries=False,
            )
        others = plural(rows.rejected.num_rows, "other row")
        context.log.info(f"{plural(rows.accepted.num_rows, 'training row')}, {others}")
        yield dg.MaterializeResult(
            asset_key="training_interactions",
            value=rows.accepted,
            metadata={
                **table_metadata(rows.accepted),
                "rows_in": rows.rows_in,
                "files": rows.files,
                "duplicates": rows.count("duplicate"),
                "sha256": rows_digest(rows.accepted),
                "landed": files_digest([index.of(stat) for stat in listing.ready]),
            },
            check_results=[contract_check({"training": rows.accepted}, "training_interactions", sources[0].schema)],
        )
        yield dg.MaterializeResult(
            asset_key="rejected_training_interactions",
            value=rows.rejected,
            metadata={
                **table_metadata(rows.rejected),
                "kinds": kinds_of(rows),
                "first_rows": records_table(rows.rejected.slice(0, 10).drop_columns(["record"]).to_pylist()),
            },
            check_results=[share_rejected_check({"training": rows}, "rejected_training_interactions", settings)],
        )

    return landed_training_interactions


def _features(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        group_name=GROUP,
        owners=OWNERS,
        kinds={"numpy"},
        description="Imputed, scaled and one-hot encoded training rows, and which of them are held out.",
    )
    def features(
        context: dg.AssetExecutionContext, training_interactions: pa.Table
    ) -> dg.MaterializeResult[FeatureSet]:
        fitted = fit_features(training_interactions, settings, TrainingRuns(settings, context.run.run_id))
        if fitted.left_out:
            context.log.warning(f"no training row has {', '.join(fitted.left_out)}: left out of the features")
        names, columns = fitted.features.feature_map.names, fitted.features.feature_map.columns_of
        origins = {name: [("training_interactions", column)] for name, column in zip(names, columns, strict=True)}
        return dg.MaterializeResult(
            value=fitted.features,
            metadata={
                "dagster/row_count": len(fitted.features.X),
                "dagster/column_schema": dg.TableSchema([dg.TableColumn(name, "double") for name in names]),
                "dagster/column_lineage": lineage(origins),
                "held_out": int(fitted.features.held_out.sum()),
                "left_out": fitted.left_out,
                "mlflow_run": fitted.run_id,
            },
        )

    return features


def _member_model(settings: Settings, model: ModelSettings) -> dg.AssetsDefinition:
    algorithm = ALGORITHMS[model.algorithm]
    kinds = {"sklearn": "scikitlearn", "rrcf": "numba"}  # those that Dagster has icons for

    @dg.asset(
        name=f"{model.name}_model",
        group_name=GROUP,
        owners=OWNERS,
        kinds={kinds.get(algorithm.library, algorithm.library), "mlflow"},
        description=f"{algorithm.title} `{model.name}`: fitted model, threshold and calibration on held-out rows.",
    )
    def member_model(context: dg.AssetExecutionContext, features: FeatureSet) -> dg.MaterializeResult[Member]:
        fitted = fit_model(model, features, settings, TrainingRuns(settings, context.run.run_id))
        shown = picture(fitted.figure, "held-out scores")
        return dg.MaterializeResult(
            value=fitted.member, metadata={**fitted.metrics, "mlflow_run": fitted.run_id, "held_out_scores": shown}
        )

    return member_model


def _ensemble_model(settings: Settings) -> dg.AssetsDefinition:
    members_in = {model.name: dg.AssetIn(f"{model.name}_model", dagster_type=_MEMBER) for model in settings.models}

    @dg.asset(
        ins=members_in,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"mlflow"},
        description="The detector: all models, their ensemble and its threshold; a new version in MLflow's registry.",
    )
    def ensemble_model(
        context: dg.AssetExecutionContext, training_interactions: pa.Table, features: FeatureSet, **members: Member
    ) -> dg.MaterializeResult[Detector]:
        runs = TrainingRuns(settings, context.run.run_id)
        made = register_ensemble(training_interactions, features, list(members.values()), settings, runs)
        context.log.info(f"registered {settings.mlflow.registered_model} version {made.version}")
        thresholds = {name: member.threshold for name, member in made.detector.members.items()}
        return dg.MaterializeResult(
            value=made.detector,
            metadata={
                "model_version": made.version,
                "mlflow_run": made.run_id,
                "thresholds": thresholds | {"ensemble": made.detector.threshold},
            },
        )

    return ensemble_model


def _evaluation_report(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        group_name=GROUP,
        owners=OWNERS,
        kinds={"matplotlib", "mlflow"},
        description="How the models score held-out rows, beside each other; with labels, precision and recall by kind.",
    )
    def evaluation_report(
        context: dg.AssetExecutionContext,
        config: EvaluationConfig,
        training_interactions: pa.Table,
        features: FeatureSet,
        ensemble_model: Detector,
    ) -> dg.MaterializeResult[EvaluationReport]:
        rows = held_out_rows(training_interactions, features)
        scores = ensemble_model.score(rows)
        report = evaluate(
            ensemble_model, rows, scores, labels=config.labels, random_state=settings.training.random_state
        )
        figures = report_figures(scores)
        files = report.write(Folder(settings.paths.processed), figures)
        report.log(TrainingRuns(settings, _training_id(context)), figures)
        for file in files:
            context.log.info(f"wrote {file}")
        return dg.MaterializeResult(
            value=report,
            metadata={
                "dagster/row_count": rows.num_rows,
                "summary": records_table(report.summary_rows()),
                "labels": records_table(report.label_rows()),
                "injected_roc_auc": report.roc_auc,
                "files": files,
                **{name: picture(figure, name) for name, figure in figures.items()},
            },
        )

    return evaluation_report


def _champion_model(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        group_name=GROUP,
        owners=OWNERS,
        kinds={"mlflow"},
        deps=["ensemble_model", "evaluation_report"],
        description="The version that scores: the challenger takes the alias champion when it passes the gate.",
    )
    def champion_model(
        context: dg.AssetExecutionContext, training_interactions: pa.Table, features: FeatureSet
    ) -> dg.MaterializeResult[None]:
        runs = TrainingRuns(settings, _training_id(context))
        judged = judge_challenger(training_interactions, features, settings, runs)
        state = "is champion" if judged.verdict.promoted else "is not promoted"
        log = context.log.info if judged.verdict.promoted else context.log.warning
        log(f"version {judged.version} {state}: {judged.verdict.reason}")
        return dg.MaterializeResult(
            metadata={
                "promoted": judged.verdict.promoted,
                "reason": judged.verdict.reason,
                "version": judged.version,
                **({} if judged.roc_auc is None else {"roc_auc": judged.roc_auc}),
                **({} if judged.flagged_share is None else {"flagged_share": judged.flagged_share}),
            }
        )

    return champion_model


def _training_id(context: dg.AssetExecutionContext) -> str:
    """The training that the stored detector comes from: this run, or an earlier one when only a part is made again."""
    event = context.instance.get_latest_materialization_event(dg.AssetKey("ensemble_model"))
    return str(event.run_id if event is not None else context.run.run_id)
