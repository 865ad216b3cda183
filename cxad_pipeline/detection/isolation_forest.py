"""Isolation Forest: grown by scikit-learn, frozen, scored by our own kernel.

Belongs here: the estimator, and turning scikit-learn's trees into arrays. Does not belong here: the walk
(`kernels.py`) and the arrays' meaning (`isolation_trees.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.checks import (
    check_contamination,
    check_count,
    check_jobs,
    check_seed,
    checked_training_points,
)
from cxad_pipeline.detection.estimator import Contamination, ForestEstimator
from cxad_pipeline.detection.isolation_trees import IsolationTrees, average_path_length
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.tree_arrays import concatenate_trees, float32_at_most, inner_by_level

CutScale: TypeAlias = Literal["linear", "asinh"]


class IsolationForest(ForestEstimator):
    """Isolation Forest, equal to scikit-learn's (with `cut_scale` `linear`) and without it when scoring.

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
    contamination
        Share of the training rows that `predict` calls outliers, in (0, 0.5], or `auto`: scores above 0.5, that
        of a point isolated at the average depth, as in the paper and in scikit-learn.
    cut_scale
        Scale on which cuts are drawn uniformly: `linear`, as in the paper, or `asinh`, which is linear around 0 and
        logarithmic far from it, for columns centred at 0 and scaled. On a linear scale most cuts fall into the empty
        stretch before a far value, and few into the bulk. It changes where cuts are likely and nothing else: scores are
        those of a linear forest grown on arcsinh(X).

    Attributes
    ----------
    forest_
        The frozen forest.
    offset_
        What `decision_function` takes from `score_samples`.
    n_features_in_
        Columns of X in `fit`.

    Notes
    -----
    `attribution(X)` adds up, in each row, to `anomaly_score(X) - forest_.base_score`: the base score is that of a point
    that is isolated at the depth which the roots expect, the mean over the training points of the trees. A negative
    contribution says that the feature makes the point look more normal than that.

    References
    ----------
    Liu, Ting & Zhou (2008), Isolation Forest, ICDM. Burbidge, Magee & Robb (1988), Alternative transformations to
    handle extreme values of the dependent variable, JASA 83(401), for asinh.
    """

    forest_: IsolationTrees

    def __init__(
        self,
        n_estimators: int = 100,
        max_samples: Literal["auto"] | int | float = "auto",
        max_features: int | float = 1.0,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        contamination: Contamination = "auto",
        cut_scale: CutScale = "linear",
    ) -> None:
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.max_features = max_features
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.contamination = contamination
        self.cut_scale = cut_scale

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
        jobs = check_jobs(self.n_jobs)
        check_contamination(self.contamination)
        if self.cut_scale not in get_args(CutScale):
            raise ValueError(f"cut_scale is {self.cut_scale!r}; allowed: {', '.join(get_args(CutScale))}")
        bent = self.cut_scale == "asinh"
        # A generator goes to scikit-learn as it is, which draws from it what it would without us.
        random = self.random_state
        seed = random if isinstance(random, np.random.RandomState) else check_seed(random)
        points = self._within_float32(checked_training_points(X))
        max_samples: str | int = (
            "auto"
            if self.max_samples == "auto"
            else _size_of_share("max_samples", self.max_samples, len(points), "'auto', ")
        )
        max_features = _size_of_share("max_features", self.max_features, points.shape[1], "")
        grower = Grower(
            n_estimators=n_trees, max_samples=max_samples, max_features=max_features, n_jobs=jobs, random_state=seed
        ).fit(np.arcsinh(points) if bent else points)
        self.forest_ = freeze_forest(grower, np.sinh if bent else None)
        self._keep_columns(X, points)
        self._set_offset(points, -0.5)
        return self

    def _checked(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        return self._within_float32(super()._checked(X))

    @staticmethod
    def _within_float32(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Refuse what float32, in which scikit-learn grows and compares, cannot hold."""
        limit = float(np.finfo(np.float32).max)
        if points.dtype == np.float64 and points.size:
            extreme = max(float(points.max()), -float(points.min()))
            if extreme > limit:
                raise ValueError(f"X holds a value of size {extreme:g}; up to {limit:g} is allowed: scale it")
        return points


def freeze_forest(grower: Any, original: Callable[[FloatArray], FloatArray] | None = None) -> IsolationTrees:
    """Turn a fitted `sklearn.ensemble.IsolationForest` into arrays.

    Parameters
    ----------
    grower
        The fitted forest.
    original
        Increasing function that takes a cut back to the scale of the points to score; None if it is that scale.
    """
    trees = []
    for estimator, columns in zip(grower.estimators_, grower.estimators_features_, strict=True):
        tree = estimator.tree_
        inner = np.flatnonzero(tree.feature >= 0)
        if not np.array_equal(tree.children_left[inner], inner + 1):
            raise ValueError("scikit-learn's trees are not in preorder; this release of it is not supported")
        feature, threshold = np.full(tree.node_count, -1, dtype=np.int32), np.zeros(tree.node_count, dtype=np.float32)
        feature[inner] = columns[tree.feature[inner]]
        cut = tree.threshold[inner]
        threshold[inner] = float32_at_most(cut if original is None else original(cut))
        depth = tree.compute_node_depths() - 1.0  # scikit-learn counts the root as 1
        trees.append(
            {
                "feature": feature,
                "threshold": threshold,
                "right": tree.children_right,
                "expected_depth": depth + average_path_length(tree.n_node_samples),
                "count": tree.n_node_samples,
            }
        )
    offsets, arrays = concatenate_trees(trees)
    count, expected = arrays.pop("count"), arrays["expected_depth"]
    # From the leaves up, an inner node expects what its children do: the mean depth of the training points below it.
    for inner in reversed(list(inner_by_level(offsets, arrays["right"]))):
        left, right = inner + 1, arrays["right"][inner]
        expected[inner] = (count[left] * expected[left] + count[right] * expected[right]) / count[inner]
    normal_depth = float(average_path_length(grower.max_samples_))
    return IsolationTrees(offsets=offsets, **arrays, n_features=int(grower.n_features_in_), normal_depth=normal_depth)


def _size_of_share(name: str, value: object, whole: int, also: str) -> int:
    """A number of rows or columns that is given as such or as a share of the whole."""
    if isinstance(value, (float, np.floating)) and 0 < value <= 1:
        return max(1, int(value * whole))
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 1:
        return min(int(value), whole)
    raise ValueError(f"{name} is {value!r}; {also}an integer >= 1 or a share in (0, 1] is allowed")
