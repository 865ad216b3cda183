"""Tail probabilities of counts: beta-binomial and negative binomial, and their overdispersion.

Belongs here: the distributions. Does not belong here: which counts are tested (`evidence.py`).

Both are evaluated for whole arrays of cells, each with a mean of its own. scipy.stats has them too, a hundred times
slower for a million cells; the tests compare the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

from cxad_pipeline.detection.kernels import compiled

FloatArray = npt.NDArray[np.float64]

_LEAST_DISPERSION = 1e-6
_MOST_DISPERSION = 0.9


def beta_binomial_tail(k: FloatArray, n: FloatArray, share: FloatArray, dispersion: FloatArray | float) -> FloatArray:
    """P(K >= k) for K of n contacts, where the share varies between windows around its mean; any shape.

    Parameters
    ----------
    k, n
        Counts, k <= n.
    share
        Expected share, inside (0, 1).
    dispersion
        Correlation rho of two contacts of the same window: the variance is n p (1 - p) (1 + (n - 1) rho).
    """
    out = np.empty(k.shape)
    rho = np.clip(np.broadcast_to(dispersion, k.shape), _LEAST_DISPERSION, _MOST_DISPERSION)
    _beta_binomial_tails(
        np.ascontiguousarray(k).reshape(-1),
        np.ascontiguousarray(n).reshape(-1),
        np.ascontiguousarray(share).reshape(-1),
        np.ascontiguousarray((1 - rho) / rho).reshape(-1),
        out.reshape(-1),
    )
    return out


@compiled
def _beta_binomial_tails(
    k: FloatArray, n: FloatArray, share: FloatArray, strengths: FloatArray, out: FloatArray
) -> None:
    for i in range(len(k)):
        first, size = k[i], n[i]
        if first <= 0.0:
            out[i] = 1.0
            continue
        strength = strengths[i]
        a, b = share[i] * strength, (1.0 - share[i]) * strength
        # From the end that has fewer terms: up from k, or down from k - 1 and then the complement.
        upwards = first > size * share[i]
        j = first if upwards else first - 1.0
        term = math.exp(
            math.lgamma(size + 1.0)
            - math.lgamma(j + 1.0)
            - math.lgamma(size - j + 1.0)
            + math.lgamma(j + a)
            + math.lgamma(size - j + b)
            - math.lgamma(size + strength)
            + math.lgamma(strength)
            - math.lgamma(a)
            - math.lgamma(b)
        )
        total = 0.0
        while True:
            total += term
            if term < 1e-17 * total:
                break
            if j == (size if upwards else 0.0):
                break
            if upwards:
                term *= (size - j) * (j + a) / ((j + 1.0) * (size - j - 1.0 + b))
                j += 1.0
            else:
                term *= j * (size - j + b) / ((size - j + 1.0) * (j - 1.0 + a))
                j -= 1.0
        out[i] = min(total, 1.0) if upwards else max(1.0 - total, 0.0)


def beta_binomial_dispersion(k: FloatArray, n: FloatArray, share: FloatArray) -> float:
    """The dispersion with which Pearson's statistic equals the number of cells (Williams 1982, Appl. Stat. 31).

    Parameters
    ----------
    k, n, share
        Counts and expected shares of windows that were not used to expect them, (c,).
    """
    several = n > 1
    k, n, share = k[several], n[several], share[several]
    if not len(k):
        return _LEAST_DISPERSION
    squared = (k - n * share) ** 2 / (n * share * (1 - share))

    def surplus(rho: float) -> float:
        return float(np.sum(squared / (1 + (n - 1) * rho) - 1))

    return _root(surplus, _LEAST_DISPERSION, _MOST_DISPERSION)


def negative_binomial_tail(k: FloatArray, mean: FloatArray, dispersion: FloatArray | float) -> FloatArray:
    """P(K >= k) for counts with variance mean + dispersion * mean ** 2; any shape."""
    size = 1 / np.maximum(dispersion, _LEAST_DISPERSION)
    # K is k or more when the share mean / (size + mean) is exceeded k times before it fails `size` times.
    tail = betainc(np.maximum(k, 0.5), size, mean / (size + mean))
    return np.where(k <= 0, 1.0, tail)


def surprise_of_none(mean: FloatArray, dispersion: FloatArray | float) -> FloatArray:
    """-log10 P(K = 0) for such counts, exact also where that probability is below what a float can hold; any shape."""
    known = np.maximum(dispersion, _LEAST_DISPERSION)
    return np.asarray(np.log1p(known * mean) / known / math.log(10))


def negative_binomial_dispersion(k: FloatArray, mean: FloatArray) -> float:
    """The dispersion with which Pearson's statistic equals the number of cells, (c,)."""
    known = mean > 0
    k, mean = k[known], mean[known]
    if not len(k):
        return _LEAST_DISPERSION

    def surplus(dispersion: float) -> float:
        return float(np.sum((k - mean) ** 2 / (mean + dispersion * mean**2) - 1))

    return _root(surplus, _LEAST_DISPERSION, 100.0)


def variance_between(squared: FloatArray, known: FloatArray) -> float:
    """The variance t with which squared residuals over (known + t) average 1 (Paule & Mandel 1982), (c,)."""
    if not len(squared):
        return 0.0

    def surplus(between: float) -> float:
        return float(np.sum(squared / (known + between) - 1))

    return _root(surplus, 0.0, float(squared.max()) + 1e-12)


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function is 0, to a thousandth; the end of the range where it has no root there.

    Regula falsi in the Illinois form: an end that stays has its value halved.
    """
    at_low, at_high = falling(low), falling(high)
    if at_low <= 0:
        return low
    if at_high >= 0:
        return high
    previous = 0
    for _ in range(60):
        between = (low * at_high - high * at_low) / (at_high - at_low)
        value = falling(between)
        if abs(value) <= 1e-3 * abs(at_low) * 1e-3 or high - low <= 1e-3 * high * 1e-3:
            return between
        if value > 0:
            low, at_low = between, value
            if previous > 0:
                at_high /= 2
            previous = 1
        else:
            high, at_high = between, value
            if previous < 0:
                at_low /= 2
            previous = -1
    return (low + high) / 2
