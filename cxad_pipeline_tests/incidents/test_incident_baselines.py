"""Baselines: own history where there is enough, the parents' where not; sums over windows by definition."""

from __future__ import annotations

import numpy as np
import pytest
from incident_examples import MONDAY

from cxad_pipeline.incidents import SegmentTree, Windows
from cxad_pipeline.incidents.baselines import mean_baseline, rate_baseline
from cxad_pipeline.incidents.cusum import MOST, MOST_OF_ONE, cusum
from cxad_pipeline.incidents.evidence import exceedance_evidence
from cxad_pipeline.incidents.profiles import Expectation, Folds, MeanProfile, RateProfile

TREE = SegmentTree.of(("queue",), [(f"q{i}",) for i in range(8)])
SLOTS = 168


def test_a_segment_with_much_history_follows_its_own_and_one_with_little_its_parent() -> None:
    random = np.random.default_rng(0)
    weights = np.full((9, SLOTS), 50.0)
    weights[3] = 1e-4
    level = np.array([0.0, *np.linspace(-1, 1, 8)])
    mean = level[:, None] + random.normal(size=(9, SLOTS)) / np.sqrt(weights)
    baseline = mean_baseline(TREE, 24, weights, weights * mean)
    for s in (1, 8):
        assert baseline.value[s].mean() == pytest.approx(level[s], abs=0.03)
    assert abs(baseline.value[3] - baseline.value[0]).max() < 0.3
    assert baseline.variance[3].min() > 5 * baseline.variance[1].max()


def test_an_hour_without_contacts_takes_its_neighbours_value_and_noise_is_smoothed_away() -> None:
    random = np.random.default_rng(1)
    profile = np.tile(np.sin(np.arange(24) / 24 * 2 * np.pi), 7)
    weights = np.full((9, SLOTS), 4.0)
    weights[:, 10::24] = 0.0
    mean = profile + random.normal(size=(9, SLOTS)) * 0.5
    baseline = mean_baseline(TREE, 24, weights, weights * mean)
    error = np.sqrt(((baseline.value - profile) ** 2)[:, np.arange(SLOTS) % 24 != 10].mean())
    assert error < 0.25
    assert abs(baseline.value[:, 10::24] - profile[10]).max() < 0.4


def test_rates_are_learned_per_segment_and_never_zero() -> None:
    random = np.random.default_rng(2)
    exposure = np.full((9, SLOTS), 40.0)
    rate = np.array([0.1, *np.linspace(0.05, 0.2, 8)])
    events = random.poisson(exposure * rate[:, None]).astype(float)
    exposure[5], events[5] = 0.5, 0.0
    baseline = rate_baseline(TREE, 24, exposure, events)
    for s in (1, 8):
        own = events[s].sum() / exposure[s].sum()
        assert baseline.value[s].mean() == pytest.approx(own, rel=0.03)
    assert (baseline.value > 0).all()


def test_no_day_takes_part_in_what_is_expected_of_it() -> None:
    windows = Windows(MONDAY, 14 * 24)
    random = np.random.default_rng(3)
    count = np.full((9, windows.number), 20.0)
    total = count * random.normal(5, 0.3, size=count.shape)
    squares = total**2 / count + 19 * 0.2
    folds = Folds.of(windows, np.ones(windows.number, dtype=bool))
    day = slice(4 * 24, 5 * 24)
    weights = np.ones_like(count)

    def fit(W: np.ndarray, S: np.ndarray) -> object:
        return mean_baseline(TREE, 24, W, S)

    _, before = folds.expectations((weights, total / count), fit)
    other = total / count
    other[:, day] += 10
    _, after = folds.expectations((weights, other), fit)
    np.testing.assert_allclose(after.value[:, day], before.value[:, day], atol=1e-9)
    assert abs(after.value[:, 0:24] - before.value[:, 0:24]).max() > 0.1
    profile, _ = MeanProfile.fit(TREE, folds, count, total, squares)
    np.testing.assert_allclose(profile.within, 0.2, rtol=0.01)
    np.testing.assert_allclose(profile.between, 0.09 - 0.01, rtol=0.35)


def test_sums_over_windows_are_those_of_the_recursion() -> None:
    random = np.random.default_rng(4)
    z, shift = random.normal(0.3, 2, size=(2, 200)), random.normal(size=(2, 200))
    tested = random.random((2, 200)) < 0.8
    sums, means = cusum(z, shift, tested, 0.5)
    for s in range(2):
        level, run = 0.0, []
        for t in range(200):
            if tested[s, t]:
                level = min(max(level + min(z[s, t], MOST_OF_ONE) - 0.5, 0.0), MOST)
                run = [*run, shift[s, t]] if level > 0 else []
            assert sums[s, t] == pytest.approx(level)
            assert means[s, t] == pytest.approx(np.mean(run) if run else 0.0)


def test_two_contacts_beyond_a_threshold_are_not_enough_to_call_however_rare_they_are() -> None:
    k, n = np.array([[2.0, 3.0]]), np.array([[6.0, 6.0]])
    rare = Expectation(np.full((1, 2), 1e-3), np.zeros((1, 2)))
    profile = RateProfile(mean_baseline(TREE, 24, np.ones((9, SLOTS)), np.ones((9, SLOTS))), np.full((1, 1), 0.01))
    evidence = exceedance_evidence("aht", "far tail", np.ones((1, 2), dtype=bool), k, n, rare, profile)
    assert evidence.large.tolist() == [[False, True]]
    assert (evidence.statistic > 2).all()
