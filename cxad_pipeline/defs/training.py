"""Training: rows -> features -> models -> ensemble -> report -> champion."""

import datetime as dt
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa

from cxad_pipeline.defs.checks import contract_check, landing_check_specs, share_rejected_check
from cxad_pipeline.defs.ingestion import LANDED_TRAINING, kinds_of
from cxad_pipeline.defs.metadata import OWNERS, lineage, picture, records_table, table_metadata
from cxad_pipeline.detection.detector import Detector, FeatureSet, Member, assemble, fit_member
from cxad_pipeline.detection.evaluation import injected_roc_auc, summarize
from cxad_pipeline.detection.figures import held_out_figure, report_figures
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.landing import list_landed, read_period
from cxad_pipeline.interactions.landing_index import LandingIndex, files_digest
from cxad_pipeline.interactions.sources import readers, schema_of
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.detector_config import detector_config, expected_rate
from cxad_pipeline.registry.evaluation_report import EvaluationReport, evaluate
from cxad_pipeline.registry.promotion import Candidate, decide
from cxad_pipeline.registry.tracking import RegistryError, TrainingRuns, log_figures, log_metrics, log_params
from cxad_pipeline.registry.training_rows import (
    columns_with_values,
    held_out_rows,
    log_training_rows,
    model_input,
    rows_digest,
)
from cxad_pipeline.settings import Settings
from cxad_pipeline.settings.tree import ModelSettings

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
                f"{rows.accepted.num_rows} training rows in {folder.uri} ({len(listing.ready)} files{waiting}), "
                f"training.min_rows asks for {training.min_rows}: land more files there",
                metadata={"rejected": rows.rejected.num_rows},
                allow_retries=False,
            )
        context.log.info(f"{rows.accepted.num_rows} training rows, {rows.rejected.num_rows} other rows")
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
        present = columns_with_values(training_interactions)
        configured = [*settings.features.numeric, *settings.features.categorical]
        left_out = [name for name in configured if name not in present]
        if left_out:
            context.log.warning(f"no training row has {', '.join(left_out)}: left out of the features")
        config = detector_config(settings, schema_of(settings), present)
        fitted = FeatureSet.fit(training_interactions, config)
        names = fitted.feature_map.names
        runs = TrainingRuns(settings, context.run.run_id)
        with runs.parent() as run_id:
            log_params({"features": config.to_dict() | {"models": "", "labels": ""}, "n_features": len(names)})
            log_training_rows(training_interactions, settings.paths.training, "training")
        origins = {
            name: [("training_interactions", column)]
            for name, column in zip(names, fitted.feature_map.columns_of, strict=True)
        }
        return dg.MaterializeResult(
            value=fitted,
            metadata={
                "dagster/row_count": len(fitted.X),
                "dagster/column_schema": dg.TableSchema([dg.TableColumn(name, "double") for name in names]),
                "dagster/column_lineage": lineage(
                    {name: [(asset, str(column)) for asset, column in pairs] for name, pairs in origins.items()}
                ),
                "held_out": int(fitted.held_out.sum()),
                "left_out": left_out,
                "mlflow_run": run_id,
            },
        )

    return features


def _member_model(settings: Settings, model: ModelSettings) -> dg.AssetsDefinition:
    kinds = {"isolation_forest": {"scikitlearn", "mlflow"}, "random_cut_forest": {"numba", "mlflow"}}
    words = {"isolation_forest": "Isolation Forest", "random_cut_forest": "Robust Random Cut Forest"}

    @dg.asset(
        name=f"{model.name}_model",
        group_name=GROUP,
        owners=OWNERS,
        kinds=kinds[model.algorithm],
        description=f"{words[model.algorithm]} `{model.name}`: trees, threshold and calibration on held-out rows.",
    )
    def member_model(context: dg.AssetExecutionContext, features: FeatureSet) -> dg.MaterializeResult[Member]:
        config = next(m for m in detector_config(settings, schema_of(settings), ()).models if m.name == model.name)
        with TrainingRuns(settings, context.run.run_id).child(model.name) as run_id:
            started = time.perf_counter()
            member = fit_member(config, features, settings.training.random_state)
            seconds = time.perf_counter() - started
            figure = held_out_figure(model.name, member.held_out_scores, member.threshold)
            metrics = {
                "threshold": member.threshold,
                "flagged_share": float(member.flags(member.held_out_scores).mean()),
                "score_mean": float(member.held_out_scores.mean()),
                "score_max": float(member.held_out_scores.max()),
                "n_train": int((~features.held_out).sum()),
                "n_held_out": int(features.held_out.sum()),
                "fit_seconds": seconds,
            }
            log_params({"algorithm": model.algorithm, "threshold_percentile": model.threshold_percentile})
            log_params({"params": model.params.model_dump(), "random_state": settings.training.random_state})
            log_metrics(metrics)
            log_figures({"held_out_scores": figure})
        return dg.MaterializeResult(
            value=member,
            metadata={**metrics, "mlflow_run": run_id, "held_out_scores": picture(figure, "held-out scores")},
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
        config = detector_config(settings, schema_of(settings), columns_with_values(training_interactions))
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        detector = assemble(features, list(members.values()), config, train_timestamp=now)
        with TrainingRuns(settings, context.run.run_id).child("ensemble") as run_id:
            log_params({"algorithm": "ensemble", "strategy": config.ensemble.strategy})
            log_params({"weights": {name: config.ensemble.weights.get(name, 1.0) for name in detector.member_names}})
            log_params({"threshold_percentile": config.ensemble.threshold_percentile})
            log_training_rows(training_interactions, settings.paths.training, "training")
            example = model_input(training_interactions.slice(0, 5), detector)
            version = versions.register(detector, settings, example=example)
            log_metrics({"threshold": detector.threshold, "n_train": int((~features.held_out).sum())})
        context.log.info(f"registered {settings.mlflow.registered_model} version {version}")
        return dg.MaterializeResult(
            value=detector,
            metadata={
                "model_version": version,
                "mlflow_run": run_id,
                "thresholds": {name: m.threshold for name, m in detector.members.items()}
                | {"ensemble": detector.threshold},
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
        try:
            challenger = versions.load(settings, versions.CHALLENGER)
        except RegistryError:
            champion = versions.find(settings, versions.CHAMPION)
            if champion is None:
                raise
            reason = f"version {champion.version} is champion and there is no challenger"
            return dg.MaterializeResult(metadata={"promoted": False, "reason": reason, "version": champion.version})
        rows = held_out_rows(training_interactions, features)
        seed = settings.training.random_state
        overall = summarize(challenger.detector.score(rows))[0]
        auc = injected_roc_auc(challenger.detector, rows, seed)["ensemble"]
        champion_auc = _champion_roc_auc(context, settings, rows)
        verdict = decide(
            Candidate(overall.flagged / overall.rows, expected_rate(settings), overall.rows, auc),
            champion_auc,
            min_auc=settings.training.min_auc,
            max_auc_loss=settings.training.max_auc_loss,
        )
        act = versions.promote if verdict.promoted else versions.keep_challenger
        act(settings, challenger.version, verdict.reason)
        TrainingRuns(settings, _training_id(context)).tag_parent(
            {"promotion": "champion" if verdict.promoted else "challenger", "promotion_reason": verdict.reason}
        )
        state = "is champion" if verdict.promoted else "stays challenger"
        log = context.log.info if verdict.promoted else context.log.warning
        log(f"version {challenger.version} {state}: {verdict.reason}")
        return dg.MaterializeResult(
            metadata={
                "promoted": verdict.promoted,
                "reason": verdict.reason,
                "version": challenger.version,
                "roc_auc": auc,
                "flagged_share": overall.flagged / overall.rows,
            }
        )

    return champion_model


def _training_id(context: dg.AssetExecutionContext) -> str:
    """The training that the stored detector comes from: this run, or an earlier one when only a part is made again."""
    event = context.instance.get_latest_materialization_event(dg.AssetKey("ensemble_model"))
    return str(event.run_id if event is not None else context.run.run_id)


def _champion_roc_auc(context: dg.AssetExecutionContext, settings: Settings, rows: pa.Table) -> float | None:
    """ROC-AUC of the present champion; None where there is none, or none that can be loaded and still score."""
    if versions.find(settings, versions.CHAMPION) is None:
        return None
    try:
        champion = versions.load(settings)
    except RegistryError as error:
        # A champion that nobody can load serves nobody: the challenger is judged as a first version.
        context.log.warning(str(error))
        return None
    return injected_roc_auc(champion.detector, rows, settings.training.random_state)["ensemble"]
