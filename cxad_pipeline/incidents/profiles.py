"""What history says about each quantity: its baseline, how much it varies, and both for days left out.

Belongs here: fitting quantities to the calibration period, and cross-fitting: a day's windows are judged by the
baseline of the other days, as a new day will be. Judged by a baseline that they are part of, they would look closer to
it than new ones will, most of all with two weeks of history. Does not belong here: tests (`evidence.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.baselines import DAYS, Baseline, mean_baseline, rate_baseline
from cxad_pipeline.incidents.distributions import (
    beta_binomial_dispersion,
    negative_binomial_dispersion,
    variance_between,
)
from cxad_pipeline.incidents.segments import SegmentTree
from cxad_pipeline.incidents.windows import Windows

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntegerArray = npt.NDArray[np.int64]

MOST_FOLDS = 14
PRIOR_WINDOWS = 30.0
"""So many windows of its own weigh as much as all segments together, where a segment's variance is estimated."""
PRIOR_VALUES = 50.0
LEAST_EXPECTED = 0.5
"""Events that a window has to expect to say how much counts vary: where next to none are, one alone says that they vary
without bounds."""
_LEAST_COUNT = 5
_FIRST_BETWEEN = 0.02
_LEAST_SHARE, _MOST_SHARE = 1e-4, 0.98


@dataclass(frozen=True, eq=False)
class Expectation:
    """What is expected in each cell, and how uncertain that is, (s, t) each."""

    value: FloatArray
    variance: FloatArray


@dataclass(frozen=True, eq=False)
class Folds:
    """Days left out in turn, and how cells are added up by slot of the week.

    Attributes
    ----------
    windows
        The windows, t of them.
    usable
        Cells that teach, (s, t); or (1, t), the same for all segments. Profiles set the others to 0.
    fold
        Number of each window's fold, (t,).
    """

    windows: Windows
    usable: BoolArray
    fold: IntegerArray

    @classmethod
    def of(cls, windows: Windows, usable: BoolArray) -> Folds:
        """One fold per day that teaches, or several days to a fold where there are more than `MOST_FOLDS`.

        Parameters
        ----------
        usable
            Windows that teach, (t,), or cells, (s, t).
        """
        cells = np.atleast_2d(usable)
        _, day = np.unique(windows.day, return_inverse=True)
        teaches = np.bincount(day, cells.any(axis=0)) > 0
        # Days without anything go with the one before them.
        rank = np.maximum(np.cumsum(teaches) - 1, 0)
        return cls(windows, cells, rank[day] % MOST_FOLDS)

    @property
    def number(self) -> int:
        """How many."""
        return int(self.fold.max()) + 1

    def by_slot(self, cells: FloatArray, chosen: BoolArray) -> FloatArray:
        """Sums of the chosen windows by slot of the week, (s, slots)."""
        slots = DAYS * self.windows.per_day
        found = np.zeros((cells.shape[0], slots))
        positions = np.flatnonzero(chosen & self.usable.any(axis=0))
        place = self.windows.slot[positions]
        # Each week is added in one step; where the clock goes back, a slot that comes again starts another one.
        week = np.cumsum(np.diff(place, prepend=-1) <= 0)
        for number in np.unique(week):
            own = week == number
            found[:, place[own]] += cells[:, positions[own]]
        return found

    def expectations(
        self, arrays: tuple[FloatArray, FloatArray], fit: Callable[[FloatArray, FloatArray], Baseline]
    ) -> tuple[Baseline, Expectation]:
        """The baseline of all days, and what the baseline of the other days expects in each cell.

        Parameters
        ----------
        arrays
            Cells to be added up by slot, (s, t) each: what `fit` takes.
        fit
            From sums by slot to a baseline.
        """
        first, second = (
            np.array([self.by_slot(cells, self.fold == f) for f in range(self.number)]) for cells in arrays
        )
        value, variance = np.empty_like(arrays[0]), np.empty_like(arrays[0])
        for f in range(self.number):
            # Not below 0, where a difference of floats would be.
            baseline = fit(np.maximum(first.sum(axis=0) - first[f], 0.0), second.sum(axis=0) - second[f])
            own = np.flatnonzero(self.fold == f)
            value[:, own] = baseline.value[:, self.windows.slot[own]]
            variance[:, own] = baseline.variance[:, self.windows.slot[own]]
        return fit(first.sum(axis=0), second.sum(axis=0)), Expectation(value, variance)


@dataclass(frozen=True, eq=False)
class MeanProfile:
    """A metric's mean on its working scale.

    Attributes
    ----------
    baseline
        Expected mean.
    within, between
        Variance of a value inside its window, and of a window's true mean around the baseline, (s, 1) each.
    """

    baseline: Baseline
    within: FloatArray
    between: FloatArray

    def of_rows(self, rows: IntegerArray) -> MeanProfile:
        """The profiles of segments at some positions."""
        return MeanProfile(self.baseline.of_rows(rows), self.within[rows], self.between[rows])

    def expected(self, windows: Windows) -> Expectation:
        """What is expected in each window."""
        return Expectation(self.baseline.value[:, windows.slot], self.baseline.variance[:, windows.slot])

    @classmethod
    def fit(
        cls,
        tree: SegmentTree,
        folds: Folds,
        count: FloatArray,
        total: FloatArray,
        squares: FloatArray,
        cold: BoolArray | None = None,
    ) -> tuple[MeanProfile, Expectation]:
        """Fit, and give what is expected in each cell of history by the other days; cells are (s, t).

        `cold` is as in `RateProfile.fit`.
        """
        count = count * folds.usable
        there = np.maximum(count, 1)
        inner = np.maximum(squares - total**2 / there, 0) * (count > 0)
        freedom = np.maximum(count - 1, 0)
        pooled = inner[0].sum() / max(freedom[0].sum(), 1)
        own, number = inner.sum(axis=1), freedom.sum(axis=1)
        within = ((own + PRIOR_VALUES * pooled) / (number + PRIOR_VALUES))[:, None]
        within = np.maximum(within, 1e-9)
        mean = total / there
        between = np.full_like(within, _FIRST_BETWEEN * pooled)
        for _ in range(2):
            weights = (count > 0) / (within / there + between)
            baseline, expectation = folds.expectations(
                (weights, weights * mean), lambda W, S: mean_baseline(tree, folds.windows.per_day, W, S)
            )
            squared = (mean - expectation.value) ** 2
            known = within / there + expectation.variance
            between = _per_segment(_warm(count >= _LEAST_COUNT, cold), variance_between, squared, known)
        return cls(baseline, within, between), expectation


@dataclass(frozen=True, eq=False)
class RateProfile:
    """A rate: events per contact or per window.

    Attributes
    ----------
    baseline
        Expected rate.
    dispersion
        Of a window's count around it, (s, 1): rho of a beta-binomial, or that of a negative binomial.
    """

    baseline: Baseline
    dispersion: FloatArray

    def of_rows(self, rows: IntegerArray) -> RateProfile:
        """The profiles of segments at some positions."""
        return RateProfile(self.baseline.of_rows(rows), self.dispersion[rows])

    def expected(self, windows: Windows) -> FloatArray:
        """The rate that is expected in each window, (s, t)."""
        return self.baseline.value[:, windows.slot]

    @classmethod
    def fit(
        cls,
        tree: SegmentTree,
        folds: Folds,
        exposure: FloatArray,
        events: FloatArray,
        share: bool,
        cold: BoolArray | None = None,
    ) -> tuple[RateProfile, FloatArray]:
        """Fit, and give the rates that the other days expect in each cell of history, (s, t).

        Parameters
        ----------
        exposure, events
            Cells, (s, t).
        share
            Whether events are some of the exposure (beta-binomial), or counts without a limit.
        cold
            Segments with too little history, (s,); None says that there are none. They say nothing of how much windows
            vary: what the other days expect of one that is new is far from what it has on its first day.
        """
        exposure = exposure * folds.usable
        events = events * folds.usable
        inflation = np.ones((len(tree), 1))
        for _ in range(2):
            baseline, expectation = folds.expectations(
                (exposure / inflation, events / inflation),
                lambda E, C: rate_baseline(tree, folds.windows.per_day, E, C),
            )
            if share:
                p = as_share(expectation.value)
                telling = _warm(exposure >= _LEAST_COUNT, cold)
                dispersion = _per_segment(telling, beta_binomial_dispersion, events, exposure, p)
                variance = 1 + (np.maximum(exposure, 1) - 1) * dispersion
            else:
                mean = expectation.value * exposure
                telling = _warm(mean >= LEAST_EXPECTED, cold)
                dispersion = _per_segment(telling, negative_binomial_dispersion, events, mean)
                variance = 1 + dispersion * mean
            weight = exposure * expectation.value
            inflation = (weight * variance).sum(axis=1, keepdims=True) / np.maximum(
                weight.sum(axis=1, keepdims=True), 1e-9
            )
            inflation = np.maximum(inflation, 1.0)
        return cls(baseline, dispersion), expectation.value


def as_share(rate: FloatArray) -> FloatArray:
    """A rate brought inside (0, 1)."""
    return np.clip(rate, _LEAST_SHARE, _MOST_SHARE)


def _warm(chosen: BoolArray, cold: BoolArray | None) -> BoolArray:
    """Cells of segments that are not cold, (s, t)."""
    return chosen if cold is None else chosen & ~cold[:, None]


def _per_segment(chosen: BoolArray, estimate: Callable[..., float], *cells: FloatArray) -> FloatArray:
    """An estimate for each segment, drawn towards that of all segments by how few windows there are, (s, 1)."""
    overall = estimate(*(array[chosen] for array in cells))
    number = chosen.sum(axis=1)
    found = np.full((len(chosen), 1), overall)
    for s in np.flatnonzero(number):
        own = estimate(*(array[s, chosen[s]] for array in cells))
        found[s] = (number[s] * own + PRIOR_WINDOWS * overall) / (number[s] + PRIOR_WINDOWS)
    return found
