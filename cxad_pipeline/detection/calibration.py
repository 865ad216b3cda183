"""From a raw score to how rare it is: threshold, tail probability, surprise, severity.

Belongs here: what is learned from held-out scores. Does not belong here: which rows are held out, and how
several models' surprises become one (`ensemble.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.kernels import FloatArray, compiled
from cxad_pipeline.detection.tree_arrays import check_array

FULL_SEVERITY = 6.0
"""Surprise of severity 100: one normal row in a million is as anomalous."""

_TAIL_SHARE = 0.02
_LEAST_EXCESSES = 10
_MOST_KNOTS = 4096
_MOST_SHAPE = 0.9
_LEAST = float(np.finfo(np.float64).tiny)
# Far beyond any model's scores, and so far inside the floats that sums and differences of scores stay finite.
_LARGEST = 1e290
_LN10 = math.log(10.0)


def threshold_at(held_out_scores: FloatArray, percentile: float) -> float:
    """Score from which on a row is flagged (`score >= threshold`).

    Parameters
    ----------
    held_out_scores
        Scores of rows that trained nothing, (n,).
    percentile
        In (0, 100).

    Returns
    -------
    float
        The percentile, at rank `percentile / 100 * (n + 1)`: the mean over data sets of the share of fresh rows that
        lie above the score of rank k is 1 - k / (n + 1), whatever the distribution. The usual rank,
        1 + `percentile / 100 * (n - 1)`, flags two fifths too many at the 99th percentile of 250 rows. With so
        few rows that the rank is beyond the last, the greatest score.

        Where so many rows share that very score that flagging them would flag clearly more than the percentile
        says, the next greater number instead, so that they are not flagged.
    """
    threshold = float(np.percentile(held_out_scores, percentile, method="weibull"))
    flagged = float(np.mean(held_out_scores >= threshold))
    if flagged > 1 - percentile / 100 + 1 / len(held_out_scores):
        return float(np.nextafter(threshold, np.inf))
    return threshold


def severity_of(surprise: FloatArray) -> FloatArray:
    """Surprise on a scale of 0 to 100, (n,); 100 from one normal row in a million on."""
    return np.minimum(100.0 * surprise / FULL_SEVERITY, 100.0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Surprise of a raw score: -log10 of the probability that a normal row scores as high.

    Three pieces, joined without a step, each strictly increasing:

    - up to the joint, the empirical tail of the held-out scores, interpolated between them;
    - beyond it a generalized Pareto tail, p = p0 (1 + xi z / sigma) ** (-1 / xi), z the excess over the joint. The
      joint is the 98th percentile, or lower where fewer than ten scores lie beyond;
    - below the least score p rises exponentially to 1.

    The shape xi is kept in [0, 0.9]. Below 1 the tail has a mean, which the fit needs. From 0 on it never ends, so that
    two anomalies beyond all that was seen still differ, also where the score itself is bounded, as that of an
    Isolation Forest is. A tail that is in truth lighter is then described as exponential with the same mean, which
    errs on the safe side. Of simulated scores with xi = -0.2, 1,000 of them held out, those said to be one in 10,000
    are one in 37,000; a fit that follows the estimated xi below 0 says so of one in 2,100, since it takes the end of
    the sample for the end of the tail. Within the sample (one in 300) both are right to an eighth.

    Attributes
    ----------
    knots, surprises
        Scores and their surprise, ascending, (m,); the last knot is the joint.
    shape, scale
        xi and sigma of the tail.
    spread
        Distance over which 1 - p falls to 1/e below the first knot.
    """

    knots: FloatArray
    surprises: FloatArray
    shape: float
    scale: float
    spread: float

    @classmethod
    def fit(cls, held_out_scores: npt.ArrayLike) -> Self:
        """Learn from scores of rows that trained nothing.

        Parameters
        ----------
        held_out_scores
            Raw scores, (n,), higher = more anomalous.

        Raises
        ------
        ValueError
            If there is none, or one is not finite.

        References
        ----------
        Hosking & Wallis (1987), Parameter and quantile estimation for the generalized Pareto distribution,
        Technometrics 29(3): the probability-weighted moments.
        """
        scores = np.sort(np.asarray(held_out_scores, dtype=np.float64))
        if scores.ndim != 1 or len(scores) == 0 or not np.isfinite(scores).all():
            raise ValueError(f"calibration needs one or more finite scores, got shape {scores.shape}")
        scores = np.clip(scores, -_LARGEST, _LARGEST)
        n = len(scores)
        knots, first, number = np.unique(scores, return_index=True, return_counts=True)
        # Half of the rows with the very score count as beyond it: never 0, never 1.
        tail = (n - first - number / 2) / n
        beyond = max(math.ceil(_TAIL_SHARE * n), min(_LEAST_EXCESSES, n // 2))
        # From the joint on there are no more rows than that, so that a value which very many rows share lies below:
        # the tail starts from the probability of the joint and must not start from theirs.
        joint = min(int(np.searchsorted(first, n - 1 - beyond)), len(knots) - 1)
        excesses = scores[scores > knots[joint]] - knots[joint]
        if len(excesses):
            shape, scale = _pareto(excesses)
        else:
            shape, scale = 0.0, _step(knots) / max(math.log(2 * n * tail[-1]), 1.0)
        spread = float(scores[n // 2] - scores[0]) or float(scores[-1] - scores[0]) or _step(knots)
        # Scores may differ by less than any length that one can divide by.
        scale, spread = max(scale, _LEAST), max(spread, _LEAST)
        keep = np.arange(joint + 1)
        if len(keep) > _MOST_KNOTS:
            keep = np.unique(np.linspace(0, joint, _MOST_KNOTS).round().astype(int))
        return cls(knots[keep], -np.log10(tail[keep]), shape, scale, spread)

    def surprise(self, raw: npt.ArrayLike) -> FloatArray:
        """-log10 of the tail probability of each raw score, (n,); above 0, without a bound, NaN for NaN."""
        scores = np.asarray(raw, dtype=np.float64, order="C")
        surprise = np.empty(scores.shape)
        _surprises(
            scores.reshape(-1), self.knots, self.surprises, self.shape, self.scale, self.spread, surprise.reshape(-1)
        )
        return surprise

    def probability(self, raw: npt.ArrayLike) -> FloatArray:
        """Probability that a normal row scores as high, (n,); 0 only where floats end."""
        return np.asarray(10.0 ** -self.surprise(raw))

    def severity(self, raw: npt.ArrayLike) -> FloatArray:
        """Surprise on a scale of 0 to 100, (n,); 100 from one in a million on."""
        return severity_of(self.surprise(raw))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The calibration as named arrays."""
        return {
            "knots": self.knots,
            "surprises": self.surprises,
            "tail": np.array([self.shape, self.scale, self.spread]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The calibration that `to_arrays` gave.

        Raises
        ------
        ValueError
            If the arrays are no calibration.
        """
        knots, surprises = arrays["knots"], arrays["surprises"]
        shape, scale, spread = (float(value) for value in arrays["tail"].reshape(-1))
        if knots.ndim != 1 or len(knots) == 0:
            raise ValueError(f"calibration: knots have shape {knots.shape}, expected one or more")
        check_array("calibration: knots", knots, np.float64, knots.shape)
        check_array("calibration: surprises", surprises, np.float64, knots.shape)
        check_array("calibration: tail", arrays["tail"], np.float64, (3,))
        if not (np.diff(knots) > 0).all() or not (np.diff(surprises) >= 0).all() or surprises[0] <= 0:
            raise ValueError("calibration: knots or surprises are not ascending")
        if min(scale, spread) <= 0 or shape < 0:
            raise ValueError("calibration: the tail has no extent")
        return cls(knots, surprises, shape, scale, spread)


def _pareto(excesses: FloatArray) -> tuple[float, float]:
    """Shape and scale of a generalized Pareto tail, by probability-weighted moments.

    With a0 the mean and a1 the mean of x (1 - F(x)), xi = 2 - a0 / (a0 - 2 a1). Where xi has to be brought into its
    bounds, the scale keeps the mean: sigma = a0 (1 - xi).
    """
    x = np.sort(excesses)
    n = len(x)
    a0 = float(x.mean())
    a1 = float(np.mean(x * (n - 0.65 - np.arange(n)) / n))
    difference = a0 - 2 * a1
    shape = 2 - a0 / difference if difference > 0 else _MOST_SHAPE
    shape = min(max(shape, 0.0), _MOST_SHAPE)
    return shape, a0 * (1 - shape)


def _step(knots: FloatArray) -> float:
    """Distance of the two greatest scores; some positive length where all are the same.

    Where no row lies beyond the joint, the tail falls over this distance to 1 / (2 n): what a single row there
    would have been worth.
    """
    return float(knots[-1] - knots[-2]) if len(knots) > 1 else max(abs(float(knots[0])), 1.0) * 1e-3


@compiled
def _surprises(
    raw: FloatArray,
    knots: FloatArray,
    surprises: FloatArray,
    shape: float,
    scale: float,
    spread: float,
    surprise: FloatArray,
) -> None:
    """Surprise of each raw score; see `Calibration`.

    Compiled, because numpy would need twenty calls, which take longer for one row than a forest does.
    """
    last = len(knots) - 1
    first_share = 1.0 - 10.0 ** -surprises[0]
    for i in range(len(raw)):
        score = raw[i]
        if score >= knots[last]:
            excess = min((score - knots[last]) / scale, _LARGEST)
            further = math.log1p(shape * excess) / shape if shape > 0.0 else excess
            surprise[i] = surprises[last] + further / _LN10
        elif score < knots[0]:
            # 1 - p = (1 - p1) exp(-distance / spread), p1 the probability of the first knot.
            share = first_share * math.exp(-(knots[0] - score) / spread)
            surprise[i] = min(-math.log1p(-share) / _LN10, surprises[0])
        elif math.isnan(score):
            surprise[i] = score
        else:
            low, high = 0, last
            while high - low > 1:
                middle = (low + high) // 2
                if score >= knots[middle]:
                    low = middle
                else:
                    high = middle
            part = (score - knots[low]) / (knots[high] - knots[low])
            between = surprises[low] + part * (surprises[high] - surprises[low])
            surprise[i] = min(between, surprises[high])
