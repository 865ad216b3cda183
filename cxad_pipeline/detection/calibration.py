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

from cxad_pipeline.detection.kernels import FloatArray

FULL_SEVERITY = 6.0
"""Surprise of severity 100: one normal row in a million is as anomalous."""

_TAIL_SHARE = 0.02
_LEAST_EXCESSES = 10
_MOST_KNOTS = 4096
_MOST_SHAPE = 0.9


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
        The percentile. Where so many rows share that very score that flagging them would flag clearly more
        than the percentile says, the next greater number instead, so that they are not flagged.
    """
    threshold = float(np.percentile(held_out_scores, percentile))
    flagged = float(np.mean(held_out_scores >= threshold))
    if flagged > 1 - percentile / 100 + 1 / len(held_out_scores):
        return float(np.nextafter(threshold, np.inf))
    return threshold


@dataclass(frozen=True, eq=False)
class Calibration:
    """Surprise of a raw score: -log10 of the probability that a normal row scores as high.

    Three pieces, joined without a step, each strictly increasing:

    - up to the joint, the empirical tail of the held-out scores, interpolated between them;
    - beyond it a generalized Pareto tail, p = p0 (1 + xi z / sigma) ** (-1 / xi), z the excess over the joint. The
      joint is the 98th percentile, or lower where fewer than ten scores lie beyond. The shape is kept in
      [0, 0.9], so that the tail never ends and two anomalies beyond all that was seen still differ;
    - below the least score p rises exponentially to 1.

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
        n = len(scores)
        knots, first, number = np.unique(scores, return_index=True, return_counts=True)
        # Half of the rows with the very score count as beyond it: never 0, never 1.
        tail = (n - first - number / 2) / n
        beyond = max(math.ceil(_TAIL_SHARE * n), min(_LEAST_EXCESSES, n // 2))
        joint = max(0, int(np.searchsorted(knots, scores[n - 1 - beyond], side="left")))
        excesses = scores[scores > knots[joint]] - knots[joint]
        spread = float(scores[n // 2] - scores[0]) or _any_scale(scores)
        shape, scale = _pareto(excesses) if len(excesses) else (0.0, _any_scale(scores))
        keep = np.arange(joint + 1)
        if len(keep) > _MOST_KNOTS:
            keep = np.unique(np.linspace(0, joint, _MOST_KNOTS).round().astype(int))
        return cls(knots[keep], -np.log10(tail[keep]), shape, scale, spread)

    def surprise(self, raw: npt.ArrayLike) -> FloatArray:
        """-log10 of the tail probability of each raw score, (n,); above 0, without a bound."""
        score = np.asarray(raw, dtype=np.float64)
        body = np.interp(score, self.knots, self.surprises)
        excess = np.maximum(score - self.knots[-1], 0.0) / self.scale
        tail = np.log1p(self.shape * excess) / self.shape if self.shape > 0 else excess
        # Below the first knot: 1 - p = (1 - p1) exp(-distance / spread).
        below = np.maximum(self.knots[0] - score, 0.0) / self.spread
        first = 1.0 - 10.0 ** -self.surprises[0]
        low = -np.log1p(-first * np.exp(-below)) / math.log(10.0)
        return np.asarray(np.where(below > 0, low, body + tail / math.log(10.0)))

    def probability(self, raw: npt.ArrayLike) -> FloatArray:
        """Probability that a normal row scores as high, (n,); 0 only where floats end."""
        return np.asarray(10.0 ** -self.surprise(raw))

    def severity(self, raw: npt.ArrayLike) -> FloatArray:
        """Surprise on a scale of 0 to 100, (n,); 100 from one in a million on."""
        return np.clip(100.0 * self.surprise(raw) / FULL_SEVERITY, 0.0, 100.0)

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
        shape, scale, spread = (float(value) for value in arrays["tail"])
        if len(knots) == 0 or knots.shape != surprises.shape or min(scale, spread) <= 0 or shape < 0:
            raise ValueError("calibration: knots, surprises and tail do not fit together")
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


def _any_scale(scores: FloatArray) -> float:
    """A positive length for scores that are all the same and say nothing of it."""
    return float(np.std(scores)) or max(abs(float(scores[0])), 1.0) * 1e-3
