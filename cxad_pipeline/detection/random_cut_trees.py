"""A frozen Random Cut Forest: its arrays, its scores, its form for saving.

Belongs here: what the arrays mean, what follows from them, and calling the kernels. Does not belong here: growing
(`random_cut_forest.py`) and the walk itself (`kernels.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection import kernels
from cxad_pipeline.detection.kernels import Float32Array, FloatArray, IntArray, Nodes, OffsetArray
from cxad_pipeline.detection.row_ranges import over_rows, table_of
from cxad_pipeline.detection.tree_arrays import check_array, check_nodes, inner_by_level

Scoring = Literal["depth", "codisp"]
SCORINGS: tuple[Scoring, ...] = ("depth", "codisp")

# Eight float32 fill a register of the narrower kind; a loop over a multiple of them has no remainder.
_WIDTH = 8
_SMALLEST_EXPONENT, _LARGEST_EXPONENT = -1073, 1022  # of a scale whose double is a double, too


@dataclass(frozen=True, eq=False)
class RandomCutTrees:
    """A Random Cut Forest, frozen.

    The nodes of all trees lie one tree after the other, each tree in preorder: the left child of an inner node is
    the next node. Cuts and boxes are in float32, of (x - centre) * scale: the resolution of a column is 2**-24 of
    the distance from its centre. Points that differ by less are the same to the forest.

    Attributes
    ----------
    centre
        Of each column; an offset, however large, costs no resolution. (d,)
    scale
        One power of two for all columns, which leaves the forest as it is and keeps float32 from overflowing.
    offsets
        First node of each tree and the end, (trees + 1,).
    cut_dimension, cut_value
        The cut: points with x[cut_dimension] <= cut_value go left; -1 marks a leaf. (nodes,)
    right
        Right child, as position in these arrays; -1 for leaves. (nodes,)
    count
        Training points below the node, duplicates included. (nodes,)
    boxes
        The node's bounding box, lower and upper. (nodes, 2, d)
    scoring
        Which of the two scores `anomaly_score` gives.
    """

    centre: FloatArray
    scale: float
    offsets: OffsetArray
    cut_dimension: IntArray
    cut_value: Float32Array
    right: IntArray
    count: IntArray
    boxes: Float32Array
    scoring: Scoring
    _kernel_arrays: tuple[Any, ...] = field(init=False, repr=False)

    kind: ClassVar[str] = "random_cut_forest"

    def __post_init__(self) -> None:
        d = self.boxes.shape[2]
        padded = np.zeros((len(self.boxes), 2, -(-d // _WIDTH) * _WIDTH), dtype=np.float32)
        padded[:, :, :d] = self.boxes
        object.__setattr__(self, "boxes", padded[:, :, :d])  # one copy in memory
        arrays = (np.array(self.centre), float(self.scale), np.array(self.offsets), self._nodes(), padded)
        object.__setattr__(self, "_kernel_arrays", arrays)

    def _nodes(self) -> Nodes:
        """What a walk needs of each node; all of it follows from the trees, since they do not change any more."""
        n_nodes = len(self.count)
        level, largest = np.zeros(n_nodes), np.zeros(n_nodes)
        for inner in inner_by_level(self.offsets, self.right):
            left, right = inner + 1, self.right[inner]
            for child, sibling in ((left, right), (right, left)):
                level[child] = level[inner] + 1.0
                largest[child] = np.maximum(largest[inner], self.count[sibling] / (self.count[child] + 1.0))
        total = np.repeat(self.count[self.offsets[:-1]], np.diff(self.offsets))
        height = np.log2(total + 1.0)
        nodes = np.zeros(n_nodes, dtype=kernels.RANDOM_CUT_NODE)
        nodes["cut_dimension"], nodes["cut_value"], nodes["right"] = self.cut_dimension, self.cut_value, self.right
        nodes["span"] = np.subtract(self.boxes[:, 1], self.boxes[:, 0], dtype=np.float64).sum(axis=1)
        nodes["parted_depth"] = height / (level + 1.0)
        nodes["parted_codisp"] = np.maximum(self.count, largest)
        damping = 1.0 - self.count / (2.0 * total)
        nodes["joined_depth"] = damping * height / (level + np.log2(self.count + 1.0))
        nodes["joined_codisp"] = largest
        return nodes

    @property
    def n_features(self) -> int:
        """Columns that the forest was grown on."""
        return int(self.boxes.shape[2])

    def both_scores(self, X: npt.ArrayLike, threads: int | None = None) -> dict[Scoring, FloatArray]:
        """Expected depth form and expected collusive displacement from one pass, (n,) each."""
        points = table_of(X, self.n_features)
        depth, codisp = np.empty(len(points)), np.empty(len(points))

        def run(part: npt.NDArray[Any], rows: slice) -> None:
            kernels.random_cut_scores(part, *self._kernel_arrays, depth[rows], codisp[rows])

        over_rows(run, points, threads)
        return {"depth": depth, "codisp": codisp}

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous.

        Parameters
        ----------
        X
            Points, (n, n_features), finite; float32 and float64 are taken as they are.
        threads
            Threads for many rows; None for one per processor.
        """
        return self.both_scores(X, threads)[self.scoring]

    def attribution(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Contributions (n, d) that add up to `anomaly_score`.

        Parting terms are split by E_j / E. A point that joins an equal leaf sticks out nowhere there: that
        remainder goes to the dimensions in proportion to what they have already, equally if that is nothing.
        """
        points = table_of(X, self.n_features)
        parted, joined = np.empty(points.shape), np.empty(len(points))
        by_codisp = self.scoring == "codisp"

        def run(part: npt.NDArray[Any], rows: slice) -> None:
            kernels.random_cut_attribution(part, *self._kernel_arrays, by_codisp, parted[rows], joined[rows])

        over_rows(run, points, threads)
        total = parted.sum(axis=1, keepdims=True)
        share = np.divide(parted, total, out=np.full(parted.shape, 1.0 / self.n_features), where=total > 0)
        return np.asarray(parted + joined[:, None] * share)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The forest as named arrays."""
        arrays = {name: np.asarray(getattr(self, name)) for name in _stored()}
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
        read: dict[str, Any] = {name: arrays[name] for name in _stored()}
        boxes, count, right = read["boxes"], read["count"], read["right"]
        nodes, d = len(count), len(read["centre"])
        check_nodes(read["offsets"], read["cut_dimension"], right, d)
        check_array("count", count, np.int32, (nodes,))
        check_array("cut_value", read["cut_value"], np.float32, (nodes,))
        check_array("boxes", boxes, np.float32, (nodes, 2, d))
        check_array("centre", read["centre"], np.float64, (d,))
        check_array("scale", read["scale"], np.float64, ())
        inner = np.flatnonzero(right >= 0)
        if np.any(count < 1) or np.any(count[inner] != count[inner + 1] + count[right[inner]]):
            raise ValueError("count: a node without points, or with others than its children have")
        if np.any(boxes[:, 0] > boxes[:, 1]) or np.any(np.all(boxes[inner, 0] == boxes[inner, 1], axis=1)):
            raise ValueError("boxes: a box turned inside out, or a cut through a single point")
        if not read["scale"] > 0:
            raise ValueError("scale: not above 0")
        read["scale"] = float(read["scale"])
        return cls(**read, scoring=SCORINGS[code])


def _stored() -> list[str]:
    return [entry.name for entry in fields(RandomCutTrees) if entry.init and entry.name != "scoring"]


def centre_and_scale(points: FloatArray) -> tuple[FloatArray, float]:
    """Centre of each column and the common power of two that brings all coordinates to 1 at most.

    The centre is the lower median: where most points are, resolution is finest, whatever lies far out, and equal
    columns become exactly 0.

    Parameters
    ----------
    points
        Training points, (n, d), finite, n >= 1.
    """
    middle = (len(points) - 1) // 2
    centre = np.partition(points, middle, axis=0)[middle]
    # Halves, because the difference of two doubles may overflow.
    extent = float(np.abs(0.5 * points - 0.5 * centre).max())
    if extent == 0.0:
        # Nothing varies: what is equal and what is not is told on the scale of the numbers themselves.
        extent = 0.5 * float(np.abs(centre).max())
    if extent == 0.0:
        return centre, 1.0
    exponent = -(math.frexp(extent)[1] + 1)
    return centre, math.ldexp(1.0, min(max(exponent, _SMALLEST_EXPONENT), _LARGEST_EXPONENT))


def scaled(X: npt.NDArray[Any], centre: FloatArray, scale: float) -> Float32Array:
    """Points in the centre and scale of a forest, as the kernels see them, to the bit.

    Parameters
    ----------
    X
        Points, (n, d).
    centre, scale
        As `centre_and_scale` gives them.
    """
    with np.errstate(over="ignore"):  # a point that is too far out is clipped
        value = (0.5 * X.astype(np.float64) - 0.5 * centre) * (2.0 * scale)
    return np.clip(value, -kernels.FAR, kernels.FAR).astype(np.float32)
