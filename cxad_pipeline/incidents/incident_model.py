"""All that a calibration knows: segments, tails, what is usual, the threshold of each segment; fitted, kept and asked.

Belongs here: from contacts to findings, the promise, feedback's shifts, days and cells that teach nothing. Does not
belong here: the statistics (`monitor.py` and below), the life of incidents (`life.py`), where contacts come from.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.artifacts import read_artifact, write_artifact
from cxad_pipeline.incidents.baselines import DAYS
from cxad_pipeline.incidents.budget import Promise, incidents_of
from cxad_pipeline.incidents.contacts import Contacts
from cxad_pipeline.incidents.evidence import LEAST_EFFECT
from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.history import is_long_enough, windows_of_days
from cxad_pipeline.incidents.left_out import LeftOut, left_out_cells
from cxad_pipeline.incidents.metrics import MetricRule, Tails
from cxad_pipeline.incidents.monitor import Monitor
from cxad_pipeline.incidents.rollups import Rollups, over_leaves
from cxad_pipeline.incidents.saved_model import KIND, Arrays, document_of, parts_of
from cxad_pipeline.incidents.segments import Key, SegmentTree
from cxad_pipeline.incidents.states import LEAST_CONTACTS
from cxad_pipeline.incidents.windows import Windows

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

__all__ = ["History", "IncidentModel", "LeftOut", "Replay"]


@dataclass(frozen=True, eq=False)
class Replay:
    """The calibration period, each day judged by the others: what a backtest shows."""

    contacts: Contacts
    tree: SegmentTree
    rollups: Rollups
    findings: Findings


class History(NamedTuple):
    """What a model learned from: start of the first window and end of the last one, seconds since 1970 UTC."""

    start: int
    end: int
    contacts: int


@dataclass(frozen=True, eq=False)
class IncidentModel:
    """What calibration taught.

    Attributes
    ----------
    tree, metrics
        What is watched.
    tails
        Bad tails of the values of each leaf.
    monitor
        What is usual.
    promise
        What the threshold keeps.
    threshold
        Score from which on to call, before the shifts.
    shifts
        What is added to it in single segments, by exact segment, in powers of ten of rarity.
    window_seconds, timezone
        Of the windows that are tested.
    special_days
        Local days of which nothing is learned and on which nothing is tested.
    replayed_per_week
        Incidents a week that these thresholds would have made of the calibration period.
    history
        What it learned from.
    """

    tree: SegmentTree
    metrics: tuple[MetricRule, ...]
    tails: Tails
    monitor: Monitor
    promise: Promise
    threshold: float
    shifts: Mapping[Key, float]
    window_seconds: int
    timezone: str
    special_days: tuple[dt.date, ...]
    replayed_per_week: float
    history: History

    @classmethod
    def fit(
        cls,
        contacts: Contacts,
        metrics: Sequence[MetricRule],
        *,
        window_seconds: int,
        timezone: str,
        promise: Promise,
        special_days: Sequence[dt.date] = (),
        left_out: Sequence[LeftOut] = (),
        shifts: Mapping[Key, float] | None = None,
        min_effect: float = LEAST_EFFECT,
        min_contacts: int = LEAST_CONTACTS,
    ) -> tuple[IncidentModel, Replay]:
        """Learn from contacts, and replay them.

        Parameters
        ----------
        contacts
            History. Days without any contact in it are gaps and no history. With fewer than two weeks, all segments
            are a cold start: they are counted, and nothing is tested until there is more.
        metrics
            What is watched.
        window_seconds, timezone
            Of the windows that are tested.
        promise
            What the threshold keeps.
        special_days
            Local days of which nothing is learned and on which nothing is tested.
        left_out
            Cells that teach nothing and do not count in the replay.
        shifts
            What is added to the threshold, by exact segment, by whichever name; of several names of one the largest.
        min_effect, min_contacts
            Relative effect from which on people are called; contacts from which on a cell is tested.

        Raises
        ------
        ValueError
            If there is no contact, no metric, or a metric's column is not in the contacts.
        """
        if not metrics:
            raise ValueError("incidents need one or more metrics to watch")
        special_days = tuple(special_days)
        absent = [metric.name for metric in metrics if metric.name not in contacts.values]
        if absent:
            raise ValueError(f"contacts without a column for {absent}: name these metrics where contacts are read")
        if not len(contacts):
            raise ValueError("incidents need a history, there is no contact: train first")
        first, last = int(contacts.moments.min()), int(contacts.moments.max())
        windows = Windows.covering(first, last, window_seconds, timezone)
        special = windows_of_days(windows, special_days)
        position = windows.of_moments(contacts.moments)
        enough = is_long_enough(np.bincount(position, minlength=windows.number).astype(np.float64), windows, special)
        tree = SegmentTree.of(contacts.dimensions, [contacts.leaves[i] for i in np.unique(contacts.leaf)])
        # Shifts are bounded before their names meet, so of two names of one segment the larger one counts.
        ascending = sorted((shifts or {}).items(), key=lambda one: one[1])
        leaf = contacts.leaf_in(tree)
        cells = np.bincount(leaf * windows.number + position, minlength=len(tree.leaves) * windows.number)
        ordinary = np.where(special, 0.0, over_leaves(tree, cells.reshape(len(tree.leaves), -1).astype(np.float64)))
        silent, unsaid = left_out_cells(tree, windows, ordinary, left_out)
        teaches = ~(silent[_own_segments(tree)[leaf], position] | special[position])
        if not teaches.any():
            raise ValueError("every contact of the history is left out or of a special day: nothing can be learned")
        tails = Tails.fit(
            tree, metrics, leaf[teaches], {metric.name: contacts.values[metric.name][teaches] for metric in metrics}
        )
        rollups = _counted(tree, metrics, tails, windows, contacts, leaf)
        monitor, findings = Monitor.fit_and_replay(
            tree,
            metrics,
            rollups,
            left_out=silent if silent.any() else None,
            unsaid=unsaid,
            special=special,
            min_effect=min_effect,
            min_contacts=min_contacts,
        )
        if not enough:
            monitor = replace(monitor, cold=np.ones_like(monitor.cold))
            findings = replace(findings, score=np.full_like(findings.score, np.nan))
        model = cls(
            tree=tree,
            metrics=tuple(metrics),
            tails=tails,
            monitor=monitor,
            promise=promise,
            threshold=monitor.threshold(promise),
            shifts={tree.named(segment): shift for segment, shift in ascending},
            window_seconds=window_seconds,
            timezone=timezone,
            special_days=special_days,
            replayed_per_week=0.0,
            history=History(windows.start, windows.end, len(contacts)),
        )
        incidents = incidents_of(tree, findings.alerts(model.thresholds()))
        weeks = max(monitor.weeks, 1 / DAYS)  # a history of hours makes no rate
        return replace(model, replayed_per_week=len(incidents) / weeks), Replay(contacts, tree, rollups, findings)

    def for_contacts(self, contacts: Contacts) -> IncidentModel:
        """The model with a cold start for every leaf of these contacts that it does not know; itself if it knows all.

        A new leaf counts in all contacts and in segments whose values it shares; its tails are those of all contacts.

        Raises
        ------
        ValueError
            If the contacts have other dimensions.
        """
        self._check_dimensions(contacts)
        new = sorted(set(contacts.leaves) - set(self.tree.leaves))
        if not new:
            return self
        tree = self.tree.extended(new)
        return replace(self, tree=tree, tails=self.tails.extended(len(new)), monitor=self.monitor.extended(tree))

    def rollups(self, contacts: Contacts, windows: Windows) -> Rollups:
        """Count contacts; those outside the windows are left out.

        Raises
        ------
        ValueError
            If a leaf is not known (`for_contacts` gives a model that knows it), or the windows are not the model's.
        """
        self._check_windows(windows)
        self._check_dimensions(contacts)
        return _counted(self.tree, self.metrics, self.tails, windows, contacts, contacts.leaf_in(self.tree))

    def test(self, rollups: Rollups, late: BoolArray | None = None) -> Findings:
        """Test windows.

        Parameters
        ----------
        rollups
            The windows, of any period, with `WARM_UP` more before those of interest; of this model's segments.
        late
            Windows that have not ended or whose data is not complete, (t,); None says that all are.

        Raises
        ------
        ValueError
            If the windows or the segments are not the model's.
        """
        self._check_windows(rollups.windows)
        if len(rollups.contacts) != len(self.tree):
            raise ValueError(
                f"rollups of {len(rollups.contacts)} segments, the incident model has {len(self.tree)}: test them with "
                "the model that `for_contacts` gave"
            )
        return self.monitor.test(rollups, late, windows_of_days(rollups.windows, self.special_days))

    def thresholds(self) -> FloatArray:
        """The score from which on each segment calls, (s,): a shift is that of its exact segment alone."""
        return self.threshold + np.array([self.shifts.get(key, 0.0) for key in self.tree.keys])

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder, as JSON and plain arrays."""
        write_artifact(folder, KIND, *document_of(self))

    @classmethod
    def load(cls, folder: str | Path) -> IncidentModel:
        """Read what `save` wrote.

        Raises
        ------
        DetectorFormatError
            If the folder is damaged, or was written by another version.
        """

        def build(document: Mapping[str, Any], arrays: Arrays) -> IncidentModel:
            parts = parts_of(document, arrays)
            return cls(**(parts | {"history": History(*parts["history"])}))

        return read_artifact(folder, KIND, build)

    def _check_windows(self, windows: Windows) -> None:
        if (windows.seconds, windows.timezone) != (self.window_seconds, self.timezone):
            raise ValueError(
                f"windows of {windows.seconds} s in {windows.timezone}, the incident model has {self.window_seconds} s "
                f"in {self.timezone}: calibrate again"
            )

    def _check_dimensions(self, contacts: Contacts) -> None:
        if contacts.dimensions != self.tree.dimensions:
            raise ValueError(
                f"contacts by {list(contacts.dimensions)}, the incident model by {list(self.tree.dimensions)}: "
                "calibrate again"
            )


def _counted(
    tree: SegmentTree,
    metrics: Sequence[MetricRule],
    tails: Tails,
    windows: Windows,
    contacts: Contacts,
    leaf: IntegerArray,
) -> Rollups:
    values = {metric.name: contacts.values[metric.name] for metric in metrics}
    return Rollups.of_contacts(
        tree, metrics, tails, windows, contacts.moments, leaf, values, contacts.complaints, contacts.flagged
    )


def _own_segments(tree: SegmentTree) -> IntegerArray:
    """The segment that consists of each leaf alone, (leaves,)."""
    alone = np.flatnonzero(tree.members.sum(axis=1) == 1)
    found = np.empty(len(tree.leaves), dtype=np.int64)
    found[tree.members[alone].argmax(axis=1)] = alone
    return found
