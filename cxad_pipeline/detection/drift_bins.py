"""Cells that the rows of a feature fall into, drawn from training rows segment by segment.

Belongs here: which rows a segment has, and which cell a value falls into. Does not belong here: how much the counts of
two tables differ (`drift_measures.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.segments import sorted_present
from cxad_pipeline.detection.tables import Categories, Columns

Key = tuple[tuple[str, str], ...]
"""A segment by name: pairs of dimension and value; empty for all contacts."""

CountArray = npt.NDArray[np.int64]

BINS = 10
CELLS = 120
"""Quantiles that cells are drawn at; a multiple of BINS, so that bins are made of whole cells."""

_NO_VALUE = "unknown"
"""Stands for a missing value of a dimension, as it does in the segments of incidents."""

_RARE = 0.01
"""Categories with a smaller share of the training rows are counted together with new ones."""


@dataclass(frozen=True, eq=False)
class BinnedFeature:
    """One feature in one segment.

    Attributes
    ----------
    segment
        The segment.
    name
        Column.
    edges
        Upper ends, inclusive, of all cells of a numeric feature but the last; ascending, (e,). Empty for categories.
    values
        Categories that have a cell of their own; None for a numeric feature.
    bins
        PSI's bin of each cell, from 0 on and not descending, (c,). The last cell holds missing values; the one before
        it what lies above all edges, or any other category.
    """

    segment: Key
    name: str
    edges: FloatArray
    values: tuple[str, ...] | None
    bins: CountArray

    @classmethod
    def numeric(cls, segment: Key, name: str, values: FloatArray) -> Self:
        """Draw the cells and bins of a numeric feature from its training values (n,), NaN where missing."""
        ascending = sorted_present(values)
        edges, limits = _quantile_edges(ascending, CELLS), _quantile_edges(ascending, BINS)
        bins = [*np.searchsorted(limits, edges), len(limits), len(limits) + 1]
        return cls(segment, name, edges, None, np.array(bins, dtype=np.int64))

    @classmethod
    def categorical(cls, segment: Key, name: str, found: Categories) -> Self:
        """Give a cell of its own to each category that is not rare in the training rows."""
        counts = np.bincount(found.codes[found.codes >= 0], minlength=len(found.values))
        common = np.flatnonzero(counts >= max(1, _RARE * len(found.codes)))
        kept = tuple(sorted(found.values[code] for code in common))
        return cls(segment, name, np.empty(0), kept, np.arange(len(kept) + 2))

    def counts(self, column: FloatArray | Categories) -> CountArray:
        """Rows in each cell, (c,)."""
        missing = len(self.bins) - 1
        if isinstance(column, Categories):
            own = {value: cell for cell, value in enumerate(self.values or ())}
            # One extra entry at the end, which code -1 (missing) finds.
            cells = np.array([*(own.get(value, missing - 1) for value in column.values), missing])[column.codes]
        else:
            cells = np.where(np.isnan(column), missing, np.searchsorted(self.edges, column))
        return np.bincount(cells, minlength=len(self.bins)).astype(np.int64)


class SegmentedRows:
    """A table, with the segments of its rows."""

    def __init__(self, columns: Columns, dimensions: Sequence[str]) -> None:
        self.n = columns.n_rows
        self._columns = columns
        self._codes: dict[str, CountArray] = {}
        self._index: dict[str, dict[str, int]] = {}
        for name in dimensions:
            found = self.categories(name)
            index = {value: code for code, value in enumerate(found.values)}
            missing = index.setdefault(_NO_VALUE, len(index))
            self._codes[name] = np.where(found.codes < 0, missing, found.codes)
            self._index[name] = index

    def numeric(self, name: str) -> FloatArray:
        """The column (n,), NaN where missing."""
        return self._columns.numeric(name) if name in self._columns.names else np.full(self.n, np.nan)

    def categories(self, name: str) -> Categories:
        """The column as categories."""
        if name in self._columns.names:
            return self._columns.categories(name)
        return Categories(np.full(self.n, -1, dtype=np.int64), [])

    def inside(self, segment: Key) -> CountArray:
        """Positions of a segment's rows, ascending."""
        chosen = np.ones(self.n, dtype=np.bool_)
        for name, value in segment:
            chosen &= self._codes[name] == self._index[name].get(value, -1)
        return np.flatnonzero(chosen)

    def segments(self, min_rows: int) -> list[Key]:
        """Segments with enough rows, none with the same rows as a larger one; all rows come first."""
        kept: dict[Key, int] = {(): self.n}
        for name, codes in self._codes.items():
            counts = np.bincount(codes, minlength=len(self._index[name]))
            for value, code in sorted(self._index[name].items()):
                if min_rows <= counts[code] < self.n:
                    kept[((name, value),)] = int(counts[code])
        if not self._codes:
            return list(kept)
        names = {name: {code: value for value, code in index.items()} for name, index in self._index.items()}
        leaves, sizes = np.unique(np.vstack(list(self._codes.values())), axis=1, return_counts=True)
        for leaf, size in zip(leaves.T.tolist(), sizes.tolist(), strict=True):
            key = tuple((name, names[name][code]) for name, code in zip(self._codes, leaf, strict=True))
            larger = {self.n, *(kept.get((pair,), 0) for pair in key)}
            if size >= min_rows and size not in larger:
                kept[key] = size
        return list(kept)


def _quantile_edges(ascending: FloatArray, parts: int) -> FloatArray:
    """Upper ends, inclusive, of cells that hold equal shares of sorted values (n,); a value is never divided.

    A value that two quantiles fall on gets a cell of its own: what lies below it begins another one, also where it is
    the smallest there is, or the only one.
    """
    n = len(ascending)
    if n == 0:
        return np.empty(0)
    # In whole numbers, so that the quantiles of BINS are exactly some of those of CELLS.
    places = [-(-n * part // parts) - 1 for part in range(1, parts)]
    ends, times = np.unique(ascending[places], return_counts=True)
    return np.unique(np.concatenate([ends, np.nextafter(ends[times > 1], -np.inf)]))
