"""What is usual: typical ranges of numbers by segment, frequencies of categories, of missing values and of hours.

Belongs here: what the reasons compare a value with. Does not belong here: the reasons (`attribution.py`), and what the
models compare it with (`baselines.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Self

import numpy as np

from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.local_time import MISSING_MOMENT, weekdays_and_hours, zone_changes
from cxad_pipeline.detection.segments import Segment, groups_by_depth, quantiles
from cxad_pipeline.detection.tables import CodeArray, Columns

MIN_SEGMENT_ROWS = 50
"""A segment with fewer training rows has no typical range of its own; that of its parent stands in."""

MIN_HOUR_ROWS = 20
"""Starts that an hour of the week needs on average; with fewer, hours of the day are counted instead."""

TYPICAL_PERCENTILES = (5.0, 95.0)


@dataclass(frozen=True, eq=False)
class StartTimes:
    """How the starts of the training rows spread over the week.

    Attributes
    ----------
    column, timezone
        Column with the moment; the zone on whose clock hours are counted.
    shares
        Share of training starts in each hour, (7, 24) from Monday on. Where there are too few rows for that, (1, 24):
        all weekdays together.
    """

    column: str
    timezone: str
    shares: FloatArray

    @classmethod
    def fit(cls, table: Columns, column: str, timezone: str) -> Self:
        """Count the starts of training rows."""
        moments = table.seconds(column)
        weekday, hour = weekdays_and_hours(moments[moments != MISSING_MOMENT], timezone)
        counts = np.bincount(weekday * 24 + hour, minlength=7 * 24).reshape(7, 24)
        if counts.sum() < MIN_HOUR_ROWS * counts.size:
            counts = counts.sum(axis=0, keepdims=True)
        return cls(column, timezone, counts / max(counts.sum(), 1))

    @property
    def by_weekday(self) -> bool:
        """Whether each weekday has hours of its own."""
        return len(self.shares) > 1

    def share(self, weekday: int, hour: int) -> float:
        """Share of training starts in an hour."""
        return float(self.shares[weekday if self.by_weekday else 0, hour])

    def share_as_rare(self, weekday: int, hour: int) -> float:
        """Share of training starts in this and all hours that have as few, or fewer: small in the quiet hours."""
        return float(self.shares[self.shares <= self.share(weekday, hour)].sum())

    def to_dict(self) -> dict[str, Any]:
        """The shares as plain lists, ready for JSON."""
        return {"column": self.column, "timezone": self.timezone, "shares": self.shares.tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; KeyError, TypeError or ValueError if it is none."""
        shares = np.array(content["shares"], dtype=np.float64)
        if shares.shape not in ((7, 24), (1, 24)):
            raise ValueError(f"shares of hours have shape {shares.shape}")
        if not isinstance(content["column"], str):
            raise TypeError(f"the column of starts is {content['column']!r}")
        zone_changes(content["timezone"])
        return cls(content["column"], content["timezone"], shares)


@dataclass(frozen=True, eq=False)
class TypicalRanges:
    """What is usual, by segment for numbers and over all rows for categories and hours.

    Attributes
    ----------
    columns
        Number columns, (k,).
    segments
        Columns that define a segment, from coarse to fine.
    keys
        Known segments, as values of the first of those columns, (s,).
    low, high
        5th and 95th percentile, (s + 1, k); the last row is that of all rows. NaN where all are missing.
    category_shares
        By category column, the share of training rows of each category.
    missing_shares
        By column, the share of training rows without a value.
    starts
        Hours of the training rows; None without a timestamp.
    """

    columns: tuple[str, ...]
    segments: tuple[str, ...]
    keys: tuple[Segment, ...]
    low: FloatArray
    high: FloatArray
    category_shares: Mapping[str, Mapping[str, float]]
    missing_shares: Mapping[str, float]
    starts: StartTimes | None = None

    @classmethod
    def fit(
        cls,
        table: Columns,
        numeric: Sequence[str],
        categorical: Sequence[str],
        segments: Sequence[str],
        timestamp: str | None = None,
        timezone: str = "UTC",
    ) -> Self:
        """Learn from training rows.

        Parameters
        ----------
        table
            Training rows.
        numeric, categorical
            Columns to describe.
        segments
            Category columns whose combinations are the segments, from coarse to fine. A combination of the first of
            them is a segment too: it stands in where the finer one is not known.
        timestamp, timezone
            Column with the moment of a row, and the zone on whose clock hours are counted.
        """
        levels = groups_by_depth([table.categories(name) for name in segments], table.n_rows)[::-1]
        kept = [level.counts() >= (MIN_SEGMENT_ROWS if level.keys != [()] else 0) for level in levels]
        keys = [level.keys[group] for level, own in zip(levels, kept, strict=True) for group in np.flatnonzero(own)]
        percentiles = [percentile / 100 for percentile in TYPICAL_PERCENTILES]
        low, high = np.full((2, len(keys), len(numeric)), np.nan)
        missing = {}
        for j, name in enumerate(numeric):
            values = table.numeric(name)
            missing[name] = float(np.isnan(values).mean())
            of_segments = (
                group for level, own in zip(levels, kept, strict=True) for group in level.sorted_values(values, own)
            )
            for i, present in enumerate(of_segments):
                if len(present):
                    low[i, j], high[i, j] = quantiles(present, percentiles)
        shares = {}
        for name in categorical:
            column = table.categories(name)
            gone = column.codes < 0
            counts = np.bincount(column.codes[~gone], minlength=len(column.values)).tolist()
            shares[name] = {
                value: count / table.n_rows for value, count in zip(column.values, counts, strict=True) if count
            }
            missing[name] = float(gone.mean())
        starts = None if timestamp is None else StartTimes.fit(table, timestamp, timezone)
        if timestamp is not None:
            missing[timestamp] = float((table.seconds(timestamp) == MISSING_MOMENT).mean())
        return cls(tuple(numeric), tuple(segments), tuple(keys[:-1]), low, high, shares, missing, starts)

    def of_rows(self, table: Columns) -> CodeArray:
        """Row of `low` and `high` that holds for each row of a table, (n,): that of its finest known segment."""
        present = []
        for name in self.segments:
            if name not in table.names:
                break
            present.append(table.categories(name))
        found = np.full(table.n_rows, len(self.keys), dtype=np.int64)
        for level in groups_by_depth(present, table.n_rows)[1:]:
            # One extra entry at the end, which group -1 (a segment column is missing) finds.
            known = np.array([self._position.get(key, -1) for key in level.keys] + [-1], dtype=np.int64)
            own = known[level.of_row]
            found = np.where(own >= 0, own, found)
        return found

    @cached_property
    def _position(self) -> dict[Segment, int]:
        return {key: index for index, key in enumerate(self.keys)}

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
            "starts": None if self.starts is None else self.starts.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The ranges that `to_dict` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the content is none.
        """
        keys = tuple(tuple(key) for key in content["keys"])
        shape = (len(keys) + 1, len(content["columns"]))
        starts = content["starts"]
        category_shares = {name: dict(shares) for name, shares in content["category_shares"].items()}
        missing_shares = dict(content["missing_shares"])
        if not all(isinstance(text, str) for text in chain(content["columns"], content["segments"], *keys)):
            raise TypeError("a column or segment is no text")
        for share in chain(missing_shares.values(), *(shares.values() for shares in category_shares.values())):
            if not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise ValueError(f"a share of training rows is {share!r}")
        return cls(
            columns=tuple(content["columns"]),
            segments=tuple(content["segments"]),
            keys=keys,
            low=np.array(content["low"], dtype=np.float64).reshape(shape),
            high=np.array(content["high"], dtype=np.float64).reshape(shape),
            category_shares=category_shares,
            missing_shares=missing_shares,
            starts=None if starts is None else StartTimes.from_dict(starts),
        )


def _nan_to_none(array: FloatArray) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in array]
