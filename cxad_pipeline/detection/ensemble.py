"""Several models' scores as one.

Belongs here: the strategies average, max and voting. Does not belong here: what a single model's score means
(`calibration.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.config import EnsembleConfig
from cxad_pipeline.detection.kernels import FloatArray

VOTING_THRESHOLD = 0.5
"""Half of the weight flags; so does a tie."""


def weights_of(config: EnsembleConfig, names: list[str]) -> FloatArray:
    """Weights of the models, in order of the names, adding up to 1."""
    weights = np.array([float(config.weights.get(name, 1.0)) for name in names])
    return np.asarray(weights / weights.sum())


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
    names = list(surprises)
    weights = weights_of(config, names)
    matrix = np.column_stack([surprises[name] for name in names])
    if config.strategy == "max":
        score = np.asarray(matrix[:, weights > 0].max(axis=1))
        return score, score
    # A plain loop: a product of matrices may order its sums by the number of rows.
    average = np.zeros(len(matrix))
    share = np.zeros(len(matrix))
    for column, (name, weight) in enumerate(zip(names, weights, strict=True)):
        average += weight * matrix[:, column]
        share += weight * flags[name]
    if config.strategy == "average":
        return average, average
    # Weights such as 0.1 + 0.2 + 0.2 must not lose a tie to rounding.
    return np.round(share, 12), average
