"""The four single detectors that the combined one is compared with, on the same rollups and baselines.

Belongs here: one score per segment and window for each of them. Does not belong here: thresholds and faults.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from incident_data import AHT, HOLD, Contacts

from cxad_pipeline.detection import IsolationForest
from cxad_pipeline.incidents import Findings, Monitor, Rollups, Windows
from cxad_pipeline.incidents.evidence import exceedance_evidence
from cxad_pipeline.incidents.profiles import Folds, RateProfile
from cxad_pipeline.incidents.rollups import over_leaves

FloatArray = npt.NDArray[np.float64]

RECORD, FLAGS, TAIL, MEAN = (
    "best single record",
    "count of Isolation Forest flags",
    "directional tail count",
    "shrunken metric mean",
)
SINGLES = (RECORD, FLAGS, TAIL, MEAN)
FLAGGED_SHARE = 0.02
_KINDS = {TAIL: "far tail", MEAN: "shift"}


class FlaggingForest:
    """An Isolation Forest on handle time and hold of the first two weeks; it flags its 2% highest scores."""

    def __init__(self, history: Contacts) -> None:
        columns = self._columns(history)
        self._medians = np.nanmedian(columns, axis=0)
        X = self._filled(columns)
        self._forest = IsolationForest(random_state=0).fit(X)
        self._threshold = float(np.quantile(self._forest.anomaly_score(X), 1 - FLAGGED_SHARE))

    def scores(self, contacts: Contacts) -> FloatArray:
        """Anomaly score of each contact, (n,)."""
        X = self._filled(self._columns(contacts))
        return np.asarray(self._forest.anomaly_score(X)) if len(X) else np.zeros(0)

    def flags(self, contacts: Contacts) -> npt.NDArray[np.bool_]:
        """Which contacts are flagged, (n,)."""
        return np.asarray(self.scores(contacts) > self._threshold)

    @staticmethod
    def _columns(contacts: Contacts) -> FloatArray:
        return np.column_stack([np.log1p(contacts.values[name]) for name in (AHT, HOLD)])

    def _filled(self, columns: FloatArray) -> FloatArray:
        return np.where(np.isnan(columns), self._medians, columns)


@dataclass(frozen=True, eq=False)
class SingleScores:
    """Scores of each single detector in history (each day judged by the others) and later, (s, t) each."""

    history: dict[str, FloatArray]
    later: dict[str, FloatArray]
    flags: RateProfile

    def of(
        self,
        monitor: Monitor,
        rollups: Rollups,
        findings: Findings,
        contacts: Contacts,
        part: Windows,
        forest: FlaggingForest,
    ) -> dict[str, FloatArray]:
        """Scores of windows of which the last are those of `contacts`."""
        best = np.full(rollups.contacts.shape, np.nan)
        best[:, -part.number :] = _best_record(contacts, part, forest)
        flags = _flag_count(monitor, rollups, self.flags.expected(rollups.windows), self.flags)
        return {RECORD: best, FLAGS: flags} | _of_findings(findings)


def single_scores(
    monitor: Monitor,
    replay: Findings,
    before: Rollups,
    after: Rollups,
    history: Contacts,
    later: Contacts,
    forest: FlaggingForest,
) -> SingleScores:
    """Fit on the first two weeks, score all."""
    folds = Folds.of(before.windows, np.ones(before.windows.number, dtype=np.bool_))
    flags, usual = RateProfile.fit(monitor.tree, folds, before.contacts, before.flagged, share=True)
    return SingleScores(
        {
            RECORD: _best_record(history, before.windows, forest),
            FLAGS: _flag_count(monitor, before, usual, flags),
        }
        | _of_findings(replay),
        {
            RECORD: _best_record(later, after.windows, forest),
            FLAGS: _flag_count(monitor, after, flags.expected(after.windows), flags),
        }
        | _of_findings(monitor.test(after)),
        flags,
    )


def _best_record(contacts: Contacts, windows: Windows, forest: FlaggingForest) -> FloatArray:
    """The highest score of a contact in each cell of a leaf; parents repeat their leaves and are left out."""
    best = np.full((len(contacts.tree.leaves), windows.number), -np.inf)
    np.maximum.at(best, (contacts.leaf, windows.of_moments(contacts.moments)), forest.scores(contacts))
    only_leaves = contacts.tree.members.sum(axis=1) == 1
    spread = np.full((len(contacts.tree), windows.number), np.nan)
    whole = over_leaves(contacts.tree, np.where(np.isinf(best), np.nan, best))
    spread[only_leaves] = whole[only_leaves]
    return spread


def _flag_count(monitor: Monitor, rollups: Rollups, usual: FloatArray, profile: RateProfile) -> FloatArray:
    tested = (rollups.contacts >= 5) & ~monitor.cold[:, None]
    return exceedance_evidence("flags", "together", tested, rollups.flagged, rollups.contacts, usual, profile).statistic


def _of_findings(findings: Findings) -> dict[str, FloatArray]:
    """For the count and for the mean: the best of both metrics."""
    return {
        name: np.fmax.reduce([one.statistic for one in findings.evidence if one.kind == kind])
        for name, kind in _KINDS.items()
    }
