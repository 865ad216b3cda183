"""Compiled passes over frozen trees.

Belongs here: the numba functions that walk flat arrays for a range of rows. Does not belong here: threads,
validation, and what the arrays mean to a user; `forests.py` has those.

Every function handles the rows [start, stop) and writes only those, so that callers may cut a table into any
ranges and run them in any threads (the GIL is released): each row's sum runs over the trees in their order and
nothing is added up across rows, hence the result is the same to the bit. Threads are the caller's, not numba's,
because numba's default threading layer may not be entered by two threads at once and a server does just that.

Trees run in the outer loop over a block of rows: the boxes of one tree (256 points, 18 dimensions: 150 kB)
stay in the cache while the block passes through it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
OffsetArray = npt.NDArray[np.int64]

BLOCK_ROWS = 256
DEPTH = 0
CODISP = 1


def compiled(function: Callable[..., Any], fastmath: bool | set[str] = False) -> Callable[..., Any]:
    """Compile on first call, keep the machine code on disk, release the GIL while it runs.

    Where no folder can be written to (a read-only installation and no home), each process compiles for itself,
    which takes it some seconds; a warning says so.
    """
    try:
        kernel = numba.njit(cache=True, nogil=True, fastmath=fastmath)(function)
    except RuntimeError as error:
        warnings.warn(
            f"no folder to keep compiled code in, compiling in each process: set NUMBA_CACHE_DIR to one ({error})",
            RuntimeWarning,
            stacklevel=2,
        )
        kernel = numba.njit(nogil=True, fastmath=fastmath)(function)
    return cast(Callable[..., Any], kernel)


def compiled_freely(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, and sums may be taken in another order: one chain of additions would wait for itself.

    That order is fixed when the kernel is compiled and depends on nothing but the number of columns.
    """
    return compiled(function, fastmath={"reassoc", "nsz", "nnan"})


@compiled
def _outside(x: float, lower: float, upper: float) -> float:
    """Distance of a number from an interval; zero inside."""
    below, above = lower - x, x - upper
    distance = below if below > above else above
    return distance if distance > 0.0 else 0.0


@compiled_freely
def _distance_outside(x: FloatArray, lower: FloatArray, upper: FloatArray) -> float:
    """L1 distance of a point from a box; zero inside."""
    distance = 0.0
    for j in range(x.shape[0]):
        distance += _outside(x[j], lower[j], upper[j])
    return distance


@compiled
def random_cut_scores(
    X: FloatArray,
    start: int,
    stop: int,
    offsets: OffsetArray,
    cut_dimension: IntArray,
    cut_value: FloatArray,
    left: IntArray,
    right: IntArray,
    count: IntArray,
    span: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    depth_score: FloatArray,
    codisp_score: FloatArray,
) -> None:
    """Expected depth form and expected collusive displacement of inserting each row, mean over trees.

    Parameters
    ----------
    X
        Points, (n, d).
    start, stop
        Range of rows.
    offsets, cut_dimension, cut_value, left, right, count, span, lower, upper
        The forest: see `forests.RandomCutTrees`.
    depth_score, codisp_score
        Output, (n,).
    """
    n_trees = offsets.shape[0] - 1
    for first in range(start, stop, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, stop)
        for i in range(first, last):
            depth_score[i] = 0.0
            codisp_score[i] = 0.0
        for t in range(n_trees):
            root = offsets[t]
            total = count[root]
            height = math.log2(total + 1.0)
            for i in range(first, last):
                x = X[i]
                node = root
                reached = 1.0  # chance that the point has not parted above this node
                largest = 0.0  # largest n(sibling) / (n(node) + 1) on the way
                level = 0
                by_depth = 0.0
                by_displacement = 0.0
                while reached > 0.0:
                    outside = _distance_outside(x, lower[node], upper[node])
                    n = count[node]
                    if cut_dimension[node] < 0:
                        if outside > 0.0:
                            by_depth += reached / (level + 1.0)
                            by_displacement += reached * max(float(n), largest)
                        else:
                            damping = 1.0 - n / (2.0 * total)
                            by_depth += reached * damping / (level + math.log2(n + 1.0))
                            by_displacement += reached * largest
                        break
                    if outside > 0.0:
                        parts = outside / (outside + span[node])
                        by_depth += reached * parts / (level + 1.0)
                        by_displacement += reached * parts * max(float(n), largest)
                        reached *= 1.0 - parts
                    if x[cut_dimension[node]] <= cut_value[node]:
                        child = left[node]
                        sibling = right[node]
                    else:
                        child = right[node]
                        sibling = left[node]
                    largest = max(largest, count[sibling] / (count[child] + 1.0))
                    node = child
                    level += 1
                depth_score[i] += by_depth * height
                codisp_score[i] += by_displacement
        for i in range(first, last):
            depth_score[i] /= n_trees
            codisp_score[i] /= n_trees


@compiled
def random_cut_attribution(
    X: FloatArray,
    start: int,
    stop: int,
    offsets: OffsetArray,
    cut_dimension: IntArray,
    cut_value: FloatArray,
    left: IntArray,
    right: IntArray,
    count: IntArray,
    span: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    scoring: int,
    parted: FloatArray,
    joined: FloatArray,
) -> None:
    """The terms of `random_cut_scores`, split over the dimensions that the point sticks out in.

    Parameters
    ----------
    X, start, stop, offsets, cut_dimension, cut_value, left, right, count, span, lower, upper
        As in `random_cut_scores`.
    scoring
        `DEPTH` or `CODISP`.
    parted
        Output, (n, d): terms of parting, by E_j / E.
    joined
        Output, (n,): terms of joining an equal leaf, which no dimension sticks out in.
    """
    n_trees = offsets.shape[0] - 1
    d = X.shape[1]
    for first in range(start, stop, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, stop)
        for i in range(first, last):
            joined[i] = 0.0
            for j in range(d):
                parted[i, j] = 0.0
        for t in range(n_trees):
            root = offsets[t]
            total = count[root]
            height = math.log2(total + 1.0)
            for i in range(first, last):
                x = X[i]
                node = root
                reached = 1.0
                largest = 0.0
                level = 0
                while reached > 0.0:
                    outside = _distance_outside(x, lower[node], upper[node])
                    n = count[node]
                    leaf = cut_dimension[node] < 0
                    if outside > 0.0:
                        parts = 1.0 if leaf else outside / (outside + span[node])
                        if scoring == CODISP:
                            term = reached * parts * max(float(n), largest)
                        else:
                            term = reached * parts * height / (level + 1.0)
                        for j in range(d):
                            parted[i, j] += term * (_outside(x[j], lower[node, j], upper[node, j]) / outside)
                        reached *= 1.0 - parts
                    elif leaf:
                        if scoring == CODISP:
                            joined[i] += reached * largest
                        else:
                            damping = 1.0 - n / (2.0 * total)
                            joined[i] += reached * damping * height / (level + math.log2(n + 1.0))
                    if leaf:
                        break
                    if x[cut_dimension[node]] <= cut_value[node]:
                        child = left[node]
                        sibling = right[node]
                    else:
                        child = right[node]
                        sibling = left[node]
                    largest = max(largest, count[sibling] / (count[child] + 1.0))
                    node = child
                    level += 1
        for i in range(first, last):
            joined[i] /= n_trees
            for j in range(d):
                parted[i, j] /= n_trees


@compiled
def isolation_depths(
    X: Float32Array,
    start: int,
    stop: int,
    offsets: OffsetArray,
    feature: IntArray,
    threshold: FloatArray,
    left: IntArray,
    right: IntArray,
    expected_depth: FloatArray,
    depth: FloatArray,
) -> None:
    """Depth at which each row is isolated, mean over trees.

    Parameters
    ----------
    X
        Points, (n, d), float32 as scikit-learn compares them.
    start, stop
        Range of rows.
    offsets, feature, threshold, left, right, expected_depth
        The forest: see `forests.IsolationTrees`.
    depth
        Output, (n,).
    """
    n_trees = offsets.shape[0] - 1
    for first in range(start, stop, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, stop)
        for i in range(first, last):
            depth[i] = 0.0
        for t in range(n_trees):
            for i in range(first, last):
                node = offsets[t]
                while feature[node] >= 0:
                    node = left[node] if X[i, feature[node]] <= threshold[node] else right[node]
                depth[i] += expected_depth[node]
        for i in range(first, last):
            depth[i] /= n_trees


@compiled
def isolation_depth_changes(
    X: Float32Array,
    start: int,
    stop: int,
    offsets: OffsetArray,
    feature: IntArray,
    threshold: FloatArray,
    left: IntArray,
    right: IntArray,
    expected_depth: FloatArray,
    shortening: FloatArray,
) -> None:
    """How much each feature shortens the expected depth on the way down, mean over trees.

    Parameters
    ----------
    X, start, stop, offsets, feature, threshold, left, right, expected_depth
        As in `isolation_depths`.
    shortening
        Output, (n, d): sum of expected_depth(parent) - expected_depth(child) over the cuts in that feature.
    """
    n_trees = offsets.shape[0] - 1
    d = X.shape[1]
    for first in range(start, stop, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, stop)
        for i in range(first, last):
            for j in range(d):
                shortening[i, j] = 0.0
        for t in range(n_trees):
            for i in range(first, last):
                node = offsets[t]
                while feature[node] >= 0:
                    child = left[node] if X[i, feature[node]] <= threshold[node] else right[node]
                    shortening[i, feature[node]] += expected_depth[node] - expected_depth[child]
                    node = child
        for i in range(first, last):
            for j in range(d):
                shortening[i, j] /= n_trees
