"""The whole: fitted to a calibration period, it judges windows and knows from which score on to call.

Belongs here: putting profiles, tests, findings and the budget together. Does not belong here: any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.calibration import Calibration
from cxad_pipeline.incidents.baselines import DAYS
from cxad_pipeline.incidents.budget import WEEK, Peaks, Promise, peaks_of, threshold_for
from cxad_pipeline.incidents.evidence import Drift, Evidence, Kind, count_evidence, exceedance_evidence, mean_evidence
from cxad_pipeline.incidents.findings import Findings, calibrations_of, findings_of, joined
from cxad_pipeline.incidents.metrics import TAIL_SHARES, MetricRule
from cxad_pipeline.incidents.profiles import Expectation, Folds, MeanProfile, RateProfile, as_share, expected
from cxad_pipeline.incidents.rollups import Rollups
from cxad_pipeline.incidents.segments import SegmentTree
from cxad_pipeline.incidents.states import (
    LEAST_DAYS,
    LEAST_WINDOWS,
    State,
    StateArray,
    gaps,
    metric_states,
    segment_states,
)
from cxad_pipeline.incidents.windows import Windows

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

DRIFTS: Mapping[Kind, Drift] = {"slow drift": Drift(0.5, 3.0), "drift": Drift(1.25, 0.5)}
"""Sums over windows: for small shifts that last a day and longer, and for those of some hours."""
WARM_UP = 48
"""Windows before the first of interest that a test should be given, for the sums to have their value."""
_TAIL_KINDS: tuple[Kind, ...] = ("far tail", "near tail")


@dataclass(frozen=True, eq=False)
class _Usual:
    """What is expected in each cell."""

    means: list[Expectation]
    tails: list[list[Expectation]]
    answered: list[Expectation]
    together: Expectation
    volume: Expectation
    complaints: Expectation | None


@dataclass(frozen=True, eq=False)
class Monitor:
    """Baselines, variances, calibration of each test, and the threshold: all that a calibration period taught.

    Attributes
    ----------
    tree, metrics
        What is watched.
    usual_contacts
        Median contacts of all segments by window of the week: where an empty window is a gap, (slots,).
    cold
        Segments with too little history, (s,).
    means, tails, answered, together, volume, complaints
        Profiles; per metric, and per tail, where there are several. No complaints where history holds none.
    calibrations
        Per test, by family and kind, what its statistic is worth by the days left out.
    replayed
        The peaks of the calibration period, each day judged by the others.
    weeks
        Length of the calibration period without gaps.
    """

    tree: SegmentTree
    metrics: tuple[MetricRule, ...]
    usual_contacts: FloatArray
    cold: BoolArray
    means: list[MeanProfile]
    tails: list[list[RateProfile]]
    answered: list[RateProfile]
    together: RateProfile
    volume: RateProfile
    complaints: RateProfile | None
    calibrations: dict[tuple[str, str], Calibration]
    replayed: Peaks
    weeks: float

    @classmethod
    def fit(cls, tree: SegmentTree, metrics: Sequence[MetricRule], history: Rollups) -> Monitor:
        """Learn from the rollups of a calibration period; see `fit_and_replay`."""
        return cls.fit_and_replay(tree, metrics, history)[0]

    @classmethod
    def fit_and_replay(
        cls, tree: SegmentTree, metrics: Sequence[MetricRule], history: Rollups
    ) -> tuple[Monitor, Findings]:
        """Learn from the rollups of a calibration period, and judge each of its days by the others.

        Returns
        -------
        Monitor
            What was learned.
        Findings
            The replay: what the promise is kept on, and what a backtest shows.

        Raises
        ------
        ValueError
            If the history holds no contact, or no metric is given.
        """
        if not metrics or not history.contacts[0].any():
            raise ValueError("incidents need one or more metrics, and a calibration period with contacts in it")
        windows = history.windows
        usual_contacts = _median_by_slot(history.contacts[0], windows)
        missing = gaps(history.contacts[0], usual_contacts[windows.slot])
        folds = Folds.of(windows, ~missing)
        means, tails, answered = [], [], []
        usual_means, usual_tails, usual_answered = [], [], []
        for m in range(len(metrics)):
            mean, usual = MeanProfile.fit(tree, folds, history.count[m], history.total[m], history.squares[m])
            means.append(mean)
            usual_means.append(usual)
            pairs = [
                RateProfile.fit(tree, folds, history.count[m], history.exceedances[m, tail], share=True)
                for tail in range(len(TAIL_SHARES))
            ]
            tails.append([rate for rate, _ in pairs])
            usual_tails.append([usual for _, usual in pairs])
            rate, usual = RateProfile.fit(tree, folds, history.contacts, history.count[m], share=True)
            answered.append(rate)
            usual_answered.append(usual)
        together, usual_together = RateProfile.fit(tree, folds, history.contacts, history.together, share=True)
        ones = np.ones_like(history.contacts)
        volume, usual_volume = RateProfile.fit(tree, folds, ones, history.contacts, share=False)
        complaints, usual_complaints = None, None
        if history.complaints.any():
            complaints, usual_complaints = RateProfile.fit(
                tree, folds, history.contacts, history.complaints, share=False
            )
        monitor = cls(
            tree=tree,
            metrics=tuple(metrics),
            usual_contacts=usual_contacts,
            cold=_is_cold(history, missing),
            means=means,
            tails=tails,
            answered=answered,
            together=together,
            volume=volume,
            complaints=complaints,
            calibrations={},
            replayed=Peaks(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)),
            weeks=float((~missing).sum() * windows.seconds / WEEK),
        )
        others = _Usual(usual_means, usual_tails, usual_answered, usual_together, usual_volume, usual_complaints)
        nothing_late = np.zeros(windows.number, dtype=np.bool_)
        found = monitor._judged(history, others, nothing_late)
        # Judged by a calibration that they are part of, the highest scores of history would look too ordinary.
        odd = (windows.day - windows.day[0]) % 2
        replay = found
        for half in (0, 1):
            other = replace(monitor, calibrations=calibrations_of(found.evidence, odd != half))
            judged = other._judged(history, others, nothing_late)
            replay = judged if half == 0 else joined(replay, judged, odd == half)
        monitor = replace(monitor, calibrations=calibrations_of(found.evidence, odd >= 0))
        return replace(monitor, replayed=peaks_of(tree, replay.score)), replay

    def threshold(self, promise: Promise) -> float:
        """The score from which on to call, for a promise to be kept."""
        return threshold_for(self.replayed.score, promise.allowed(self.weeks))

    def test(self, rollups: Rollups, late: BoolArray | None = None) -> Findings:
        """Test windows.

        Parameters
        ----------
        rollups
            The windows, of any period, with `WARM_UP` more before those of interest.
        late
            Windows that have not ended or whose data is not complete, (t,); None says that all are.
        """
        windows = rollups.windows
        usual = _Usual(
            [expected(profile.baseline, windows) for profile in self.means],
            [[expected(profile.baseline, windows) for profile in of_metric] for of_metric in self.tails],
            [expected(profile.baseline, windows) for profile in self.answered],
            expected(self.together.baseline, windows),
            expected(self.volume.baseline, windows),
            expected(self.complaints.baseline, windows) if self.complaints is not None else None,
        )
        return self._judged(rollups, usual, np.zeros(windows.number, dtype=np.bool_) if late is None else late)

    def _judged(self, rollups: Rollups, usual: _Usual, late: BoolArray) -> Findings:
        windows = rollups.windows
        missing = gaps(rollups.contacts[0], self.usual_contacts[windows.slot])
        states = segment_states(rollups.contacts, missing, late, self.cold)
        of_metrics = np.array(
            [
                metric_states(states, count, rollups.contacts, as_share(rate.value), profile.dispersion)
                for count, rate, profile in zip(rollups.count, usual.answered, self.answered, strict=True)
            ]
        )
        evidence = list(self._evidence(rollups, usual, states, of_metrics))
        return findings_of(windows, evidence, self.calibrations, len(self.metrics), states, of_metrics)

    def _evidence(
        self, rollups: Rollups, usual: _Usual, states: StateArray, of_metrics: StateArray
    ) -> Iterator[Evidence]:
        for m, metric in enumerate(self.metrics):
            tested = of_metrics[m] == State.TESTED
            for tail, kind in enumerate(_TAIL_KINDS):
                yield exceedance_evidence(
                    metric.name,
                    kind,
                    tested,
                    rollups.exceedances[m, tail],
                    rollups.count[m],
                    usual.tails[m][tail],
                    self.tails[m][tail],
                )
            yield from mean_evidence(
                metric, tested, rollups.count[m], rollups.total[m], usual.means[m], self.means[m], DRIFTS
            )
        tested = states == State.TESTED
        contacts = rollups.contacts
        if len(self.metrics) > 1:
            together = rollups.together
            yield exceedance_evidence("together", "together", tested, together, contacts, usual.together, self.together)
        yield count_evidence("contacts", "volume", tested, contacts, usual.volume.value, self.volume, extra=True)
        if self.complaints is not None and usual.complaints is not None:
            mean = usual.complaints.value * contacts
            yield count_evidence(
                "complaints", "complaints", tested, rollups.complaints, mean, self.complaints, extra=False
            )


def _median_by_slot(contacts: FloatArray, windows: Windows) -> FloatArray:
    """Median contacts by window of the week over the days with contacts, (slots,); by window of the day where none."""
    _, day = np.unique(windows.day, return_inverse=True)
    known = np.bincount(day, contacts)[day] > 0
    of_day = windows.slot % windows.per_day
    found = np.zeros(DAYS * windows.per_day)
    for slot in range(len(found)):
        own = contacts[known & (windows.slot == slot)]
        if not len(own):
            own = contacts[known & (of_day == slot % windows.per_day)]
        found[slot] = np.median(own) if len(own) else 0.0
    return found


def _is_cold(history: Rollups, missing: BoolArray) -> BoolArray:
    """Segments with contacts in too few windows or on too few days, (s,)."""
    there = (history.contacts > 0) & ~missing
    _, day = np.unique(history.windows.day, return_inverse=True)
    bounds = [*np.flatnonzero(np.diff(day, prepend=-1)), len(day)]
    days = sum(there[:, low:high].any(axis=1).astype(int) for low, high in pairwise(bounds))
    return np.asarray((there.sum(axis=1) < LEAST_WINDOWS) | (days < LEAST_DAYS))
