"""Robust Random Cut Forest: grow with `rrcf`, freeze, score exactly.

Belongs here: the estimator, and turning one `rrcf.RCTree` into arrays. Does not belong here: the walk
(`kernels.py`) and the arrays' meaning (`forests.py`).
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.estimator import (
    ForestEstimator,
    check_count,
    check_jobs,
    check_seed,
    checked_training_points,
)
from cxad_pipeline.detection.forests import SCORINGS, RandomCutTrees, Scoring, concatenate_trees
from cxad_pipeline.detection.kernels import FloatArray

TreeArrays = dict[str, npt.NDArray[Any]]

# `rrcf` rounds to 9 decimals. With coordinates up to 2**10 that loses 1e-12 of the widest column and still
# leaves thousands of doubles between two points that differ, so that a cut can fall between them.
_EXPONENT = 10
_ATTEMPTS = 20


class RandomCutForest(ForestEstimator):
    """Robust Random Cut Forest with the exact expected score of inserting a point.

    Each tree is grown by `rrcf` on a random sample and then frozen. The score of a point is the expectation,
    over the random cuts that inserting it could make, of a displacement; no random number is drawn and no tree
    changes. Scale matters: a column is cut in proportion to its range, so bring columns to one scale first.

    Parameters
    ----------
    n_estimators
        Trees.
    tree_size
        Points of one tree; all of them where X has fewer.
    scoring
        `depth`: the form of the AWS forest; in one tree of N points, unseen 1 / (depth + 1), seen
        1 / (depth + log2(n + 1)) damped by 1 - n / (2 N), times log2(N + 1). It ranks better on most data.
        `codisp`: expected collusive displacement, from near 0 to N.
    random_state
        Seed; None for a new one each time.
    n_jobs
        Processes to grow with (joblib) and threads to score with. None grows in this process and scores with
        one thread per processor. It never changes a score.

    Attributes
    ----------
    forest_
        The frozen forest.
    n_features_in_
        Columns of X in `fit`.

    Notes
    -----
    `attribution(X)` adds up to `anomaly_score(X)` in each row. Terms of parting are split by how far the point
    sticks out of a box in each dimension. A point that joins an equal leaf sticks out nowhere there: that
    remainder goes to the dimensions in proportion to what they have already, equally if that is nothing.

    References
    ----------
    Guha, Mishra, Roy & Schrijvers (2016), Robust random cut forest based anomaly detection on streams, ICML.
    """

    forest_: RandomCutTrees

    def __init__(
        self,
        n_estimators: int = 100,
        tree_size: int = 256,
        scoring: Scoring = "depth",
        random_state: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.tree_size = tree_size
        self.scoring = scoring
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Grow the forest.

        Parameters
        ----------
        X
            Points, (n, d), finite.
        y
            Ignored.

        Raises
        ------
        ValueError
            If an argument or X is not as described.
        """
        del y
        from joblib import Parallel, delayed

        n_trees = check_count("n_estimators", self.n_estimators, 1)
        tree_size = check_count("tree_size", self.tree_size, 1)
        if self.scoring not in SCORINGS:
            raise ValueError(f"scoring is {self.scoring!r}; allowed: {', '.join(SCORINGS)}")
        jobs = check_jobs(self.n_jobs)
        seeds = np.random.SeedSequence(check_seed(self.random_state))
        points = checked_training_points(X)
        tasks = []
        for sequence in seeds.spawn(n_trees):
            random = np.random.default_rng(sequence)
            rows = random.choice(len(points), size=min(tree_size, len(points)), replace=False)
            attempts = [int(seed) for seed in random.integers(0, 2**31, size=_ATTEMPTS)]
            tasks.append(delayed(grow_tree)(points[rows], attempts))
        offsets, arrays = concatenate_trees(Parallel(n_jobs=jobs)(tasks))
        self.forest_ = RandomCutTrees(offsets=offsets, **arrays, scoring=self.scoring)
        self.n_features_in_ = points.shape[1]
        return self


def grow_tree(sample: FloatArray, seeds: list[int]) -> TreeArrays:
    """Grow one tree and freeze it.

    Parameters
    ----------
    sample
        Points of the tree, (n, d).
    seeds
        Seed of the tree, and spare ones: where two points differ by next to nothing, `rrcf` may draw a cut on
        the edge of the box, which parts nothing, and fails. Another draw then helps.

    Returns
    -------
    dict
        Arrays of the nodes, as `freeze_tree` gives them.

    Raises
    ------
    ValueError
        If no seed gave a tree.
    """
    middle = (sample.min(axis=0) / 2 + sample.max(axis=0) / 2)[None, :]
    centred = sample - middle
    # One power of two for all columns is exact and leaves the forest as it is; it makes room for the rounding.
    exponent = int(np.frexp(np.abs(centred).max())[1]) - _EXPONENT
    scaled = np.ldexp(centred, -exponent)
    if (np.round(scaled, 9) == np.round(scaled[0], 9)).all():
        return _single_leaf(sample)
    tree = _grown(scaled, seeds)
    return freeze_tree(tree, sample, lambda cut, q: float(np.ldexp(cut, exponent) + middle[0, q]))


def _grown(scaled: FloatArray, seeds: list[int]) -> Any:
    rrcf = _import_rrcf()
    limit = sys.getrecursionlimit()
    failure: ValueError | None = None
    try:
        # `rrcf` recurses once per level, and a tree may have as many levels as points.
        sys.setrecursionlimit(max(limit, 4 * len(scaled) + 1000))
        for seed in seeds:
            try:
                return rrcf.RCTree(scaled, index_labels=np.arange(len(scaled)), random_state=seed)
            except ValueError as error:
                failure = error
    finally:
        sys.setrecursionlimit(limit)
    raise ValueError(
        f"rrcf could not grow a tree on {len(scaled)} points in {len(seeds)} attempts ({failure}); "
        "do columns differ by more than 12 orders of magnitude?"
    ) from failure


def _import_rrcf() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pkg_resources.*")
        import rrcf
    return rrcf


def freeze_tree(tree: Any, points: FloatArray, original_cut: Any = None) -> TreeArrays:
    """Turn an `rrcf.RCTree` into arrays, without recursion.

    Boxes come from the points and not from `rrcf`, which rounds to 9 decimals. Each cut is moved to lie between
    the two boxes that it parts, so that every training point finds its own leaf in spite of that rounding.

    Parameters
    ----------
    tree
        An `rrcf.RCTree` whose labels are the row numbers of `points`.
    points
        The exact training points, (n, d).
    original_cut
        Function of (cut, dimension) that takes a cut back to the scale of `points`; None if it is that scale.

    Returns
    -------
    dict
        `cut_dimension`, `cut_value`, `left`, `right`, `count`, `span`, `lower`, `upper` of the nodes in
        preorder; children count from the root.
    """
    rows_of: dict[int, list[int]] = {}
    for row, leaf in tree.leaves.items():
        rows_of.setdefault(id(leaf), []).append(int(row))
    n_nodes = 2 * len(rows_of) - 1
    arrays = _empty_tree(n_nodes, points.shape[1])
    stack = [(tree.root, -1, "")]
    for node in range(n_nodes):
        source, parent, side = stack.pop()
        if parent >= 0:
            arrays[side][parent] = node
        if id(source) in rows_of:
            members = points[rows_of[id(source)]]
            arrays["count"][node] = len(members)
            arrays["lower"][node], arrays["upper"][node] = members.min(axis=0), members.max(axis=0)
            continue
        q = int(source.q)
        arrays["cut_dimension"][node] = q
        arrays["cut_value"][node] = source.p if original_cut is None else original_cut(source.p, q)
        stack += [(source.r, node, "right"), (source.l, node, "left")]
    for node in range(n_nodes - 1, -1, -1):  # children come after their parents
        q = arrays["cut_dimension"][node]
        if q < 0:
            continue
        left, right = arrays["left"][node], arrays["right"][node]
        arrays["count"][node] = arrays["count"][left] + arrays["count"][right]
        arrays["lower"][node] = np.minimum(arrays["lower"][left], arrays["lower"][right])
        arrays["upper"][node] = np.maximum(arrays["upper"][left], arrays["upper"][right])
        ceiling = np.nextafter(arrays["lower"][right, q], -np.inf)
        arrays["cut_value"][node] = max(min(arrays["cut_value"][node], ceiling), arrays["upper"][left, q])
    arrays["span"] = (arrays["upper"] - arrays["lower"]).sum(axis=1)
    return arrays


def _single_leaf(sample: FloatArray) -> TreeArrays:
    """The tree of a sample whose points are all the same, which `rrcf` cannot cut."""
    arrays = _empty_tree(1, sample.shape[1])
    arrays["count"][0] = len(sample)
    arrays["lower"][0], arrays["upper"][0] = sample.min(axis=0), sample.max(axis=0)
    arrays["span"] = (arrays["upper"] - arrays["lower"]).sum(axis=1)
    return arrays


def _empty_tree(n_nodes: int, d: int) -> TreeArrays:
    return {
        "cut_dimension": np.full(n_nodes, -1, dtype=np.int32),
        "cut_value": np.zeros(n_nodes),
        "left": np.full(n_nodes, -1, dtype=np.int32),
        "right": np.full(n_nodes, -1, dtype=np.int32),
        "count": np.zeros(n_nodes, dtype=np.int32),
        "lower": np.zeros((n_nodes, d)),
        "upper": np.zeros((n_nodes, d)),
    }
