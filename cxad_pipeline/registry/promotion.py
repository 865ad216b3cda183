"""The gate between challenger and champion.

Belongs here: the decision and its reason, from figures alone. Does not belong here: MLflow, and measuring.

Without labels, a version is judged by what can be known: whether its scores are sound, whether it flags the share of
held-out rows that its thresholds promise, and how well it ranks injected faults, beside the champion on the same rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Limits are inclusive, also where a difference of two decimal figures is a hair off.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Candidate:
    """What the gate knows of a version.

    Attributes
    ----------
    flagged_share
        Share of held-out rows that the ensemble flags.
    expected_share
        The share that its percentile promises.
    rows
        Number of held-out rows.
    roc_auc
        Of the ensemble, injected faults against held-out rows.
    """

    flagged_share: float
    expected_share: float
    rows: int
    roc_auc: float


@dataclass(frozen=True)
class Verdict:
    """Whether a version becomes champion, and why."""

    promoted: bool
    reason: str


def decide(challenger: Candidate, champion_roc_auc: float | None, *, min_auc: float, max_auc_loss: float) -> Verdict:
    """Decide whether a challenger becomes champion.

    Parameters
    ----------
    challenger
        The new version's figures.
    champion_roc_auc
        The champion's ROC-AUC on the same rows and faults; None where there is no champion.
    min_auc
        A version below is never promoted.
    max_auc_loss
        How far a version may lie behind the champion.

    Returns
    -------
    Verdict
        The reason names the figure and its limit.
    """
    auc = challenger.roc_auc
    if challenger.rows <= 0:
        return Verdict(False, "there are no held-out rows to judge it by")
    if not math.isfinite(auc) or auc < min_auc - _ROUNDING:
        return Verdict(False, f"ranks injected faults with ROC-AUC {auc:.3f}, below training.min_auc {min_auc:g}")
    limit = _share_limit(challenger)
    distance = abs(challenger.flagged_share - challenger.expected_share)
    if not math.isfinite(distance) or distance > limit + _ROUNDING:
        return Verdict(
            False,
            f"flags {challenger.flagged_share:.2%} of {challenger.rows:,} held-out rows, where the threshold promises "
            f"{challenger.expected_share:.2%} (tolerance {limit:.2%})",
        )
    if champion_roc_auc is None:
        return Verdict(True, f"first version; ROC-AUC {auc:.3f} on injected faults")
    if math.isnan(champion_roc_auc):
        return Verdict(True, f"ROC-AUC {auc:.3f} on injected faults; the champion's can't be measured")
    if auc < champion_roc_auc - max_auc_loss - _ROUNDING:
        return Verdict(
            False,
            f"ranks injected faults with ROC-AUC {auc:.3f}, the champion with {champion_roc_auc:.3f} on the same rows; "
            f"training.max_auc_loss is {max_auc_loss:g}",
        )
    return Verdict(True, f"ROC-AUC {auc:.3f} on injected faults, champion {champion_roc_auc:.3f} on the same rows")


def _share_limit(candidate: Candidate) -> float:
    """Four standard errors of a share, and half a per cent for ties and for members that vote."""
    share = candidate.expected_share
    return 4 * math.sqrt(share * (1 - share) / candidate.rows) + 0.005
