"""Frozen forests: trees as flat arrays, and their scores.

Belongs here: what the arrays mean, their check, their form for saving, and the threads that run the kernels.
Does not belong here: growing (the estimators) and the walk itself (`kernels.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection import kernels
from cxad_pipeline.detection.kernels import Float32Array, FloatArray, IntArray, OffsetArray

Scoring = Literal["depth", "codisp"]
SCORINGS: tuple[Scoring, ...] = ("depth", "codisp")

# Below this a thread costs more than it saves: 1,024 rows take about 20 ms in the slower forest.
_ROWS_PER_TASK = 1024


class Forest(Protocol):
    """What a detector needs of a frozen forest, whichever it is."""

    @property
    def n_features(self) -> int:
        """Columns that the forest was grown on."""
        ...

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous."""
        ...

    def attribution(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Contributions of the features to the scores, (n, d)."""
        ...

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The forest as named arrays."""
        ...


def over_rows(run: Callable[[int, int], None], n_rows: int, threads: int | None) -> None:
    """Call `run(start, stop)` for ranges that cover the rows, in threads where there are many.

    Parameters
    ----------
    run
        A kernel with its arrays bound; it must release the GIL and write only its own rows.
    n_rows
        Rows in all.
    threads
        Threads to use; None for as many as there are processors.
    """
    available = threads if threads is not None else _processors()
    tasks = min(available, n_rows // _ROWS_PER_TASK)
    if tasks <= 1:
        run(0, n_rows)
        return
    starts = range(0, n_rows, _ROWS_PER_TASK)
    with ThreadPoolExecutor(tasks) as pool:
        for _ in pool.map(lambda start: run(start, min(start + _ROWS_PER_TASK, n_rows)), starts):
            pass


def _processors() -> int:
    """Processors that this process may use; not every system can tell them from those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
class RandomCutTrees:
    """A Random Cut Forest, frozen.

    The nodes of all trees lie one tree after the other, each tree in preorder, so a child always comes after
    its parent.

    Attributes
    ----------
    offsets
        First node of each tree and the end, (trees + 1,).
    cut_dimension, cut_value
        The cut: points with x[cut_dimension] <= cut_value go left; -1 marks a leaf. (nodes,)
    left, right
        Children, as positions in these arrays; -1 for leaves. (nodes,)
    count
        Training points below the node, duplicates included. (nodes,)
    span
        Sum of the side lengths of the node's box. (nodes,)
    lower, upper
        The node's bounding box. (nodes, d)
    scoring
        Which of the two scores `anomaly_score` gives.
    """

    offsets: OffsetArray
    cut_dimension: IntArray
    cut_value: FloatArray
    left: IntArray
    right: IntArray
    count: IntArray
    span: FloatArray
    lower: FloatArray
    upper: FloatArray
    scoring: Scoring

    kind: ClassVar[str] = "random_cut_forest"

    @property
    def n_features(self) -> int:
        """Columns that the forest was grown on."""
        return int(self.lower.shape[1])

    def both_scores(self, X: npt.ArrayLike, threads: int | None = None) -> dict[Scoring, FloatArray]:
        """Expected depth form and expected collusive displacement from one pass, (n,) each."""
        points = _points(X, np.float64, self.n_features)
        depth, codisp = np.empty(len(points)), np.empty(len(points))
        arrays: tuple[Any, ...] = self._arrays()

        def run(start: int, stop: int) -> None:
            kernels.random_cut_scores(points, start, stop, *arrays, depth, codisp)

        over_rows(run, len(points), threads)
        return {"depth": depth, "codisp": codisp}

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous."""
        return self.both_scores(X, threads)[self.scoring]

    def attribution(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Contributions (n, d) that add up to `anomaly_score`.

        Parting terms are split by E_j / E. A point that joins an equal leaf sticks out nowhere there: that
        remainder goes to the dimensions in proportion to what they have already, equally if that is nothing.
        """
        points = _points(X, np.float64, self.n_features)
        parted, joined = np.empty(points.shape), np.empty(len(points))
        arrays: tuple[Any, ...] = self._arrays()
        scoring = kernels.CODISP if self.scoring == "codisp" else kernels.DEPTH

        def run(start: int, stop: int) -> None:
            kernels.random_cut_attribution(points, start, stop, *arrays, scoring, parted, joined)

        over_rows(run, len(points), threads)
        total = parted.sum(axis=1, keepdims=True)
        share = np.divide(parted, total, out=np.full(parted.shape, 1.0 / self.n_features), where=total > 0)
        return np.asarray(parted + joined[:, None] * share)

    def _arrays(self) -> tuple[Any, ...]:
        return (
            self.offsets,
            self.cut_dimension,
            self.cut_value,
            self.left,
            self.right,
            self.count,
            self.span,
            self.lower,
            self.upper,
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The forest as named arrays."""
        arrays = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "scoring"}
        return arrays | {"scoring": np.asarray(SCORINGS.index(self.scoring))}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The forest that `to_arrays` gave.

        Raises
        ------
        ValueError
            If the arrays are no forest.
        """
        code = int(arrays["scoring"])
        if not 0 <= code < len(SCORINGS):
            raise ValueError(f"scoring code {code}; allowed: 0 to {len(SCORINGS) - 1}")
        read = {name: arrays[name] for name in (entry.name for entry in fields(cls)) if name != "scoring"}
        forest = cls(**read, scoring=SCORINGS[code])
        nodes, d = forest.lower.shape
        _check_nodes(forest.offsets, forest.cut_dimension, forest.left, forest.right, d)
        _check_floats(nodes, cut_value=forest.cut_value, span=forest.span)
        _check_dtype("lower", forest.lower, np.float64, (nodes, d))
        _check_dtype("upper", forest.upper, np.float64, (nodes, d))
        _check_dtype("count", forest.count, np.int32, (nodes,))
        if np.any(forest.count < 1):
            raise ValueError("count: a node without points")
        return forest


@dataclass(frozen=True, eq=False)
class IsolationTrees:
    """An Isolation Forest, frozen; nodes lie as in `RandomCutTrees`.

    Attributes
    ----------
    offsets
        First node of each tree and the end, (trees + 1,).
    feature, threshold
        The cut: float32 values <= threshold go left; -1 marks a leaf. (nodes,)
    left, right
        Children, as positions in these arrays; -1 for leaves. (nodes,)
    expected_depth
        Depth of the node (root 0) plus `average_path_length` of its training points. (nodes,)
    n_features
        Columns that the forest was grown on.
    normal_depth
        `average_path_length` of the sample of one tree: the depth whose score is 0.5.
    """

    offsets: OffsetArray
    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    expected_depth: FloatArray
    n_features: int
    normal_depth: float

    kind: ClassVar[str] = "isolation_forest"

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,) in (0, 1), higher = more anomalous: 2 ** (-depth / normal_depth)."""
        return self._score(self._depth(_points(X, np.float32, self.n_features), threads))

    def attribution(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Contributions (n, d) that add up to `anomaly_score` - 0.5, the score of the root's depth.

        A feature's part is the change of expected depth at the cuts in it, positive where the path gets
        shorter, mean over trees. One factor per row, always positive, takes depths to the scale of the score.
        """
        points = _points(X, np.float32, self.n_features)
        shortening = np.empty(points.shape)
        arrays: tuple[Any, ...] = self._arrays()

        def run(start: int, stop: int) -> None:
            kernels.isolation_depth_changes(points, start, stop, *arrays, shortening)

        over_rows(run, len(points), threads)
        if self.normal_depth == 0:
            return np.zeros(points.shape)
        # score - 0.5 = 0.5 (2 ** u - 1) with u the whole shortening in units of the normal depth.
        u = shortening.sum(axis=1) / self.normal_depth
        slope = np.divide(np.expm1(u * np.log(2.0)), u, out=np.full(len(u), np.log(2.0)), where=u != 0)
        return np.asarray(shortening * (0.5 * slope / self.normal_depth)[:, None])

    def _depth(self, points: Float32Array, threads: int | None) -> FloatArray:
        depth = np.empty(len(points))
        arrays: tuple[Any, ...] = self._arrays()

        def run(start: int, stop: int) -> None:
            kernels.isolation_depths(points, start, stop, *arrays, depth)

        over_rows(run, len(points), threads)
        return depth

    def _score(self, depth: FloatArray) -> FloatArray:
        if self.normal_depth == 0:  # trees of one point isolate nothing; scikit-learn says 0.5 as well
            return np.full(len(depth), 0.5)
        return np.asarray(2.0 ** (-depth / self.normal_depth))

    def _arrays(self) -> tuple[Any, ...]:
        return (self.offsets, self.feature, self.threshold, self.left, self.right, self.expected_depth)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The forest as named arrays."""
        return {entry.name: np.asarray(getattr(self, entry.name)) for entry in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The forest that `to_arrays` gave.

        Raises
        ------
        ValueError
            If the arrays are no forest.
        """
        names = ("offsets", "feature", "threshold", "left", "right", "expected_depth")
        forest = cls(
            **{name: arrays[name] for name in names},
            n_features=int(arrays["n_features"]),
            normal_depth=float(arrays["normal_depth"]),
        )
        _check_nodes(forest.offsets, forest.feature, forest.left, forest.right, forest.n_features)
        _check_floats(len(forest.feature), threshold=forest.threshold, expected_depth=forest.expected_depth)
        return forest


def concatenate_trees(
    trees: Sequence[Mapping[str, npt.NDArray[Any]]],
) -> tuple[OffsetArray, dict[str, npt.NDArray[Any]]]:
    """Put trees one after the other, with children as positions in the whole.

    Parameters
    ----------
    trees
        Per tree the same arrays by name; `left` and `right` count from the tree's own root, -1 for leaves.

    Returns
    -------
    offsets, arrays
        First node of each tree and the end, (trees + 1,); the arrays of all nodes.
    """
    sizes = [len(tree["left"]) for tree in trees]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    arrays = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    shift = np.repeat(offsets[:-1], sizes)
    for name in ("left", "right"):
        arrays[name] = np.where(arrays[name] >= 0, arrays[name] + shift, -1).astype(np.int32)
    return offsets, arrays


def _points(X: npt.ArrayLike, dtype: type, n_features: int) -> Any:
    points: npt.NDArray[Any] = np.ascontiguousarray(X, dtype=dtype)
    if points.ndim != 2 or points.shape[1] != n_features:
        raise ValueError(f"X has shape {points.shape}; the forest was grown on (n, {n_features})")
    return points


def _check_dtype(name: str, array: npt.NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name}: {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")


def _check_floats(nodes: int, **arrays: FloatArray) -> None:
    for name, array in arrays.items():
        _check_dtype(name, array, np.float64, (nodes,))


def _check_nodes(offsets: OffsetArray, cut: IntArray, left: IntArray, right: IntArray, d: int) -> None:
    """Refuse arrays that would lead a kernel out of bounds or in circles: it does not look."""
    nodes = len(cut)
    _check_dtype("offsets", offsets, np.int64, (len(offsets),))
    for name, array in (("cut dimension", cut), ("left", left), ("right", right)):
        _check_dtype(name, array, np.int32, (nodes,))
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != nodes or np.any(np.diff(offsets) < 1):
        raise ValueError("offsets: not the borders of one or more trees")
    if np.any(cut < -1) or np.any(cut >= d):
        raise ValueError(f"cut dimension outside 0 to {d - 1}")
    inner = np.flatnonzero(cut >= 0)
    end = np.repeat(offsets[1:], np.diff(offsets))[inner]
    for name, child in (("left", left[inner]), ("right", right[inner])):
        if np.any(child <= inner) or np.any(child >= end):
            raise ValueError(f"{name}: a child outside its tree or before its parent")
