"""Baselines: own history where there is enough, the parents' where not; sums over windows by definition."""

from __future__ import annotations

import numpy as np
import pytest
from incident_examples import MONDAY

from cxad_pipeline.incidents import SegmentTree, Windows
from cxad_pipeline.incidents.baselines import mean_baseline, rate_baseline, stages
from cxad_pipeline.incidents.cusum import (
    ENDED,
    LATELY,
    LEAST_LATELY,
    MEMORY,
    MOST,
    MOST_OF_ONE,
    NOT_BEFORE,
    cusum,
)
from cxad_pipeline.incidents.evidence import Drift, exceedance_evidence, mean_evidence
from cxad_pipeline.incidents.metrics import MetricRule
from cxad_pipeline.incidents.profiles import Expectation, Folds, MeanProfile, RateProfile

TREE = SegmentTree.of(("queue",), [(f"q{i}",) for i in range(8)])
SLOTS = 168
ONE = np.ones((1, 1))


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
    sums, means, lasts = cusum(z, shift, tested, 0.5)
    for s in range(2):
        for t in range(200):
            level, highest, run, steps = 0.0, 0.0, [], []
            for u in range(max(t - MEMORY + 1, 0), t + 1):
                if tested[s, u]:
                    value = min(z[s, u], MOST_OF_ONE)
                    level = min(max(level + value - 0.5, 0.0), MOST)
                    highest = max(highest, level)
                    if level <= highest - ENDED or level == 0:
                        level, highest, run, steps = 0.0, 0.0, [], []
                    else:
                        run, steps = [*run, shift[s, u]], [*steps, (u, value)]
            assert sums[s, t] == pytest.approx(level)
            assert means[s, t] == pytest.approx(np.mean(run) if run else 0.0)
            late = steps[-LATELY:]
            deviates = sum(value for _, value in late) >= LEAST_LATELY * len(late) ** 0.5
            assert lasts[s, t] == (bool(late) and late[0][0] > t - NOT_BEFORE and deviates)
    assert 0.2 < lasts[sums > 0].mean() < 0.95


@pytest.mark.parametrize("worse", [2.0, 3.0, 6.0])
def test_a_drift_calls_no_longer_than_two_windows_after_the_longest_fault_and_goes_on_through_one_ordinary_window(
    worse: float,
) -> None:
    """The sum itself stays up for some windows; each second ordinary window is above its baseline."""
    fault, ordinary = np.full(40, worse), np.tile([0.1, -0.1], 10)
    metric, profile = MetricRule("aht", "high"), MeanProfile(mean_baseline(TREE, 24, *np.ones((2, 9, SLOTS))), ONE, ONE)
    for allowance in (0.5, 1.25):
        for z, high, first, calls in (
            (np.concatenate([fault, ordinary]), slice(38, 41), 42, False),
            (np.concatenate([fault[:20], [0.1], fault]), slice(15, 61), 15, True),
        ):
            cells = np.ones((1, len(z)))
            usual = Expectation(cells, 0 * cells)
            drift = Drift(allowance, 0.0)
            total = 100 * (1 + z * np.sqrt(1 / 100 + 1))[None]
            tested = cells > 0
            _, of_sum = mean_evidence(metric, tested, 100 * cells, total, 3 * cells, usual, profile, {"drift": drift})
            assert of_sum.statistic[0, high].min() > 5
            assert (of_sum.large[0, first:] == calls).all()
            assert calls or (of_sum.statistic[0, 45:] == 0).all()


def test_what_a_sum_found_before_a_closed_night_says_nothing_of_the_morning() -> None:
    z, tested = np.full((1, 36), 3.0), np.ones((1, 36), dtype=bool)
    tested[0, 20:32] = False
    z[0, 32:] = 0.2
    sums, _, lasts = cusum(z, z, tested, 0.5)
    assert sums[0, 32] > 10
    assert lasts[0, :20].all()
    assert not lasts[0, 32:].any()


def test_a_sum_depends_on_the_windows_of_its_memory_alone() -> None:
    """So that windows scored again by themselves say what they said among many."""
    random = np.random.default_rng(5)
    z, shift = random.normal(0.4, 2, size=(3, 300)), random.normal(size=(3, 300))
    tested = random.random((3, 300)) < 0.8
    whole = cusum(z, shift, tested, 0.5)
    first = 200
    part = cusum(*(cells[:, first - MEMORY + 1 :] for cells in (z, shift, tested)), 0.5)
    for all_of_it, some in zip(whole, part, strict=True):
        np.testing.assert_array_equal(all_of_it[:, first:], some[:, MEMORY - 1 :])
    assert (whole[0][:, first:] > 0).any()


def test_two_contacts_beyond_a_threshold_are_not_enough_to_call_however_rare_they_are() -> None:
    k, n = np.array([[2.0, 3.0]]), np.array([[6.0, 6.0]])
    rare = np.full((1, 2), 1e-3)
    profile = RateProfile(mean_baseline(TREE, 24, np.ones((9, SLOTS)), np.ones((9, SLOTS))), np.full((1, 1), 0.01))
    evidence = exceedance_evidence("aht", "far tail", np.ones((1, 2), dtype=bool), k, n, rare, profile)
    assert evidence.large.tolist() == [[False, True]]
    assert (evidence.statistic > 2).all()


def test_windows_of_nothing_but_zero_seconds_are_no_shift_upwards() -> None:
    """A sum of effects may lie below 0 s, where no duration is."""
    metric, cells = MetricRule("hold", "high", logarithmic=True), np.ones((1, 6))
    usual = Expectation(np.full((1, 6), -0.5), np.full((1, 6), 1e-4))
    profile = MeanProfile(mean_baseline(TREE, 24, *np.ones((2, 9, SLOTS))), np.full((1, 1), 0.1), np.full((1, 1), 0.01))
    drifts = {"drift": Drift(0.5, 0.5)}
    tested = cells > 0
    silent = mean_evidence(metric, tested, 20 * cells, 0 * cells, 3 * cells, usual, profile, drifts)
    assert not any(one.large.any() for one in silent if one.kind == "drift")
    assert all(one.statistic.max() < 0.5 for one in silent)
    late = mean_evidence(metric, tested, 20 * cells, 30 * cells, 3 * cells, usual, profile, drifts)
    assert all(one.large.any() and one.statistic.max() > 3 for one in late)


def leaves_of_two_dimensions() -> tuple[SegmentTree, np.ndarray, list[list[int]]]:
    """Two queues and two channels; how much each leaf has of its own; leaf and parents of those that have nothing."""
    names = ("queue", "channel")
    tree = SegmentTree.of(names, [(queue, channel) for queue in "abc" for channel in "xy"])
    weights = np.where(tree.level[:, None] == 2, 0.0, 1e6) * np.ones((len(tree), SLOTS))
    return tree, weights, [[s, *tree.above(s)] for s in np.flatnonzero(tree.level == 2).tolist()]


def test_a_leaf_without_history_is_all_contacts_plus_what_each_of_its_values_adds() -> None:
    tree, weights, places = leaves_of_two_dimensions()
    level = np.array([5.0, 4.0, 5.5, 6.0, 4.5, 5.75, *np.zeros(6)])
    of_day = np.cos(np.arange(SLOTS) / 24 * 2 * np.pi)
    mean = level[:, None] + np.linspace(0.1, 0.5, len(tree))[:, None] * of_day
    baseline = mean_baseline(tree, 24, weights, weights * mean)
    for leaf, queue, channel in places:
        np.testing.assert_allclose(
            baseline.value[leaf], mean[queue] + mean[channel] - mean[0], atol=1e-2, err_msg=str(tree.keys[leaf])
        )
        assert abs(baseline.value[leaf] - mean[queue]).max() > 0.2
        assert (baseline.variance[leaf] >= np.maximum(baseline.variance[queue], baseline.variance[channel])).all()
    # Its own history is what counts where there is some.
    weights[places[0][0]], mean[places[0][0]] = 1e6, 9.0
    assert mean_baseline(tree, 24, weights, weights * mean).value[places[0][0]].mean() == pytest.approx(9.0, abs=0.05)


def test_a_leaf_of_three_dimensions_starts_from_what_its_values_and_each_pair_of_them_add() -> None:
    """Exact where nothing is special to all three together: the sum of the effects of an analysis of variance."""
    random = np.random.default_rng(3)
    tree = SegmentTree.of(("queue", "channel", "language"), [(q, c, n) for q in "ab" for c in "xy" for n in "mn"])
    queue, channel, language, pairs = (random.normal(size=shape) for shape in (2, 2, 2, (3, 2, 2)))
    cells = queue[:, None, None] + channel[:, None] + language
    cells = cells + pairs[0][:, :, None] + pairs[1][:, None] + pairs[2][None]
    of_leaf = cells.reshape(-1)
    mean = (tree.members @ of_leaf / tree.members.sum(axis=1))[:, None] * np.ones(SLOTS)
    weights = np.where(tree.level[:, None] == 3, 0.0, 1e6) * np.ones((len(tree), SLOTS))
    baseline = mean_baseline(tree, 24, weights, weights * mean)
    for leaf in np.flatnonzero(tree.level == 3).tolist():
        expected = of_leaf[np.flatnonzero(tree.members[leaf])[0]]
        np.testing.assert_allclose(baseline.value[leaf], expected, atol=1e-2, err_msg=str(tree.keys[leaf]))


def test_a_rate_without_history_is_that_of_all_contacts_times_the_factor_of_each_value() -> None:
    tree, exposure, places = leaves_of_two_dimensions()
    rate = np.array([0.1, 0.05, 0.2, 0.08, 0.15, 0.06, *np.zeros(6)])
    baseline = rate_baseline(tree, 24, exposure, exposure * rate[:, None])
    for leaf, queue, channel in places:
        np.testing.assert_allclose(baseline.value[leaf], rate[queue] * rate[channel] / rate[0], rtol=1e-2)


def test_a_day_unlike_all_others_is_learned_by_day_and_not_by_night() -> None:
    # On Sundays only e-mails, which take long, are answered between 7 and 21 h; at night it is so every day.
    tree = SegmentTree.of(("queue",), [("a",), ("b",)])
    hour, day = np.arange(168) % 24, np.arange(168) // 24
    sunday = (day == 6) & (hour >= 7) & (hour < 21)
    random = np.random.default_rng(0)
    weights = np.tile(np.where(sunday, 60.0, 200.0), (len(tree), 1))
    truth = np.where(sunday, 0.4, 0.0)
    means = truth + random.normal(size=weights.shape) / np.sqrt(weights)
    baseline = mean_baseline(tree, 24, weights, weights * means)
    assert baseline.value[1:, sunday].mean() > 0.25
    assert np.abs(baseline.value[1:, (day == 6) & ~sunday].mean()) < 0.1
    assert np.abs(baseline.value[1:, day < 6].mean()) < 0.02


@pytest.mark.parametrize("per_day", [1, 2, 3, 4, 6, 12, 24, 96])
def test_stages_pool_as_the_matrices_of_their_weights_do(per_day: int) -> None:
    slots = 7 * per_day
    hour, day = np.arange(slots) % per_day, np.arange(slots) // per_day
    apart = np.abs(hour[:, None] - hour)
    apart = np.minimum(apart, per_day - apart)
    reach = max(4 * per_day // 24, 1)
    weights = [np.ones((slots, slots))]
    if per_day > 1:
        weights += [np.maximum(1 - apart / reach, 0.0), apart == 0]
    same_day = day[:, None] == day
    weights.append(same_day)
    if reach > 1:
        weights.append(np.maximum(1 - np.abs(hour[:, None] - hour) / reach, 0.0) * same_day)
    if per_day > 1:
        weights.append(np.eye(slots))
    cells = np.random.default_rng(per_day).normal(size=(3, slots))
    for pooled, matrix in zip(stages(per_day), weights, strict=True):
        np.testing.assert_allclose(pooled(cells), cells @ matrix, atol=1e-9)
