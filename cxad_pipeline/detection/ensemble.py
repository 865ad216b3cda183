"""Several models' scores as one.

Belongs here: the strategies average, max and voting, and whose the outcome is. Does not belong here: what a single
model's score means (`calibration.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.config import EnsembleConfig
from cxad_pipeline.detection.kernels import FloatArray

VOTING_THRESHOLD = 0.5
"""Half of the weight flags; so does a tie."""


def weights_of(config: EnsembleConfig, names: Iterable[str]) -> dict[str, float]:
    """Weight by model name, adding up to 1."""
    weights = {name: float(config.weights.get(name, 1.0)) for name in names}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def combine(
    config: EnsembleConfig,
    surprises: Mapping[str, FloatArray],
    flags: Mapping[str, npt.NDArray[np.bool_]],
) -> tuple[FloatArray, FloatArray]:
    """Combine the members' calibrated scores or flags.

    Parameters
    ----------
    config
        Strategy and weights.
    surprises
        Calibrated score by model, (n,) each.
    flags
        Flag by model, (n,) each.

    Returns
    -------
    score, basis
        The ensemble's score, (n,), and the score that its severity is calibrated on, (n,): the same, but for
        voting the weighted average of the surprises, since shares of votes take few values.

    Notes
    -----
    `average` is the weighted mean of the surprises. `max` is the largest surprise among models with a positive
    weight. `voting` is the weighted share of models that flag.
    """
    weights = weights_of(config, surprises)
    if config.strategy == "max":
        score = _largest([surprises[name] for name, weight in weights.items() if weight > 0])
        return score, score
    average = _sum([weight * surprises[name] for name, weight in weights.items()])
    if config.strategy == "average":
        return average, average
    # Weights such as 0.1 + 0.2 + 0.2 must not lose a tie to rounding.
    share = _sum([np.where(flags[name], weight, 0.0) for name, weight in weights.items()])
    return np.round(share, 12), average


def decided_by(
    config: EnsembleConfig,
    surprises: Mapping[str, FloatArray],
    flags: Mapping[str, npt.NDArray[np.bool_]],
) -> dict[str, FloatArray]:
    """How much of each row's score is whose, so that the reasons come from the models that made it.

    Parameters
    ----------
    config, surprises, flags
        As in `combine`.

    Returns
    -------
    dict
        By model, (n,) each, adding up to 1 in each row. `average`: in proportion to weight times surprise, the
        model's term of the sum. `max`: all of it to the model with the largest surprise, equally to several.
        `voting`: by weight to the models that voted as the ensemble did; a row that it does not flag, for instance,
        is explained by those that do not flag it.
    """
    weights = weights_of(config, surprises)
    if config.strategy == "average":
        parts = {name: weight * surprises[name] for name, weight in weights.items()}
    elif config.strategy == "max":
        largest, _ = combine(config, surprises, flags)
        won = {name: (surprises[name] == largest) & (weight > 0) for name, weight in weights.items()}
        parts = {name: np.where(rows, 1.0, 0.0) for name, rows in won.items()}
    else:
        share, _ = combine(config, surprises, flags)
        outcome = share >= VOTING_THRESHOLD
        parts = {name: np.where(flags[name] == outcome, weight, 0.0) for name, weight in weights.items()}
    total = _sum(list(parts.values()))
    # Where floats end, every surprise of a row may be zero.
    return {
        name: np.divide(part, total, out=np.full(len(total), weights[name]), where=total > 0)
        for name, part in parts.items()
    }


def _largest(columns: Sequence[FloatArray]) -> FloatArray:
    return functools.reduce(np.maximum, columns)


def _sum(columns: Sequence[FloatArray]) -> FloatArray:
    """Sum in the order given: a product of matrices may order its sums by the number of rows."""
    return functools.reduce(np.add, columns)
