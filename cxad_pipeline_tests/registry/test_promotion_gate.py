"""The gate: a table of cases, with limits that are inclusive and reasons that name figure and limit."""

from __future__ import annotations

import math
import re

import pytest

from cxad_pipeline.registry.promotion import Candidate, decide

NAN = float("nan")
# 4 * sqrt(0.01 * 0.99 / 1000) + 0.005
TOLERANCE = 0.017586


def candidate(auc: float = 0.9, share: float = 0.01, expected: float = 0.01, rows: int = 1000) -> Candidate:
    return Candidate(share, expected, rows, auc)


@pytest.mark.parametrize(
    ("challenger", "champion", "promoted", "reason"),
    [
        (candidate(), None, True, "first version; ROC-AUC 0.900 on injected faults"),
        (candidate(auc=0.6), None, True, "first version; ROC-AUC 0.600"),
        (candidate(auc=0.5999), None, False, "ROC-AUC 0.600, below training.min_auc 0.6"),
        (candidate(auc=NAN), None, False, "ROC-AUC nan, below training.min_auc 0.6"),
        (candidate(auc=NAN), 0.9, False, "ROC-AUC nan"),
        (candidate(auc=math.inf), None, False, "ROC-AUC inf"),
        (candidate(auc=0.95), 0.9, True, "ROC-AUC 0.950 on injected faults, champion 0.900 on the same rows"),
        (candidate(auc=0.88), 0.9, True, "ROC-AUC 0.880"),
        (candidate(auc=0.8799), 0.9, False, "ROC-AUC 0.880, the champion with 0.900.*training.max_auc_loss is 0.02"),
        (candidate(auc=0.79), 0.81, True, "champion 0.810"),
        (candidate(auc=0.9), NAN, True, "the champion's can't be measured"),
        (candidate(share=0.01 + TOLERANCE - 1e-6), None, True, "first version"),
        (candidate(share=0.01 + TOLERANCE + 1e-6), None, False, "flags 2.76% of 1,000 held-out rows.*1.00%.*1.76%"),
        (candidate(share=0.0), None, True, "first version"),
        (candidate(share=0.0, rows=100_000), None, False, "flags 0.00% of 100,000 held-out rows"),
        (candidate(share=NAN), None, False, "flags nan% of 1,000 held-out rows"),
        (candidate(share=NAN), 0.9, False, "flags nan%"),
        (candidate(rows=0), None, False, "no held-out rows"),
    ],
)
def test_the_gate_decides_and_says_why(challenger: Candidate, champion: float | None, promoted: bool, reason: str):
    verdict = decide(challenger, champion, min_auc=0.6, max_auc_loss=0.02)
    assert verdict.promoted is promoted
    assert re.search(reason, verdict.reason), verdict.reason


@pytest.mark.parametrize(("champion", "loss"), [(0.77, 0.08), (0.78, 0.08), (0.78, 0.09), (0.9, 0.1), (0.83, 0.03)])
def test_a_loss_of_exactly_the_limit_is_allowed(champion: float, loss: float):
    auc = round(champion - loss, 2)
    assert decide(candidate(auc=auc), champion, min_auc=0.5, max_auc_loss=loss).promoted
    assert not decide(candidate(auc=auc - 1e-6), champion, min_auc=0.5, max_auc_loss=loss).promoted


def test_no_loss_allowed_still_lets_an_equal_version_in():
    assert decide(candidate(auc=0.8), 0.8, min_auc=0.6, max_auc_loss=0).promoted
