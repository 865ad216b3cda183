"""A frozen Isolation Forest: its arrays, its scores, its form for saving.

Belongs here: what the arrays mean, what follows from them, and calling the kernels. Does not belong here: growing
(`isolation_forest.py`) and the walk itself (`kernels.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection import kernels
from cxad_pipeline.detection.kernels import Float32Array, FloatArray, IntArray, OffsetArray
from cxad_pipeline.detection.row_ranges import over_rows, table_of
from cxad_pipeline.detection.tree_arrays import check_array, check_nodes, inner_by_level


def average_path_length(n: npt.ArrayLike) -> FloatArray:
    """Mean depth c(n) of an unsuccessful search in a binary search tree of n points.

    Liu, Ting & Zhou (2008), Isolation Forest, eq. 1: c(n) = 2 H(n - 1) - 2 (n - 1) / n with
    H(i) ~ ln(i) + 0.5772; c(2) = 1 and c(n) = 0 below, as scikit-learn has it.
    """
    size = np.asarray(n, dtype=np.float64)
    above = np.maximum(size, 3.0)
    length = 2.0 * (np.log(above - 1.0) + np.euler_gamma) - 2.0 * (above - 1.0) / above
    return np.where(size > 2, length, np.where(size == 2, 1.0, 0.0))


@dataclass(frozen=True, eq=False)
class IsolationTrees:
    """An Isolation Forest, frozen; nodes lie as in `RandomCutTrees`.

    Attributes
    ----------
    offsets
        First node of each tree and the end, (trees + 1,).
    feature, threshold
        The cut: float32 values <= threshold go left; -1 marks a leaf. (nodes,)
    right
        Right child, as position in these arrays; -1 for leaves. (nodes,)
    expected_depth
        Depth at which a training point is isolated, (nodes,). In a leaf: its depth (root 0) plus `average_path_length`
        of its training points. In an inner node: the mean of the leaves below it, weighted by their training points.
    n_features
        Columns that the forest was grown on.
    normal_depth
        `average_path_length` of the sample of one tree: the depth whose score is 0.5.
    """

    offsets: OffsetArray
    feature: IntArray
    threshold: Float32Array
    right: IntArray
    expected_depth: FloatArray
    n_features: int
    normal_depth: float
    _levels: IntArray = field(init=False, repr=False)
    _kernel_arrays: tuple[Any, ...] = field(init=False, repr=False)

    kind: ClassVar[str] = "isolation_forest"

    def __post_init__(self) -> None:
        levels = np.zeros(len(self.offsets) - 1, dtype=np.int32)
        for inner in inner_by_level(self.offsets, self.right):
            levels[np.unique(np.searchsorted(self.offsets, inner, side="right") - 1)] += 1
        leaf = self.right < 0
        nodes = np.zeros(len(leaf), dtype=kernels.ISOLATION_NODE)
        nodes["threshold"] = np.where(leaf, np.nan, self.threshold)
        nodes["feature"] = np.where(leaf, 0, self.feature)
        nodes["right"] = np.where(leaf, np.arange(len(leaf)), self.right)
        object.__setattr__(self, "_levels", levels)
        object.__setattr__(self, "_kernel_arrays", (nodes, np.array(self.expected_depth)))
        object.__setattr__(self, "offsets", np.array(self.offsets))

    @cached_property
    def base_score(self) -> float:
        """Score of the depth that the roots expect, mean over trees: what contributions count from."""
        if self.normal_depth == 0:
            return 0.5
        return float(2.0 ** (-self.expected_depth[self.offsets[:-1]].mean() / self.normal_depth))

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,) in (0, 1), higher = more anomalous: 2 ** (-depth / normal_depth).

        Parameters
        ----------
        X
            Points, (n, n_features), finite; float32 and float64 are taken as they are.
        threads
            Threads for many rows; None for one per processor.
        """
        points = table_of(X, self.n_features)
        depth = np.empty(len(points))

        def run(part: npt.NDArray[Any], rows: slice) -> None:
            kernels.isolation_depths(part, self.offsets, self._levels, *self._kernel_arrays, depth[rows])

        over_rows(run, points, threads)
        if self.normal_depth == 0:  # trees of one point isolate nothing; scikit-learn says 0.5 as well
            return np.full(len(depth), 0.5)
        return np.asarray(2.0 ** (-depth / self.normal_depth))

    def attribution(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Contributions (n, d) that add up to `anomaly_score - base_score`.

        A feature's part is the change of expected depth at the cuts in it, positive where the path gets
        shorter, mean over trees. One factor per row, always positive, takes depths to the scale of the score.

        What a node expects is what SHAP's TreeExplainer takes it to be without background data: Lundberg et al. (2020),
        From local explanations to global understanding with explainable AI for trees, Nature Machine Intelligence 2.
        Its values are means over all orders of the features; these follow the one order of the path.
        """
        points = table_of(X, self.n_features)
        shortening = np.empty(points.shape)

        def run(part: npt.NDArray[Any], rows: slice) -> None:
            kernels.isolation_depth_changes(part, self.offsets, *self._kernel_arrays, shortening[rows])

        over_rows(run, points, threads)
        if self.normal_depth == 0:
            return np.zeros(points.shape)
        # score - base = base (2 ** u - 1) with u the whole shortening in units of the normal depth.
        u = shortening.sum(axis=1) / self.normal_depth
        slope = np.divide(np.expm1(u * np.log(2.0)), u, out=np.full(len(u), np.log(2.0)), where=u != 0)
        return np.asarray(shortening * (self.base_score * slope / self.normal_depth)[:, None])

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The forest as named arrays."""
        return {entry.name: np.asarray(getattr(self, entry.name)) for entry in fields(self) if entry.init}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The forest that `to_arrays` gave.

        Raises
        ------
        ValueError
            If the arrays are no forest.
        """
        read: dict[str, Any] = {entry.name: arrays[entry.name] for entry in fields(cls) if entry.init}
        n_features, normal_depth = int(read.pop("n_features")), float(read.pop("normal_depth"))
        nodes = (len(read["feature"]),)
        check_nodes(read["offsets"], read["feature"], read["right"], n_features)
        check_array("threshold", read["threshold"], np.float32, nodes)
        check_array("expected_depth", read["expected_depth"], np.float64, nodes)
        if not 0 <= normal_depth < np.inf:
            raise ValueError(f"normal_depth is {normal_depth}; a depth is expected")
        return cls(**read, n_features=n_features, normal_depth=normal_depth)
