"""Rows by segment: which rows share their values of some category columns, and quantiles within each.

Belongs here: grouping by one combination of columns or by each of its prefixes, and order statistics of a group. Does
not belong here: what is made of them, which is baselines (`baselines.py`) and typical ranges (`typical.py`).

A segment is a tuple of values of the first columns: `()` is every row, `("voice",)` a channel, `("voice", "billing")`
a queue in it, and each is the parent of the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.tables import Categories, CodeArray

Segment = tuple[str, ...]

# Up to so many possible segments are found by marking them, which is several times faster than sorting the rows.
_COUNTED = 4_000_000


@dataclass(frozen=True, eq=False)
class RowGroups:
    """Rows by the segment that they belong to.

    Attributes
    ----------
    of_row
        Position in `keys` per row, -1 where a value is missing, (n,).
    keys
        The segments that occur, (s,).
    """

    of_row: CodeArray
    keys: list[Segment]

    @cached_property
    def _sorted(self) -> tuple[CodeArray, CodeArray]:
        """Rows in order of their segment, and where each segment's begin and the last one's end."""
        # Small integers are sorted by counting, several times faster.
        small = len(self.keys) < np.iinfo(np.int16).max
        order = np.argsort(self.of_row.astype(np.int16) if small else self.of_row, kind="stable")
        counts = np.bincount(self.of_row + 1, minlength=len(self.keys) + 1)
        return order, np.cumsum(counts)

    def counts(self) -> CodeArray:
        """Rows of each segment, (s,)."""
        return np.diff(self._sorted[1])

    def sorted_values(self, values: FloatArray, wanted: npt.NDArray[np.bool_] | None = None) -> Iterator[FloatArray]:
        """The values that are not NaN of each segment in turn, ascending; of the wanted segments alone, (s,)."""
        order, bounds = self._sorted
        arranged = values[order]
        for group in range(len(self.keys)) if wanted is None else np.flatnonzero(wanted):
            yield sorted_present(arranged[bounds[group] : bounds[group + 1]])


def groups_by_depth(parts: Sequence[Categories], n_rows: int) -> list[RowGroups]:
    """Group rows by none of the columns, by the first, by the first two, and so on.

    Parameters
    ----------
    parts
        The columns, from coarse to fine.
    n_rows
        Number of rows.

    Returns
    -------
    list
        One grouping per number of columns, len(parts) + 1.
    """
    groups = [RowGroups(np.zeros(n_rows, dtype=np.int64), [()])]
    for part in parts:
        parent, width = groups[-1], len(part.values)
        whole = (parent.of_row >= 0) & (part.codes >= 0)
        pairs = parent.of_row[whole] * width + part.codes[whole]
        found, position = _distinct(pairs, len(parent.keys) * width)
        of_row = np.full(n_rows, -1, dtype=np.int64)
        of_row[whole] = position
        keys = [(*parent.keys[pair // width], part.values[pair % width]) for pair in found.tolist()]
        groups.append(RowGroups(of_row, keys))
    return groups


def _distinct(numbers: CodeArray, limit: int) -> tuple[CodeArray, CodeArray]:
    """The distinct numbers of [0, limit) among some, ascending, and the position of each number in them."""
    if limit > _COUNTED:
        found, position = np.unique(numbers, return_inverse=True)
        return found, position
    occurs = np.zeros(limit, dtype=np.bool_)
    occurs[numbers] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[numbers]


def sorted_present(values: FloatArray) -> FloatArray:
    """The values that are not NaN, ascending."""
    return np.sort(values[~np.isnan(values)])


def quantiles(ascending: FloatArray, levels: Sequence[float]) -> list[float]:
    """Quantiles of sorted values by linear interpolation (Hyndman and Fan's type 7, numpy's default).

    Finite for finite values of any size, where `numpy.percentile` overflows.
    """
    found = []
    for level in levels:
        place = level * (len(ascending) - 1)
        low = min(int(place), max(len(ascending) - 2, 0))
        a, b, t = float(ascending[low]), float(ascending[min(low + 1, len(ascending) - 1)]), place - low
        between = b - a
        found.append(a + between * t if np.isfinite(between) else a * (1 - t) + b * t)
    return found
