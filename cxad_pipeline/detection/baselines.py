"""What is usual in a row's own segment: a centre and a scale per number column, shrunken where rows are few.

Belongs here: fitting the baselines, their shrinkage, the tree by which a row's segment is found. Does not belong here:
how a value is compared with its baseline (`feature_kernel.py`), and ranges for people (`typical.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cxad_pipeline.detection.config import Scaling
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.segments import Segment, groups_by_depth, quantiles, sorted_present
from cxad_pipeline.detection.tables import CodeArray, Columns

PRIOR_ROWS = 50
"""Rows that the parent counts for: a segment of n rows has the weight n / (n + 50), its parent the rest."""


@dataclass(frozen=True, eq=False)
class SegmentBaselines:
    """Centre and scale of every number column, by segment.

    A segment's centre is w * (its own centre) + (1 - w) * (its parent's, shrunken itself), with w = n / (n + k) and n
    the values that it has of the column; likewise its scale. That is the credibility-weighted mean of Bühlmann (1967),
    "Experience rating and credibility", ASTIN Bulletin 4, in the hierarchical form that Micci-Barreca (2001), "A
    preprocessing scheme for high-cardinality categorical attributes", SIGKDD Explorations 3, uses for categories. k is
    `PRIOR_ROWS`, at which the standard error of a normal quartile is a seventh of the interquartile range.

    A column that never varies in a segment has the scale 0 there before shrinkage; what is left of the parent's makes
    every other value far out, as it should be.

    Attributes
    ----------
    by
        Category columns that define the segments, from coarse to fine.
    keys
        Segments with a baseline, every parent before its children, the first of them `()`, all rows; (s,).
    centre, scale
        (s, k) each, in the order of the number columns.
    """

    by: tuple[str, ...]
    keys: tuple[Segment, ...]
    centre: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, columns: Columns, numeric: Sequence[str], by: Sequence[str], scaling: Scaling) -> Self:
        """Learn from training rows.

        Parameters
        ----------
        columns
            Training rows.
        numeric
            Number columns, (k,).
        by
            Category columns, from coarse to fine.
        scaling
            `robust`: median and interquartile range; `standard`: mean and standard deviation; `none`: median and 1.
        """
        levels = groups_by_depth([columns.categories(name) for name in by], columns.n_rows)
        keys = [key for level in levels for key in level.keys]
        position = {key: index for index, key in enumerate(keys)}
        parents = [position[key[:-1]] for key in keys]
        centre, scale = np.empty((len(keys), len(numeric))), np.empty((len(keys), len(numeric)))
        for j, name in enumerate(numeric):
            values = columns.numeric(name)
            groups = (present for level in levels for present in level.sorted_values(values))
            _shrink(groups, parents, scaling, centre[:, j], scale[:, j])
        return cls(tuple(by), tuple(keys), centre, scale)

    def search_tree(self, positions: Sequence[Mapping[str, int]]) -> tuple[int, CodeArray, CodeArray]:
        """The segments as a tree that compiled code can go down.

        Parameters
        ----------
        positions
            For each column of `by`, the code of each category.

        Returns
        -------
        tuple
            Width w; the steps `parent * w + code`, ascending, (s - 1,); and the segment that each leads to.
        """
        width = 1 + max((code for codes in positions for code in codes.values()), default=0)
        node = {key: index for index, key in enumerate(self.keys)}
        steps = sorted(
            (node[key[:-1]] * width + positions[len(key) - 1][key[-1]], index)
            for index, key in enumerate(self.keys)
            if key
        )
        pairs = np.array(steps, dtype=np.int64).reshape(-1, 2)
        return width, np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])

    def to_dict(self) -> dict[str, Any]:
        """The baselines as plain lists, ready for JSON."""
        return {
            "by": list(self.by),
            "keys": [list(key) for key in self.keys],
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], n_columns: int) -> Self:
        """The baselines that `to_dict` gave, for so many number columns.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the content is none.
        """
        keys = tuple(tuple(key) for key in content["keys"])
        seen: set[Segment] = {()}
        for key in keys:
            if key[:-1] not in seen or len(key) > len(content["by"]):
                raise ValueError(f"baselines: segment {key} comes before its parent, or is too long")
            seen.add(key)
        if not keys or keys[0] != ():
            raise ValueError("baselines: that of all rows is not the first")
        shape = (len(keys), n_columns)
        arrays = [np.array(content[name], dtype=np.float64).reshape(shape) for name in ("centre", "scale")]
        if not (np.isfinite(arrays).all() and (arrays[1] > 0).all()):
            raise ValueError("baselines: a centre or scale is not finite, or a scale is not above 0")
        return cls(tuple(content["by"]), keys, *arrays)


def location_and_spread(ascending: FloatArray, scaling: Scaling) -> tuple[float, float]:
    """Centre and scale of sorted values; the scale is 0 where they are all equal, and 1 with scaling `none`.

    Robust scaling takes the standard deviation where half of the values or more are one and the same, so that the
    interquartile range is 0.
    """
    if scaling == "standard":
        return mean(ascending), deviation(ascending)
    low, centre, high = quantiles(ascending, (0.25, 0.5, 0.75))
    if scaling == "none":
        return centre, 1.0
    spread = high - low
    return centre, spread if 0 < spread < np.inf else deviation(ascending)


def mean(values: FloatArray) -> float:
    """The mean, also where the sum would overflow."""
    largest = float(np.abs(values).max()) or 1.0
    return float(np.mean(values / largest)) * largest


def deviation(values: FloatArray) -> float:
    """The standard deviation, also where squares would overflow or vanish; at most the largest float."""
    largest = float(np.abs(values).max()) or 1.0
    return min(float(np.std(values / largest)) * largest, np.finfo(np.float64).max)


def usable_scale(scale: float) -> float:
    """The scale, or 1 where there is none to divide by."""
    return scale if 0 < scale < np.inf else 1.0


def _shrink(
    groups: Iterator[FloatArray], parents: Sequence[int], scaling: Scaling, centre: FloatArray, scale: FloatArray
) -> None:
    """Write the shrunken centre and scale of each segment; parents come before their children, the root first."""
    for index, (present, parent) in enumerate(zip(groups, parents, strict=True)):
        if index == 0:
            centre[0], spread = location_and_spread(present, scaling) if len(present) else (0.0, 1.0)
            scale[0] = usable_scale(spread)
            continue
        centre[index], scale[index] = centre[parent], scale[parent]
        if len(present):
            own_centre, own_scale = location_and_spread(present, scaling)
            weight = len(present) / (len(present) + PRIOR_ROWS)
            centre[index] = weight * own_centre + (1 - weight) * centre[parent]
            scale[index] = weight * own_scale + (1 - weight) * scale[parent]


def sorted_filled(values: FloatArray, fill: float) -> FloatArray:
    """The values with NaN filled, ascending."""
    present = sorted_present(values)
    gone = np.full(len(values) - len(present), fill)
    return np.insert(present, np.searchsorted(present, fill), gone) if len(gone) else present
