"""What a detector gives: scores, and why.

Belongs here: the two results and their access. Does not belong here: how they come about (`detector.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.attribution import Narrator, Reason
from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.detection.kernels import FloatArray


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a table of n rows; higher = more anomalous, everywhere.

    Attributes
    ----------
    raw
        The model's own score, by model, (n,) each.
    thresholds
        Score from which on a row is flagged, by model and for `ensemble`.
    ensemble
        The ensemble's score, (n,): surprise for `average` and `max`, share of the votes for `voting`.
    severity
        The ensemble's severity, 0 to 100, (n,).
    severities
        Severity by model, (n,) each.
    flags
        Whether the score reaches the threshold, by model and for `ensemble`, (n,) each.
    unknown_counts
        By category column, rows whose category was not seen in training.
    missing_counts
        By column, rows without a value.
    """

    raw: dict[str, FloatArray]
    thresholds: dict[str, float]
    ensemble: FloatArray
    severity: FloatArray
    severities: dict[str, FloatArray]
    flags: dict[str, npt.NDArray[np.bool_]]
    unknown_counts: dict[str, int]
    missing_counts: dict[str, int]


@dataclass(frozen=True, eq=False)
class Explanations:
    """Why the rows of a table have their scores.

    Attributes
    ----------
    columns
        The original columns, (k,).
    contributions
        Contributions by model, (n, k) each: those of a Random Cut Forest add up to its raw score, those of an
        Isolation Forest to its raw score less the forest's `base_score`; each model's `attribution` says to what.
    shares
        Parts of the positive contributions, by model and for `ensemble`, (n, k) each; the ensemble's are the
        members', each to the degree that the member made the ensemble's score (`ensemble.decided_by`); where a member
        has none in a row, the others' count for all.
    narrator
        Puts the shares into words.
    top
        Most reasons per row.
    """

    columns: list[str]
    contributions: dict[str, FloatArray]
    shares: dict[str, FloatArray]
    narrator: Narrator
    top: int

    @cached_property
    def reasons(self) -> list[list[Reason]]:
        """The ensemble's top reasons by row, greatest share first; columns without any share give none."""
        return self.narrator.reasons(self.shares[ENSEMBLE], self.top)

    def texts(self, model: str = ENSEMBLE) -> list[list[str]]:
        """The top reasons in words by row, of the ensemble or of one model.

        Raises
        ------
        KeyError
            If there is no such model.
        """
        return [[reason.text for reason in row] for row in self.reasons_of(model)]

    def reasons_of(self, model: str) -> list[list[Reason]]:
        """The top reasons by row, of the ensemble or of one model; KeyError if there is no such model."""
        return self.reasons if model == ENSEMBLE else self.narrator.reasons(self.shares[model], self.top)
