"""Where an incident comes from: the parts of the contacts in which what is affected lies.

Belongs here: risk ratios of dimension values and pairs of them. Does not belong here: which contacts are affected
(`impact.py`), words (`incident_words.py`).

Some contacts are beyond a threshold on any day, in a large centre more than a fault in a small queue makes. So the
contacts that a cause has to hold are those beyond what is usual, in the segment of the incident; and what else it holds
must be worse than elsewhere, too, or it would be the fault's surroundings.

Sources: Bailis et al. (2017), MacroBase, SIGMOD: explanations are combinations of values with support and risk ratio;
Katz et al. (1978), Biometrics 34: the interval of a risk ratio on the log scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from cxad_pipeline.incidents.incident import Cause
from cxad_pipeline.incidents.segments import Key

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

CLEARLY = 1.2
"""So much higher a pair's lower bound must be than those of its two values alone. A pair inside a value that is the
cause has about the value's risk ratio, a little more or less by chance, and says less about where to look; a pair that
is the cause has several times that of its values, which hold unaffected contacts as well. A fifth is also the least
effect that calls anybody (`evidence.LEAST_EFFECT`)."""
_Z = float(ndtri(0.975))


def causes_of(
    dimensions: Sequence[str],
    leaves: Sequence[tuple[str, ...]],
    affected: FloatArray,
    exposure: FloatArray,
    *,
    usual: FloatArray,
    own: BoolArray,
    rate: bool = False,
    min_support: float = 0.5,
    min_affected: int = 3,
    limit: int = 3,
) -> list[Cause]:
    """The values, and pairs of values of two dimensions, in which contacts are affected more than elsewhere.

    Where all contacts are affected alike there is none, which is an answer, too. A value and a pair inside it are
    never both given: the better one stands for both.

    Parameters
    ----------
    dimensions
        Names.
    leaves
        Values of each leaf, one per dimension.
    affected
        Affected contacts of each leaf, (leaves,).
    exposure
        All contacts of each leaf, (leaves,); with `rate` how many contacts it usually has.
    usual
        Contacts of each leaf that would be affected on an ordinary day, (leaves,).
    own
        The leaves of the incident's segment, (leaves,).
    rate
        Whether `affected` are counts without a limit (the contacts themselves, for an incident of volume), so that
        rates are compared and not shares.
    min_support
        Of the affected contacts of the incident's segment beyond the usual ones: least share that lies in a cause.
    min_affected
        Least affected contacts in a cause.
    limit
        Most causes.

    Returns
    -------
    list
        Those whose 95 % interval lies above 1, also that of their part outside of the incident's segment; by falling
        product of lower bound and the share that `min_support` bounds: of two that are told apart by chance alone, the
        one that holds more of them. At a tie fewer dimensions first, then by name.

    Raises
    ------
    ValueError
        If the arrays are not one number per leaf, or more contacts are affected than there are.
    """
    if any(array.shape != (len(leaves),) for array in (affected, exposure, usual, own)):
        shapes = f"{affected.shape} affected, {exposure.shape} exposed, {usual.shape} usual and {own.shape} own"
        raise ValueError(f"causes: {shapes} for {len(leaves)} leaves")
    if not rate and (affected > exposure).any():
        raise ValueError("causes: more contacts are affected than there are; counts without a limit need rate=True")
    excess = np.where(own, affected - usual, 0.0)
    if excess.sum() <= 0:
        return []
    codes = [_code([leaf[d] for leaf in leaves]) for d in range(len(dimensions))]
    found: list[tuple[float, Cause]] = []
    bound_of: dict[Key, float] = {}
    for chosen in [*combinations(range(len(dimensions)), 1), *combinations(range(len(dimensions)), 2)]:
        cell = np.zeros(len(leaves), dtype=np.int64)
        for d in chosen:
            cell = cell * len(codes[d][0]) + codes[d][1]
        there, of_leaf = np.unique(cell, return_inverse=True)
        inside, exposed, other, other_exposed = (
            np.bincount(of_leaf, counts).astype(np.float64)
            for counts in (affected, exposure, affected * ~own, exposure * ~own)
        )
        outside = affected.sum() - inside, exposure.sum() - exposed
        ratio, low, high = risk_ratio(inside, exposed, *outside, rate=rate)
        worse_beyond = (other_exposed == 0) | (risk_ratio(other, other_exposed, *outside, rate=rate)[1] > 1)
        support = np.bincount(of_leaf, excess) / excess.sum()
        enough = (inside >= min_affected) & (support >= min_support) & worse_beyond
        for i, leaf in zip(range(len(there)), np.unique(of_leaf, return_index=True)[1], strict=True):
            segment = tuple((dimensions[d], leaves[leaf][d]) for d in chosen)
            bound_of[segment] = float(low[i])
            if enough[i] and low[i] > 1 and _is_clearly_better(segment, bound_of):
                cause = Cause(
                    segment=segment,
                    risk_ratio=float(ratio[i]),
                    low=float(low[i]),
                    high=float(high[i]),
                    affected=round(float(inside[i])),
                    contacts=round(float(exposed[i])),
                    share=float(inside[i] / affected.sum()),
                )
                found.append((float(low[i] * support[i]), cause))
    found.sort(key=lambda one: (-one[0], len(one[1].segment), one[1].segment))
    kept: list[Cause] = []
    for _, cause in found:
        parts = [(set(cause.segment), set(other.segment)) for other in kept]
        if not any(one <= other or other <= one for one, other in parts):
            kept.append(cause)
    return kept[:limit]


def risk_ratio(
    inside: FloatArray, exposed: FloatArray, outside: FloatArray, exposed_outside: FloatArray, *, rate: bool = False
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How many times likelier contacts inside are affected than those outside, with 95 % bounds; (n,) each.

    Katz's interval on the log scale. Where a count is 0, half a contact is added to each of the four cells of affected
    and unaffected contacts inside and outside. For rates the variance of the logarithm is 1/a + 1/b, and half a contact
    is added to both counts. Where there is nothing inside or outside, the bounds are 0 and infinity.

    Parameters
    ----------
    inside, outside
        Affected contacts, (n,).
    exposed, exposed_outside
        All contacts, (n,); for rates the expected number.
    rate
        Whether the counts are not parts of the exposure.
    """
    comparable = (exposed > 0) & (exposed_outside > 1e-9)
    half = np.where((inside == 0) | (outside == 0), 0.5, 0.0)
    a, b = inside + half, np.maximum(outside, 0.0) + half
    whole = 0.0 if rate else 2 * half
    m, n = np.where(comparable, exposed + whole, 1.0), np.where(comparable, exposed_outside + whole, 1.0)
    ratio = (a / m) / (b / n)
    variance = 1 / a + 1 / b - (0.0 if rate else 1 / m + 1 / n)
    spread = np.exp(_Z * np.sqrt(np.maximum(variance, 0.0)))
    return (
        np.where(comparable, ratio, 1.0),
        np.where(comparable, ratio / spread, 0.0),
        np.where(comparable, ratio * spread, np.inf),
    )


def _is_clearly_better(segment: Key, bound_of: dict[Key, float]) -> bool:
    """Whether a pair says more than each of its values; values always do."""
    return len(segment) == 1 or all(bound_of[segment] >= CLEARLY * bound_of[(one,)] for one in segment)


def _code(values: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Distinct values, ascending, and the position of each, (leaves,)."""
    distinct = sorted(set(values))
    place = {value: position for position, value in enumerate(distinct)}
    return distinct, np.array([place[value] for value in values], dtype=np.int64)
