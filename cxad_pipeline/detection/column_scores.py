"""Models whose score is a sum over the columns: ECOD, COPOD, HBOS.

Belongs here: such a score as a step function of each column, frozen. Does not belong here: how the steps are learned
(`pyod_model.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.frozen import ExplainedByReplacement, check_arrays, points_of
from cxad_pipeline.detection.kernels import FloatArray, OffsetArray


@dataclass(frozen=True)
class Steps:
    """A step function of one column that may have another value at a breakpoint than beside it.

    Attributes
    ----------
    breakpoints
        Ascending, (m,).
    gaps
        Values below the first breakpoint, between each two, and above the last, (m + 1,).
    at
        Values at the breakpoints, (m,).
    """

    breakpoints: FloatArray
    gaps: FloatArray
    at: FloatArray


@dataclass(frozen=True, eq=False)
class ColumnScores(ExplainedByReplacement):
    """A sum of step functions, one for each column.

    Attributes
    ----------
    offsets
        First breakpoint of each column and the end, (d + 1,).
    breakpoints
        Those of all columns, one column after the other, (b,).
    values
        Of each column gap, breakpoint, gap, ..., gap, (2 b + d,).
    typical
        Median of each feature in training, (d,).
    """

    offsets: OffsetArray
    breakpoints: FloatArray
    values: FloatArray
    typical: FloatArray

    @classmethod
    def of(cls, columns: Sequence[Steps], typical: FloatArray) -> Self:
        """Put the functions of all columns together."""
        values = []
        for steps in columns:
            mixed = np.empty(2 * len(steps.breakpoints) + 1)
            mixed[0::2], mixed[1::2] = steps.gaps, steps.at
            values.append(mixed)
        offsets = np.concatenate([[0], np.cumsum([len(steps.breakpoints) for steps in columns])]).astype(np.int64)
        breakpoints = np.concatenate([steps.breakpoints for steps in columns])
        return cls(offsets, breakpoints, np.concatenate(values), typical)

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous; `threads` changes nothing."""
        del threads
        points = points_of(X, self.n_features)
        score = np.zeros(len(points))
        for column in range(self.n_features):  # one after the other: the same sum whatever the number of rows
            score += self._values(column, points[:, column])
        return score

    def attribution(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Contributions (n, d) that add up to the score minus that of the median row.

        Each is the value of its column's function minus its value at the column's median.
        """
        del threads
        points = points_of(X, self.n_features)
        contributions = np.empty(points.shape)
        for column in range(self.n_features):
            own = self._values(column, points[:, column])
            contributions[:, column] = own - self._values(column, self.typical[column : column + 1])
        return contributions

    def _values(self, column: int, x: FloatArray) -> FloatArray:
        first, end = self.offsets[column], self.offsets[column + 1]
        breakpoints = self.breakpoints[first:end]
        # 2 k in the gap before breakpoint k, 2 k + 1 at it
        place = np.searchsorted(breakpoints, x, side="left") + np.searchsorted(breakpoints, x, side="right")
        return np.asarray(self.values[2 * first + column + place])

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The model that `to_arrays` gave.

        Raises
        ------
        ValueError
            If the arrays are no such model.
        """
        model = cls(**{entry.name: arrays[entry.name] for entry in fields(cls)})
        d, b = len(model.typical), len(model.breakpoints)
        check_arrays(d, typical=model.typical)
        check_arrays(b, breakpoints=model.breakpoints)
        check_arrays(2 * b + d, values=model.values)
        offsets = model.offsets
        if offsets.dtype != np.int64 or offsets.shape != (d + 1,) or offsets[0] != 0 or offsets[-1] != b:
            raise ValueError("offsets: not the borders of the columns")
        if np.any(np.diff(offsets) < 1):
            raise ValueError("offsets: a column without a breakpoint")
        if any(np.any(np.diff(model.breakpoints[first:end]) < 0) for first, end in pairwise(offsets)):
            raise ValueError("breakpoints: not ascending")
        return model
