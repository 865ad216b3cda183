"""The whole: fitted to a calibration period, it judges windows and knows from which score on to call.

Belongs here: putting profiles, tests, findings and the budget together. Does not belong here: any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.calibration import Calibration
from cxad_pipeline.incidents.budget import NONE_UNSAID, Peaks, Promise, Unsaid, peaks_of, threshold_for
from cxad_pipeline.incidents.evidence import (
    LEAST_EFFECT,
    Drift,
    Evidence,
    count_evidence,
    exceedance_evidence,
    mean_evidence,
)
from cxad_pipeline.incidents.findings import Findings, calibrations_of, findings_of
from cxad_pipeline.incidents.history import (
    days_with_contacts,
    length_in_weeks,
    median_by_slot,
    share_judged,
    without_history,
)
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.metrics import NEAR, TAIL_SHARES, MetricRule
from cxad_pipeline.incidents.profile_set import Profiles, Usual
from cxad_pipeline.incidents.profiles import Folds
from cxad_pipeline.incidents.rollups import Rollups
from cxad_pipeline.incidents.segments import SegmentTree
from cxad_pipeline.incidents.silence import adds_up, ordinary_silence, silences, surprise_of_silence
from cxad_pipeline.incidents.states import (
    LEAST_CONTACTS,
    State,
    StateArray,
    gaps,
    metric_states,
    segment_states,
)

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

DRIFTS: Mapping[Kind, Drift] = {"slow drift": Drift(0.5, 3.0), "drift": Drift(1.25, 0.5)}
"""Sums over windows: for small shifts that last a day and longer, and for those of some hours."""
WARM_UP = 48
"""Windows before the first of interest that a test should be given, for the sums to have their value."""
_TAIL_KINDS: tuple[Kind, ...] = ("far tail", "near tail")


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
    silence
        How surprising silences of a segment are in quiet times (`ordinary_silence`), (s, 1).
    profiles
        What is usual.
    calibrations
        Per test, by family and kind, what its statistic is worth by the days left out.
    replayed
        The peaks of the calibration period, each day judged by the others.
    weeks
        Length of the calibration period without gaps, special days and what is left out.
    unsaid
        What is left out of the replay although nobody said that it was real.
    min_effect, min_contacts
        Relative effect from which on people are called, contacts from which on a cell is tested.
    """

    tree: SegmentTree
    metrics: tuple[MetricRule, ...]
    usual_contacts: FloatArray
    cold: BoolArray
    silence: FloatArray
    profiles: Profiles
    calibrations: dict[tuple[str, str], Calibration]
    replayed: Peaks
    weeks: float
    unsaid: Unsaid = NONE_UNSAID
    min_effect: float = LEAST_EFFECT
    min_contacts: int = LEAST_CONTACTS

    @classmethod
    def fit(cls, tree: SegmentTree, metrics: Sequence[MetricRule], history: Rollups) -> Monitor:
        """Learn from the rollups of a calibration period; see `fit_and_replay`."""
        return cls.fit_and_replay(tree, metrics, history)[0]

    @classmethod
    def fit_and_replay(
        cls,
        tree: SegmentTree,
        metrics: Sequence[MetricRule],
        history: Rollups,
        left_out: BoolArray | None = None,
        unsaid: Unsaid = NONE_UNSAID,
        special: BoolArray | None = None,
        min_effect: float = LEAST_EFFECT,
        min_contacts: int = LEAST_CONTACTS,
    ) -> tuple[Monitor, Findings]:
        """Learn from the rollups of a calibration period, and judge each of its days by the others.

        Parameters
        ----------
        tree, metrics
            What is watched.
        history
            The calibration period; days without any contact in it are gaps.
        left_out
            Cells that neither teach nor are judged, (s, t). A long outage has many peaks, as high as it likes, and
            those of its after-effects; a threshold that took them for what quiet weeks have would let nothing through.
        unsaid
            As in the attributes.
        special
            Windows of special days, (t,): neither learned from nor tested.
        min_effect, min_contacts
            As in the attributes.

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
        nowhere, never = np.zeros((1, windows.number), dtype=np.bool_), np.zeros(windows.number, dtype=np.bool_)
        special = never if special is None else special
        left_out = nowhere if left_out is None else left_out
        everyone = history.contacts[0]
        usual_contacts = median_by_slot(everyone, windows, special, left_out[0])
        there = days_with_contacts(everyone, windows) & ~special & ~gaps(everyone, usual_contacts[windows.slot])
        folds = Folds.of(windows, there & ~left_out)
        profiles, others = Profiles.fit(tree, folds, history)
        monitor = cls(
            tree=tree,
            metrics=tuple(metrics),
            usual_contacts=usual_contacts,
            cold=without_history(history.contacts, windows, folds.usable),
            silence=np.zeros((len(tree), 1)),
            profiles=profiles,
            calibrations={},
            replayed=Peaks(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)),
            weeks=length_in_weeks(there, everyone, windows, special),
            unsaid=unsaid,
            min_effect=min_effect,
            min_contacts=min_contacts,
        )
        surprise = monitor._surprise_of_silence(history, others, ~there | left_out)
        monitor = replace(monitor, silence=ordinary_silence(history.contacts, surprise))
        states = monitor._states(history, others, never, special, left_out)
        evidence = list(monitor._evidence(history, others, *states))
        odd = (windows.day - windows.day[0]) % 2 == 1
        of_odd, of_even, of_all = calibrations_of(evidence, (odd, ~odd, ~never))
        del others  # half as large as the evidence, and read by nobody from here on
        # Judged by a calibration that they are part of, the highest scores of history would look too ordinary.
        replay = findings_of(windows, evidence, [(of_odd, ~odd), (of_even, odd)], len(metrics), *states)
        weeks = monitor.weeks * share_judged(states[0] == State.TESTED, there, left_out)
        return replace(monitor, calibrations=of_all, replayed=peaks_of(tree, replay.score), weeks=weeks), replay

    def threshold(self, promise: Promise) -> float:
        """The score from which on to call, for a promise to be kept."""
        return threshold_for(self.replayed.score, self.unsaid.left_of(promise.allowed(self.weeks)))

    def extended(self, tree: SegmentTree) -> Monitor:
        """For a tree with more segments after the known ones (`SegmentTree.extended`): they are a cold start.

        What is expected of their contacts is what is expected of all contacts, and never tested. How many there are is
        told as a cause: all that history expects are expected in the known segments, and a new one had half of one.
        """
        rows = np.arange(len(tree))
        new = rows >= len(self.tree)
        rows[new] = 0
        profiles = self.profiles.of_rows(rows)
        profiles.volume.baseline.value[new] = 0.5 / max(self.weeks * len(self.usual_contacts), 1.0)
        return replace(self, tree=tree, cold=self.cold[rows] | new, silence=self.silence[rows], profiles=profiles)

    def test(self, rollups: Rollups, late: BoolArray | None = None, special: BoolArray | None = None) -> Findings:
        """Test windows.

        Parameters
        ----------
        rollups
            The windows, of any period, with `WARM_UP` more before those of interest.
        late
            Windows that have not ended or whose data is not complete, (t,); None says that all are.
        special
            Windows of special days, (t,); None says that there are none.
        """
        never = np.zeros(rollups.windows.number, dtype=np.bool_)
        late, special = (never if given is None else given for given in (late, special))
        windows, usual = rollups.windows, self.profiles.expected(rollups.windows)
        states = self._states(rollups, usual, late, special, never[None])
        evidence = list(self._evidence(rollups, usual, *states))
        del usual  # half as large as the evidence, and read by nobody from here on
        return findings_of(windows, evidence, [(self.calibrations, ~never)], len(self.metrics), *states)

    def _states(
        self, rollups: Rollups, usual: Usual, late: BoolArray, special: BoolArray, untested: BoolArray
    ) -> tuple[StateArray, StateArray]:
        """States of cells and of the metrics in them; `untested` cells, (s, t) or (1, t), count as a cold start."""
        missing = gaps(rollups.contacts[0], self.usual_contacts[rollups.windows.slot])
        cold = self.cold[:, None] | untested
        surprise = self._surprise_of_silence(rollups, usual, (late | special)[None])
        silent = silences(rollups.contacts, usual.volume, surprise, self.silence)
        states = segment_states(rollups.contacts, silent, missing, late, special, cold, self.min_contacts)
        of_metrics = np.array(
            [
                metric_states(states, count, rollups.contacts, rate, profile.dispersion, self.min_contacts)
                for count, rate, profile in zip(rollups.count, usual.answered, self.profiles.answered, strict=True)
            ]
        )
        return states, of_metrics

    def _surprise_of_silence(self, rollups: Rollups, usual: Usual, unknown: BoolArray) -> FloatArray:
        contacts = rollups.contacts
        unknown = unknown | (contacts[:1] == 0) | ~adds_up(self.tree, contacts)
        return surprise_of_silence(contacts, usual.volume, self.profiles.volume.dispersion, unknown)

    def _evidence(
        self, rollups: Rollups, usual: Usual, states: StateArray, of_metrics: StateArray
    ) -> Iterator[Evidence]:
        fitted, effect, contacts = self.profiles, self.min_effect, rollups.contacts
        for m, metric in enumerate(self.metrics):
            tested, count = of_metrics[m] == State.TESTED, rollups.count[m]
            for tail, kind in enumerate(_TAIL_KINDS):
                rate, profile = usual.tails[m][tail], fitted.tails[m][tail]
                beyond = rollups.exceedances[m, tail]
                yield exceedance_evidence(metric.name, kind, tested, beyond, count, rate, profile, effect)
            mean, of_mean = usual.means[m], fitted.means[m]
            total, near = rollups.total[m], rollups.exceedances[m, TAIL_SHARES.index(NEAR)]
            yield from mean_evidence(metric, tested, count, total, near, mean, of_mean, DRIFTS, effect)
        tested = states == State.TESTED
        if len(self.metrics) > 1:
            k, rate, profile = rollups.together, usual.together, fitted.together
            yield exceedance_evidence("together", "together", tested, k, contacts, rate, profile, effect)
        yield count_evidence("contacts", "volume", tested, contacts, usual.volume, fitted.volume, True, effect)
        if fitted.complaints is not None and usual.complaints is not None:
            k, few = rollups.complaints, usual.complaints * contacts
            yield count_evidence("complaints", "complaints", tested, k, few, fitted.complaints, False, effect)
