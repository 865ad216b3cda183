"""A sum over hours forgets a fault that has ended, also over a closed night, and no drift that goes on."""

from __future__ import annotations

import numpy as np
import pytest
from incident_examples import MONDAY, Centre

from cxad_pipeline.incidents import Promise, SegmentTree
from cxad_pipeline.incidents.baselines import mean_baseline
from cxad_pipeline.incidents.cusum import cusum
from cxad_pipeline.incidents.evidence import LEAST_AFFECTED, Drift, mean_evidence
from cxad_pipeline.incidents.metrics import MetricRule
from cxad_pipeline.incidents.monitor import DRIFTS
from cxad_pipeline.incidents.profiles import Expectation, MeanProfile

SEGMENTS, DAY = 2_000, 24
OPENS, CLOSES = 8, 20
FAULTS = tuple(
    (day, hour, "abc"[(number + hour) % 3])
    for number, day in enumerate((15, 18, 22, 25, 29, 32, 36, 39))
    for hour in (10, 15)
)
"""Tuesdays and Fridays after the two weeks that teach; some end an hour before the night, some long before it."""


def is_open(windows: int) -> np.ndarray:
    hour = np.arange(windows) % DAY
    return (hour >= OPENS) & (hour < CLOSES)


def mornings(z: np.ndarray, allowance: float) -> np.ndarray:
    """Which segments a sum would call on the second day, (s, hours of it)."""
    sums, _, goes_on = cusum(z, z, np.broadcast_to(is_open(z.shape[1]), z.shape), allowance)
    return ((sums > 5) & goes_on & (z > 0))[:, DAY + OPENS : DAY + CLOSES]


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS)
@pytest.mark.parametrize("begins", [10, 13, 16])
def test_a_fault_of_four_hours_is_forgotten_by_the_next_day(begins: int, drift: Drift) -> None:
    """By the laws of ordinary hours alone, in 2,000 segments: what is left is what a few hours in a hundred do."""
    z = np.random.default_rng(begins).normal(size=(SEGMENTS, 2 * DAY))
    z[:, begins : begins + 4] += 6
    assert mornings(z, drift.allowance).any(axis=1).mean() < 0.04


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS)
def test_a_drift_that_goes_on_calls_again_in_the_third_hour_after_the_night(drift: Drift) -> None:
    z = np.random.default_rng(0).normal(size=(SEGMENTS, 2 * DAY)) + 2.5
    calls = mornings(z, drift.allowance)
    assert not calls[:, :2].any(), "what was found before the night says nothing of the morning"
    assert calls[:, 2].mean() > 0.85
    assert calls[:, 2:6].any(axis=1).mean() > 0.98


def test_a_drift_needs_as_many_bad_contacts_in_its_window_as_a_shift() -> None:
    cells = np.ones((2, 12))
    tree = SegmentTree.of(("queue",), [("a",)])
    profile = MeanProfile(mean_baseline(tree, DAY, *np.ones((2, 2, 168))), np.ones((1, 1)), np.ones((1, 1)))
    beyond = np.full((2, 12), float(LEAST_AFFECTED))
    beyond[0] -= 1
    metric, usual = MetricRule("aht", "high"), Expectation(cells, 0 * cells)
    found = mean_evidence(metric, cells > 0, 5 * cells, 40 * cells, beyond, usual, profile, DRIFTS)
    assert [one.kind for one in found] == ["shift", *DRIFTS]
    for one in found:
        assert one.large.any(axis=1).tolist() == [False, True]


def closed_at_night(seed: int) -> Centre:
    always = Centre(seed=seed)
    return always.without(~is_open(always.windows.number)[(always.moments - MONDAY) // 3_600])


def longer(centre: Centre, times: float, first: int, stop: int, queue: str) -> Centre:
    other = centre.without(np.zeros(len(centre.moments), dtype=bool))
    rows = other.inside(first, stop, queue=queue)
    other.columns["aht"] = np.where(rows, times * other.columns["aht"], other.columns["aht"])
    return other


def test_hardly_a_fault_of_four_hours_calls_on_the_two_days_after_it() -> None:
    found, again = 0, []
    for seed in range(3):
        centre = closed_at_night(seed)
        monitor, tails = centre.monitor(), centre.tails()
        threshold = monitor.threshold(Promise(5.0))
        before = monitor.test(centre.rollups(tails)).alerts(threshold)
        for day, hour, queue in FAULTS:
            first, begin, stop = (day - 2) * DAY, day * DAY + hour, (day + 3) * DAY
            rollups = longer(centre, 2.0, begin, begin + 4, queue).rollups(tails).between(first, stop)
            caused = monitor.test(rollups).alerts(threshold) & ~before[:, first:stop]
            found += bool(caused[:, begin - first : begin + 4 - first].any())
            if caused[:, 3 * DAY :].any():
                again.append((seed, day, hour, queue))
    assert found > 0.9 * 3 * len(FAULTS)
    assert len(again) <= 0.05 * 3 * len(FAULTS), again


@pytest.mark.parametrize("queue", ["a", "b"])
def test_a_slow_drift_calls_on_each_of_its_days(queue: str) -> None:
    centre, days = closed_at_night(0), (15, 16, 17, 18)
    monitor = centre.monitor()
    first, stop = (days[0] - 2) * DAY, (days[-1] + 1) * DAY
    slow = longer(centre, 1.35, days[0] * DAY, stop, queue)
    findings = monitor.test(slow.rollups(centre.tails()).between(first, stop))
    inside = centre.tree.overlap[centre.tree.keys.index((("queue", queue),))]
    called = findings.alerts(monitor.threshold(Promise(5.0)))[inside]
    drifts = np.any([one.large for one in findings.evidence if one.kind in DRIFTS], axis=0)[inside]
    for day in days:
        hours = slice(day * DAY - first, (day + 1) * DAY - first)
        assert called[:, hours].any(), day
        assert drifts[:, hours].any(), day
