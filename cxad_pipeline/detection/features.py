"""From a table to the matrix that the forests see.

Belongs here: imputation, scaling and one-hot encoding with fitted arrays. Does not belong here: which rows train
and which are held out (`feature_set.py`), and reading columns (`tables.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cxad_pipeline.detection.config import DetectorConfig, Imputation, Scaling
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.tables import Columns, Table, TableError, columns_of

MAX_CATEGORIES = 100
"""One-hot columns of one category column: its most frequent categories. Others count as unknown."""

_LINEAR_TO = 3.0
# Far beyond anything that a cut can be put at, and inside float32, in which the Isolation Forest compares.
_LARGEST = 1e30


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

    X: FloatArray
    unknown_counts: dict[str, int]
    missing_counts: dict[str, int]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Fitted map from a table to features: scaled numbers first, then one 0/1 column per category.

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
    dropped
        Columns of the configuration that are constant in training and so say nothing.
    """

    numeric: tuple[str, ...]
    fill: FloatArray
    centre: FloatArray
    scale: FloatArray
    compress: bool
    categories: Mapping[str, tuple[str, ...]]
    dropped: tuple[str, ...]

    @classmethod
    def fit(cls, table: Table, config: DetectorConfig) -> Self:
        """Learn the map from training rows.

        Parameters
        ----------
        table
            Training rows.
        config
            Columns, imputation and scaling.

        Raises
        ------
        TableError
            If a configured column is not in the table or is of the wrong type, or if every one is constant.
        """
        columns = columns_of(table)
        wanted = dict.fromkeys([*config.numeric, *config.categorical, *config.segments])
        absent = [name for name in wanted if name not in columns.names]
        if absent:
            raise TableError(
                f"the training table lacks {', '.join(map(repr, absent))}; it has {', '.join(columns.names)}"
            )
        numeric, arrays, dropped = [], [], []
        for name in config.numeric:
            fitted = _fit_number(columns.numeric(name), config.imputation, config.scaling)
            if fitted is None:
                dropped.append(name)
            else:
                numeric.append(name)
                arrays.append(fitted)
        categories = {name: _fit_categories(columns, name) for name in config.categorical}
        dropped += [name for name, values in categories.items() if not values]
        if len(dropped) == len(config.numeric) + len(config.categorical):
            raise TableError(f"nothing to learn from: constant in training: {', '.join(dropped)}")
        fill, centre, scale = np.array(arrays, dtype=np.float64).reshape(-1, 3).T.copy()
        return cls(
            numeric=tuple(numeric),
            fill=fill,
            centre=centre,
            scale=scale,
            compress=config.scaling == "robust",
            categories={name: values for name, values in categories.items() if values},
            dropped=tuple(dropped),
        )

    @property
    def names(self) -> list[str]:
        """Names of the features, (d,): `hold`, `channel=voice`."""
        hot = [f"{name}={value}" for name, values in self.categories.items() for value in values]
        return [*self.numeric, *hot]

    @property
    def columns_of(self) -> list[str]:
        """The original column of each feature, (d,)."""
        hot = [name for name, values in self.categories.items() for _ in values]
        return [*self.numeric, *hot]

    @property
    def columns(self) -> list[str]:
        """The original columns that have features, each once, in order of the features."""
        return [*self.numeric, *self.categories]

    def transform(self, table: Table) -> FloatArray:
        """Features of a table, (n, d); see `encode`."""
        return self.encode(columns_of(table)).X

    def encode(self, columns: Columns) -> Encoded:
        """Features of a table, and what was unknown or missing in it.

        A category that training has not seen, or none at all, is 0 in every feature of its column. A column that
        the table lacks is missing in every row.

        Raises
        ------
        TableError
            If the table has none of the columns, or a number column holds something else.
        """
        if not set(self.columns) & set(columns.names):
            raise TableError(
                f"the table has none of the columns {', '.join(self.columns)}; it has {', '.join(columns.names)}"
            )
        n = columns.n_rows
        X = np.zeros((n, len(self.columns_of)))
        unknown, missing = {}, {}
        for j, name in enumerate(self.numeric):
            values = columns.numeric(name) if name in columns.names else np.full(n, np.nan)
            gone = np.isnan(values)
            missing[name] = int(gone.sum())
            X[:, j] = np.where(gone, self.fill[j], values)
        k = len(self.numeric)
        X[:, :k] = self._scaled(X[:, :k])
        first = k
        for name, known in self.categories.items():
            if name in columns.names:
                column = columns.categories(name)
                position = {value: first + j for j, value in enumerate(known)}
                # One extra entry at the end, which code -1 (missing) finds.
                feature = np.array([position.get(value, -1) for value in column.values] + [-1], dtype=np.int64)
                target = feature[column.codes]
                hit = target >= 0
                X[np.flatnonzero(hit), target[hit]] = 1.0
                missing[name] = int((column.codes < 0).sum())
                unknown[name] = int(n - hit.sum()) - missing[name]
            else:
                missing[name], unknown[name] = n, 0
            first += len(known)
        return Encoded(X, unknown, missing)

    def _scaled(self, values: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            z = np.clip((values - self.centre) / self.scale, -_LARGEST, _LARGEST)
        return compressed(z) if self.compress else z

    def to_dict(self) -> dict[str, Any]:
        """The map as plain lists, dicts, strings and numbers, ready for JSON."""
        return {
            "numeric": list(self.numeric),
            "fill": self.fill.tolist(),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "compress": self.compress,
            "categories": {name: list(values) for name, values in self.categories.items()},
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
        return cls(
            numeric=numeric,
            fill=arrays["fill"],
            centre=arrays["centre"],
            scale=arrays["scale"],
            compress=bool(content["compress"]),
            categories={name: tuple(values) for name, values in content["categories"].items()},
            dropped=tuple(content["dropped"]),
        )


def compressed(z: FloatArray) -> FloatArray:
    """Leave |z| <= 3 as it is, and beyond let it grow as 3 + asinh(|z| - 3).

    Monotone, continuous, with slope 1 on both sides of the joint: one wild value keeps its order but no longer
    makes the rest of its column look the same.
    """
    beyond = np.maximum(np.abs(z) - _LINEAR_TO, 0.0)
    return np.clip(z, -_LINEAR_TO, _LINEAR_TO) + np.copysign(np.arcsinh(beyond), z)


def _fit_number(values: FloatArray, imputation: Imputation, scaling: Scaling) -> tuple[float, float, float] | None:
    """Fill, centre and scale of one number column; None where it is constant."""
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return None
    fill = 0.0
    if imputation == "median":
        fill = float(np.median(present))
    elif imputation == "mean":
        fill = _mean(present)
    filled = np.where(np.isnan(values), fill, values)
    if filled.min() == filled.max():
        return None
    if scaling == "none":
        return fill, 0.0, 1.0
    if scaling == "standard":
        return fill, _mean(filled), _deviation(filled) or 1.0
    low, centre, high = (float(value) for value in np.percentile(filled, [25, 50, 75]))
    scale = high - low
    if not 0 < scale < np.inf:
        scale = _deviation(filled)
    return fill, centre, scale if 0 < scale < np.inf else 1.0


def _mean(values: FloatArray) -> float:
    """The mean, also where the sum would overflow."""
    largest = float(np.abs(values).max()) or 1.0
    return float(np.mean(values / largest)) * largest


def _deviation(values: FloatArray) -> float:
    """The standard deviation, also where squares would overflow or vanish."""
    largest = float(np.abs(values).max()) or 1.0
    return float(np.std(values / largest)) * largest


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
