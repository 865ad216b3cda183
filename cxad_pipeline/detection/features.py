"""From a table to the matrix that the forests see.

Belongs here: which features there are, what they are fitted to, and the way of a table through the one compiled
transform. Does not belong here: the transform (`feature_kernel.py`), the baselines of segments (`baselines.py`), which
rows train and which are held out (`feature_set.py`), and reading columns (`tables.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Self

import numpy as np

from cxad_pipeline.detection.baselines import (
    SegmentBaselines,
    location_and_spread,
    mean,
    sorted_filled,
    usable_scale,
)
from cxad_pipeline.detection.config import DetectorConfig, Imputation, Scaling
from cxad_pipeline.detection.feature_kernel import FeatureArrays, write_features
from cxad_pipeline.detection.kernels import Float32Array, FloatArray
from cxad_pipeline.detection.local_time import MISSING_MOMENT, zone_changes
from cxad_pipeline.detection.segments import quantiles, sorted_present
from cxad_pipeline.detection.tables import MISSING, CodeArray, Columns, Table, TableError, columns_of

MAX_CATEGORIES = 100
"""One-hot columns of one category column: its most frequent categories. Others count as unknown."""

MOSTLY_MISSING = 0.95
"""A number that more of the training rows lack has no missing indicator: to lack it is what is usual."""

TIME_NAMES = ("hour sine", "hour cosine", "weekday sine", "weekday cosine")


@dataclass(frozen=True)
class Encoded:
    """A table as features.

    Attributes
    ----------
    X
        Features, (n, d).
    unknown_counts
        By category column: rows whose category was not seen in training.
    missing_counts
        By column: rows without a value; all of them where the table lacks the column.
    """

    X: Float32Array
    unknown_counts: dict[str, int]
    missing_counts: dict[str, int]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Fitted map from a table to features.

    They are, in this order: scaled numbers; one 0/1 column per category; numbers relative to their segment; 0/1
    columns of numbers that are missing; sine and cosine of hour and weekday. All but the first two are optional.

    Attributes
    ----------
    numeric
        Number columns that are used, (k,).
    fill, centre, scale
        What a missing value becomes, what is subtracted, what it is divided by, (k,) each.
    compress
        Whether values beyond 3 scales are compressed by asinh.
    categories
        Categories that have a feature, by category column.
    baselines
        What numbers are relative to; None without relative features.
    indicators
        Number columns that have a missing indicator.
    timestamp, timezone
        Column with the moment of a row, None without time features; the zone whose clock counts.
    dropped
        Columns of the configuration that are constant in training and so say nothing.
    """

    numeric: tuple[str, ...]
    fill: FloatArray
    centre: FloatArray
    scale: FloatArray
    compress: bool
    categories: Mapping[str, tuple[str, ...]]
    baselines: SegmentBaselines | None
    indicators: tuple[str, ...]
    timestamp: str | None
    timezone: str
    dropped: tuple[str, ...]

    @classmethod
    def fit(cls, table: Table | Columns, config: DetectorConfig) -> Self:
        """Learn the map from training rows.

        Parameters
        ----------
        table
            Training rows, without those that are held out.
        config
            Columns, imputation, scaling, and which optional features there are.

        Raises
        ------
        TableError
            If a configured column is not in the table or is of the wrong type, or if every one is constant.
        """
        columns = columns_of(table)
        moment = [] if config.timestamp is None else [config.timestamp]
        wanted = dict.fromkeys([*config.numeric, *config.categorical, *config.segments, *config.relative_to, *moment])
        absent = [name for name in wanted if name not in columns.names]
        if absent:
            raise TableError(
                f"the training table lacks {', '.join(map(repr, absent))}; it has {', '.join(columns.names)}"
            )
        numeric, arrays, indicators, dropped = [], [], [], []
        for name in config.numeric:
            values = columns.numeric(name)
            fitted = _fit_number(values, config.imputation, config.scaling)
            if fitted is None:
                dropped.append(name)
                continue
            numeric.append(name)
            arrays.append(fitted)
            if config.missing_indicators and 0 < np.isnan(values).mean() <= MOSTLY_MISSING:
                indicators.append(name)
        categories = {name: _fit_categories(columns, name) for name in config.categorical}
        dropped += [name for name, values in categories.items() if not values]
        if len(dropped) == len(config.numeric) + len(config.categorical):
            raise TableError(f"nothing to learn from: constant in training: {', '.join(dropped)}")
        timestamp = config.timestamp
        if timestamp is not None and (columns.seconds(timestamp) == MISSING_MOMENT).all():
            dropped.append(timestamp)
            timestamp = None
        fill, centre, scale = np.array(arrays, dtype=np.float64).reshape(-1, 3).T.copy()
        relative = bool(config.relative_to and numeric)
        return cls(
            numeric=tuple(numeric),
            fill=fill,
            centre=centre,
            scale=scale,
            compress=config.scaling == "robust",
            categories={name: values for name, values in categories.items() if values},
            baselines=SegmentBaselines.fit(columns, numeric, config.relative_to, config.scaling) if relative else None,
            indicators=tuple(indicators),
            timestamp=timestamp,
            timezone=config.timezone,
            dropped=tuple(dropped),
        )

    @property
    def names(self) -> list[str]:
        """Names of the features, (d,): `hold`, `channel=voice`, `hold relative to channel/queue`, `hold missing`."""
        return [name for name, _ in self._features]

    @property
    def columns_of(self) -> list[str]:
        """The original column of each feature, (d,)."""
        return [column for _, column in self._features]

    @cached_property
    def columns(self) -> list[str]:
        """The original columns that have features, each once."""
        return [*self.numeric, *self.categories, *([] if self.timestamp is None else [self.timestamp])]

    @cached_property
    def _features(self) -> list[tuple[str, str]]:
        """Name and original column of each feature, in order of the matrix."""
        features = [(name, name) for name in self.numeric]
        features += [(f"{name}={value}", name) for name, values in self.categories.items() for value in values]
        if self.baselines is not None:
            segment = "/".join(self.baselines.by)
            features += [(f"{name} relative to {segment}", name) for name in self.numeric]
        features += [(f"{name} missing", name) for name in self.indicators]
        if self.timestamp is not None:
            features += [(f"{self.timestamp} {part}", self.timestamp) for part in TIME_NAMES]
        return features

    def transform(self, table: Table) -> Float32Array:
        """Features of a table, (n, d); see `encode`."""
        return self.encode(columns_of(table)).X

    def encode(self, columns: Columns) -> Encoded:
        """Features of a table, and what was unknown or missing in it.

        A category that training has not seen, or none at all, is 0 in every feature of its column. A column that
        the table lacks is missing in every row. A row has the same features in a table of any size.

        Raises
        ------
        TableError
            If the table has none of the columns, or a number or timestamp column holds something else.
        """
        given = set(columns.names)
        if given.isdisjoint(self.columns):
            raise TableError(
                f"the table has none of the columns {', '.join(self.columns)}; it has {', '.join(columns.names)}"
            )
        n, plan = columns.n_rows, self._plan
        numbers = np.empty((len(self.numeric), n))
        for j, name in enumerate(self.numeric):
            numbers[j] = columns.floats(name) if name in given else np.nan
        codes = np.empty((len(plan.index), n), dtype=np.int64)
        for c, (name, index) in enumerate(plan.index.items()):
            codes[c] = columns.codes(name, index) if name in given else MISSING
        moments = plan.no_moments
        if self.timestamp is not None:
            absent = self.timestamp not in given
            # A copy, since Arrow's memory is read-only, for which numba would compile the transform a second time.
            moments = np.full(n, MISSING_MOMENT) if absent else np.array(columns.seconds(self.timestamp))
        X = np.empty((n, len(self._features)), dtype=np.float32)
        missing, unknown = plan.no_counts.copy(), plan.no_counts.copy()
        write_features(numbers, codes, moments, plan.arrays, X, missing, unknown)
        return Encoded(
            X,
            unknown_counts=dict(zip(plan.index, unknown.tolist(), strict=False)),
            missing_counts=dict(zip(plan.counted, missing.tolist(), strict=False)),
        )

    @cached_property
    def _plan(self) -> _Plan:
        return _Plan(self)

    def to_dict(self) -> dict[str, Any]:
        """The map as plain lists, dicts, strings and numbers, ready for JSON."""
        return {
            "numeric": list(self.numeric),
            "fill": self.fill.tolist(),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "compress": self.compress,
            "categories": {name: list(values) for name, values in self.categories.items()},
            "baselines": None if self.baselines is None else self.baselines.to_dict(),
            "indicators": list(self.indicators),
            "timestamp": self.timestamp,
            "timezone": self.timezone,
            "dropped": list(self.dropped),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The map that `to_dict` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the content is no feature map.
        """
        numeric = tuple(content["numeric"])
        arrays = {name: np.array(content[name], dtype=np.float64) for name in ("fill", "centre", "scale")}
        for name, array in arrays.items():
            if array.shape != (len(numeric),):
                raise ValueError(f"{name} has shape {array.shape}, expected ({len(numeric)},)")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} is not finite")
        if not (arrays["scale"] > 0).all():
            raise ValueError("scale is not above 0")
        strangers = sorted(set(content["indicators"]) - set(numeric))
        if strangers:
            raise ValueError(f"missing indicators of columns that are no numbers here: {', '.join(strangers)}")
        timestamp, categories = content["timestamp"], content["categories"]
        names = [*numeric, *categories, *content["dropped"], *([] if timestamp is None else [timestamp])]
        if not all(isinstance(text, str) for text in chain(names, *categories.values())):
            raise TypeError("a column or category is no text")
        zone_changes(content["timezone"])
        baselines = content["baselines"]
        return cls(
            numeric=numeric,
            fill=arrays["fill"],
            centre=arrays["centre"],
            scale=arrays["scale"],
            compress=bool(content["compress"]),
            categories={name: tuple(values) for name, values in categories.items()},
            baselines=None if baselines is None else SegmentBaselines.from_dict(baselines, len(numeric)),
            indicators=tuple(content["indicators"]),
            timestamp=timestamp,
            timezone=content["timezone"],
            dropped=tuple(content["dropped"]),
        )


class _Plan:
    """What encoding needs of a feature map, made once: lookups by category and the arrays of the compiled transform.

    Attributes
    ----------
    index
        By category column, the code of each category: those with a feature first, then those that only segments have.
    arrays
        For `write_features`.
    counted
        Names of the columns in the order in which missing values are counted.
    no_counts, no_moments
        Zeros to count from; what is given where there are no time features.
    """

    def __init__(self, features: FeatureMap) -> None:
        baselines = features.baselines
        by = () if baselines is None else baselines.by
        known: dict[str, dict[str, None]] = {name: dict.fromkeys(features.categories.get(name, ())) for name in by}
        known = {name: dict.fromkeys(values) for name, values in features.categories.items()} | known
        for key in () if baselines is None else baselines.keys:
            if key:
                known[by[len(key) - 1]][key[-1]] = None
        self.index = {name: {value: code for code, value in enumerate(values)} for name, values in known.items()}
        names = list(self.index)
        n_hot = [len(features.categories.get(name, ())) for name in names]
        feature, first = [], len(features.numeric)
        for name, width in zip(names, n_hot, strict=True):
            feature += [*range(first, first + width), *([-1] * (len(self.index[name]) - width))]
            first += width
        sizes = [len(index) for index in self.index.values()]
        k = len(features.numeric)
        width, step, next_segment = 1, _integers([]), _integers([])
        if baselines is not None:
            width, step, next_segment = baselines.search_tree([self.index[name] for name in by])
        timed = features.timestamp is not None
        changes = zone_changes(features.timezone) if timed else None
        self.arrays = FeatureArrays(
            fill=features.fill,
            centre=features.centre,
            scale=features.scale,
            compress=features.compress,
            feature_start=_integers(np.cumsum([0, *sizes])),
            feature=_integers(feature),
            n_hot=_integers(n_hot),
            path=_integers([names.index(name) for name in by]),
            width=width,
            step=step,
            next_segment=next_segment,
            segment_centre=np.empty((0, k)) if baselines is None else baselines.centre,
            segment_scale=np.empty((0, k)) if baselines is None else baselines.scale,
            indicator=_integers([features.numeric.index(name) for name in features.indicators]),
            change=_integers([]) if changes is None else changes.moments,
            offset=_integers([]) if changes is None else changes.offsets,
        )
        self.counted = [*features.numeric, *names, *([features.timestamp] if features.timestamp is not None else [])]
        self.no_counts = np.zeros(k + len(names) + 1, dtype=np.int64)
        self.no_moments = _integers([])


def _integers(values: Sequence[int] | CodeArray) -> CodeArray:
    return np.array(values, dtype=np.int64)


def _fit_number(values: FloatArray, imputation: Imputation, scaling: Scaling) -> tuple[float, float, float] | None:
    """Fill, centre and scale of one number column; None where it is constant."""
    present = sorted_present(values)
    if len(present) == 0:
        return None
    fill = 0.0
    if imputation == "median":
        fill = quantiles(present, (0.5,))[0]
    elif imputation == "mean":
        fill = mean(present)
    filled = sorted_filled(values, fill)
    if filled[0] == filled[-1]:
        return None
    if scaling == "none":
        return fill, 0.0, 1.0
    centre, spread = location_and_spread(filled, scaling)
    return fill, centre, usable_scale(spread)


def _fit_categories(columns: Columns, name: str) -> tuple[str, ...]:
    """The categories of one column that get a feature, sorted; none where the column is constant."""
    column = columns.categories(name)
    present = column.codes[column.codes >= 0]
    counts = np.bincount(present, minlength=len(column.values))
    seen: Sequence[tuple[int, str]] = sorted(
        ((-int(count), value) for value, count in zip(column.values, counts, strict=True) if count > 0)
    )
    if not seen or -seen[0][0] == columns.n_rows:
        return ()
    return tuple(sorted(value for _, value in seen[:MAX_CATEGORIES]))
