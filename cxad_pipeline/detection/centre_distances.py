"""Models that measure distances to a few points: CBLOF (centres of clusters) and PCA (principal axes).

Belongs here: their scores from frozen points. Does not belong here: how the points are learned (`pyod_model.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.frozen import ExplainedByReplacement, check_arrays, points_of
from cxad_pipeline.detection.kernels import FloatArray


def distances_to(points: FloatArray, centres: FloatArray) -> FloatArray:
    """Euclidean distances (n, m), added up column by column: the same to the bit whatever the number of rows."""
    squares = np.zeros((len(points), len(centres)))
    for column in range(points.shape[1]):
        squares += (points[:, column, None] - centres[None, :, column]) ** 2
    return np.sqrt(squares)


@dataclass(frozen=True, eq=False)
class ClusterDistance(ExplainedByReplacement):
    """CBLOF: the distance to the centre of the nearest large cluster.

    That is the definition, shorter: a row whose nearest centre is that of a large cluster is measured from there, any
    other one from the nearest large one.

    Attributes
    ----------
    centres
        Centres of the large clusters, (m, d).
    typical
        Median of each feature in training, (d,).

    References
    ----------
    He, Xu & Deng (2003), Discovering cluster-based local outliers, Pattern Recognition Letters 24; without the weight
    by the size of the cluster, as PyOD has it.
    """

    centres: FloatArray
    typical: FloatArray

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous; `threads` changes nothing."""
        del threads
        return np.asarray(distances_to(points_of(X, self.n_features), self.centres).min(axis=1))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The model that `to_arrays` gave.

        Raises
        ------
        ValueError
            If the arrays are no such model.
        """
        model = cls(**{entry.name: arrays[entry.name] for entry in fields(cls)})
        if model.centres.ndim != 2 or len(model.centres) == 0:
            raise ValueError(f"centres {model.centres.shape}: expected one or more rows")
        check_arrays(model.n_features, ndim=2, centres=model.centres)
        check_arrays(model.n_features, typical=model.typical)
        return model


@dataclass(frozen=True, eq=False)
class AxisDistance(ExplainedByReplacement):
    """PCA: distances of the standardized row to the ends of the principal axes, each over its share of the variance.

    Attributes
    ----------
    mean, scale
        Of each feature in training, (d,).
    axes
        Unit vectors along the principal axes, (m, d).
    shares
        Shares of the variance along them, (m,), above 0.
    typical
        Median of each feature in training, (d,).

    References
    ----------
    Shyu, Chen, Sarinnapakorn & Chang (2003), A novel anomaly detection scheme based on principal component classifier,
    ICDM workshop; in PyOD's form.
    """

    mean: FloatArray
    scale: FloatArray
    axes: FloatArray
    shares: FloatArray
    typical: FloatArray

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous; `threads` changes nothing."""
        del threads
        distances = distances_to((points_of(X, self.n_features) - self.mean) / self.scale, self.axes)
        score = np.zeros(len(distances))
        for axis, share in enumerate(self.shares):
            score += distances[:, axis] / share
        return score

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The model that `to_arrays` gave.

        Raises
        ------
        ValueError
            If the arrays are no such model.
        """
        model = cls(**{entry.name: arrays[entry.name] for entry in fields(cls)})
        if model.axes.ndim != 2 or len(model.axes) == 0:
            raise ValueError(f"axes {model.axes.shape}: expected one or more rows")
        check_arrays(model.n_features, ndim=2, axes=model.axes)
        check_arrays(model.n_features, mean=model.mean, scale=model.scale, typical=model.typical)
        check_arrays(len(model.axes), shares=model.shares)
        if np.any(model.scale <= 0) or np.any(model.shares <= 0):
            raise ValueError("scale or shares: not above 0")
        return model
