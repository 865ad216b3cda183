"""Isolation Forest: grown by scikit-learn, frozen, scored by our own kernel.

Belongs here: the estimator, and turning scikit-learn's trees into arrays. Does not belong here: the walk
(`kernels.py`) and the arrays' meaning (`forests.py`).
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.estimator import (
    ForestEstimator,
    check_count,
    check_jobs,
    check_seed,
    checked_training_points,
)
from cxad_pipeline.detection.forests import IsolationTrees, average_path_length, concatenate_trees
from cxad_pipeline.detection.kernels import FloatArray


class IsolationForest(ForestEstimator):
    """Isolation Forest, equal to scikit-learn's and without it when scoring.

    Parameters
    ----------
    n_estimators
        Trees.
    max_samples
        Points of one tree: a number, a share in (0, 1], or `auto` for min(256, n). All where X has fewer.
    max_features
        Columns of one tree: a number, or a share in (0, 1].
    random_state
        Seed; None for a new one each time.
    n_jobs
        Processors to grow with and threads to score with. None grows with one and scores with one thread per
        processor. It never changes a score.

    Attributes
    ----------
    forest_
        The frozen forest.
    n_features_in_
        Columns of X in `fit`.

    Notes
    -----
    `attribution(X)` adds up, in each row, to `anomaly_score(X)` - 0.5: 0.5 is the score of a point that is
    isolated at the average depth, which is what the root expects. A negative contribution says that the
    feature makes the point look more normal than that.

    References
    ----------
    Liu, Ting & Zhou (2008), Isolation Forest, ICDM.
    """

    forest_: IsolationTrees

    def __init__(
        self,
        n_estimators: int = 100,
        max_samples: Literal["auto"] | int | float = "auto",
        max_features: int | float = 1.0,
        random_state: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.max_features = max_features
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Grow the forest.

        Parameters
        ----------
        X
            Points, (n, d), finite and within float32.
        y
            Ignored.

        Raises
        ------
        ValueError
            If an argument or X is not as described.
        """
        del y
        from sklearn.ensemble import IsolationForest as Grower

        n_trees = check_count("n_estimators", self.n_estimators, 1)
        jobs, seed = check_jobs(self.n_jobs), check_seed(self.random_state)
        points = checked_training_points(self._within_float32(X))
        max_samples: str | int = (
            "auto"
            if self.max_samples == "auto"
            else _size_of_share("max_samples", self.max_samples, len(points), "'auto', ")
        )
        max_features = _size_of_share("max_features", self.max_features, points.shape[1], "")
        grower = Grower(
            n_estimators=n_trees, max_samples=max_samples, max_features=max_features, n_jobs=jobs, random_state=seed
        ).fit(points)
        self.forest_ = freeze_forest(grower)
        self.n_features_in_ = points.shape[1]
        return self

    def _checked(self, X: npt.ArrayLike) -> FloatArray:
        return super()._checked(self._within_float32(X))

    @staticmethod
    def _within_float32(X: npt.ArrayLike) -> FloatArray:
        """Refuse what float32, in which scikit-learn grows and compares, cannot hold."""
        points = np.asarray(X, dtype=np.float64)
        limit = float(np.finfo(np.float32).max)
        if points.size and np.any(np.isfinite(points) & (np.abs(points) > limit)):
            raise ValueError(f"X holds {np.nanmax(np.abs(points)):g}; values up to {limit:g} are allowed: scale it")
        return points


def freeze_forest(grower: Any) -> IsolationTrees:
    """Turn a fitted `sklearn.ensemble.IsolationForest` into arrays."""
    trees = []
    for estimator, columns in zip(grower.estimators_, grower.estimators_features_, strict=True):
        tree = estimator.tree_
        inner = tree.feature >= 0
        depth = tree.compute_node_depths() - 1.0  # scikit-learn counts the root as 1
        trees.append(
            {
                "feature": np.where(inner, columns[np.where(inner, tree.feature, 0)], -1).astype(np.int32),
                "threshold": np.where(inner, tree.threshold, 0.0).astype(np.float64),
                "left": tree.children_left,
                "right": tree.children_right,
                "expected_depth": depth + average_path_length(tree.n_node_samples),
            }
        )
    offsets, arrays = concatenate_trees(trees)
    normal_depth = float(average_path_length(grower.max_samples_))
    return IsolationTrees(offsets=offsets, **arrays, n_features=int(grower.n_features_in_), normal_depth=normal_depth)


def _size_of_share(name: str, value: object, whole: int, also: str) -> int:
    """A number of rows or columns that is given as such or as a share of the whole."""
    if isinstance(value, (float, np.floating)) and 0 < value <= 1:
        return max(1, int(value * whole))
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 1:
        return min(int(value), whole)
    raise ValueError(f"{name} is {value!r}; {also}an integer >= 1 or a share in (0, 1] is allowed")
