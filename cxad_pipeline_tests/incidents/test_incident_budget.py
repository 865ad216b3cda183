"""What counts as one incident, and thresholds that keep a promise on windows that they have not seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from cxad_pipeline.incidents import Promise, SegmentTree, incidents_of, peaks_of, threshold_for
from cxad_pipeline.incidents.budget import LEAST_THRESHOLD, Unsaid

TREE = SegmentTree.of(("queue", "channel"), [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")])


def position(**values: str) -> int:
    return TREE.keys.index(tuple(values.items()))


def alerts(*cells: tuple[int, int], windows: int = 20) -> np.ndarray:
    found = np.zeros((len(TREE), windows), dtype=bool)
    for segment, window in cells:
        found[segment, window] = True
    return found


def test_neighbouring_windows_and_overlapping_segments_are_one_incident() -> None:
    queue, channel, leaf = position(queue="a"), position(channel="x"), position(queue="a", channel="x")
    assert len(incidents_of(TREE, alerts((queue, 3), (queue, 4), (leaf, 6), (channel, 7), (0, 8)))) == 1
    assert len(incidents_of(TREE, alerts((queue, 3), (queue, 6)))) == 2
    assert len(incidents_of(TREE, alerts((queue, 3), (position(queue="b"), 3)))) == 2
    # joined by a third that overlaps both
    assert len(incidents_of(TREE, alerts((queue, 3), (position(queue="b"), 3), (0, 4)))) == 1
    assert incidents_of(TREE, alerts()) == []


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(float, (len(TREE), 12), elements=st.floats(0, 5, width=16)), st.floats(0, 5))
def test_peaks_are_never_fewer_than_incidents(score: np.ndarray, threshold: float) -> None:
    peaks = peaks_of(TREE, score)
    merged = incidents_of(TREE, score >= threshold)
    assert (peaks.score >= threshold).sum() >= len(merged)
    assert sum(len(windows) for _, windows in merged) == (score >= threshold).sum()


def test_a_lower_cell_nearby_is_no_peak_of_its_own() -> None:
    score = np.full((len(TREE), 20), np.nan)
    queue, leaf, other = position(queue="a"), position(queue="a", channel="x"), position(queue="b")
    score[queue, 5], score[leaf, 7], score[leaf, 8], score[other, 6] = 4.0, 3.0, 2.0, 1.0
    peaks = peaks_of(TREE, score)
    assert list(zip(peaks.segment.tolist(), peaks.window.tolist(), strict=True)) == [(queue, 5), (other, 6)]
    assert peaks_of(TREE, np.where(score == 3.0, np.nan, score)).score.tolist() == [4.0, 2.0, 1.0]


@settings(max_examples=300, deadline=None)
@given(
    hnp.arrays(float, st.integers(0, 60), elements=st.sampled_from([0.5, 1.0, 1.5]) | st.floats(0, 5)),
    st.floats(20, 70),
)
def test_no_more_peaks_than_allowed_reach_a_threshold_that_is_counted_off(peaks: np.ndarray, allowed: float) -> None:
    threshold = threshold_for(peaks, allowed)
    assert (peaks >= threshold).sum() <= allowed
    # and it is the lowest of its kind: a little lower it is one too many, or one that calls nobody
    lower = np.nextafter(threshold, -np.inf)
    assert threshold == LEAST_THRESHOLD or (peaks >= lower).sum() > allowed or len(peaks) <= allowed


def test_a_peak_at_the_threshold_calls_and_so_counts() -> None:
    peaks = np.arange(100, 0, -1.0)
    for allowed in (20.0, 20.5, 25.0, 99.5):
        assert (peaks >= threshold_for(peaks, allowed)).sum() == int(allowed)
    assert threshold_for(np.array([2.0]), 0.5) > 2.0
    assert threshold_for(np.full(21, 2.0), 5) > 2.0
    assert threshold_for(np.array([2.0]), 1.0) == 2.0


def test_the_threshold_has_as_many_peaks_above_as_are_allowed() -> None:
    peaks = np.sort(np.random.default_rng(0).exponential(size=500))[::-1]
    assert (peaks >= threshold_for(peaks, 50)).sum() == 50
    assert (peaks >= threshold_for(peaks, 8)).sum() == pytest.approx(8, abs=3)
    assert threshold_for(peaks, 0.1) > peaks[0]
    assert threshold_for(np.zeros(0), 3) == LEAST_THRESHOLD


@pytest.mark.parametrize("per_week", [1.0, 5.0, 20.0])
def test_the_promise_is_kept_in_the_weeks_after_in_nearly_all_cases(per_week: float) -> None:
    """Peaks of an unknown rate: the threshold is set on two weeks, the next four are counted."""
    random = np.random.default_rng(7)
    promise, weeks, kept, number = Promise(per_week), 2.0, 0, 2_000
    for _ in range(number):
        history = random.exponential(size=random.poisson(60 * weeks))
        later = random.exponential(size=random.poisson(60 * promise.weeks))
        kept += (later >= threshold_for(history, promise.allowed(weeks))).sum() <= per_week * promise.weeks
    assert kept / number >= 0.95
    # without the margin it is kept in about every second case
    bare = Promise(per_week, confidence=0)
    assert bare.allowed(weeks) == per_week * weeks
    assert promise.allowed(weeks) < bare.allowed(weeks)


@pytest.mark.parametrize(("number", "share", "left"), [(0, 0.0, 8), (3, 0.5, 5), (9, 0.5, 4), (9, 1.0, 0.5)])
def test_what_nobody_spoke_of_costs_at_most_what_quiet_weeks_have(number: int, share: float, left: float) -> None:
    assert Unsaid(number, share).left_of(8.0) == left
    assert Unsaid(9, 1.0).left_of(0.002) == 0.002, "little is not made more"


def test_calibration_after_calibration_with_every_call_left_out_the_threshold_stays() -> None:
    """Each week four weeks of peaks are calibrated on; what called in the last two is left out, for nobody speaks."""
    random, allowed = np.random.default_rng(3), Promise(5.0).allowed(4.0)
    weeks, called, thresholds, of_everything = [], [], [2.0], []
    for _ in range(400):
        weeks.append(random.exponential(size=random.poisson(60)))
        called.append(weeks[-1] >= thresholds[-1])
        if len(weeks) >= 4:
            rest = [peaks[~said] for peaks, said in zip(weeks[-2:], called[-2:], strict=True)]
            unsaid = Unsaid(int(np.concatenate(called[-2:]).sum()), 0.5)
            thresholds.append(threshold_for(np.concatenate([*weeks[-4:-2], *rest]), unsaid.left_of(allowed)))
            of_everything.append(threshold_for(np.concatenate(weeks[-4:]), allowed))
    # If they cost nothing it is lower by a half.
    assert np.mean(thresholds[-200:]) == pytest.approx(np.mean(of_everything[-200:]), abs=0.1)


def test_what_is_allowed_is_the_greatest_number_for_which_the_promise_holds() -> None:
    promise = Promise(5.0, weeks=4.0, confidence=0.97)
    c, weeks = promise.allowed(2.0), 2.0
    random = np.random.default_rng(0)
    drawn = random.poisson(4.0 * random.gamma(c + 0.5, 1 / weeks, size=400_000))
    assert (drawn > 20).mean() == pytest.approx(0.03, abs=0.002)
    assert stats.nbinom.sf(20, c + 0.5, weeks / (weeks + 4.0)) == pytest.approx(0.03, rel=1e-6)


def test_more_history_allows_more_of_it() -> None:
    promise = Promise(5.0)
    shares = [promise.allowed(weeks) / (5 * weeks) for weeks in (1, 2, 4, 12, 52, 5_200)]
    assert shares == sorted(shares)
    # Of endless history the rate would be known: that with which a Poisson number exceeds 20 so seldom.
    assert shares[-1] == pytest.approx(stats.gamma.ppf(1 - promise.confidence, 21) / 20, rel=0.01)


@pytest.mark.parametrize("bad", [{"per_week": 0}, {"per_week": 5, "weeks": 0}, {"per_week": 5, "confidence": 1}])
def test_an_impossible_promise_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="promise"):
        Promise(**bad)
