"""What an incident says of itself: from its calls, the findings and the rollups at hand.

Belongs here: the key, impact, severity, reasons and causes of an incident. Does not belong here: which calls it is made
of and its status (`life.py`), its examples (they need interactions), its words (`incident_words.py`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.calibration import FULL_SEVERITY
from cxad_pipeline.incidents.causes import causes_of
from cxad_pipeline.incidents.evidence import Evidence
from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.impact import counted_as, impact_of
from cxad_pipeline.incidents.incident import Call, Cause, Incident, Reason, highest
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.incidents.rollups import Rollups
from cxad_pipeline.incidents.segments import SegmentTree
from cxad_pipeline.interactions.schema import Direction

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]

MOST = 3
"""Causes and reasons that are given."""


class Describer:
    """Describes incidents; what `live` asks for.

    Parameters
    ----------
    model
        Knows segments and metrics.
    findings, rollups
        Of the same windows. Causes and reasons of an incident that has others, from before these or from before the
        length of windows was changed, can't be computed anew; they stay as they were, and new reasons are added.
    critical_severity
        Severity from which on people are told at once.
    model_version
        Version of the detector that scored the contacts; empty where none is known.
    now
        The present time, UTC.
    """

    def __init__(
        self,
        model: IncidentModel,
        findings: Findings,
        rollups: Rollups,
        *,
        critical_severity: float,
        model_version: str,
        now: dt.datetime,
    ) -> None:
        self._model = model
        self._findings = findings
        self._rollups = rollups
        self._critical_severity = critical_severity
        self._model_version = model_version
        self._now = now
        self._position = {key: s for s, key in enumerate(model.tree.keys)}

    def __call__(self, calls: Sequence[Call], before: Incident | None) -> Incident:
        """The incident that these calls are, as of now.

        Parameters
        ----------
        calls
            All of its calls, one or more.
        before
            What it was; None for a new one, whose id `live` gives.
        """
        lead = highest(calls)
        own = [call for call in calls if call.segment == lead.segment]
        shown = [call for call in own if call.family == lead.family and counted_as(call.kind) == counted_as(lead.kind)]
        severity = severity_of_score(lead.score)
        windows = [call.window for call in calls]
        same = before if before is not None and (before.segment, before.metric) == (lead.segment, lead.family) else None
        at_hand = self._at_hand(own)
        earlier = None if len(at_hand) == len(own) else same
        return Incident(
            id=before.id if before is not None else "",
            status="open",
            segment=lead.segment,
            metric=lead.family,
            direction=self._direction(lead.family, same),
            kind=lead.kind,
            started_at=_moment(min(windows)),
            ended_at=_moment(max(windows) + self._rollups.windows.seconds),
            score=lead.score,
            severity=severity,
            alert_score=before.alert_score if before is not None else lead.score,
            alert_severity=before.alert_severity if before is not None else severity,
            critical=severity >= self._critical_severity or (before is not None and before.critical),
            observed=lead.observed,
            expected=lead.expected,
            affected=sum(call.affected for call in shown),
            expected_affected=sum(call.expected_affected for call in shown),
            contacts=sum(call.contacts for call in shown),
            causes=earlier.causes if earlier is not None else self._causes(lead, at_hand),
            reasons=self._reasons(lead, at_hand, earlier.reasons if earlier is not None else ()),
            examples=before.examples if before is not None else (),
            model_version=self._model_version or (before.model_version if before is not None else ""),
            threshold=lead.threshold,
            opened_at=before.opened_at if before is not None else self._now,
            updated_at=self._now,
        )

    def _at_hand(self, own: Sequence[Call]) -> IntegerArray:
        """Positions of the windows, of these calls in one segment, whose contacts are at hand.

        A segment that has a call had contacts then. Where the rollups have none, they do not know the window: nobody
        has counted it, or only by another length or with other segments.
        """
        s = self._position.get(own[0].segment)
        if s is None:
            return np.empty(0, np.int64)
        positions = self._rollups.windows.of_moments(np.array([call.window for call in own]))
        known = positions >= 0
        known[known] = self._rollups.contacts[s, positions[known]] > 0
        return positions[known]

    def _direction(self, family: str, same: Incident | None) -> Direction:
        for metric in self._model.metrics:
            if metric.name == family:
                return metric.bad
        return same.direction if same is not None else "high"

    def _reasons(self, lead: Call, at_hand: IntegerArray, earlier: Sequence[Reason]) -> tuple[Reason, ...]:
        """The tests with the highest surprise in the segment over its windows, one per family.

        Where a tail leads, the metric's mean comes after them: a count alone does not say how far the metric moved.
        """
        best: dict[str, Reason] = {}
        for reason in earlier:
            if reason.family not in best or reason.surprise > best[reason.family].surprise:
                best[reason.family] = reason
        s = self._position.get(lead.segment)
        if s is not None and len(at_hand):
            for test, surprises in zip(self._findings.evidence, self._findings.surprises, strict=True):
                # It is 0 where the effect is too small.
                surprise = np.nan_to_num(surprises[s, at_hand], nan=0.0)
                t = at_hand[int(surprise.argmax())]
                highest_yet = best[test.family].surprise if test.family in best else 0.0
                if surprise.max() > highest_yet:
                    best[test.family] = _reason(test, float(surprise.max()), s, t)
        ranked = sorted(best.values(), key=lambda reason: (-reason.surprise, reason.family))[:MOST]
        known = any((reason.family, reason.kind) == (lead.family, "shift") for reason in ranked)
        if lead.kind in ("far tail", "near tail") and not known:
            ranked += self._mean(lead, earlier)
        return tuple(ranked)

    def _mean(self, lead: Call, earlier: Sequence[Reason]) -> list[Reason]:
        """How the mean of the leading metric was at the highest call; nothing where that is not known."""
        s = self._position.get(lead.segment)
        at_hand = self._at_hand([lead])
        if s is None or not len(at_hand):
            return [reason for reason in earlier if (reason.family, reason.kind) == (lead.family, "shift")]
        t = int(at_hand[0])
        return [
            _reason(test, float(np.nan_to_num(surprises[s, t], nan=0.0)), s, t)
            for test, surprises in zip(self._findings.evidence, self._findings.surprises, strict=True)
            if (test.family, test.kind) == (lead.family, "shift")
        ]

    def _causes(self, lead: Call, at_hand: IntegerArray) -> tuple[Cause, ...]:
        """Where the contacts come from that show what its highest call found, over all contacts of its windows."""
        shown = impact_of(self._model.metrics, self._findings.evidence, self._rollups, lead.family, lead.kind)
        if shown is None or not len(at_hand):
            return ()
        windows, tree = np.unique(at_hand), self._model.tree
        rate = lead.kind == "volume"
        affected, usual, contacts = (
            _of_leaves(tree, cells[:, windows].sum(axis=1))
            for cells in (shown.affected, shown.expected, shown.contacts)
        )
        return tuple(
            causes_of(
                tree.dimensions,
                tree.leaves,
                # Windows that were counted with other segments may lack rows.
                affected if rate else np.minimum(affected, contacts),
                usual if rate else contacts,
                usual=usual,
                own=tree.members[self._position[lead.segment]],
                rate=rate,
                limit=MOST,
            )
        )


def _reason(test: Evidence, surprise: float, s: int, t: int) -> Reason:
    return Reason(test.family, test.kind, float(test.observed[s, t]), float(test.expected[s, t]), surprise)


def severity_of_score(score: float) -> float:
    """Severity of an incident, 0 to 100: each 100/6 points are ten times rarer, as everywhere."""
    return round(min(max(100.0 * score / FULL_SEVERITY, 0.0), 100.0), 1)


def _of_leaves(tree: SegmentTree, sums: FloatArray) -> FloatArray:
    """From sums per segment, (s,), to sums per leaf, (leaves,).

    A leaf that has no segment of its own was once the same as a larger one, which since then has got more leaves: it is
    what these leave of it.
    """
    found = np.zeros(len(tree.leaves))
    first, size = tree.members.argmax(axis=1), tree.members.sum(axis=1)
    for leaf in reversed(range(len(found))):
        segments = np.flatnonzero(first == leaf)
        s = segments[size[segments].argmin()]
        found[leaf] = max(sums[s] - found[tree.members[s]].sum(), 0.0)
    return found


def _moment(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
