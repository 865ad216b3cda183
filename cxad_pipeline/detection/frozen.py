"""What every model of the ensemble is once it is fitted: arrays that score rows and say why.

Belongs here: the interface that a detector relies on, and the attribution for models that have none of their own.
Does not belong here: any one model, and the words for reasons (`attribution.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.kernels import FloatArray


class FrozenModel(Protocol):
    """A fitted model as plain arrays.

    A row's score and contributions depend on that row alone, to the bit, never on the rows beside it: files, the API
    and MLflow's pyfunc cut a table differently and must agree.
    """

    @property
    def n_features(self) -> int:
        """Columns that the model was fitted on."""
        ...

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous, finite for finite rows."""
        ...

    def attribution(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Contributions of the features to the scores, (n, d); each model says what they add up to."""
        ...

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The model as named arrays."""
        ...


class ExplainedByReplacement(ABC):
    """What the models share that compare a row with the median row: dataclasses of arrays, one of them `typical`.

    Attributes
    ----------
    typical
        Median of each feature in training, (d,).
    """

    typical: FloatArray

    @property
    def n_features(self) -> int:
        """Columns that the model was fitted on."""
        return len(self.typical)

    @abstractmethod
    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous."""

    def attribution(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Contributions (n, d) that add up to the score minus that of the median row: `attribution_from`."""
        points = points_of(X, self.n_features)
        return attribution_from(self.typical, points, lambda rows: self.anomaly_score(rows, threads))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The model as named arrays."""
        return {entry.name: np.asarray(getattr(self, entry.name)) for entry in fields(cast(Any, self))}


def points_of(X: npt.ArrayLike, n_features: int) -> FloatArray:
    """X as float64 rows (n, n_features), contiguous.

    Raises
    ------
    ValueError
        If it has another shape.
    """
    points = np.ascontiguousarray(X, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != n_features:
        raise ValueError(f"X has shape {points.shape}; the model was fitted on (n, {n_features})")
    return points


def attribution_from(typical: FloatArray, points: FloatArray, score: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Contributions of the features by replacing them, for any score.

    Starting from the typical row, the features take the values of the scored row one after the other, and each is
    given the change of the score at its turn: once in the order of the columns, once in the reverse order, and the mean
    of the two counts. For a score that is a sum over columns that is exact; else it is the Shapley value estimated from
    one pair of opposite orders.

    Parameters
    ----------
    typical
        Row to compare with, (d,): the median of each feature in training.
    points
        Rows to explain, (n, d).
    score
        Scores of rows; called up to 2 d times.

    Returns
    -------
    numpy.ndarray
        (n, d); each row adds up to its score minus the score of the typical row, within rounding.

    References
    ----------
    Strumbelj & Kononenko (2014), Explaining prediction models and individual predictions with feature contributions,
    Knowledge and Information Systems 41. Mitchell, Cooper, Frank & Holmes (2022), Sampling permutations for Shapley
    value estimation, JMLR 23: opposite orders.
    """
    n, d = points.shape
    contributions = np.zeros((n, d))
    at_typical = score(typical[None, :])[0]
    for order in (range(d), range(d - 1, -1, -1)):
        current = np.repeat(typical[None, :], n, axis=0)
        before = np.full(n, at_typical)
        for column in order:
            changed = current[:, column] != points[:, column]
            if changed.any():
                current[changed, column] = points[changed, column]
                after = score(current[changed])
                contributions[changed, column] += (after - before[changed]) / 2.0
                before[changed] = after
    return contributions


def check_arrays(d: int, *, ndim: int = 1, **arrays: npt.NDArray[Any]) -> None:
    """Refuse arrays that are not finite float64 numbers, have another number of axes, or a last one that is not d long.

    Raises
    ------
    ValueError
        For the first array that is not as said.
    """
    for name, array in arrays.items():
        if array.dtype != np.float64 or array.ndim != ndim or array.shape[-1] != d or not np.isfinite(array).all():
            expected = f"({'n, ' * (ndim - 1)}{d})"
            raise ValueError(f"{name}: {array.dtype} {array.shape}, expected finite float64 {expected}")
