"""Models that compare a row with the nearest rows of a training sample: KNN and LOF.

Belongs here: the search, which is exact and compiled, and the two scores. Does not belong here: what is learned from
the sample (`pyod_model.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.frozen import ExplainedByReplacement, check_arrays, points_of
from cxad_pipeline.detection.kernels import FloatArray, OffsetArray, compiled, compiled_freely
from cxad_pipeline.detection.row_ranges import over_rows

Distance = Literal["largest", "mean", "median"]
DISTANCES: tuple[Distance, ...] = ("largest", "mean", "median")

LEAST_DENSITY = 1e-10
"""Added to mean distances before they are inverted, as scikit-learn does: neighbours may be equal."""


@compiled_freely
def _squared_distance(x: FloatArray, y: FloatArray) -> float:
    total = 0.0
    for j in range(x.shape[0]):
        total += (x[j] - y[j]) * (x[j] - y[j])
    return total


@compiled
def _nearest(points: FloatArray, sample: FloatArray, distances: FloatArray, positions: OffsetArray) -> None:
    """Squared distances and positions of the k nearest sample rows, nearest first; of equals the earlier one."""
    k = distances.shape[1]
    for row in range(points.shape[0]):
        for place in range(k):
            distances[row, place] = np.inf
            positions[row, place] = 0
        for position in range(sample.shape[0]):
            distance = _squared_distance(points[row], sample[position])
            if distance < distances[row, k - 1]:
                place = k - 1
                while place > 0 and distances[row, place - 1] > distance:
                    distances[row, place] = distances[row, place - 1]
                    positions[row, place] = positions[row, place - 1]
                    place -= 1
                distances[row, place] = distance
                positions[row, place] = position


def nearest(points: FloatArray, sample: FloatArray, k: int, threads: int | None) -> tuple[FloatArray, OffsetArray]:
    """The k nearest sample rows of each row: Euclidean distances and positions, (n, k) each, nearest first."""
    distances, positions = np.empty((len(points), k)), np.empty((len(points), k), dtype=np.int64)

    def run(part: FloatArray, rows: slice) -> None:
        _nearest(part, sample, distances[rows], positions[rows])

    over_rows(run, points, threads)
    return np.asarray(np.sqrt(distances)), positions


def mean_over_columns(values: FloatArray) -> FloatArray:
    """Mean of each row, added up column by column: the same to the bit whatever the number of rows."""
    total = np.zeros(len(values))
    for column in range(values.shape[1]):
        total += values[:, column]
    return np.asarray(total / values.shape[1])


@dataclass(frozen=True, eq=False)
class NeighbourDistance(ExplainedByReplacement):
    """KNN: the distance to the nearest training rows.

    Attributes
    ----------
    sample
        Training rows, (m, d).
    n_neighbors
        How many of them, at most m.
    distance
        Which of their distances counts: the `largest`, the `mean` or the `median`.
    typical
        Median of each feature in the sample, (d,).
    """

    sample: FloatArray
    n_neighbors: int
    distance: Distance
    typical: FloatArray

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous."""
        distances, _ = nearest(points_of(X, self.n_features), self.sample, self.n_neighbors, threads)
        if self.distance == "largest":
            return distances[:, -1].copy()
        return mean_over_columns(distances) if self.distance == "mean" else np.asarray(np.median(distances, axis=1))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The model as named arrays."""
        return {
            "sample": self.sample,
            "n_neighbors": np.asarray(self.n_neighbors),
            "distance": np.asarray(DISTANCES.index(self.distance)),
            "typical": self.typical,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The model that `to_arrays` gave.

        Raises
        ------
        ValueError
            If the arrays are no such model.
        """
        code = int(arrays["distance"])
        if not 0 <= code < len(DISTANCES):
            raise ValueError(f"distance code {code}; allowed: 0 to {len(DISTANCES) - 1}")
        model = cls(arrays["sample"], int(arrays["n_neighbors"]), DISTANCES[code], arrays["typical"])
        _check_sample(model.sample, model.n_neighbors, model.typical)
        return model


@dataclass(frozen=True, eq=False)
class LocalOutlierFactor(ExplainedByReplacement):
    """LOF: how much denser the neighbours of a row lie than the row itself.

    A row is compared with the training sample and never with other scored rows ("novelty" in scikit-learn).

    Attributes
    ----------
    sample
        Training rows, (m, d).
    n_neighbors
        How many of them, below m.
    reach
        Distance of each training row to its n_neighbors-th nearest other one, (m,).
    density
        Local reachability density of each training row, (m,).
    typical
        Median of each feature in the sample, (d,).

    References
    ----------
    Breunig, Kriegel, Ng & Sander (2000), LOF: identifying density-based local outliers, SIGMOD, definitions 3 to 7.
    """

    sample: FloatArray
    n_neighbors: int
    reach: FloatArray
    density: FloatArray
    typical: FloatArray

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous; about 1 where a row lies as densely as its neighbours."""
        distances, positions = nearest(points_of(X, self.n_features), self.sample, self.n_neighbors, threads)
        own = 1.0 / (mean_over_columns(np.maximum(distances, self.reach[positions])) + LEAST_DENSITY)
        return mean_over_columns(self.density[positions]) / own

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The model that `to_arrays` gave.

        Raises
        ------
        ValueError
            If the arrays are no such model.
        """
        k = int(arrays["n_neighbors"])
        model = cls(arrays["sample"], k, arrays["reach"], arrays["density"], arrays["typical"])
        _check_sample(model.sample, k, model.typical)
        check_arrays(len(model.sample), reach=model.reach, density=model.density)
        if np.any(model.density <= 0) or np.any(model.reach < 0):
            raise ValueError("reach or density: out of range")
        return model


def _check_sample(sample: npt.NDArray[Any], n_neighbors: int, typical: npt.NDArray[Any]) -> None:
    """Refuse what would lead the kernel out of bounds: it does not look."""
    if sample.ndim != 2 or typical.ndim != 1:
        raise ValueError(f"sample {sample.shape}, typical {typical.shape}: expected a table and a row")
    check_arrays(sample.shape[1], ndim=2, sample=sample)
    check_arrays(sample.shape[1], typical=typical)
    if not sample.flags.c_contiguous or not 1 <= n_neighbors <= len(sample):
        raise ValueError(f"{n_neighbors} neighbours in a sample of {len(sample)}")
