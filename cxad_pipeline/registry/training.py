"""The steps of a training, each measured, logged to MLflow and free of Dagster.

Belongs here: what happens between training rows and a champion, in the order of the functions. Does not belong here:
the maths (`detection`), how MLflow is spoken to (`tracking`, `versions`), what Dagster shows (`defs`).
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from cxad_pipeline.detection.detector import Detector, FeatureSet, Member, assemble, fit_member
from cxad_pipeline.detection.evaluation import injected_roc_auc, summarize
from cxad_pipeline.detection.figures import held_out_figure
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.detector_config import detector_config, expected_rate
from cxad_pipeline.registry.promotion import Candidate, Verdict, decide
from cxad_pipeline.registry.tracking import RegistryError, TrainingRuns, log_figures, log_metrics, log_params
from cxad_pipeline.registry.training_rows import columns_with_values, held_out_rows, log_training_rows, model_input
from cxad_pipeline.settings import Settings
from cxad_pipeline.settings.models import ModelSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedFeatures:
    """Features of the training rows, the configured columns that no row has, and the parent run in MLflow."""

    features: FeatureSet
    left_out: list[str]
    run_id: str


@dataclass(frozen=True)
class FittedModel:
    """A model with its metrics on held-out rows, a histogram of their scores, and its run in MLflow."""

    member: Member
    metrics: dict[str, float]
    figure: Figure
    run_id: str


@dataclass(frozen=True)
class RegisteredVersion:
    """A detector with its version in the registry and its run in MLflow."""

    detector: Detector
    version: str
    run_id: str


@dataclass(frozen=True)
class Judgement:
    """What the gate said of a version; `roc_auc` and `flagged_share` are None where there was nothing to judge."""

    verdict: Verdict
    version: str
    roc_auc: float | None = None
    flagged_share: float | None = None


def fit_features(rows: pa.Table, settings: Settings, runs: TrainingRuns) -> FittedFeatures:
    """Fit the features, and note in the parent run which rows and columns they come from.

    Parameters
    ----------
    rows
        Training interactions.
    settings
        Features and preprocessing.
    runs
        The MLflow runs of this training.
    """
    present = columns_with_values(rows)
    chosen = settings.features
    configured = dict.fromkeys([*chosen.numeric, *chosen.categorical, *chosen.relative_to])
    config = detector_config(settings, schema_of(settings), present)
    features = FeatureSet.fit(rows, config)
    with runs.parent() as run_id:
        # the models describe themselves, in runs of their own
        described = config.to_dict() | {"models": "", "labels": ""}
        log_params({"features": described, "n_features": len(features.feature_map.names)})
        log_training_rows(rows, settings.paths.training, "training")
    return FittedFeatures(features, [name for name in configured if name not in present], run_id)


def fit_model(model: ModelSettings, features: FeatureSet, settings: Settings, runs: TrainingRuns) -> FittedModel:
    """Fit one model, in a run of its own."""
    configured = detector_config(settings, schema_of(settings), ()).models
    config = next(entry for entry in configured if entry.name == model.name)
    with runs.child(model.name) as run_id:
        started = time.perf_counter()
        member = fit_member(config, features, settings.training.random_state)
        scores = member.held_out_scores
        metrics = {
            "threshold": member.threshold,
            "flagged_share": float(member.flags(scores).mean()),
            "score_mean": float(scores.mean()),
            "score_max": float(scores.max()),
            "n_train": int((~features.held_out).sum()),
            "n_held_out": int(features.held_out.sum()),
            "fit_seconds": time.perf_counter() - started,
        }
        figure = held_out_figure(model.name, scores, member.threshold)
        log_params({"algorithm": model.algorithm, "threshold_percentile": model.threshold_percentile})
        log_params({"params": model.params.model_dump(), "random_state": settings.training.random_state})
        log_metrics(metrics)
        log_figures({"held_out_scores": figure})
    return FittedModel(member, metrics, figure, run_id)


def register_ensemble(
    rows: pa.Table, features: FeatureSet, members: Sequence[Member], settings: Settings, runs: TrainingRuns
) -> RegisteredVersion:
    """Assemble the detector and register it as a new version, with the alias challenger."""
    config = detector_config(settings, schema_of(settings), columns_with_values(rows))
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    detector = assemble(features, members, config, train_timestamp=now)
    with runs.child("ensemble") as run_id:
        weights = {name: config.ensemble.weights.get(name, 1.0) for name in detector.member_names}
        log_params({"algorithm": "ensemble", "strategy": config.ensemble.strategy, "weights": weights})
        log_params({"threshold_percentile": config.ensemble.threshold_percentile})
        log_training_rows(rows, settings.paths.training, "training")
        version = versions.register(detector, settings, example=model_input(rows.slice(0, 5), detector))
        log_metrics({"threshold": detector.threshold, "n_train": int((~features.held_out).sum())})
    return RegisteredVersion(detector, version, run_id)


def judge_challenger(rows: pa.Table, features: FeatureSet, settings: Settings, runs: TrainingRuns) -> Judgement:
    """Put the challenger through the gate, move the aliases, and write the reason to version and run.

    Raises
    ------
    RegistryError
        If there is neither a challenger nor a champion.
    """
    try:
        challenger = versions.load(settings, versions.CHALLENGER)
    except RegistryError:
        champion = versions.find(settings, versions.CHAMPION)
        if champion is None:
            raise
        reason = f"version {champion.version} is champion and there is no challenger"
        return Judgement(Verdict(False, reason), str(champion.version))
    held_out = held_out_rows(rows, features)
    overall = summarize(challenger.detector.score(held_out))[0]
    share = overall.flagged / overall.rows
    auc = injected_roc_auc(challenger.detector, held_out, settings.training.random_state)["ensemble"]
    verdict = decide(
        Candidate(share, expected_rate(challenger.detector), overall.rows, auc),
        _champion_roc_auc(held_out, settings),
        min_auc=settings.training.min_auc,
        max_auc_loss=settings.training.max_auc_loss,
    )
    act = versions.promote if verdict.promoted else versions.keep_challenger
    act(settings, challenger.version, verdict.reason)
    runs.tag_parent({"promotion": "champion" if verdict.promoted else "challenger", "promotion_reason": verdict.reason})
    return Judgement(verdict, challenger.version, auc, share)


def _champion_roc_auc(held_out: pa.Table, settings: Settings) -> float | None:
    """ROC-AUC of the present champion; None where there is none, NaN where it can't be loaded or no longer scores."""
    if versions.find(settings, versions.CHAMPION) is None:
        return None
    try:
        champion = versions.load(settings)
    except RegistryError as error:
        # A champion that nobody can load serves nobody: it does not stand in the challenger's way.
        _log.warning("%s", error)
        return math.nan
    try:
        return injected_roc_auc(champion.detector, held_out, settings.training.random_state)["ensemble"]
    except ValueError as error:
        _log.warning("champion %s can't score the new rows: %s", champion.label, error)
        return math.nan
