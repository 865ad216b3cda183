"""The three strategies and whose the outcome is, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.detection.config import EnsembleConfig, Strategy
from cxad_pipeline.detection.ensemble import VOTING_THRESHOLD, combine, decided_by, weights_of

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


def test_weights_add_up_to_one_and_a_model_without_a_weight_has_weight_one():
    assert weights_of(EnsembleConfig(weights={"a": 3.0}), ["a", "b"]) == {"a": 0.75, "b": 0.25}
    assert weights_of(EnsembleConfig(weights={"b": 0.0}), ["a", "b"]) == {"a": 1.0, "b": 0.0}


@pytest.mark.parametrize("strategy", ["average", "max", "voting"])
def test_a_model_of_weight_zero_has_no_say(strategy: Strategy):
    config = EnsembleConfig(strategy, {"b": 0.0})
    alone = {"a": SURPRISES["a"]}, {"a": FLAGS["a"]}
    for with_b, without_b in zip(
        combine(config, SURPRISES, FLAGS), combine(EnsembleConfig(strategy), *alone), strict=True
    ):
        np.testing.assert_array_equal(with_b, without_b)
    decided = decided_by(config, SURPRISES, FLAGS)
    np.testing.assert_array_equal(decided["a"], 1)
    np.testing.assert_array_equal(decided["b"], 0)


def test_one_model_alone_is_its_own_ensemble():
    alone = {"a": SURPRISES["a"]}, {"a": FLAGS["a"]}
    for strategy in ("average", "max"):
        np.testing.assert_array_equal(combine(EnsembleConfig(strategy), *alone)[0], SURPRISES["a"])
    np.testing.assert_array_equal(combine(EnsembleConfig("voting"), *alone)[0], FLAGS["a"])


def test_each_model_has_its_part_of_an_average():
    decided = decided_by(EnsembleConfig("average", {"a": 3.0}), SURPRISES, FLAGS)
    np.testing.assert_allclose(decided["a"], [3 / 6, 12 / 14, 0.0])
    np.testing.assert_allclose(decided["b"], [3 / 6, 2 / 14, 1.0])


def test_the_largest_decides_a_maximum_and_equals_share_it():
    surprises = {"a": np.array([1.0, 4.0, 2.0]), "b": np.array([3.0, 2.0, 2.0]), "c": np.array([9.0, 9.0, 2.0])}
    flags = {name: np.zeros(3, dtype=bool) for name in surprises}
    decided = decided_by(EnsembleConfig("max", {"a": 5.0, "c": 0.0}), surprises, flags)
    np.testing.assert_array_equal(decided["a"], [0, 1, 0.5])
    np.testing.assert_array_equal(decided["b"], [1, 0, 0.5])
    np.testing.assert_array_equal(decided["c"], [0, 0, 0])


def test_those_that_vote_as_the_ensemble_does_decide_a_vote():
    flags = {
        "a": np.array([True, False, True, False]),
        "b": np.array([True, False, False, True]),
        "c": np.array([False, False, True, False]),
    }
    surprises = {name: np.ones(4) for name in flags}
    decided = decided_by(EnsembleConfig("voting", {"a": 2.0}), surprises, flags)
    np.testing.assert_allclose(decided["a"], [2 / 3, 0.5, 2 / 3, 2 / 3])
    np.testing.assert_allclose(decided["b"], [1 / 3, 0.25, 0, 0])
    np.testing.assert_allclose(decided["c"], [0, 0.25, 1 / 3, 1 / 3])


def test_where_nothing_is_surprising_the_weights_decide():
    nothing = {"a": np.zeros(1), "b": np.zeros(1)}, {"a": np.zeros(1, dtype=bool), "b": np.zeros(1, dtype=bool)}
    decided = decided_by(EnsembleConfig("average", {"a": 3.0}), *nothing)
    assert (decided["a"][0], decided["b"][0]) == (0.75, 0.25)


@given(
    st.sampled_from(["average", "max", "voting"]),
    st.lists(st.tuples(st.floats(0, 400), st.floats(0, 400), st.floats(0, 400)), min_size=1, max_size=20),
    st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
    st.floats(0, 5),
)
def test_scores_against_plain_averages_rows_by_themselves_and_parts_that_add_up(
    strategy: Strategy, rows: list[tuple[float, float, float]], weights: list[float], threshold: float
):
    names, matrix = ["a", "b", "c"], np.array(rows)
    config = EnsembleConfig(strategy, dict(zip(names, weights, strict=True)))
    surprises = dict(zip(names, np.ascontiguousarray(matrix.T), strict=True))
    flags = {name: values >= threshold for name, values in surprises.items()}
    score, basis = combine(config, surprises, flags)
    average = np.average(matrix, axis=1, weights=weights)
    expected = {
        "average": average,
        "max": matrix.max(axis=1),
        "voting": np.average(matrix >= threshold, axis=1, weights=weights),
    }
    np.testing.assert_allclose(score, expected[strategy], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(basis, average if strategy == "voting" else score, rtol=1e-12, atol=1e-12)
    decided = decided_by(config, surprises, flags)
    np.testing.assert_allclose(sum(decided.values()), 1)
    for row in range(len(matrix)):
        one = {name: values[row : row + 1] for name, values in surprises.items()}
        own_flags = {name: values[row : row + 1] for name, values in flags.items()}
        assert combine(config, one, own_flags)[0][0] == score[row]
        for name, part in decided_by(config, one, own_flags).items():
            assert part[0] == decided[name][row]
