"""Faults put into queue-hours, and how many of them detectors find that call equally often.

Belongs here: the four faults, the queue-hours, the count of what is found. Does not belong here: the detectors that
ours is compared with (`incident_singles.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from incident_data import AHT, HOLD, Contacts, two_periods
from incident_singles import SINGLES, FlaggingForest, single_scores

from cxad_pipeline.incidents import (
    WARM_UP,
    Monitor,
    Promise,
    Rollups,
    incidents_of,
    peaks_of,
    threshold_for,
)

FloatArray = npt.NDArray[np.float64]
Fault = Callable[[FloatArray, FloatArray, np.random.Generator], tuple[FloatArray, FloatArray]]

OURS = "combined (ours)"
DAYS_OF_MONTH = 31


def _some_calls(aht: FloatArray, hold: FloatArray, random: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    hit = random.random(len(aht)) < 0.3
    return np.where(hit, 4 * aht, aht), np.where(hit, hold + 180, hold)


FAULTS: Mapping[str, Fault] = {
    "handle time x1.6": lambda aht, hold, _: (1.6 * aht, hold),
    "handle time x2": lambda aht, hold, _: (2 * aht, hold),
    "hold +120 s": lambda aht, hold, _: (aht, hold + 120),
    "30% of calls: handle time x4, hold +180 s": _some_calls,
}


@dataclass(frozen=True)
class Trial:
    """What one detector found at one number of alerts a month; `calls` is the mean of the hours with the fault."""

    detector: str
    per_month: float
    hours: int
    busy: int
    calls: float
    found: Mapping[str, float]
    achieved: float


class Trials:
    """Everything that is fitted on the first two weeks, and the queue-hours after them."""

    def __init__(self, contacts: Contacts, least_calls: int, number: int, seed: int = 1) -> None:
        first, self.windows = two_periods(contacts)
        history = contacts.within(first)
        self.forest = FlaggingForest(history)
        history = replace(history, flagged=self.forest.flags(history))
        self.contacts = contacts.within(self.windows)
        self.contacts = replace(self.contacts, flagged=self.forest.flags(self.contacts))
        self.tails = history.tails()
        before = history.rollups(self.tails, first)
        self.monitor, replay = Monitor.fit_and_replay(contacts.tree, contacts.metrics, before)
        self.rollups = self.contacts.rollups(self.tails, self.windows)
        self.position = self.windows.of_moments(self.contacts.moments)
        self.singles = single_scores(self.monitor, replay, before, self.rollups, history, self.contacts, self.forest)
        cells = self.contacts.leaf * self.windows.number + self.position
        counts = np.bincount(cells, minlength=len(contacts.tree.leaves) * self.windows.number)
        counts = counts.reshape(len(contacts.tree.leaves), -1)
        self.counts, self.least_calls, self.number, self.seed = counts, least_calls, number, seed
        self.days = self.monitor.weeks * 7

    def queue_hours(self, hours: int, busy: int) -> npt.NDArray[np.int64]:
        """Leaf and first window of each place for a fault of so many hours, of which the first `busy` are eligible."""
        eligible = self.counts >= self.least_calls
        last = self.windows.number - hours + 1
        return np.argwhere(np.all([eligible[:, i : last + i] for i in range(busy)], axis=0))

    def run(self, per_month: float, hours: int, busy: int) -> list[Trial]:
        """Every detector, with the threshold that the first two weeks give for so many alerts a month.

        Parameters
        ----------
        hours
            How long a fault lasts.
        busy
            How many of these hours have to be eligible, from the first one on.
        """
        places = self.queue_hours(hours, busy)
        chosen = places[np.random.default_rng(self.seed).choice(len(places), self.number)]
        calls = float(np.mean([self.counts[leaf, window : window + hours].mean() for leaf, window in chosen]))
        allowed = per_month / DAYS_OF_MONTH * self.days
        thresholds = {OURS: self.monitor.threshold(Promise(7 * per_month / DAYS_OF_MONTH, confidence=0))}
        for name in SINGLES:
            peaks = peaks_of(self.monitor.tree, self.singles.history[name]).score
            thresholds[name] = threshold_for(peaks, allowed)
        untouched = {OURS: self.monitor.test(self.rollups).score} | self.singles.later
        found = {name: dict.fromkeys(FAULTS, 0) for name in thresholds}
        for fault in FAULTS:
            for trial, (leaf, window) in enumerate(chosen):
                inside = self.monitor.tree.members[:, leaf]
                for name, score in self._scores(fault, int(leaf), int(window), hours, trial).items():
                    hit = np.nan_to_num(score[inside], nan=-np.inf) >= thresholds[name]
                    found[name][fault] += bool(hit.any())
        weeks = self.windows.number / (7 * self.windows.per_day)
        return [
            Trial(
                name,
                per_month,
                hours,
                busy,
                calls,
                {fault: 100 * number / len(chosen) for fault, number in found[name].items()},
                _number_of_incidents(self.monitor, untouched[name], thresholds[name]) * DAYS_OF_MONTH / 7 / weeks,
            )
            for name in thresholds
        ]

    def _scores(self, fault: str, leaf: int, window: int, hours: int, seed: int) -> dict[str, FloatArray]:
        """Scores of every detector in the hours of a fault, (s, hours) each."""
        own = (self.contacts.leaf == leaf) & (self.position >= window) & (self.position < window + hours)
        before = self.contacts.chosen(np.flatnonzero(own))
        aht, hold = FAULTS[fault](before.values[AHT], before.values[HOLD], np.random.default_rng(seed))
        after = replace(before, values={**before.values, AHT: aht, HOLD: hold})
        after = replace(after, flagged=self.forest.flags(after))
        part = self.windows.between(window, window + hours)
        first = max(window - WARM_UP, 0)
        rollups = _changed(
            self.rollups.between(first, window + hours),
            before.rollups(self.tails, part),
            after.rollups(self.tails, part),
        )
        findings = self.monitor.test(rollups)
        scores = self.singles.of(self.monitor, rollups, findings, after, part, self.forest)
        return {name: score[:, window - first :] for name, score in ({OURS: findings.score} | scores).items()}


def _changed(rollups: Rollups, before: Rollups, after: Rollups) -> Rollups:
    """The rollups with their last windows' contacts replaced."""
    arrays = {}
    for name in ("contacts", "flagged", "complaints", "together", "count", "total", "squares", "exceedances"):
        array = getattr(rollups, name).copy()
        array[..., -before.windows.number :] += getattr(after, name) - getattr(before, name)
        arrays[name] = array
    return Rollups(rollups.windows, **arrays)


def _number_of_incidents(monitor: Monitor, score: FloatArray, threshold: float) -> int:
    return len(incidents_of(monitor.tree, np.nan_to_num(score, nan=-np.inf) >= threshold))
