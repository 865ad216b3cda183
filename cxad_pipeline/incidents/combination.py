"""One p-value from several, and false discoveries among many.

Belongs here: the rules for p-values. Does not belong here: where the p-values come from (`evidence.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_LEAST = 1e-300


def cauchy(p: Iterable[FloatArray], weights: FloatArray) -> FloatArray:
    """The Cauchy combination of several p-values: Liu & Xie (2020), JASA 115(529).

    The weighted mean of tan((1/2 - p) pi) has, in its tail, the Cauchy distribution whatever the dependence of the
    tests. Terms below 0 are taken as 0, so that a p-value near 1 does not outweigh one near 0. That moves the mean up,
    most where tests are independent, so the result is doubled, which keeps it conservative at every level that matters
    (a test simulates it). Beside Bonferroni's bound, tests that agree are worth more than the best of them.

    Parameters
    ----------
    p
        P-values, (tests, ...), or those of each test in turn, (...); NaN is no test and has no weight.
    weights
        Weight of each test, (tests,).

    Returns
    -------
    FloatArray
        (...), NaN where there was no test.
    """
    whole, total = np.zeros(()), np.zeros(())
    for of_test, weight in zip(p, weights, strict=True):
        tested = ~np.isnan(of_test)
        # tan((1/2 - p) pi) is 1 / tan(p pi); near 0 that is 1 / (p pi), without the loss of digits.
        term = 1 / np.tan(np.pi * np.clip(of_test, _LEAST, 0.5))
        whole = whole + np.where(tested, weight, 0.0)
        total = total + np.where(tested, weight * term, 0.0)
    mean = total / np.where(whole > 0, whole, 1.0)
    tail = np.arctan2(1.0, mean) / np.pi
    return np.where(whole > 0, np.where(mean > 0, np.minimum(2 * tail, 1.0), 1.0), np.nan)


def benjamini_yekutieli(p: FloatArray) -> FloatArray:
    """Adjusted p-values under any dependence, column by column: Benjamini & Yekutieli (2001), Ann. Stat. 29(4).

    Parameters
    ----------
    p
        P-values of the segments (rows) in each window (columns), (s, t); NaN is no test and counts for nothing.

    Returns
    -------
    FloatArray
        (s, t): rejecting what is at most q keeps the expected share of false discoveries of a window at q.
    """
    tested = ~np.isnan(p)
    number = tested.sum(axis=0)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(p) + 1))])[number]
    filled = np.where(tested, p, np.inf)
    order = np.argsort(filled, axis=0, kind="stable")
    rank = np.arange(1, len(p) + 1)[:, None]
    with np.errstate(invalid="ignore"):  # infinity times 0 where no segment was tested
        stepped = np.take_along_axis(filled, order, axis=0) * (number * harmonic) / rank
    stepped = np.minimum.accumulate(stepped[::-1], axis=0)[::-1]
    adjusted = np.empty_like(filled)
    np.put_along_axis(adjusted, order, stepped, axis=0)
    return np.where(tested, adjusted, np.nan)
