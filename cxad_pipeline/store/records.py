"""The form in which an anomaly travels: spool, store and live stream know this one.

Belongs here: the keys and what they hold. Does not belong here: tables (`tables`).
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict  # which Pydantic wants before Python 3.12


class AnomalyRecord(TypedDict):
    """One interaction that was found unusual; everything in it is plain JSON.

    Attributes
    ----------
    interaction_id
        As the caller gave it.
    timestamp, scored_at
        Start of the contact and when it was scored, ISO 8601 in UTC with `Z`, microseconds.
    model
        What the caller asked for: `both`, `ensemble` or a member.
    model_version
        Label of the version that scored, `v3`.
    severity
        0 to 100, rounded to one decimal: the ensemble's, or that of the one member that was asked for.
    scores, is_anomaly
        As in the answer, by model.
    reasons
        Highest share first; the keys of `detection.attribution.Reason`.
    interaction
        The columns that the caller gave, without those that the schema does not know.
    """

    interaction_id: str
    timestamp: str
    scored_at: str
    model: str
    model_version: str
    severity: float
    scores: dict[str, float]
    is_anomaly: dict[str, int]
    reasons: list[dict[str, Any]]
    interaction: dict[str, Any]
