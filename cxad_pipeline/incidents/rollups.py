"""What is counted per segment and window.

Belongs here: sums per cell. Does not belong here: the metrics' scales and tails (`metrics.py`), and what is normal for
a cell (`baselines.py`).

Everything is a sum over contacts, so that a parent is the sum of its leaves, two halves of a window add up to it, and a
store can keep the sums and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.metrics import TAIL_SHARES, MetricRule, Tails
from cxad_pipeline.incidents.segments import SegmentTree
from cxad_pipeline.incidents.windows import Windows

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rollups:
    """Sums per segment and window.

    Attributes
    ----------
    windows
        The windows, t of them.
    contacts, flagged, complaints
        Contacts, those among them that the detector flagged, and those with a complaint, (s, t): one customer who
        complains five times is a single anomaly.
    together
        Contacts of which two metrics together are beyond their threshold, (s, t).
    count, total, squares
        Per metric the values that are there, the sum and sum of squares of the bounded values on the working scale,
        (m, s, t).
    exceedances
        Values beyond each threshold of the bad tail, (m, tails, s, t).
    """

    windows: Windows
    contacts: FloatArray
    flagged: FloatArray
    complaints: FloatArray
    together: FloatArray
    count: FloatArray
    total: FloatArray
    squares: FloatArray
    exceedances: FloatArray

    @classmethod
    def of_contacts(
        cls,
        tree: SegmentTree,
        metrics: Sequence[MetricRule],
        tails: Tails,
        windows: Windows,
        moments: IntegerArray,
        leaf: IntegerArray,
        values: Mapping[str, FloatArray],
        complaints: FloatArray | None = None,
        flagged: npt.NDArray[np.bool_] | None = None,
    ) -> Rollups:
        """Count contacts; those outside the windows are left out.

        Parameters
        ----------
        moments
            Start of each contact, seconds since 1970 UTC, (n,).
        leaf
            Its leaf, (n,).
        values
            Column per metric, (n,), NaN where missing.
        complaints, flagged
            Complaints of each contact (NaN counts as none) and whether it was flagged, (n,); None where not known.
        """
        position = windows.of_moments(moments)
        inside = position >= 0
        shape = (len(tree.leaves), windows.number)
        cell = leaf[inside] * windows.number + position[inside]

        def summed(weights: FloatArray | None) -> FloatArray:
            sums = np.bincount(cell, weights=weights, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
            return over_leaves(tree, sums)

        shape_of_metrics = (len(metrics), len(tree), windows.number)
        count, total, squares = (np.zeros(shape_of_metrics) for _ in range(3))
        exceedances = np.zeros((len(metrics), len(TAIL_SHARES), *shape_of_metrics[1:]))
        for m, metric in enumerate(metrics):
            raw = values[metric.name][inside]
            present = ~np.isnan(raw)
            worked = np.where(present, metric.worked(tails.bounded(m, metric, leaf[inside], raw)), 0.0)
            count[m], total[m], squares[m] = summed(present.astype(float)), summed(worked), summed(worked**2)
            for tail, share in enumerate(TAIL_SHARES):
                exceedances[m, tail] = summed(tails.beyond(m, metric, leaf[inside], raw, share))
        together = tails.together(metrics, leaf[inside], {name: column[inside] for name, column in values.items()})
        nothing = np.zeros(int(inside.sum()))
        return cls(
            windows,
            summed(None),
            summed(nothing if flagged is None else flagged[inside].astype(float)),
            summed(nothing if complaints is None else (complaints[inside] > 0).astype(np.float64)),
            summed(together),
            count,
            total,
            squares,
            exceedances,
        )

    def means(self, metrics: Sequence[MetricRule]) -> FloatArray:
        """What people read of each metric: its mean in its own unit, (m, s, t), NaN where there is no value.

        It is taken on the working scale and of bounded values, as it is tested, so for durations it is near the
        geometric mean: lower than the arithmetic one, and not moved by a single endless call.
        """
        there = self.count > 0
        worked = np.divide(self.total, self.count, out=np.full_like(self.total, np.nan), where=there)
        return np.array([metric.unworked(mean) for metric, mean in zip(metrics, worked, strict=True)])

    def between(self, first: int, stop: int) -> Rollups:
        """The windows at positions `first` to `stop`, half open."""
        arrays = {field.name: getattr(self, field.name)[..., first:stop] for field in fields(self)[1:]}
        return Rollups(self.windows.between(first, stop), **arrays)


def over_leaves(tree: SegmentTree, sums: FloatArray) -> FloatArray:
    """From sums per leaf, (leaves, t), to sums per segment, (s, t)."""
    found = np.empty((len(tree), sums.shape[1]))
    for s, inside in enumerate(tree.members):
        leaves = np.flatnonzero(inside)
        found[s] = sums[leaves[0]] if len(leaves) == 1 else sums[leaves].sum(axis=0)
    return found
