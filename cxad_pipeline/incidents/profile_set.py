"""The profiles of everything that is watched, fitted together, and what they expect.

Belongs here: which quantities have a profile. Does not belong here: how one is fitted (`profiles.py`), and the tests
against them (`monitor.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.history import without_history
from cxad_pipeline.incidents.metrics import TAIL_SHARES
from cxad_pipeline.incidents.profiles import Expectation, Folds, MeanProfile, RateProfile
from cxad_pipeline.incidents.rollups import Rollups
from cxad_pipeline.incidents.segments import SegmentTree
from cxad_pipeline.incidents.windows import Windows

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Usual:
    """What is expected in each cell, by the profiles of the same names; rates are (s, t)."""

    means: list[Expectation]
    tails: list[list[FloatArray]]
    answered: list[FloatArray]
    together: FloatArray
    volume: FloatArray
    complaints: FloatArray | None


@dataclass(frozen=True, eq=False)
class Profiles:
    """What is usual.

    Attributes
    ----------
    means, answered
        Mean, and share of contacts with a value, per metric; the share is 0 where history has no value at all.
    tails
        Share of values beyond a threshold, per metric and tail.
    together
        Share of contacts whose metrics together are in the far tail.
    volume, complaints
        Contacts per window; contacts with a complaint per contact, None where history has none.
    """

    means: list[MeanProfile]
    tails: list[list[RateProfile]]
    answered: list[RateProfile]
    together: RateProfile
    volume: RateProfile
    complaints: RateProfile | None

    @classmethod
    def fit(cls, tree: SegmentTree, folds: Folds, history: Rollups) -> tuple[Profiles, Usual]:
        """Fit, and give what is expected in each cell of history by the other days."""
        contacts, metrics = history.contacts, range(len(history.count))
        cold = without_history(contacts, folds.windows, folds.usable)
        means = [
            MeanProfile.fit(tree, folds, history.count[m], history.total[m], history.squares[m], cold) for m in metrics
        ]
        tails = [
            [
                RateProfile.fit(tree, folds, history.count[m], history.exceedances[m, tail], True, cold)
                for tail in range(len(TAIL_SHARES))
            ]
            for m in metrics
        ]
        answered = [_answered(tree, folds, contacts, history.count[m], cold) for m in metrics]
        together, usual_together = RateProfile.fit(tree, folds, contacts, history.together, True, cold)
        volume, usual_volume = RateProfile.fit(tree, folds, np.ones_like(contacts), contacts, False, cold)
        complaints, usual_complaints = None, None
        if history.complaints.any():
            complaints, usual_complaints = RateProfile.fit(tree, folds, contacts, history.complaints, False, cold)
        profiles = cls(
            [profile for profile, _ in means],
            [[profile for profile, _ in of_metric] for of_metric in tails],
            [profile for profile, _ in answered],
            together,
            volume,
            complaints,
        )
        usual = Usual(
            [usual for _, usual in means],
            [[usual for _, usual in of_metric] for of_metric in tails],
            [usual for _, usual in answered],
            usual_together,
            usual_volume,
            usual_complaints,
        )
        return profiles, usual

    def expected(self, windows: Windows) -> Usual:
        """What is expected in each window."""
        return Usual(
            [profile.expected(windows) for profile in self.means],
            [[profile.expected(windows) for profile in of_metric] for of_metric in self.tails],
            [profile.expected(windows) for profile in self.answered],
            self.together.expected(windows),
            self.volume.expected(windows),
            self.complaints.expected(windows) if self.complaints is not None else None,
        )

    def of_rows(self, rows: IntegerArray) -> Profiles:
        """The profiles of segments at some positions."""
        return Profiles(
            [profile.of_rows(rows) for profile in self.means],
            [[profile.of_rows(rows) for profile in of_metric] for of_metric in self.tails],
            [profile.of_rows(rows) for profile in self.answered],
            self.together.of_rows(rows),
            self.volume.of_rows(rows),
            self.complaints.of_rows(rows) if self.complaints is not None else None,
        )


def _answered(
    tree: SegmentTree, folds: Folds, contacts: FloatArray, count: FloatArray, cold: BoolArray
) -> tuple[RateProfile, FloatArray]:
    """The share of contacts with a value; without any value in history 0, and no share of the segments above."""
    profile, usual = RateProfile.fit(tree, folds, contacts, count, True, cold)
    never = ~np.any(count * folds.usable, axis=1)
    profile.baseline.value[never], usual[never] = 0.0, 0.0
    return profile, usual
