"""Compiled passes over frozen trees.

Belongs here: the numba functions that walk the nodes of a forest for a block of rows, and how they are compiled.
Does not belong here: threads (`row_ranges.py`), validation, and what the arrays mean to a user
(`random_cut_trees.py`, `isolation_trees.py`).

Each row's sum runs over the trees in their order and nothing is added up across rows, so a result is the same to
the bit whichever rows come along with it. Trees run in the outer loop over a block of rows, so that the boxes of
one tree (256 points, 18 dimensions: 100 kB) stay in the cache while the block passes through it; the points of the
block in float32 (4,096 rows: 400 kB) must fit there as well, which `row_ranges.over_rows` sees to. The left child
of a node is the next node. All that a walk needs of a node but its box lies in one record, since looking at one
more array costs a single row more than what is in it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import numba
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
OffsetArray = npt.NDArray[np.int64]
Nodes = npt.NDArray[np.void]

LANES = 32
"""Rows that go down one isolation tree side by side: each waits for its own loads, together they do not."""
FAR = 1e30
"""Coordinates are clipped here, in units of the training data's extent: sums over columns stay within float32."""

RANDOM_CUT_NODE = np.dtype(
    [
        ("cut_dimension", np.int32),  # -1 in leaves
        ("cut_value", np.float32),
        ("right", np.int32),
        ("span", np.float64),
        ("parted_depth", np.float64),
        ("parted_codisp", np.float64),
        ("joined_depth", np.float64),
        ("joined_codisp", np.float64),
    ],
    align=True,
)
ISOLATION_NODE = np.dtype(
    [
        ("threshold", np.float32),  # NaN in leaves, which nothing is below of, ...
        ("feature", np.int32),
        ("right", np.int32),  # ... and the leaf itself: a walk that has arrived stays where it is
        ("spare", np.int32),
    ]
)


def compiled(function: Callable[..., Any], fastmath: bool | set[str] = False) -> Callable[..., Any]:
    """Compile on first call, keep the machine code on disk, release the GIL while it runs.

    Where no folder can be written to (a read-only installation and no home), each process compiles for itself,
    which takes it some seconds; one warning says so.
    """
    try:
        kernel = numba.njit(cache=True, nogil=True, fastmath=fastmath)(function)
    except RuntimeError:
        _say_that_nothing_is_kept()
        kernel = numba.njit(nogil=True, fastmath=fastmath)(function)
    return cast(Callable[..., Any], kernel)


@cache
def _say_that_nothing_is_kept() -> None:
    warnings.warn(
        "no folder to keep compiled code in: each process compiles for itself, which takes seconds. Set "
        "NUMBA_CACHE_DIR to a folder that can be written to",
        RuntimeWarning,
        stacklevel=3,
    )


def compiled_freely(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, and sums may be taken in another order: one chain of additions would wait for itself.

    That order is fixed when the kernel is compiled and depends on nothing but the number of columns.
    """
    return compiled(function, fastmath={"reassoc", "nsz"})


@compiled
def _outside(x: float, lower: float, upper: float) -> float:
    """Distance of a number from an interval; zero inside."""
    below, above = lower - x, x - upper
    distance = below if below > above else above
    return distance if distance > 0.0 else 0.0


@compiled_freely
def _distance_outside(x: Float32Array, box: Float32Array) -> np.float32:
    """L1 distance of a point from a box, in float32; zero inside."""
    zero = np.float32(0.0)
    distance = zero
    for j in range(x.shape[0]):
        below = box[0, j] - x[j]
        above = x[j] - box[1, j]
        side = below if below > above else above
        distance += side if side > zero else zero
    return distance


@compiled
def _scaled_points(X: FloatArray | Float32Array, centre: FloatArray, scale: float, width: int) -> Float32Array:
    """Rows in the centre and scale of a forest, padded; `random_cut_trees.scaled` is the same in numpy."""
    points = np.zeros((X.shape[0], width), dtype=np.float32)
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            # Halves first: the difference of two doubles may overflow, that of their halves does not.
            value = (0.5 * np.float64(X[i, j]) - 0.5 * centre[j]) * (2.0 * scale)
            points[i, j] = np.float32(min(max(value, -FAR), FAR))
    return points


@compiled
def random_cut_scores(
    X: FloatArray | Float32Array,
    centre: FloatArray,
    scale: float,
    offsets: OffsetArray,
    nodes: Nodes,
    boxes: Float32Array,
    depth_score: FloatArray,
    codisp_score: FloatArray,
) -> None:
    """Expected depth form and expected collusive displacement of inserting each row, mean over trees.

    Parameters
    ----------
    X
        Points, (n, d), of a few thousand rows.
    centre, scale, offsets
        Of the forest, as `random_cut_trees.RandomCutTrees` has them.
    nodes
        Of type `RANDOM_CUT_NODE`, (nodes,): the cut, the span of the box, and what a point adds to either
        score that parts from all below the node, or that joins a leaf.
    boxes
        Lower and upper bounds, padded with zeros to a width that vector registers like, (nodes, 2, width).
    depth_score, codisp_score
        Output, (n,).
    """
    n_rows, n_trees = X.shape[0], offsets.shape[0] - 1
    points = _scaled_points(X, centre, scale, boxes.shape[2])
    for i in range(n_rows):
        depth_score[i] = 0.0
        codisp_score[i] = 0.0
    for t in range(n_trees):
        for i in range(n_rows):
            x = points[i]
            node = offsets[t]
            reached = 1.0  # chance that the point has not parted above this node
            by_depth = 0.0
            by_codisp = 0.0
            while True:
                outside = np.float64(_distance_outside(x, boxes[node]))
                dimension = nodes[node].cut_dimension
                if dimension < 0:
                    break
                parts = reached * (outside / (outside + nodes[node].span))
                by_depth += parts * nodes[node].parted_depth
                by_codisp += parts * nodes[node].parted_codisp
                reached -= parts
                node = node + 1 if x[dimension] <= nodes[node].cut_value else np.int64(nodes[node].right)
            if outside > 0.0:
                by_depth += reached * nodes[node].parted_depth
                by_codisp += reached * nodes[node].parted_codisp
            else:
                by_depth += reached * nodes[node].joined_depth
                by_codisp += reached * nodes[node].joined_codisp
            depth_score[i] += by_depth
            codisp_score[i] += by_codisp
    for i in range(n_rows):
        depth_score[i] /= n_trees
        codisp_score[i] /= n_trees


@compiled
def random_cut_attribution(
    X: FloatArray | Float32Array,
    centre: FloatArray,
    scale: float,
    offsets: OffsetArray,
    nodes: Nodes,
    boxes: Float32Array,
    by_codisp: bool,
    parted: FloatArray,
    joined: FloatArray,
) -> None:
    """The terms of `random_cut_scores`, split over the dimensions that the point sticks out in.

    Parameters
    ----------
    X, centre, scale, offsets, nodes, boxes
        As in `random_cut_scores`.
    by_codisp
        Whether to split the displacement, and not the depth form.
    parted
        Output, (n, d): terms of parting, by E_j / E.
    joined
        Output, (n,): terms of joining an equal leaf, which no dimension sticks out in.
    """
    n_rows, n_trees, d = X.shape[0], offsets.shape[0] - 1, X.shape[1]
    points = _scaled_points(X, centre, scale, boxes.shape[2])
    for i in range(n_rows):
        joined[i] = 0.0
        for j in range(d):
            parted[i, j] = 0.0
    for t in range(n_trees):
        for i in range(n_rows):
            x = points[i]
            node = offsets[t]
            reached = 1.0
            while True:
                outside = np.float64(_distance_outside(x, boxes[node]))
                dimension = nodes[node].cut_dimension
                if outside > 0.0:
                    parts = reached
                    if dimension >= 0:
                        parts = reached * (outside / (outside + nodes[node].span))
                    whole = 0.0  # again in float64, that the shares add up to one
                    for j in range(d):
                        whole += _outside(np.float64(x[j]), boxes[node, 0, j], boxes[node, 1, j])
                    term = parts * (nodes[node].parted_codisp if by_codisp else nodes[node].parted_depth)
                    for j in range(d):
                        share = _outside(np.float64(x[j]), boxes[node, 0, j], boxes[node, 1, j]) / whole
                        parted[i, j] += term * share
                    reached -= parts
                elif dimension < 0:
                    term = nodes[node].joined_codisp if by_codisp else nodes[node].joined_depth
                    joined[i] += reached * term
                if dimension < 0:
                    break
                node = node + 1 if x[dimension] <= nodes[node].cut_value else np.int64(nodes[node].right)
    for i in range(n_rows):
        joined[i] /= n_trees
        for j in range(d):
            parted[i, j] /= n_trees


@compiled
def isolation_depths(
    X: FloatArray | Float32Array,
    offsets: OffsetArray,
    levels: IntArray,
    nodes: Nodes,
    expected_depth: FloatArray,
    depth: FloatArray,
) -> None:
    """Depth at which each row is isolated, mean over trees.

    Parameters
    ----------
    X
        Points, (n, d), of a few thousand rows; compared in float32, as scikit-learn compares them.
    offsets, expected_depth
        Of the forest, as `isolation_trees.IsolationTrees` has them.
    levels
        Cuts on the longest path of each tree, (trees,).
    nodes
        Of type `ISOLATION_NODE`, (nodes,).
    depth
        Output, (n,).
    """
    n_rows, n_trees, d = X.shape[0], offsets.shape[0] - 1, X.shape[1]
    points = np.empty((n_rows, d), dtype=np.float32)
    at = np.empty(LANES, dtype=np.int64)
    for i in range(n_rows):
        depth[i] = 0.0
        for j in range(d):
            points[i, j] = np.float32(X[i, j])
    for t in range(n_trees):
        for i in range(0, n_rows, LANES):
            lanes = min(LANES, n_rows - i)
            for k in range(lanes):
                at[k] = offsets[t]
            for _ in range(levels[t]):
                for k in range(lanes):
                    node = at[k]
                    right = np.int64(nodes[node].right)
                    goes_left = np.int64(points[i + k, nodes[node].feature] <= nodes[node].threshold)
                    at[k] = right + goes_left * (node + 1 - right)  # a branch would be guessed wrong half the time
            for k in range(lanes):
                depth[i + k] += expected_depth[at[k]]
    for i in range(n_rows):
        depth[i] /= n_trees


@compiled
def isolation_depth_changes(
    X: FloatArray | Float32Array,
    offsets: OffsetArray,
    nodes: Nodes,
    expected_depth: FloatArray,
    shortening: FloatArray,
) -> None:
    """How much each feature shortens the expected depth on the way down, mean over trees.

    Parameters
    ----------
    X, offsets, nodes, expected_depth
        As in `isolation_depths`.
    shortening
        Output, (n, d): sum of expected_depth(parent) - expected_depth(child) over the cuts in that feature.
    """
    n_rows, n_trees, d = X.shape[0], offsets.shape[0] - 1, X.shape[1]
    for i in range(n_rows):
        for j in range(d):
            shortening[i, j] = 0.0
    for t in range(n_trees):
        for i in range(n_rows):
            node = offsets[t]
            while nodes[node].right != node:
                feature = nodes[node].feature
                goes_left = np.float32(X[i, feature]) <= nodes[node].threshold
                child = node + 1 if goes_left else np.int64(nodes[node].right)
                shortening[i, feature] += expected_depth[node] - expected_depth[child]
                node = child
    for i in range(n_rows):
        for j in range(d):
            shortening[i, j] /= n_trees
