"""Calibration: thresholds flag what they promise, and surprise never stops rising."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxad_pipeline.detection.calibration import Calibration, threshold_at

scores = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=300)


@settings(max_examples=200, deadline=None)
@given(scores, st.lists(st.floats(-2e6, 2e6, allow_subnormal=False), min_size=2, max_size=50))
def test_surprise_is_monotone_positive_and_finite(held_out: list[float], raw: list[float]):
    calibration = Calibration.fit(held_out)
    surprise = calibration.surprise(np.sort([*raw, *held_out]))
    assert np.isfinite(surprise).all()
    assert (surprise >= 0).all()
    assert (np.diff(surprise) >= -1e-12).all()
    severity = calibration.severity(raw)
    assert ((severity >= 0) & (severity <= 100)).all()


@settings(max_examples=100, deadline=None)
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


def test_the_tail_never_ends_although_the_scores_are_bounded():
    calibration = Calibration.fit(np.random.default_rng(2).uniform(size=5000))
    assert calibration.shape >= 0
    first, second = calibration.surprise([1.5, 1.6])
    assert second > first > calibration.surprise(1.0)


def test_severity_is_the_surprise_on_a_scale_of_six():
    calibration = Calibration.fit(np.random.default_rng(3).normal(size=2000))
    raw = np.array([0.0, 2.0, 3.0])
    np.testing.assert_allclose(calibration.severity(raw), 100 * calibration.surprise(raw) / 6)
    assert calibration.severity(1e9) == 100


@pytest.mark.parametrize("held_out", [[1.0], [0.0] * 50, [2.0, 2.0, 3.0], [1.0] * 99 + [5.0]])
def test_few_or_equal_scores_still_give_a_scale(held_out: list[float]):
    surprise = Calibration.fit(held_out).surprise([min(held_out) - 1, min(held_out), max(held_out), max(held_out) + 1])
    assert np.isfinite(surprise).all()
    assert surprise[0] < surprise[1] <= surprise[2] < surprise[3]


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.5])
def test_the_threshold_flags_the_promised_share_of_fresh_rows(percentile: float):
    random = np.random.default_rng(4)
    n, fresh = 40_000, 40_000
    threshold = threshold_at(random.normal(size=n), percentile)
    share = 1 - percentile / 100
    error = np.sqrt(share * (1 - share) * (1 / n + 1 / fresh))
    assert np.mean(random.normal(size=fresh) >= threshold) == pytest.approx(share, abs=4 * error)


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
