"""The steps of a training, one after the other, without Dagster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cxad_pipeline.detection import Detector
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.detector_config import detector_config
from cxad_pipeline.registry.tracking import RegistryError, TrainingRuns, mlflow_client
from cxad_pipeline.registry.training import (
    Judgement,
    fit_features,
    fit_model,
    judge_challenger,
    register_ensemble,
)
from cxad_pipeline.registry.training_rows import columns_with_values
from cxad_pipeline.settings import Settings


def train(rows: pa.Table, settings: Settings, training_id: str) -> Judgement:
    runs = TrainingRuns(settings, training_id)
    features = fit_features(rows, settings, runs).features
    members = [fit_model(model, features, settings, runs).member for model in settings.models]
    register_ensemble(rows, features, members, settings, runs)
    return judge_challenger(rows, features, settings, runs)


def promotion_of(settings: Settings, training_id: str) -> dict[str, str]:
    run = mlflow_client(settings).get_run(TrainingRuns(settings, training_id).parent_id())
    return {name: value for name, value in run.data.tags.items() if name.startswith("promotion")}


def test_the_steps_make_the_detector_that_fit_makes_to_the_bit(rows: pa.Table, settings: Settings) -> None:
    judged = train(rows, settings, "first")
    config = detector_config(settings, schema_of(settings), columns_with_values(rows))
    expected = Detector.fit(rows, config).score(rows)
    found = versions.load(settings).detector.score(rows)
    assert judged.verdict.promoted
    assert np.array_equal(found.ensemble, expected.ensemble)
    assert np.array_equal(found.severity, expected.severity)


def test_the_reason_of_the_gate_is_on_the_version_and_on_the_run(rows: pa.Table, settings: Settings) -> None:
    judged = train(rows, settings, "first")
    entry = versions.find(settings, versions.CHAMPION)
    assert str(entry.version) == judged.version
    assert entry.tags["promotion_reason"] == judged.verdict.reason
    assert promotion_of(settings, "first") == {"promotion": "champion", "promotion_reason": judged.verdict.reason}


def test_a_version_that_ranks_faults_worse_stays_challenger(rows: pa.Table, settings: Settings) -> None:
    train(rows, settings, "first")
    # All but one metric are hidden from the second version: it can't see faults in the others.
    blind = rows
    for name in ("aht_seconds", "hold_time_seconds", "ies", "complaints", "transfers"):
        position = blind.column_names.index(name)
        first = rows[name].slice(0, 1)
        same = pa.chunked_array([first.combine_chunks().take(pa.array([0] * rows.num_rows))])
        blind = blind.set_column(position, rows.schema.field(name), same)
    runs = TrainingRuns(settings, "second")
    features = fit_features(blind, settings, runs).features
    members = [fit_model(model, features, settings, runs).member for model in settings.models]
    register_ensemble(blind, features, members, settings, runs)
    judged = judge_challenger(rows, features, settings, runs)
    assert not judged.verdict.promoted
    assert "the champion with" in judged.verdict.reason or "below training.min_auc" in judged.verdict.reason
    assert str(versions.find(settings, versions.CHAMPION).version) == "1"
    assert str(versions.find(settings, versions.CHALLENGER).version) == judged.version == "2"
    assert promotion_of(settings, "second")["promotion"] == "challenger"


def test_a_champion_whose_artifacts_are_gone_gives_way(rows: pa.Table, settings: Settings) -> None:
    train(rows, settings, "first")
    shutil.rmtree(Path(settings.mlflow.artifacts))
    with pytest.raises(RegistryError, match="can't be read"):
        versions.load(settings)
    judged = train(rows, settings, "second")
    assert judged.verdict.promoted
    assert judged.verdict.reason.endswith("the champion's can't be measured")
    assert versions.load(settings).version == "2"


def test_a_champion_of_an_earlier_release_gives_way(rows: pa.Table, settings: Settings) -> None:
    train(rows, settings, "first")
    (saved,) = Path(settings.mlflow.artifacts).rglob("detector.json")
    document = json.loads(saved.read_text(encoding="utf-8"))
    saved.write_text(json.dumps(document | {"version": document["version"] - 1}), encoding="utf-8")
    with pytest.raises(RegistryError, match=f"version 1 of .* is registered.*this release reads {document['version']}"):
        versions.load(settings)
    judged = train(rows, settings, "second")
    assert judged.verdict.promoted
    assert "first version" not in judged.verdict.reason
    assert versions.load(settings).version == "2"


def test_a_champion_that_cannot_score_the_new_rows_gives_way(rows: pa.Table, settings: Settings) -> None:
    """The first version knows csat alone; the rows that come later have none."""
    satisfaction = settings.features.model_copy(update={"numeric": ["csat"], "categorical": ["queue"]})
    train(rows, settings.model_copy(update={"features": satisfaction}), "first")
    without = rows.drop_columns(["csat"])
    judged = train(without, settings, "second")
    assert judged.verdict.promoted
    assert versions.load(settings).version == "2"


def test_a_voting_ensemble_is_judged_by_what_its_members_flag(rows: pa.Table, settings: Settings) -> None:
    voting = settings.ensemble.model_copy(update={"strategy": "voting"})
    models = [model.model_copy(update={"threshold_percentile": 95}) for model in settings.models]
    judged = train(rows, settings.model_copy(update={"ensemble": voting, "models": models}), "first")
    assert judged.flagged_share > 0.05
    assert judged.verdict.promoted


def test_without_a_challenger_the_champion_stays_and_it_is_said(rows: pa.Table, settings: Settings) -> None:
    train(rows, settings, "first")
    runs = TrainingRuns(settings, "again")
    features = fit_features(rows, settings, runs).features
    judged = judge_challenger(rows, features, settings, runs)
    assert (judged.verdict.promoted, judged.version, judged.roc_auc) == (False, "1", None)
    assert judged.verdict.reason == "version 1 is champion and there is no challenger"


def test_nothing_to_judge_at_all_names_the_command(rows: pa.Table, settings: Settings) -> None:
    runs = TrainingRuns(settings, "first")
    features = fit_features(rows, settings, runs).features
    with pytest.raises(RegistryError, match="cxad train"):
        judge_challenger(rows, features, settings, runs)
