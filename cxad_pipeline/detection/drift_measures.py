"""How far two distributions given by counts are apart, and how far chance alone would take them.

Belongs here: the population stability index (PSI) and the Kolmogorov-Smirnov distance (KS). Does not belong here: what
is counted (`drift_bins.py`), and which distance is too far.

Sources: Siddiqi, Credit Risk Scorecards, 2006 (PSI and its usual limit, 0.25); Yurdakul and Naranjo, Statistical
properties of the population stability index, Journal of Risk Model Validation 14(4), 2020 (without drift, PSI is about
(1/n + 1/m) chi-squared with bins - 1 degrees of freedom); Smirnov 1948 (1.36 sqrt(1/n + 1/m): KS by chance at 5 %).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.drift_bins import CountArray
from cxad_pipeline.detection.kernels import FloatArray

_SMOOTHING = 0.5
_KS_BY_CHANCE = 1.36


def psi(reference: CountArray, recent: CountArray, starts: npt.ArrayLike = 0) -> tuple[FloatArray, FloatArray]:
    """Population stability index: sum of (q - p) log(q / p) over bins, p and q the shares of either.

    Each count gets 0.5 more, as with Jeffreys' prior, so that an empty bin has a logarithm. Bins that are empty in both
    are left out.

    Parameters
    ----------
    reference, recent
        Counts of bins, (b,): several indices are found at once when their bins lie one after the other.
    starts
        Position of the first bin of each, (f,).

    Returns
    -------
    psi, by_chance
        (f,) each: the index, and its mean where both are of one distribution, (bins - 1)(1/n + 1/m). Both are NaN
        where either has no rows.
    """
    starts = np.atleast_1d(starts)
    used = reference + recent > 0
    n_bins = np.add.reduceat(used.astype(np.int64), starts)
    widths = np.diff(np.append(starts, len(used)))
    totals, shares = [], []
    for counts in (reference, recent):
        total = np.add.reduceat(counts, starts)
        totals.append(total)
        shares.append((counts + _SMOOTHING) / np.repeat(np.maximum(total + _SMOOTHING * n_bins, 1), widths))
    p, q = shares
    index = np.add.reduceat(np.where(used, (q - p) * np.log(q / p), 0.0), starts)
    either = _either(*totals)
    return np.where(np.isnan(either), np.nan, index), (n_bins - 1) * either


def ks(reference: CountArray, recent: CountArray, starts: npt.ArrayLike = 0) -> tuple[FloatArray, FloatArray]:
    """Kolmogorov-Smirnov distance: the largest difference of the distribution functions at the ends of cells.

    Below the exact distance by the share of the fullest cell at most.

    Parameters
    ----------
    reference, recent
        Counts of cells in ascending order, (c,), as in `psi`.
    starts
        Position of the first cell of each, (f,).

    Returns
    -------
    ks, by_chance
        (f,) each: the distance, and 1.36 sqrt(1/n + 1/m), which chance exceeds once in twenty. Both are NaN where
        either has no rows.
    """
    starts = np.atleast_1d(starts)
    widths = np.diff(np.append(starts, len(reference)))
    totals, functions = [], []
    for counts in (reference, recent):
        total = np.add.reduceat(counts, starts)
        before = np.repeat(np.cumsum(total) - total, widths)
        totals.append(total)
        functions.append((np.cumsum(counts) - before) / np.repeat(np.maximum(total, 1), widths))
    distance = np.maximum.reduceat(np.abs(functions[0] - functions[1]), starts)
    either = _either(*totals)
    return np.where(np.isnan(either), np.nan, distance), _KS_BY_CHANCE * np.sqrt(either)


def _either(m: CountArray, n: CountArray) -> FloatArray:
    """1/m + 1/n, NaN where one of them is 0."""
    there = (m > 0) & (n > 0)
    return np.where(there, 1 / np.maximum(m, 1) + 1 / np.maximum(n, 1), np.nan)
