"""What is normal for each segment at each time of the week: shrunken means and rates.

Belongs here: the estimates and how uncertain they are. Does not belong here: what deviates from them.

A baseline is built in stages, each shrunk by as much as the data say (empirical Bayes: the variance of the effects
between cells is estimated by moments, after DerSimonian & Laird 1986). It starts from the parents: all contacts, plus
what each of the segment's values adds to that, plus what each pair of them adds to those. Then follow the segment's own
level, its profile over the day smoothed over neighbouring hours, the single hour of the day, the day of the week, that
day's own profile, smoothed, and last the single hour of the week, of which two weeks of history hold two observations.
An hour with nothing of its own is left with what the stages before gave it.

The cells of a stage may be alike but for a few: five days of the week are, and on the sixth only half of the channels
are open. What such a cell says clearly is not taken for noise, however small the variance of the others is: the effect
is then shrunk by little at most (limited translation: Efron & Morris 1972, JASA 67).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.segments import SegmentTree

FloatArray = npt.NDArray[np.float64]

DAYS = 7
CLEAR, MOST_WITHHELD = 3.0, 1.0
"""An effect of a mean of more than so many standard errors is shrunk by so many at most."""
_TINY = 1e-12


Pooled = Callable[[FloatArray], FloatArray]
"""From cells by slot of the week to what a stage takes together around each slot, (s, slots) both."""


def stages(per_day: int) -> Iterator[Pooled]:
    """What each stage takes together, with weights of 0 to 1 that are the same both ways.

    Sums over days and hours, and not products with matrices of (slots, slots): for hundreds of segments these would be
    most of the work, and on a busy machine the threads of a matrix product wait for one another.
    """

    # Three hours to either side at most, whatever the length of a window.
    reach = max(4 * per_day // 24, 1)

    def by_day(cells: FloatArray) -> FloatArray:
        return cells.reshape(len(cells), DAYS, per_day)

    def whole(cells: FloatArray) -> FloatArray:
        return np.repeat(cells.sum(axis=1, keepdims=True), DAYS * per_day, axis=1)

    def around_the_hour(cells: FloatArray) -> FloatArray:
        hours = by_day(cells).sum(axis=1)
        pooled = hours.copy()
        for apart in range(1, min(reach, per_day // 2 + 1)):
            sides = np.roll(hours, apart, axis=1)
            if 2 * apart != per_day:  # else both sides are the same hour
                sides = sides + np.roll(hours, -apart, axis=1)
            pooled += (1.0 - apart / reach) * sides
        return np.tile(pooled, DAYS)

    def hour_of_day(cells: FloatArray) -> FloatArray:
        return np.tile(by_day(cells).sum(axis=1), DAYS)

    def around_the_hour_of_week(cells: FloatArray) -> FloatArray:
        days = by_day(cells)
        pooled = days.copy()
        for apart in range(1, reach):  # a day ends at midnight: no way round
            pooled[..., apart:] += (1.0 - apart / reach) * days[..., :-apart]
            pooled[..., :-apart] += (1.0 - apart / reach) * days[..., apart:]
        return pooled.reshape(cells.shape)

    def day_of_week(cells: FloatArray) -> FloatArray:
        return np.repeat(by_day(cells).sum(axis=2), per_day, axis=1)

    yield whole
    if per_day > 1:
        yield around_the_hour
        yield hour_of_day
    yield day_of_week
    if reach > 1:
        yield around_the_hour_of_week
    if per_day > 1:
        yield lambda cells: cells


@dataclass(frozen=True, eq=False)
class Baseline:
    """An estimate per segment and slot of the week, and its variance, (s, slots) each."""

    value: FloatArray
    variance: FloatArray

    def of_rows(self, rows: npt.NDArray[np.int64]) -> Baseline:
        """The baselines of segments at some positions."""
        return Baseline(self.value[rows], self.variance[rows])


def mean_baseline(tree: SegmentTree, per_day: int, weights: FloatArray, weighted: FloatArray) -> Baseline:
    """Baseline of window means, by addition.

    Parameters
    ----------
    tree
        The segments.
    per_day
        Windows of a day.
    weights
        Sum over the windows of a slot of 1 / (variance of the window's mean), (s, slots).
    weighted
        Sum of the means times these weights, (s, slots).
    """
    value, variance, added = np.zeros_like(weights), np.zeros_like(weights), np.zeros_like(weights)
    pools = list(stages(per_day))
    for level in np.unique(tree.level).tolist():
        own = np.flatnonzero(tree.level == level)
        start, uncertain = _from_parents(tree, own, value[0], added, variance)
        base = start
        W, R = weights[own], weighted[own] - weights[own] * base
        for number, pooled in enumerate(pools):
            pooled_W, pooled_R = pooled(W), pooled(R)
            there = pooled_W > _TINY
            effect = np.divide(pooled_R, pooled_W, out=np.zeros_like(R), where=there)
            # Each cell counts in proportion to the weight that it has itself: where there are no contacts, no effect
            # has to be explained.
            if level == 0 and number == 0:
                between = np.inf
            else:
                between = max(float((W * (pooled_W * effect**2 - 1))[there].sum()), 0.0) / max(
                    float((W * pooled_W)[there].sum()), _TINY
                )
            noise = np.divide(1.0, pooled_W, out=np.full_like(W, np.inf), where=there)
            base, uncertain, effect = _shrunk(base, uncertain, effect, noise, between)
            R = R - W * effect
        value[own], variance[own], added[own] = base, uncertain, base - start
    return Baseline(value, variance)


def rate_baseline(tree: SegmentTree, per_day: int, exposure: FloatArray, events: FloatArray) -> Baseline:
    """Baseline of rates (events per exposure), by multiplication: each stage is a gamma-Poisson posterior mean.

    Parameters
    ----------
    exposure
        Contacts (for shares) or windows (for volumes) per segment and slot, divided by the overdispersion, (s, slots).
    events
        Events, divided by the overdispersion, (s, slots).

    Returns
    -------
    Baseline
        Rates, and the variance of their logarithm.
    """
    value, variance, added = np.zeros_like(exposure), np.zeros_like(exposure), np.zeros_like(exposure)
    pools = list(stages(per_day))
    for level in np.unique(tree.level).tolist():
        own = np.flatnonzero(tree.level == level)
        E, C = exposure[own], events[own]
        if level == 0:
            # Half an event more than were seen: a rate is never 0.
            rate = (C.sum() + 0.5) / max(E.sum(), 1.0)
            start, uncertain = np.full(E.shape, rate), np.full(E.shape, 1 / (C.sum() + 0.5))
        else:
            start, uncertain = _from_parents(tree, own, np.log(value[0]), added, variance)
            start = np.exp(start)
        base = start
        for number, pooled in enumerate(pools):
            if level == 0 and number == 0:
                continue
            expected, seen = pooled(E * base), pooled(C)
            there = expected > _TINY
            weight = E * base
            noise_free = np.divide((seen - expected) ** 2 - expected, expected, out=np.zeros_like(E), where=there)
            between = max(float((weight * noise_free).sum()), 0.0) / max(float((weight * expected).sum()), _TINY)
            if between <= _TINY:
                continue
            prior = 1 / between
            factor = (seen + prior) / (expected + prior)
            # The posterior is Gamma(seen + prior): the variance of its logarithm is about one over that.
            share = expected / (expected + prior)
            uncertain = (1 - share) ** 2 * (uncertain + between) + share**2 / np.maximum(expected, _TINY)
            base = base * factor
        value[own], variance[own], added[own] = base, uncertain, np.log(base / start)
    return Baseline(value, variance)


def _from_parents(
    tree: SegmentTree, own: npt.NDArray[np.int64], everyone: FloatArray, added: FloatArray, variance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Where segments start from: all contacts, plus what each segment above them added to where it started from."""
    if tree.level[own[0]] == 0:
        return np.zeros_like(added[own]), np.zeros_like(variance[own])
    above = [tree.above(s) for s in own.tolist()]
    base = np.array([everyone + added[parents].sum(axis=0) for parents in above])
    uncertain = np.array([variance[[0, *parents]].max(axis=0) for parents in above])
    return base, uncertain


def _shrunk(
    base: FloatArray, uncertain: FloatArray, effect: FloatArray, noise: FloatArray, between: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Add an effect, shrunk by between / (between + noise) or less; the variance of the sum goes with it."""
    there = np.isfinite(noise)
    own = np.where(there, noise, 0.0)
    if np.isinf(between):
        share = there.astype(np.float64)
        return base + share * effect, (1 - share) * uncertain + own, share * effect
    share = np.where(there, between / (between + noise), 0.0)
    size = np.abs(effect)
    least = 1 - MOST_WITHHELD * np.sqrt(own) / np.maximum(size, _TINY)
    share = np.where(there & (size > CLEAR * np.sqrt(own)), np.maximum(share, least), share)
    return base + share * effect, (1 - share) ** 2 * (uncertain + between) + share**2 * own, share * effect
