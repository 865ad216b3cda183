"""Calibration: thresholds flag what they promise, and surprise never stops rising."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import genpareto

from cxad_pipeline.detection.calibration import Calibration, threshold_at

finite = st.floats(allow_nan=False, allow_infinity=False)
some_scores = st.one_of(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300),  # few to many, all different
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=300),  # few values, many of each
    st.lists(st.floats(0, 1), min_size=5, max_size=50),  # a small set of bounded scores
    st.lists(finite, min_size=1, max_size=60),  # up to where floats end
)


@settings(max_examples=400)
@given(some_scores, st.lists(finite, max_size=30))
def test_surprise_is_monotone_not_negative_and_finite_for_any_finite_scores(held_out: list[float], raw: list[float]):
    calibration = Calibration.fit(held_out)
    knots = calibration.knots
    around = np.concatenate([np.nextafter(knots, -np.inf), knots, np.nextafter(knots, np.inf), raw, held_out])
    surprise = calibration.surprise(np.sort(around))
    assert np.isfinite(surprise).all()
    assert (surprise >= 0).all()
    assert (np.diff(surprise) >= 0).all()
    severity, probability = calibration.severity(around), calibration.probability(around)
    assert ((severity >= 0) & (severity <= 100)).all()
    assert ((probability >= 0) & (probability <= 1)).all()


@settings(max_examples=200)
@given(some_scores)
def test_one_row_and_many_give_the_same_bits(held_out: list[float]):
    calibration = Calibration.fit(held_out)
    raw = np.concatenate([held_out, np.linspace(min(held_out) / 2 - 1, max(held_out) / 2 + 1, 40)])
    together = calibration.surprise(raw)
    np.testing.assert_array_equal(
        np.concatenate([calibration.surprise(raw[i : i + 1]) for i in range(len(raw))]), together
    )
    np.testing.assert_array_equal(calibration.surprise(raw[::2]), together[::2])
    np.testing.assert_array_equal(calibration.surprise(raw.reshape(1, -1)), together.reshape(1, -1))
    again = Calibration.from_arrays(calibration.to_arrays())
    np.testing.assert_array_equal(again.surprise(raw), together)


@settings(max_examples=200)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.floats(1e-3, 1e3))
@example([0.0, 5e-324], 1.0)
def test_surprise_has_no_step_and_rises_strictly_beyond_all_that_was_seen(held_out: list[float], step: float):
    calibration = Calibration.fit(held_out)
    first, joint = calibration.knots[[0, -1]]
    np.testing.assert_array_equal(calibration.surprise(calibration.knots), calibration.surprises)
    for knot, length in ((first, calibration.spread), (joint, calibration.scale)):
        below, at, above = calibration.surprise([knot - 1e-9 * length, knot, knot + 1e-9 * length])
        # A neighbour of the knot may be nearer than that, and then only a step would show.
        if np.min(np.abs(calibration.knots[calibration.knots != knot] - knot), initial=np.inf) > length:
            assert below <= at <= above
            assert above - below < 1e-6
    beyond = np.unique(max(held_out) + calibration.scale * step * np.arange(20))
    assert (np.diff(calibration.surprise(beyond)) > 0).all()


def test_a_score_that_is_not_a_number_has_no_surprise():
    for held_out in (np.arange(100.0), [1.0]):
        surprise = Calibration.fit(held_out).surprise([1.0, np.nan, 1e9])
        np.testing.assert_array_equal(np.isnan(surprise), [False, True, False])


def test_the_largest_floats_overflow_nowhere():
    largest = np.finfo(np.float64).max
    with np.errstate(all="raise", under="ignore"):
        calibration = Calibration.fit(np.repeat([-largest, 0.0, largest / 2, largest], [30, 30, 30, 30]))
        surprise = calibration.surprise([-largest, 0.0, largest])
    assert np.isfinite([calibration.scale, calibration.spread, *surprise]).all()
    assert surprise[0] < surprise[1] < surprise[2]


@settings(max_examples=100)
@given(st.integers(0, 10_000), st.integers(20, 2000), st.sampled_from(["normal", "lognormal", "uniform", "cauchy"]))
def test_surprise_rises_strictly_below_between_and_beyond_the_data(seed: int, n: int, family: str):
    random = np.random.default_rng(seed)
    draw = {"cauchy": random.standard_cauchy}.get(family) or getattr(random, family)
    held_out = draw(size=n)
    calibration = Calibration.fit(held_out)
    spread = np.ptp(held_out)
    below = held_out.min() - calibration.spread * np.array([5, 2, 1])
    beyond = held_out.max() + spread * np.array([1, 2, 9])
    grid = np.concatenate([below, np.unique(held_out), beyond])
    assert (np.diff(calibration.surprise(grid)) > 0).all()


def test_there_is_no_step_where_the_pieces_join():
    held_out = np.random.default_rng(0).gamma(2.0, size=5000)
    calibration = Calibration.fit(held_out)
    for joint in (calibration.knots[0], calibration.knots[-1]):
        below, above = calibration.surprise([joint - 1e-9, joint + 1e-9])
        assert above - below == pytest.approx(0, abs=1e-6)
    assert np.mean(held_out > calibration.knots[-1]) == pytest.approx(0.02, abs=0.001)


def test_body_and_tail_give_the_true_probability():
    random = np.random.default_rng(1)
    calibration = Calibration.fit(random.exponential(size=50_000))
    assert calibration.probability(np.log(2)) == pytest.approx(0.5, abs=0.01)
    assert calibration.probability(-np.log(1e-3)) == pytest.approx(1e-3, rel=0.2)
    # Beyond all 50,000 rows: only the fitted tail knows.
    assert calibration.surprise(-np.log(1e-6)) == pytest.approx(6, abs=0.6)
    heavy = Calibration.fit(random.pareto(2.5, size=50_000))
    assert heavy.shape == pytest.approx(0.4, abs=0.12)
    assert heavy.surprise(1e-6 ** (-1 / 2.5) - 1) == pytest.approx(6, abs=1)


@pytest.mark.parametrize(("shape", "n"), [(0.0, 2000), (0.2, 2000), (0.2, 20_000), (0.5, 20_000)])
def test_the_tail_far_beyond_the_joint_is_the_true_one_within_sampling_error(shape: float, n: int):
    """Oracle: scipy's generalized Pareto distribution; the level is passed by a tenth of what passes the joint."""
    level = genpareto.isf(0.002, shape)
    estimates = []
    for seed in range(60):
        held_out = genpareto.rvs(shape, size=n, random_state=seed)
        estimates.append(Calibration.fit(held_out).surprise(level))
    # Counting the rows beyond the level would have this error; a fit of the tail must not be worse.
    error = np.sqrt(1 / (0.002 * n)) / np.log(10)
    assert np.std(estimates) < 1.25 * error
    assert np.mean(estimates) == pytest.approx(-np.log10(0.002), abs=max(4 * error / np.sqrt(60), 0.05))


@pytest.mark.parametrize("shape", [0.0, 0.3, 0.6])
def test_the_moments_give_shape_and_scale_of_a_pareto_tail(shape: float):
    fits = [Calibration.fit(genpareto.rvs(shape, size=50_000, random_state=seed)) for seed in range(20)]
    # A tail of that distribution beyond t has the same shape and the scale 1 + shape * t.
    scales = [fit.scale / (1 + shape * fit.knots[-1]) for fit in fits]
    assert np.mean([fit.shape for fit in fits]) == pytest.approx(shape, abs=0.05)
    assert np.mean(scales) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shape", [-0.2, -0.5, -1.0])
def test_a_tail_that_ends_is_never_said_to_be_rarer_than_it_is(shape: float):
    n, claimed = 5000, 1e-4
    true = []
    for seed in range(60):
        calibration = Calibration.fit(genpareto.rvs(shape, size=n, random_state=seed))
        assert calibration.shape >= 0
        grid = calibration.knots[-1] + calibration.scale * np.linspace(0, 20, 4000)
        true.append(genpareto.sf(np.interp(-np.log10(claimed), calibration.surprise(grid), grid), shape))
    assert np.mean(true) < claimed
    assert np.median(true) < claimed


def test_the_tail_never_ends_although_the_scores_are_bounded():
    calibration = Calibration.fit(np.random.default_rng(2).uniform(size=5000))
    first, second = calibration.surprise([1.5, 1.6])
    assert second > first > calibration.surprise(1.0)


def test_a_value_that_most_rows_share_does_not_make_the_rarer_ones_look_common():
    random = np.random.default_rng(6)
    held_out = np.concatenate([np.zeros(990), random.exponential(size=10) + 1])
    calibration = Calibration.fit(held_out)
    # Ten of 1,000 rows lie above zero, and their median is passed by five.
    assert calibration.probability(np.median(held_out[990:])) == pytest.approx(0.005, rel=0.6)
    assert calibration.probability(np.max(held_out)) < 0.004
    assert calibration.probability(0.0) == pytest.approx(0.505)


def test_scores_of_few_values_have_the_probability_between_above_and_at_least():
    random = np.random.default_rng(7)
    held_out = random.poisson(2, 20_000).astype(float)
    calibration = Calibration.fit(held_out)
    for value in range(5):
        assert np.mean(held_out > value) < calibration.probability(float(value)) < np.mean(held_out >= value)
    assert (np.diff(calibration.surprise(np.arange(30.0))) > 0).all()


def test_severity_is_the_surprise_on_a_scale_of_six():
    calibration = Calibration.fit(np.random.default_rng(3).normal(size=2000))
    raw = np.array([0.0, 2.0, 3.0])
    np.testing.assert_allclose(calibration.severity(raw), 100 * calibration.surprise(raw) / 6)
    assert calibration.severity(1e9) == 100


@pytest.mark.parametrize("held_out", [[1.0], [0.0] * 50, [2.0, 2.0, 3.0], [1.0] * 99 + [5.0], [1.0] + [5.0] * 99])
def test_few_or_equal_scores_still_give_a_scale(held_out: list[float]):
    surprise = Calibration.fit(held_out).surprise([min(held_out) - 1, min(held_out), max(held_out), max(held_out) + 1])
    assert np.isfinite(surprise).all()
    assert surprise[0] < surprise[1] <= surprise[2] < surprise[3]


def test_rows_that_share_the_very_threshold_do_not_flood_it():
    assert np.mean(np.zeros(1000) >= threshold_at(np.zeros(1000), 99)) == 0
    half = np.repeat([1.0, 2.0], 500)
    assert not (half >= threshold_at(half, 99)).any()


def test_calibration_without_scores_is_refused():
    with pytest.raises(ValueError, match="one or more finite scores"):
        Calibration.fit([])
    with pytest.raises(ValueError, match="one or more finite scores"):
        Calibration.fit([1.0, np.nan])


def test_a_large_calibration_keeps_few_knots_and_its_values():
    held_out = np.random.default_rng(5).normal(size=200_000)
    calibration = Calibration.fit(held_out)
    assert len(calibration.knots) <= 4096
    assert calibration.probability(1.0) == pytest.approx(np.mean(held_out > 1.0), rel=0.01)
    again = Calibration.from_arrays(calibration.to_arrays())
    np.testing.assert_array_equal(again.surprise(held_out), calibration.surprise(held_out))
