"""What the arrays of all frozen trees have in common.

Belongs here: putting trees one after the other, their levels, rounding cuts, and refusing arrays that are no trees.
Does not belong here: what a node holds besides its children (`random_cut_trees.py`, `isolation_trees.py`).

Trees lie one after the other, each in preorder, so the left child of an inner node is the next node and only the
right one is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.kernels import Float32Array, FloatArray, IntArray, OffsetArray

Positions = npt.NDArray[np.intp]


def concatenate_trees(
    trees: Sequence[Mapping[str, npt.NDArray[Any]]],
) -> tuple[OffsetArray, dict[str, npt.NDArray[Any]]]:
    """Put trees one after the other, with children as positions in the whole.

    Parameters
    ----------
    trees
        Per tree the same arrays by name; `right` counts from the tree's own root, -1 for leaves.

    Returns
    -------
    offsets, arrays
        First node of each tree and the end, (trees + 1,); the arrays of all nodes.
    """
    sizes = [len(tree["right"]) for tree in trees]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    arrays = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    shift = np.repeat(offsets[:-1], sizes)
    arrays["right"] = np.where(arrays["right"] >= 0, arrays["right"] + shift, -1).astype(np.int32)
    return offsets, arrays


def inner_by_level(offsets: OffsetArray, right: IntArray) -> Iterator[Positions]:
    """Positions of the inner nodes of all trees, level by level from the roots down."""
    at: Positions = offsets[:-1].astype(np.intp)
    while True:
        inner = at[right[at] >= 0]
        if not len(inner):
            return
        yield inner
        at = np.concatenate([inner + 1, right[inner].astype(np.intp)])


def float32_at_most(threshold: FloatArray) -> Float32Array:
    """The largest float32 that is not above each number: x <= number and x <= that are the same for a float32 x."""
    nearest = threshold.astype(np.float32)
    return np.where(nearest > threshold, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def check_array(name: str, array: npt.NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    """Refuse an array of another type or shape, or with NaN or infinity.

    Raises
    ------
    ValueError
        With the name of the array.
    """
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name}: {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: not all finite")


def check_nodes(offsets: OffsetArray, cut: IntArray, right: IntArray, d: int) -> None:
    """Refuse arrays that would lead a kernel out of bounds or in circles: it does not look.

    Raises
    ------
    ValueError
        If they do not describe trees whose left children are the next nodes.
    """
    nodes = len(cut)
    check_array("offsets", offsets, np.int64, (len(offsets),))
    check_array("cut dimension", cut, np.int32, (nodes,))
    check_array("right", right, np.int32, (nodes,))
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != nodes or np.any(np.diff(offsets) < 1):
        raise ValueError("offsets: not the borders of one or more trees")
    if np.any(cut < -1) or np.any(cut >= d):
        raise ValueError(f"cut dimension outside 0 to {d - 1}")
    if np.any((cut < 0) != (right < 0)):
        raise ValueError("right: a leaf with a child, or a cut without one")
    inner = np.flatnonzero(cut >= 0)
    end = np.repeat(offsets[1:], np.diff(offsets))[inner]
    if np.any(right[inner] <= inner + 1) or np.any(right[inner] >= end):
        raise ValueError("right: a child outside its tree or before its sibling")
    # The node after an inner one is its left child; every other node but the roots is one right child.
    after_leaf = cut < 0
    after_leaf[offsets[1:] - 1] = False
    if not np.array_equal(np.sort(right[inner]), np.flatnonzero(after_leaf) + 1):
        raise ValueError("right: a node with two parents, or with none")
