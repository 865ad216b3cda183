"""The tests of one cell: what speaks for an incident in it, each one-sided in the bad direction.

Belongs here: the statistics of each test, and whether the effect is large enough to call somebody. Does not belong
here: what is usual (`profiles.py`) and what the tests say together (`combination.py`, `monitor.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from cxad_pipeline.incidents.cusum import cusum
from cxad_pipeline.incidents.distributions import beta_binomial_tail, negative_binomial_tail
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.metrics import MetricRule
from cxad_pipeline.incidents.profiles import Expectation, MeanProfile, RateProfile, as_share

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


LEAST_EFFECT = 0.2
"""Relative effect from which on people are called, unless a configuration says otherwise: a smaller one may be certain
and still not matter."""
LEAST_AFFECTED = 3
"""Contacts beyond a threshold, or complaints, that make an incident: one or two are single anomalies."""
LEAST_EXTRA_CONTACTS = 5
"""Contacts above the expected number that make a volume incident."""
_LEAST = 1e-300


@dataclass(frozen=True)
class Drift:
    """A sum over windows.

    Attributes
    ----------
    allowance
        What it takes off per window, in standard deviations: half of the shift that it finds soonest.
    error
        Standard errors by which it lets the baseline be wrong: that error is the same in all windows, adds up like a
        drift, and the days of history, each judged by the others, do not show it. The slower, the more it matters.
    """

    allowance: float
    error: float


@dataclass(frozen=True, eq=False)
class Evidence:
    """One test in every cell, all (s, t).

    Attributes
    ----------
    family
        Metric's name, `together`, `contacts` or `complaints`.
    kind
        Which test of it.
    statistic
        Higher = more against normality; NaN where it was not tested.
    bounded
        Whether the statistic is -log10 of a p-value; a sum over windows has no distribution of its own.
    observed, expected
        Count, or mean in the metric's own unit.
    large
        Whether the effect is large enough.
    """

    family: str
    kind: Kind
    statistic: FloatArray
    bounded: bool
    observed: FloatArray
    expected: FloatArray
    large: BoolArray


def exceedance_evidence(
    family: str,
    kind: Kind,
    tested: BoolArray,
    k: FloatArray,
    n: FloatArray,
    rate: FloatArray,
    profile: RateProfile,
    min_effect: float = LEAST_EFFECT,
) -> Evidence:
    """Whether more of n contacts are beyond a threshold than usual: beta-binomial."""
    share = as_share(rate)
    statistic = np.full(k.shape, np.nan)
    dispersion = np.broadcast_to(profile.dispersion, k.shape)
    statistic[tested] = _surprise(beta_binomial_tail(k[tested], n[tested], share[tested], dispersion[tested]))
    usual = n * share
    return Evidence(family, kind, statistic, True, k, usual, (k >= LEAST_AFFECTED) & (k >= (1 + min_effect) * usual))


def mean_evidence(
    metric: MetricRule,
    tested: BoolArray,
    count: FloatArray,
    total: FloatArray,
    beyond: FloatArray,
    mean: Expectation,
    profile: MeanProfile,
    drifts: Mapping[Kind, Drift],
    min_effect: float = LEAST_EFFECT,
) -> list[Evidence]:
    """Whether the window's mean is shifted, and whether those of the windows up to it are.

    The deviation is divided by the root of within / n + between + the variance of the baseline itself. In a segment
    whose values hardly vary, one contact alone moves the mean by many times that: a shift also needs `LEAST_AFFECTED`
    values `beyond` the near threshold. A drift needs them in the window that calls, which is shown for it.
    """
    n = np.maximum(count, 1)
    # No duration is below 0 s, though a sum of effects may be: beside it windows of nothing but 0 s would look long.
    usually = np.maximum(mean.value, 0.0) if metric.logarithmic else mean.value
    shift = metric.sign * (total / n - usually)
    variance = profile.within / n + profile.between + mean.variance
    z = shift / np.sqrt(variance)
    lasting = np.sqrt(mean.variance / variance)
    usual = metric.unworked(usually)
    observed = metric.unworked(total / n)
    large = _is_large(metric, observed, usual, min_effect)
    statistic = np.where(tested, -log_ndtr(-z) / np.log(10), np.nan)
    affected = beyond >= LEAST_AFFECTED
    found = [Evidence(metric.name, "shift", statistic, True, observed, usual, large & affected)]
    for kind, drift in drifts.items():
        sums, run, goes_on = cusum(z - drift.error * lasting, shift, tested, drift.allowance)
        lately = metric.unworked(usually + metric.sign * run)
        # The sum stays up for some windows after a fault has ended; only one that still deviates calls.
        still = _is_large(metric, lately, usual, min_effect) & (z > 0) & goes_on & affected
        found.append(Evidence(metric.name, kind, np.where(tested, sums, np.nan), False, lately, usual, still))
    return found


def count_evidence(
    family: str,
    kind: Kind,
    tested: BoolArray,
    k: FloatArray,
    mean: FloatArray,
    profile: RateProfile,
    extra: bool,
    min_effect: float = LEAST_EFFECT,
) -> Evidence:
    """Whether a count without a limit is higher than usual: negative binomial.

    Parameters
    ----------
    extra
        Whether `LEAST_EXTRA_CONTACTS` above the mean are asked for, else `LEAST_AFFECTED` in all.
    """
    p = negative_binomial_tail(k, mean, profile.dispersion)
    enough = k - mean >= LEAST_EXTRA_CONTACTS if extra else k >= LEAST_AFFECTED
    large = enough & (k >= (1 + min_effect) * mean)
    return Evidence(family, kind, np.where(tested, _surprise(p), np.nan), True, k, mean, large)


def _is_large(metric: MetricRule, observed: FloatArray, usual: FloatArray, min_effect: float) -> BoolArray:
    return np.asarray(metric.sign * (observed - usual) >= min_effect * np.abs(usual))


def _surprise(p: FloatArray) -> FloatArray:
    return -np.log10(np.maximum(p, _LEAST))
