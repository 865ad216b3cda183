"""What the tests of each cell say together: calibrated, weighted, combined, adjusted over the segments.

Belongs here: the way from the evidence to one score per cell. Does not belong here: the tests (`evidence.py`), the
rules for p-values (`combination.py`), the threshold (`budget.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.calibration import Calibration
from cxad_pipeline.incidents.combination import benjamini_yekutieli, cauchy
from cxad_pipeline.incidents.evidence import Evidence
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.states import StateArray
from cxad_pipeline.incidents.windows import Windows

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Calibrations = Mapping[tuple[str, str], Calibration]
"""What the statistic of each test is worth, by family and kind."""

SIDE_WEIGHT = 0.1
"""Weight of drifts and of the volume beside that of a metric: a drift has time, and more contacts are no fault yet."""
TESTS_OF_WINDOW = 3
"""Tests of one window of a metric: two tails and the shift."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What the tests found.

    Attributes
    ----------
    windows
        The windows, t of them.
    score
        -log10 of the adjusted p-value (Benjamini & Yekutieli over the segments of the window), (s, t), NaN where
        nothing was tested. It may be below 0: the adjustment is not cut off at 1, so that scores keep their order.
    p
        P-value of each cell, all tests combined, (s, t).
    surprises
        -log10 of the p-value of each test in each cell, 0 where the effect is too small, (tests, s, t).
    evidence
        The tests.
    states
        State of each cell, (s, t).
    metric_states
        State of each metric in it, (m, s, t).
    """

    windows: Windows
    score: FloatArray
    p: FloatArray
    surprises: FloatArray
    evidence: list[Evidence]
    states: StateArray
    metric_states: StateArray

    def alerts(self, threshold: float | FloatArray) -> BoolArray:
        """Cells whose score reaches the threshold, one for all or that of its segment, (s,); (s, t)."""
        return np.asarray(np.nan_to_num(self.score, nan=-np.inf) >= np.reshape(threshold, (-1, 1)))

    def leading(self) -> npt.NDArray[np.int64]:
        """The position in `evidence` of the test that says most in each cell, (s, t)."""
        leading, most = np.zeros(self.score.shape, dtype=np.int64), np.full(self.score.shape, -np.inf)
        for position, surprises in enumerate(self.surprises):
            known = np.nan_to_num(surprises, nan=-1.0)
            leading[known > most] = position
            np.maximum(most, known, out=most)
        return leading


def findings_of(
    windows: Windows,
    evidence: list[Evidence],
    judges: Sequence[tuple[Calibrations, BoolArray]],
    metrics: int,
    states: StateArray,
    metric_states: StateArray,
) -> Findings:
    """Put the tests together.

    Parameters
    ----------
    windows
        The windows, t of them.
    evidence
        The tests.
    judges
        What the statistics are worth, and in which windows, (t,); each window in one of them.
    metrics
        The number of metrics among the tests.
    states, metric_states
        Of the cells.
    """
    surprises = np.empty((len(evidence), *states.shape))
    for one, of_test in zip(evidence, surprises, strict=True):
        for calibrations, judged in judges:
            of_test[:, judged] = _surprises(one, calibrations.get((one.family, one.kind)), judged)
    # Test by test: all at once, the steps in between would take more memory than all that is kept.
    p = cauchy((10.0**-of_test for of_test in surprises), _weights(evidence, metrics))
    return Findings(windows, -np.log10(benjamini_yekutieli(p)), p, surprises, evidence, states, metric_states)


def calibrations_of(
    evidence: Iterable[Evidence], choices: Sequence[BoolArray]
) -> list[dict[tuple[str, str], Calibration]]:
    """What each statistic is worth by the chosen windows, (t,), for each choice.

    Beyond the 98th percentile the tail is exponential, with the mean of the excesses: that is the tail of -log10 p,
    also where the true p-value is a power of p, and that of a sum over windows (Siegmund 1985, Sequential Analysis). A
    heavier one would make a single odd window cap what all later ones can be worth.
    """
    found: list[dict[tuple[str, str], Calibration]] = [{} for _ in choices]
    for one in evidence:
        for chosen, calibrations in zip(choices, found, strict=True):
            statistics = one.statistic[:, chosen]
            statistics = statistics[~np.isnan(statistics)]
            if len(statistics):
                fitted = Calibration.fit(statistics)
                calibrations[one.family, one.kind] = replace(fitted, shape=0.0, scale=fitted.scale / (1 - fitted.shape))
    return found


def _surprises(evidence: Evidence, calibration: Calibration | None, judged: BoolArray) -> FloatArray:
    """-log10 p of a test in some windows: by its distribution and by the days left out, whichever says less."""
    statistic, large = evidence.statistic[:, judged], evidence.large[:, judged]
    if calibration is None:
        surprises = statistic if evidence.bounded else np.where(np.isnan(statistic), np.nan, 0.0)
    else:
        surprises = calibration.surprise(statistic)
        if evidence.bounded:
            surprises = np.minimum(surprises, statistic)
    return np.where(large | np.isnan(surprises), surprises, 0.0)


def _weights(evidence: Sequence[Evidence], metrics: int) -> FloatArray:
    """Weight of each test.

    A metric has weight 1, which its tests of the window share. What the metrics say together has as much as they have
    alone, however many there are: faults that meet some of the contacts are as well worth finding as others.
    """
    of_kind: dict[Kind, float] = {
        "drift": SIDE_WEIGHT,
        "slow drift": SIDE_WEIGHT,
        "volume": SIDE_WEIGHT,
        "together": float(metrics),
        "complaints": 1.0,
    }
    return np.array([of_kind.get(one.kind, 1 / TESTS_OF_WINDOW) for one in evidence])
