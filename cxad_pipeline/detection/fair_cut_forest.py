"""Fair-Cut Forest: grown by isotree, frozen, scored by our own kernel.

Belongs here: growing, turning isotree's trees into arrays, their check, and the walk. Does not belong here: the other
forests, whose trees cut one column at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.checks import check_count
from cxad_pipeline.detection.extras import library_of
from cxad_pipeline.detection.frozen import ExplainedByReplacement, check_arrays, points_of
from cxad_pipeline.detection.kernels import FloatArray, IntArray, OffsetArray, compiled
from cxad_pipeline.detection.row_ranges import over_rows
from cxad_pipeline.detection.tree_arrays import check_array, check_nodes, concatenate_trees

_BLOCK_ROWS = 256


@compiled
def _mean_depths(
    points: FloatArray,
    offsets: OffsetArray,
    columns: IntArray,
    weights: FloatArray,
    centres: FloatArray,
    cut_value: FloatArray,
    right: IntArray,
    depth: FloatArray,
    mean_depth: FloatArray,
) -> None:
    """Mean over the trees of the expected depth at which each row is isolated."""
    n_trees = offsets.shape[0] - 1
    n_rows = points.shape[0]
    for first in range(0, n_rows, _BLOCK_ROWS):  # a tree stays in the cache while a block of rows passes through it
        last = min(first + _BLOCK_ROWS, n_rows)
        mean_depth[first:last] = 0.0
        for tree in range(n_trees):
            for row in range(first, last):
                node = offsets[tree]
                while right[node] >= 0:
                    x, y = points[row, columns[node, 0]], points[row, columns[node, 1]]
                    projected = weights[node, 0] * (x - centres[node, 0]) + weights[node, 1] * (y - centres[node, 1])
                    node = node + 1 if projected <= cut_value[node] else right[node]
                mean_depth[row] += depth[node]
        mean_depth[first:last] /= n_trees


@dataclass(frozen=True, eq=False)
class FairCutTrees(ExplainedByReplacement):
    """A Fair-Cut Forest, frozen: trees whose cuts are planes across two columns.

    The nodes of all trees lie one tree after the other, each in preorder: the left child is the next node.

    Attributes
    ----------
    offsets
        First node of each tree and the end, (trees + 1,).
    columns, weights, centres
        The projection sum of weights * (x[columns] - centres), (nodes, 2).
    cut_value
        Rows that are projected to <= this go left. (nodes,)
    right
        The right child, as a position in these arrays; -1 for leaves. (nodes,)
    depth
        Expected depth of isolation, of leaves. (nodes,)
    normal_depth
        The depth whose score is 0.5.
    mean, scale
        Rows are standardized by these, (d,).
    typical
        Median of each feature in training, (d,).
    """

    offsets: OffsetArray
    columns: IntArray
    weights: FloatArray
    centres: FloatArray
    cut_value: FloatArray
    right: IntArray
    depth: FloatArray
    normal_depth: FloatArray
    mean: FloatArray
    scale: FloatArray
    typical: FloatArray

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,) in (0, 1), higher = more anomalous: 2 ** (-depth / normal_depth)."""
        points = np.ascontiguousarray((points_of(X, self.n_features) - self.mean) / self.scale)
        mean_depth = np.empty(len(points))
        arrays: tuple[Any, ...] = (
            self.offsets,
            self.columns,
            self.weights,
            self.centres,
            self.cut_value,
            self.right,
            self.depth,
        )

        def run(part: FloatArray, rows: slice) -> None:
            _mean_depths(part, *arrays, mean_depth[rows])

        over_rows(run, points, threads)
        return np.asarray(2.0 ** (-mean_depth / self.normal_depth))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The forest that `to_arrays` gave.

        Raises
        ------
        ValueError
            If the arrays are no such forest.
        """
        forest = cls(**{entry.name: arrays[entry.name] for entry in fields(cls)})
        nodes, d = len(forest.right), len(forest.typical)
        check_nodes(forest.offsets, np.where(forest.right >= 0, 0, -1).astype(np.int32), forest.right, d)
        check_array("columns", forest.columns, np.int32, (nodes, 2))
        if np.any(forest.columns < 0) or np.any(forest.columns >= d):
            raise ValueError(f"columns outside 0 to {d - 1}")
        for name in ("weights", "centres"):
            check_array(name, getattr(forest, name), np.float64, (nodes, 2))
        check_arrays(nodes, cut_value=forest.cut_value, depth=forest.depth)
        check_arrays(d, mean=forest.mean, scale=forest.scale, typical=forest.typical)
        if forest.normal_depth.shape != () or not 0 < forest.normal_depth < np.inf or np.any(forest.scale <= 0):
            raise ValueError("normal_depth or scale: not above 0")
        return forest


def fit_fair_cut_forest(X: FloatArray, seed: int, *, n_estimators: int = 200, max_samples: int = 256) -> FairCutTrees:
    """Grow a Fair-Cut Forest.

    Each cut is a plane across two random columns, at the place of the largest pooled gain (isotree's ndim=2, ntry=1,
    prob_pick_pooled_gain=1), in trees that grow until every point is alone. Number of trees, rows of one tree, depth
    and normally distributed coefficients are what isotree recommends for this forest.

    isotree writes its trees with six decimals. Rows are standardized first, so that these are enough whatever the
    units; a row very close to a cut may still fall on its other side than in isotree itself.

    Parameters
    ----------
    X
        Training rows, (n, d).
    seed
        Of everything random.
    n_estimators
        Trees.
    max_samples
        Rows of one tree; all where there are fewer.

    Raises
    ------
    MissingExtraError
        If isotree is not installed.
    ValueError
        If a parameter is not as described, or there is one training row alone.

    References
    ----------
    Cortes (2021), Revisiting randomized choices in isolation forests, arXiv:2110.13402.
    """
    isotree = library_of("fcf", "isotree", "isotree")
    n_trees = check_count("n_estimators", n_estimators, 1)
    size = min(check_count("max_samples", max_samples, 2), len(X))
    if size < 2:
        raise ValueError(f"{len(X)} training rows; at least 2 are needed")
    X = np.asarray(X, dtype=np.float64)
    mean, spread = X.mean(axis=0), X.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    grower = isotree.IsolationForest(
        ntrees=n_trees,
        sample_size=size,
        ndim=2,
        ntry=1,
        prob_pick_pooled_gain=1.0,
        max_depth=None,
        coefs="normal",
        missing_action="fail",
        nthreads=1,
        random_seed=seed,
    ).fit(np.ascontiguousarray((X - mean) / scale))
    offsets, arrays = concatenate_trees([_tree_arrays(tree) for tree in grower.to_json()])
    # isotree's normal depth: the mean depth of a leaf in a random tree of as many rows, 2 (H(n) - 1).
    normal_depth = np.asarray(2.0 * (np.sum(1.0 / np.arange(1, size + 1)) - 1.0))
    return FairCutTrees(
        offsets=offsets, **arrays, normal_depth=normal_depth, mean=mean, scale=scale, typical=np.median(X, axis=0)
    )


def _tree_arrays(tree: Mapping[str, Mapping[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    """One of isotree's trees, nodes by number, as arrays of its nodes."""
    n = len(tree)
    columns, weights, centres = np.zeros((n, 2), dtype=np.int32), np.zeros((n, 2)), np.zeros((n, 2))
    right = np.full(n, -1, dtype=np.int32)
    cut_value, depth = np.zeros(n), np.zeros(n)
    for number, node in tree.items():
        place = int(number)
        if node["terminal"] == "yes":
            depth[place] = node["score"]
            continue
        if node["node_when_condition_is_met"] != place + 1:
            raise RuntimeError("isotree no longer numbers the nodes of a tree in preorder; use another version of it")
        right[place] = node["node_when_condition_is_not_met"]
        cut_value[place] = node["value"]
        for part, term in enumerate(node["combination"]):
            columns[place, part] = int(term["column"].removeprefix("column_"))
            weights[place, part], centres[place, part] = term["coefficient"], term["centering"]
    return {
        "columns": columns,
        "weights": weights,
        "centres": centres,
        "cut_value": cut_value,
        "right": right,
        "depth": depth,
    }
