"""Growing the trees of a Random Cut Forest with `rrcf`, and freezing them.

Belongs here: what `rrcf` needs to be given, and turning its trees into arrays. Does not belong here: which points
make a tree (`random_cut_forest.py`) and what follows from the arrays (`random_cut_trees.py`).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.kernels import Float32Array, FloatArray
from cxad_pipeline.detection.random_cut_trees import RandomCutTrees, Scoring
from cxad_pipeline.detection.tree_arrays import concatenate_trees, float32_at_most, inner_by_level

TreeArrays = dict[str, npt.NDArray[Any]]

# `rrcf` rounds to 9 decimals. With coordinates up to 2**10 that loses 1e-12 of the widest column and still
# leaves thousands of doubles between two points that differ, so that a cut can fall between them.
_EXPONENT = 10
ATTEMPTS = 20
"""Seeds that `grow_tree` should be given."""


def grow_tree(sample: Float32Array, seeds: list[int]) -> TreeArrays:
    """Grow one tree.

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
        As `freeze_tree` gives it.

    Raises
    ------
    ValueError
        If no seed gave a tree.
    """
    points = sample.astype(np.float64)
    middle = points.min(axis=0) / 2 + points.max(axis=0) / 2
    centred = points - middle
    # One power of two for all columns is exact and leaves the forest as it is; it makes room for the rounding.
    exponent = int(np.frexp(np.abs(centred).max())[1]) - _EXPONENT
    roomy = np.ldexp(centred, -exponent)
    if (np.round(roomy, 9) == np.round(roomy[0], 9)).all():
        return _single_leaf(sample)
    tree = freeze_tree(_grown(roomy, seeds), sample)
    inner = tree["cut_dimension"] >= 0
    back = np.ldexp(tree["cut_value"], exponent) + middle[tree["cut_dimension"]]
    tree["cut_value"] = np.where(inner, back, 0.0)
    return tree


def _grown(points: FloatArray, seeds: list[int]) -> Any:
    rrcf = _import_rrcf()
    limit = sys.getrecursionlimit()
    failure: ValueError | None = None
    try:
        # `rrcf` recurses once per level, and a tree may have as many levels as points.
        sys.setrecursionlimit(max(limit, 4 * len(points) + 1000))
        for seed in seeds:
            try:
                return rrcf.RCTree(points, index_labels=np.arange(len(points)), random_state=seed)
            except ValueError as error:
                failure = error
    finally:
        sys.setrecursionlimit(limit)
    raise ValueError(
        f"rrcf could not grow a tree on {len(points)} points in {len(seeds)} attempts ({failure}); "
        "do columns differ by more than 12 orders of magnitude?"
    ) from failure


def _import_rrcf() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pkg_resources.*")
        import rrcf
    return rrcf


def freeze_tree(tree: Any, points: Float32Array) -> TreeArrays:
    """Turn an `rrcf.RCTree` into arrays, without recursion.

    Parameters
    ----------
    tree
        An `rrcf.RCTree` whose labels are the row numbers of `points`.
    points
        The training points, (n, d).

    Returns
    -------
    dict
        Nodes in preorder: `cut_dimension`, -1 in leaves; `cut_value` in `rrcf`'s scale; `right`, counted from the
        root, -1 in leaves; `count` and `boxes`, which are those of the leaves and yet to be filled elsewhere.
    """
    rows_of: dict[int, list[int]] = {}
    for row, leaf in tree.leaves.items():
        rows_of.setdefault(id(leaf), []).append(int(row))
    n_nodes = 2 * len(rows_of) - 1
    dimension, cut, right = [-1] * n_nodes, [0.0] * n_nodes, [-1] * n_nodes
    leaves, members = [], []
    stack = [(tree.root, -1)]
    for node in range(n_nodes):
        source, right_of = stack.pop()
        if right_of >= 0:
            right[right_of] = node
        rows = rows_of.get(id(source))
        if rows is None:
            dimension[node], cut[node] = int(source.q), float(source.p)
            stack += [(source.r, node), (source.l, -1)]
        else:
            leaves.append(node)
            members.append(rows)
    arrays = _empty_tree(n_nodes, points.shape[1])
    arrays["cut_dimension"][:], arrays["cut_value"][:], arrays["right"][:] = dimension, cut, right
    sizes = np.array([len(rows) for rows in members])
    arrays["count"][leaves] = sizes
    by_leaf, first = points[np.concatenate(members)], np.cumsum(sizes) - sizes
    arrays["boxes"][leaves, 0] = np.minimum.reduceat(by_leaf, first, axis=0)
    arrays["boxes"][leaves, 1] = np.maximum.reduceat(by_leaf, first, axis=0)
    return arrays


def freeze_forest(trees: Sequence[TreeArrays], centre: FloatArray, scale: float, scoring: Scoring) -> RandomCutTrees:
    """Put trees together and fill in counts and boxes from the leaves up.

    Boxes come from the points and not from `rrcf`, which rounds to 9 decimals. Each cut is moved to lie between
    the two boxes that it parts, so that every training point finds its own leaf in spite of that rounding.

    Parameters
    ----------
    trees
        As `freeze_tree` gives them, their cuts in the scale of the points.
    centre, scale
        Of the points: see `random_cut_trees.RandomCutTrees`.
    scoring
        Which score the forest gives.
    """
    offsets, arrays = concatenate_trees(trees)
    boxes, count = arrays["boxes"], arrays["count"]
    cut = float32_at_most(arrays["cut_value"])
    for inner in reversed(list(inner_by_level(offsets, arrays["right"]))):
        left, right, q = inner + 1, arrays["right"][inner], arrays["cut_dimension"][inner]
        count[inner] = count[left] + count[right]
        boxes[inner, 0] = np.minimum(boxes[left, 0], boxes[right, 0])
        boxes[inner, 1] = np.maximum(boxes[left, 1], boxes[right, 1])
        ceiling = np.nextafter(boxes[right, 0, q], np.float32(-np.inf))
        cut[inner] = np.maximum(np.minimum(cut[inner], ceiling), boxes[left, 1, q])
    return RandomCutTrees(
        centre=centre,
        scale=scale,
        offsets=offsets,
        cut_dimension=arrays["cut_dimension"],
        cut_value=cut,
        right=arrays["right"],
        count=count,
        boxes=boxes,
        scoring=scoring,
    )


def _single_leaf(sample: Float32Array) -> TreeArrays:
    """The tree of a sample whose points are all the same, which `rrcf` cannot cut."""
    arrays = _empty_tree(1, sample.shape[1])
    arrays["count"][0] = len(sample)
    arrays["boxes"][0, 0], arrays["boxes"][0, 1] = sample.min(axis=0), sample.max(axis=0)
    return arrays


def _empty_tree(n_nodes: int, d: int) -> TreeArrays:
    return {
        "cut_dimension": np.full(n_nodes, -1, dtype=np.int32),
        "cut_value": np.zeros(n_nodes),
        "right": np.full(n_nodes, -1, dtype=np.int32),
        "count": np.zeros(n_nodes, dtype=np.int32),
        "boxes": np.zeros((n_nodes, 2, d), dtype=np.float32),
    }
