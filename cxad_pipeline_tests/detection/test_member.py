"""One member: who scores the held-out rows, and on which rows the model that stays was fitted."""

from __future__ import annotations

import numpy as np
import pytest

from cxad_pipeline.detection import DetectorConfig, ModelConfig
from cxad_pipeline.detection.algorithms import ALGORITHMS
from cxad_pipeline.detection.feature_set import FeatureSet
from cxad_pipeline.detection.member import fit_member, member_seed


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    random = np.random.default_rng(0)
    table = {"a": random.normal(size=120), "b": random.lognormal(size=120)}
    return FeatureSet.fit(table, DetectorConfig(numeric=["a", "b"]))


@pytest.mark.parametrize("algorithm", ["isolation_forest", "random_cut_forest"])
def test_held_out_rows_are_scored_by_a_forest_that_has_not_seen_them_and_the_one_that_stays_has_seen_all(
    features: FeatureSet, algorithm: str
):
    fitted = fit_member(ModelConfig("m", algorithm, {"n_estimators": 10}), features, 3)
    seed, held_out = member_seed(3, "m"), features.held_out
    unseeing = ALGORITHMS[algorithm].fit(features.X[~held_out], seed, n_estimators=10)
    np.testing.assert_array_equal(fitted.held_out_scores, unseeing.anomaly_score(features.X[held_out]))
    of_all = ALGORITHMS[algorithm].fit(features.X, seed, n_estimators=10)
    score = fitted.forest.anomaly_score(features.X)
    np.testing.assert_array_equal(score, of_all.anomaly_score(features.X))
    assert not np.array_equal(score[held_out], fitted.held_out_scores)


def test_a_model_whose_scores_depend_on_the_number_of_rows_stays_as_it_was_calibrated(features: FeatureSet):
    fitted = fit_member(ModelConfig("m", "knn"), features, 3)
    np.testing.assert_array_equal(fitted.held_out_scores, fitted.forest.anomaly_score(features.X[features.held_out]))


def test_an_isolation_forest_of_the_ensemble_draws_its_cuts_on_an_asinh_scale_unless_told_otherwise(
    features: FeatureSet,
):
    def scores(**params: object) -> np.ndarray:
        model = fit_member(ModelConfig("m", "isolation_forest", params), features, 3)
        return model.forest.anomaly_score(features.X)

    np.testing.assert_array_equal(scores(), scores(cut_scale="asinh"))
    assert not np.array_equal(scores(), scores(cut_scale="linear"))
