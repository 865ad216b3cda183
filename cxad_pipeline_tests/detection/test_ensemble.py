"""The three strategies, against figures worked out by hand."""

from __future__ import annotations

import numpy as np

from cxad_pipeline.detection.config import EnsembleConfig
from cxad_pipeline.detection.ensemble import VOTING_THRESHOLD, combine

SURPRISES = {"a": np.array([1.0, 4.0, 0.0]), "b": np.array([3.0, 2.0, 0.5])}
FLAGS = {"a": np.array([False, True, False]), "b": np.array([True, True, False])}


def test_average_weighs_the_surprises():
    score, basis = combine(EnsembleConfig("average", {"a": 3.0}), SURPRISES, FLAGS)
    np.testing.assert_allclose(score, [1.5, 3.5, 0.125])
    np.testing.assert_array_equal(score, basis)


def test_max_takes_the_largest_surprise_of_models_with_weight():
    np.testing.assert_array_equal(combine(EnsembleConfig("max"), SURPRISES, FLAGS)[0], [3.0, 4.0, 0.5])
    np.testing.assert_array_equal(combine(EnsembleConfig("max", {"b": 0.0}), SURPRISES, FLAGS)[0], SURPRISES["a"])


def test_voting_gives_the_share_of_flags_and_ties_flag():
    score, basis = combine(EnsembleConfig("voting"), SURPRISES, FLAGS)
    np.testing.assert_array_equal(score, [0.5, 1.0, 0.0])
    np.testing.assert_array_equal(score >= VOTING_THRESHOLD, [True, True, False])
    np.testing.assert_allclose(basis, [2.0, 3.0, 0.25])
    outvoted, _ = combine(EnsembleConfig("voting", {"a": 1.1}), SURPRISES, FLAGS)
    assert outvoted[0] < VOTING_THRESHOLD


def test_a_tie_is_not_lost_to_rounding():
    weights = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.6}
    assert sum(np.array([0.1, 0.2, 0.3]) / np.array(list(weights.values())).sum()) < 0.5, "floats alone lose it"
    flags = {name: np.array([name != "d"]) for name in weights}
    surprises = {name: np.zeros(1) for name in weights}
    score, _ = combine(EnsembleConfig("voting", weights), surprises, flags)
    assert score[0] >= VOTING_THRESHOLD
