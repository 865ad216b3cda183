"""One member: who scores the held-out rows, and on which rows the model that stays was fitted."""

from __future__ import annotations

import numpy as np
import pytest

from cxad_pipeline.detection import Detector, DetectorConfig, ModelConfig
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
    size = {"isolation_forest": "max_samples", "random_cut_forest": "tree_size"}[algorithm]
    of_all = ALGORITHMS[algorithm].fit(features.X, seed, n_estimators=10, **{size: int((~held_out).sum())})
    score = fitted.forest.anomaly_score(features.X)
    np.testing.assert_array_equal(score, of_all.anomaly_score(features.X))
    assert not np.array_equal(score[held_out], fitted.held_out_scores)


def test_a_forest_that_is_grown_again_keeps_the_size_of_its_trees(features: FeatureSet):
    """A displacement grows with the points of a tree: with more of them, more fresh rows than promised are flagged."""
    fitted = fit_member(ModelConfig("m", "random_cut_forest", {"scoring": "codisp"}), features, 3)
    arrays = fitted.forest.to_arrays()
    assert set(arrays["count"][arrays["offsets"][:-1]].tolist()) == {int((~features.held_out).sum())}


@pytest.mark.parametrize(
    ("algorithm", "parameters", "rows"),
    [
        ("isolation_forest", {}, 256),
        ("isolation_forest", {"max_samples": "auto"}, 256),
        ("isolation_forest", {"max_samples": 0.1}, 50),
        ("isolation_forest", {"max_samples": 1}, 1),
        ("isolation_forest", {"max_samples": 1.0}, 500),
        ("random_cut_forest", {}, 256),
        ("random_cut_forest", {"tree_size": 1000}, 500),
        ("fcf", {}, 256),
    ],
)
def test_rows_of_a_tree_are_what_the_parameters_say(algorithm: str, parameters: dict[str, object], rows: int):
    assert ALGORITHMS[algorithm].sample_rows(parameters, 500) == rows


@pytest.mark.parametrize("algorithm", ["isolation_forest", "random_cut_forest", "fcf"])
def test_rows_of_a_tree_are_the_default_that_the_algorithm_has(algorithm: str):
    one = ALGORITHMS[algorithm]
    X = np.random.default_rng(0).normal(size=(700, 2))
    told = one.fit(X, 1, n_estimators=2, **{str(one.sample_parameter): one.sample_rows({}, 700)})
    np.testing.assert_array_equal(told.anomaly_score(X), one.fit(X, 1, n_estimators=2).anomaly_score(X))


def test_with_many_held_out_rows_the_forest_that_was_calibrated_stays():
    random = np.random.default_rng(0)
    many = FeatureSet.fit({"a": random.normal(size=1400)}, DetectorConfig(numeric=["a"]))
    fitted = fit_member(ModelConfig("m", "random_cut_forest", {"n_estimators": 10}), many, 3)
    np.testing.assert_array_equal(fitted.held_out_scores, fitted.forest.anomaly_score(many.X[many.held_out]))


@pytest.mark.parametrize("random_state", range(4))
@pytest.mark.parametrize("algorithm", ["isolation_forest", "random_cut_forest"])
def test_a_value_that_nearly_all_rows_share_is_not_flagged(algorithm: str, random_state: int):
    values = np.zeros(400)
    values[:8] = np.arange(1, 9)
    config = DetectorConfig(numeric=["a"], models=[ModelConfig("m", algorithm)], random_state=random_state)
    flags = Detector.fit({"a": values}, config).score({"a": [0.0]}).flags
    assert not flags["m"][0]
    assert not flags["ensemble"][0]


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
