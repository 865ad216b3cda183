"""What is usual: typical ranges of numbers by segment, frequencies of categories.

Belongs here: what the reasons compare a value with. Does not belong here: the reasons (`attribution.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.tables import Columns

MIN_SEGMENT_ROWS = 50
"""A segment with fewer training rows has no typical range of its own; that of all rows stands in."""

TYPICAL_PERCENTILES = (5.0, 95.0)


@dataclass(frozen=True, eq=False)
class TypicalRanges:
    """What is usual, by segment for numbers and over all rows for categories.

    Attributes
    ----------
    columns
        Number columns, (k,).
    segments
        Columns that define a segment.
    keys
        Known segments, as values of those columns, (s,).
    low, high
        5th and 95th percentile, (s + 1, k); the last row is that of all rows. NaN where all are missing.
    category_shares
        By category column, the share of training rows of each category.
    missing_shares
        By column, the share of training rows without a value.
    """

    columns: tuple[str, ...]
    segments: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    low: FloatArray
    high: FloatArray
    category_shares: Mapping[str, Mapping[str, float]]
    missing_shares: Mapping[str, float]

    @classmethod
    def fit(cls, table: Columns, numeric: Sequence[str], categorical: Sequence[str], segments: Sequence[str]) -> Self:
        """Learn from training rows.

        Parameters
        ----------
        table
            Training rows.
        numeric, categorical
            Columns to describe.
        segments
            Category columns whose combinations are the segments.
        """
        group, keys = _segments(table, segments)
        rows_in = np.bincount(group[group >= 0], minlength=len(keys))
        large = [int(index) for index in np.flatnonzero(rows_in >= MIN_SEGMENT_ROWS)]
        chosen = [np.flatnonzero(group == index) for index in large] + [np.arange(table.n_rows)]
        low = np.full((len(chosen), len(numeric)), np.nan)
        high = low.copy()
        for j, name in enumerate(numeric):
            values = table.numeric(name)
            for i, rows in enumerate(chosen):
                present = values[rows][~np.isnan(values[rows])]
                if len(present):
                    low[i, j], high[i, j] = np.percentile(present, TYPICAL_PERCENTILES)
        shares = {}
        for name in categorical:
            column = table.categories(name)
            counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.values))
            shares[name] = {
                value: int(count) / table.n_rows for value, count in zip(column.values, counts, strict=True) if count
            }
        missing = {name: float(np.isnan(table.numeric(name)).mean()) for name in numeric}
        missing |= {name: float((table.categories(name).codes < 0).mean()) for name in categorical}
        return cls(tuple(numeric), tuple(segments), tuple(keys[index] for index in large), low, high, shares, missing)

    def of_rows(self, table: Columns) -> npt.NDArray[np.int64]:
        """Row of `low` and `high` that holds for each row of a table, (n,)."""
        everyone = len(self.keys)
        if not self.segments or not set(self.segments) <= set(table.names):
            return np.full(table.n_rows, everyone, dtype=np.int64)
        group, keys = _segments(table, self.segments)
        known = {key: index for index, key in enumerate(self.keys)}
        # One extra entry at the end, which group -1 (a segment column is missing) finds.
        found = np.array([known.get(key, everyone) for key in keys] + [everyone], dtype=np.int64)
        return found[group]

    def to_dict(self) -> dict[str, Any]:
        """The ranges as plain lists, dicts, strings and numbers, ready for JSON (NaN as null)."""
        return {
            "columns": list(self.columns),
            "segments": list(self.segments),
            "keys": [list(key) for key in self.keys],
            "low": _nan_to_none(self.low),
            "high": _nan_to_none(self.high),
            "category_shares": {name: dict(shares) for name, shares in self.category_shares.items()},
            "missing_shares": dict(self.missing_shares),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The ranges that `to_dict` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the content is none.
        """
        shape = (len(content["keys"]) + 1, len(content["columns"]))
        return cls(
            columns=tuple(content["columns"]),
            segments=tuple(content["segments"]),
            keys=tuple(tuple(key) for key in content["keys"]),
            low=np.array(content["low"], dtype=np.float64).reshape(shape),
            high=np.array(content["high"], dtype=np.float64).reshape(shape),
            category_shares=content["category_shares"],
            missing_shares=content["missing_shares"],
        )


def _segments(table: Columns, names: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[tuple[str, ...]]]:
    """Number of each row's segment (-1 where a part is missing), and the segments."""
    if not names:
        return np.full(table.n_rows, -1, dtype=np.int64), []
    parts = [table.categories(name) for name in names]
    codes = np.column_stack([part.codes for part in parts])
    whole = (codes >= 0).all(axis=1)
    group = np.full(table.n_rows, -1, dtype=np.int64)
    if not whole.any():
        return group, []
    combinations, position = np.unique(codes[whole], axis=0, return_inverse=True)
    group[whole] = position.reshape(-1)
    keys = [
        tuple(part.values[code] for part, code in zip(parts, combination, strict=True)) for combination in combinations
    ]
    return group, keys


def _nan_to_none(array: FloatArray) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in array]
