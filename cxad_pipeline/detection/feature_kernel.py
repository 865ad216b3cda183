"""The one compiled pass from a table's numbers, categories and moments to the matrix that the forests see.

Belongs here: imputation, scaling, compression, one-hot columns, values relative to their segment, missingness and
time, for batch and for one row alike. Does not belong here: what the fitted arrays are (`features.py`,
`baselines.py`) and reading tables (`tables.py`).

Each row is computed by itself, in float64, and rounded to float32 once, so that it has the same bits in a batch of any
size. float32 is what the forests compare in.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from cxad_pipeline.detection.kernels import Float32Array, FloatArray, compiled
from cxad_pipeline.detection.local_time import DAY, FIRST_WEEKDAY, HOUR, MISSING_MOMENT
from cxad_pipeline.detection.tables import MISSING, CodeArray

LINEAR_TO = 3.0
"""Scales up to which a compressed value stays as it is."""

LARGEST = 1e30
"""Nothing is put further out: beyond any cut that a tree can have, and well inside float32."""

TIME_FEATURES = 4

_HALF_TURN_HOURS = math.pi / 12
_HALF_TURN_DAYS = math.pi / 3.5


class FeatureArrays(NamedTuple):
    """What the transform has learned, as arrays. m number columns, c category columns, s segments.

    Attributes
    ----------
    fill, centre, scale
        Of the number columns, (m,).
    compress
        Whether values beyond `LINEAR_TO` scales are compressed.
    feature_start, feature
        Category column i has its codes' features in feature[feature_start[i]:feature_start[i + 1]]; -1 where a
        category has none. (c + 1,) and flat.
    n_hot
        Features of each category column, (c,); 0 where it only tells segments apart.
    path
        Category columns that lead to a segment, from coarse to fine.
    width, step, next_segment
        `SegmentBaselines.search_tree`.
    segment_centre, segment_scale
        (s, m); s is 0 without relative features.
    indicator
        Number columns that have a missing indicator.
    change, offset
        Changes of the time zone; `offset` is empty without time features.
    """

    fill: FloatArray
    centre: FloatArray
    scale: FloatArray
    compress: bool
    feature_start: CodeArray
    feature: CodeArray
    n_hot: CodeArray
    path: CodeArray
    width: int
    step: CodeArray
    next_segment: CodeArray
    segment_centre: FloatArray
    segment_scale: FloatArray
    indicator: CodeArray
    change: CodeArray
    offset: CodeArray


@compiled
def scaled(value: float, centre: float, scale: float, compress: bool) -> float:
    """A scaled number: |z| <= 3 stays as it is, beyond it grows as 3 + asinh(|z| - 3).

    Monotone, continuous, with slope 1 on both sides of the joint: one wild value keeps its order but no longer makes
    the rest of its column look the same.
    """
    z = (value - centre) / scale
    z = min(max(z, -LARGEST), LARGEST)
    if compress and abs(z) > LINEAR_TO:
        z = math.copysign(LINEAR_TO + math.asinh(abs(z) - LINEAR_TO), z)
    return z


@compiled
def _find(ascending: CodeArray, value: int) -> int:
    """Number of entries that are at most `value`."""
    low, high = 0, ascending.shape[0]
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def write_features(
    numbers: FloatArray,
    codes: CodeArray,
    moments: CodeArray,
    fitted: FeatureArrays,
    X: Float32Array,
    missing: CodeArray,
    unknown: CodeArray,
) -> None:
    """Write the features of every row: numbers, one-hot columns, relative numbers, missing indicators, time.

    A missing number has the features of the value that stands for it, and a relative feature of 0: typical of its
    segment. A missing or unknown category is 0 in every feature of its column. A segment without a baseline has that
    of its parent. A missing moment is the centre of the circles that hours and weekdays lie on.

    Parameters
    ----------
    numbers
        (m, n); NaN or infinite where missing.
    codes
        (c, n), as `Columns.codes`.
    moments
        Seconds since 1970 UTC, (n,), `MISSING_MOMENT` where missing; not read without time features.
    fitted
        What was learned.
    X
        Written to, (n, d).
    missing
        Rows without a value are added by column: numbers, categories, moments; (m + c + 1,).
    unknown
        Rows with an unknown category are added by category column, (c,).
    """
    n_numbers, n_categories = numbers.shape[0], codes.shape[0]
    relative, timed = fitted.segment_centre.shape[0] > 0, fitted.offset.shape[0] > 0
    for i in range(X.shape[0]):
        for j in range(n_numbers):
            value = numbers[j, i]
            if not math.isfinite(value):
                missing[j] += 1
                value = fitted.fill[j]
            X[i, j] = scaled(value, fitted.centre[j], fitted.scale[j], fitted.compress)
        at = n_numbers
        for c in range(n_categories):
            start = fitted.feature_start[c]
            code, hit = codes[c, i], -1
            if code >= 0:
                hit = fitted.feature[start + code]
            if code == MISSING:
                missing[n_numbers + c] += 1
            elif code < 0 or (fitted.n_hot[c] > 0 and hit < 0):
                unknown[c] += 1
            for _ in range(fitted.n_hot[c]):
                X[i, at] = 0.0
                at += 1
            if hit >= 0:
                X[i, hit] = 1.0
        if relative:
            segment = 0
            for c in fitted.path:
                if codes[c, i] < 0:
                    break
                step = segment * fitted.width + codes[c, i]
                found = _find(fitted.step, step) - 1
                if found < 0 or fitted.step[found] != step:
                    break
                segment = fitted.next_segment[found]
            for j in range(n_numbers):
                value = numbers[j, i]
                if math.isfinite(value):
                    centre, scale = fitted.segment_centre[segment, j], fitted.segment_scale[segment, j]
                    X[i, at] = scaled(value, centre, scale, fitted.compress)
                else:
                    X[i, at] = 0.0
                at += 1
        for j in fitted.indicator:
            X[i, at] = 0.0 if math.isfinite(numbers[j, i]) else 1.0
            at += 1
        if timed:
            moment = moments[i]
            if moment == MISSING_MOMENT:
                missing[n_numbers + n_categories] += 1
                X[i, at : at + TIME_FEATURES] = 0.0
            else:
                local = moment + fitted.offset[_find(fitted.change, moment)]
                # Circles of diameter 1, so that a whole day counts for as much as a 0/1 column.
                hour = (local % DAY) / HOUR * _HALF_TURN_HOURS
                weekday = (local // DAY + FIRST_WEEKDAY) % 7 * _HALF_TURN_DAYS
                X[i, at] = 0.5 * math.sin(hour)
                X[i, at + 1] = 0.5 * math.cos(hour)
                X[i, at + 2] = 0.5 * math.sin(weekday)
                X[i, at + 3] = 0.5 * math.cos(weekday)
