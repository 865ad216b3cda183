"""The table that batch scoring, files and MLflow give: columns in their order, reasons where they are asked for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from cxad_pipeline.detection import Detector, DetectorConfig, EnsembleConfig, ModelConfig
from cxad_pipeline.detection.output import UnknownModelError, choices, output_columns, score_table

ENSEMBLE_COLUMNS = [
    "ensemble_score",
    "ensemble_anomaly",
    "ensemble_threshold",
    "iforest_score",
    "iforest_anomaly",
    "iforest_threshold",
    "rcf_score",
    "rcf_anomaly",
    "rcf_threshold",
    "severity",
    "top_reasons",
    "model_version",
]
RCF_COLUMNS = ["rcf_score", "rcf_anomaly", "rcf_threshold", "severity", "top_reasons", "model_version"]


def calls(n: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "interaction_id": [f"c{index}" for index in range(n)],
            "hold": random.lognormal(3, 0.7, n),
            "csat": pa.array(random.integers(1, 6, n).astype(float), mask=random.random(n) < 0.2),
            "queue": random.choice(["billing", "sales"], n),
        }
    )


@pytest.fixture(scope="module", params=["average", "max", "voting"])
def detector(request: pytest.FixtureRequest) -> Detector:
    config = DetectorConfig(
        numeric=["hold", "csat"],
        categorical=["queue"],
        models=(
            ModelConfig("iforest", "isolation_forest", {"n_estimators": 20}, 95),
            ModelConfig("rcf", "random_cut_forest", {"n_estimators": 10, "tree_size": 64}, 90),
        ),
        ensemble=EnsembleConfig(request.param, threshold_percentile=93),
    )
    return Detector.fit(calls(600, 0), config)


def test_the_columns_stand_in_the_order_of_the_design(detector: Detector):
    table = calls(50, 1)
    assert output_columns(["iforest", "rcf"]) == ENSEMBLE_COLUMNS
    assert score_table(detector, table).column_names == [*table.column_names, *ENSEMBLE_COLUMNS]
    assert score_table(detector, table, model="rcf").column_names == [*table.column_names, *RCF_COLUMNS]
    assert choices(detector) == ["ensemble", "iforest", "rcf"]


def test_the_values_are_those_of_the_detector_and_the_input_is_as_it_was(detector: Detector):
    table = calls(400, 1)
    scores = detector.score(table)
    scored = score_table(detector, table, model_version="v4")
    assert scored.select(table.column_names).equals(table)
    raw = {"ensemble": scores.ensemble, **scores.raw}
    for name, values in raw.items():
        np.testing.assert_array_equal(scored[f"{name}_score"].to_numpy(), values)
        np.testing.assert_array_equal(scored[f"{name}_anomaly"].to_numpy(), scores.flags[name].astype(int))
        np.testing.assert_array_equal(scored[f"{name}_anomaly"].to_numpy(), values >= scores.thresholds[name])
        assert set(scored[f"{name}_threshold"].to_pylist()) == {scores.thresholds[name]}
    np.testing.assert_allclose(scored["severity"].to_numpy(), scores.severity, rtol=0, atol=0.05)
    assert set(scored["model_version"].to_pylist()) == {"v4"}
    alone = score_table(detector, table, model="rcf")
    np.testing.assert_allclose(alone["severity"].to_numpy(), scores.severities["rcf"], rtol=0, atol=0.05)


def test_reasons_stand_beside_flagged_rows_alone_unless_all_are_asked_for(detector: Detector):
    table = calls(400, 1)
    explained = detector.explain(table)
    for model in ("ensemble", "iforest", "rcf"):
        texts = ["; ".join(reasons) for reasons in explained.texts(model)]
        flagged = detector.score(table).flags[model]
        assert 0 < flagged.sum() < 200
        some = score_table(detector, table, model=model)["top_reasons"].to_pylist()
        assert some == [text if flag else "" for text, flag in zip(texts, flagged, strict=True)]
        assert score_table(detector, table, model=model, explain_all=True)["top_reasons"].to_pylist() == texts


def test_a_table_without_rows_has_the_same_columns_and_types(detector: Detector):
    table = calls(50, 1)
    for model in ("ensemble", "iforest"):
        assert (
            score_table(detector, table.slice(0, 0), model=model).schema
            == score_table(detector, table, model=model).schema
        )


def test_scoring_again_replaces_the_scores_also_those_of_models_not_asked_for(detector: Detector):
    table = calls(50, 1)
    earlier = score_table(detector, table, model_version="v1")
    assert score_table(detector, earlier, model_version="v2").equals(score_table(detector, table, model_version="v2"))
    alone = score_table(detector, earlier, model="rcf", model_version="v2")
    assert alone.equals(score_table(detector, table, model="rcf", model_version="v2"))


def test_an_unknown_model_is_one_error_that_lists_the_models(detector: Detector):
    for table in (calls(3, 1), calls(3, 1).slice(0, 0)):
        with pytest.raises(UnknownModelError, match="unknown model 'both'; this detector has: ensemble, iforest, rcf"):
            score_table(detector, table, model="both")


def test_a_detector_of_one_model_gives_its_columns_and_the_ensemble(detector: Detector):
    config = dataclasses.replace(detector.config, models=detector.config.models[1:])
    only = Detector.fit(calls(600, 0), config)
    names = score_table(only, calls(5, 1)).column_names
    assert [name for name in names if name.endswith("_score")] == ["ensemble_score", "rcf_score"]
