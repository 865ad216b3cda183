"""The metrics that are watched: their bad end, their working scale, and the tails of their values.

Belongs here: what one value or one contact says. Does not belong here: counts and sums (`rollups.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.segments import SegmentTree
from cxad_pipeline.interactions.schema import Direction

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]

MINUTE = 60.0
"""Durations far below it count on a linear scale, those far above on a logarithmic one, see `MetricRule`."""
FAR, NEAR = 0.03, 0.2
TAIL_SHARES = (FAR, NEAR)
"""Shares of a leaf's contacts beyond its thresholds, at the bad end: the near one is passed by most contacts of a
segment that all wait a little longer, the far one by the few that wait far too long."""
GRID = (0.5, NEAR, 0.1, 0.05, FAR, 0.02, 0.01)
"""Tail shares between which the badness of a value is interpolated."""
JOINT = 0.0075
"""Share of contacts in which two metrics together are beyond their threshold, for each pair: with five metrics, some 4%
of contacts are so in one pair or another."""
LEAST_FOR_QUANTILE = 1000
"""Values from which on a segment has thresholds of its own. With fewer, the share beyond the far one would by chance
differ between history, where it was made to be `FAR`, and what comes after by more than a fifth."""


@dataclass(frozen=True)
class MetricRule:
    """A metric that incidents are looked for in.

    Attributes
    ----------
    name
        Column.
    bad
        Which end is bad.
    logarithmic
        Whether the working scale is log(1 + x / 60 s), as it is for durations: they are close to log-normal (Brown et
        al. 2005, JASA 100), and a fault multiplies them. Without the minute the difference of 0 and 5 seconds of
        waiting would weigh as much as that of one and six minutes.
    """

    name: str
    bad: Direction
    logarithmic: bool = False

    @property
    def sign(self) -> float:
        """1 where high is bad, else -1."""
        return 1.0 if self.bad == "high" else -1.0

    def worked(self, values: FloatArray) -> FloatArray:
        """The values on the working scale, (n,); missing ones stay NaN."""
        return np.log1p(np.maximum(values, 0.0) / MINUTE) if self.logarithmic else values

    def unworked(self, values: FloatArray) -> FloatArray:
        """From the working scale back to the metric's own unit; a baseline below 0 s, which no duration has, is 0 s."""
        return MINUTE * np.expm1(np.maximum(values, 0.0)) if self.logarithmic else values


@dataclass(frozen=True, eq=False)
class Tails:
    """The bad tails of each leaf's values, and of what all metrics of a contact say together.

    Badness of a value is the logarithm of how rare it is at the bad end, from 0 at the median to log 50 for one in a
    hundred, where it ends. A fault that meets some of the contacts moves two metrics or more of the same ones, which no
    metric shows by itself. Every pair of metrics has a threshold of its own for the sum of their badness: transfers and
    effort are bad together every day, handle time and hold are not, and one threshold for the two worst metrics of a
    contact would be set by the former and hide the latter. The pairs' thresholds are those of all contacts, for badness
    is relative to the leaf already, and a leaf has few contacts so far out.

    Attributes
    ----------
    quantiles
        Values beyond which the shares of `GRID` lie, times the metric's sign, (metrics, grid, leaves + 1); the last
        ones are those of all contacts.
    joint
        Sum of the badness of two metrics beyond which the share `JOINT` of all contacts lies, (pairs,).
    """

    quantiles: FloatArray
    joint: FloatArray

    @classmethod
    def fit(
        cls, tree: SegmentTree, metrics: Sequence[MetricRule], leaf: IntegerArray, values: Mapping[str, FloatArray]
    ) -> Tails:
        """Quantiles of each leaf's calibration contacts; of its smallest parent that has enough, where it has too few.

        Parameters
        ----------
        tree, metrics
            What is watched.
        leaf
            Leaf per contact of the calibration period, (n,).
        values
            Column per metric, (n,), NaN where missing.
        """
        levels = [1 - share for share in GRID]
        found = [_quantiles(tree, leaf, metric.sign * values[metric.name], levels) for metric in metrics]
        tails = cls(np.array(found), np.zeros(0))
        sums = tails._sums(metrics, leaf, values)
        return cls(tails.quantiles, np.array([np.quantile(own, 1 - JOINT) for own in sums]))

    def extended(self, more: int) -> Tails:
        """With so many more leaves after the known ones, which have the tails of all contacts."""
        number = self.quantiles.shape[2] - 1
        rows = np.append(np.arange(number), np.full(more + 1, number))
        return Tails(self.quantiles[..., rows], self.joint)

    def beyond(self, m: int, metric: MetricRule, leaf: IntegerArray, values: FloatArray, share: float) -> FloatArray:
        """1 for each value beyond the threshold with that share, else and where it is missing 0; (n,)."""
        return np.asarray(metric.sign * values > self.quantiles[m, GRID.index(share), leaf], dtype=np.float64)

    def bounded(self, m: int, metric: MetricRule, leaf: IntegerArray, values: FloatArray) -> FloatArray:
        """The values, none worse than one in a hundred of its leaf is: no single contact moves a mean far; (n,)."""
        return np.asarray(metric.sign * np.fmin(metric.sign * values, self.quantiles[m, -1, leaf])) + 0.0 * values

    def badness(self, m: int, metric: MetricRule, leaf: IntegerArray, values: FloatArray) -> FloatArray:
        """Badness of each value of a metric, (n,); 0 where it is missing."""
        signed = metric.sign * values
        found = np.zeros(len(leaf))
        for g, step in enumerate(np.diff(-np.log(GRID))):
            low, high = self.quantiles[m, g, leaf], self.quantiles[m, g + 1, leaf]
            part = np.divide(signed - low, high - low, out=(signed > low).astype(np.float64), where=high > low)
            found += step * np.clip(np.nan_to_num(part), 0.0, 1.0)
        return found

    def together(
        self, metrics: Sequence[MetricRule], leaf: IntegerArray, values: Mapping[str, FloatArray]
    ) -> FloatArray:
        """1 for each contact of which two metrics together are beyond their threshold, else 0; (n,)."""
        beyond = np.zeros(len(leaf), dtype=np.bool_)
        for own, threshold in zip(self._sums(metrics, leaf, values), self.joint, strict=True):
            beyond |= own > threshold
        return beyond.astype(np.float64)

    def _sums(
        self, metrics: Sequence[MetricRule], leaf: IntegerArray, values: Mapping[str, FloatArray]
    ) -> Iterator[FloatArray]:
        """Badness of each pair of metrics together, (n,) each."""
        badness = [self.badness(m, metric, leaf, values[metric.name]) for m, metric in enumerate(metrics)]
        for first, second in combinations(badness, 2):
            yield first + second


def _quantiles(tree: SegmentTree, leaf: IntegerArray, values: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Quantiles of the leaves, and last of all contacts, (levels, leaves + 1); NaN where nobody has a value."""
    found = np.full((len(levels), len(tree.leaves) + 1), np.nan)
    order = np.argsort(leaf, kind="stable")
    bounds = np.searchsorted(leaf[order], np.arange(len(tree.leaves) + 1))
    arranged = values[order]
    parts = [arranged[low:high] for low, high in pairwise(bounds)]
    parts = [part[~np.isnan(part)] for part in parts]
    # From the largest segment to the smallest: the last one that has enough is the nearest.
    for s in np.argsort(-tree.members.sum(axis=1), kind="stable"):
        inside = np.flatnonzero(tree.members[s])
        number = sum(len(parts[i]) for i in inside)
        if number >= LEAST_FOR_QUANTILE or (s == 0 and number):
            own = np.quantile(np.concatenate([parts[i] for i in inside]), levels)
            # All contacts come first, and are the only ones to set the last place.
            found[:, [*inside, -1] if s == 0 else inside] = own[:, None]
    return found
