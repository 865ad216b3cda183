"""How many incidents a threshold makes, and the threshold that keeps a promised number.

Belongs here: what counts as one incident, the replay, the promise. Does not belong here: scores (`monitor.py`).

The threshold that history exceeded exactly as often as promised is exceeded more often later on in every second case:
the number in two weeks is itself a chance. So the promise is kept for the number of the next weeks given the number
seen, and beyond the highest scores of history an exponential tail is fitted to the peaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

from cxad_pipeline.incidents.segments import SegmentTree

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]

WEEK = 604_800
NEIGHBOURS = 2
"""Windows up to which two alerts of overlapping segments are one incident."""
LEAST_THRESHOLD = 0.3
"""An adjusted p-value above one half calls nobody, however quiet history was."""
_MOST_CELLS = 4_000
_TAIL_PEAKS = 20


@dataclass(frozen=True, eq=False)
class Peaks:
    """The highest cell of each incident: its score, segment and window, by falling score, (p,)."""

    score: FloatArray
    segment: IntegerArray
    window: IntegerArray


def peaks_of(tree: SegmentTree, score: FloatArray, least: float = -np.inf) -> Peaks:
    """Cells that no higher one of an overlapping segment within `NEIGHBOURS` windows takes in.

    Counted above any threshold, they are at least as many as the incidents there, for the highest cell of an incident
    is one; and they fall as the threshold rises, which the number of merged incidents need not.

    Parameters
    ----------
    tree
        The segments.
    score
        Scores, (s, t), NaN where nothing was tested.
    least
        Scores up to it are left out.
    """
    segment, window = np.nonzero(np.nan_to_num(score, nan=-np.inf) > least)
    values = score[segment, window]
    order = np.lexsort((segment, window, -values))[:_MOST_CELLS]
    segment, window, values = segment[order], window[order], values[order]
    kept = np.ones(len(values), dtype=np.bool_)
    for i in range(1, len(values)):
        near = np.abs(window[:i] - window[i]) <= NEIGHBOURS
        kept[i] = not (near & tree.overlap[segment[i], segment[:i]]).any()
    return Peaks(values[kept], segment[kept], window[kept])


def incidents_of(tree: SegmentTree, alerts: npt.NDArray[np.bool_]) -> list[tuple[IntegerArray, IntegerArray]]:
    """Alerts merged into incidents: those of overlapping segments within `NEIGHBOURS` windows belong together.

    Parameters
    ----------
    alerts
        Which cells alert, (s, t).

    Returns
    -------
    list
        Segments and windows of the cells of each incident, in the order of its first window.
    """
    window, segment = np.nonzero(alerts.T)
    root = np.arange(len(window))
    first = 0
    for i in range(len(window)):
        while window[i] - window[first] > NEIGHBOURS:
            first += 1
        joined = np.flatnonzero(tree.overlap[segment[i], segment[first:i]]) + first
        if len(joined):
            roots = np.unique(root[joined])
            root[: i + 1][np.isin(root[: i + 1], roots)] = roots[0]
            root[i] = roots[0]
    return [(segment[root == r], window[root == r]) for r in np.unique(root)]


@dataclass(frozen=True)
class Promise:
    """How often people are to be called.

    Attributes
    ----------
    per_week
        Incidents a week, on average over the horizon.
    weeks
        Horizon: so many weeks in a row are to keep within `weeks * per_week`.
    confidence
        Probability with which they do by this reckoning, where nothing unusual happens. It is higher than what is
        wanted (95 of 100 months), since counts of windows are more uneven than the reckoning has it;
        `benchmarks/incidents.py` says what it comes to. 0 asks for the expected number alone.
    """

    per_week: float
    weeks: float = 4.0
    confidence: float = 0.998

    def __post_init__(self) -> None:
        if not (0 < self.per_week < np.inf and 0 < self.weeks < np.inf and 0 <= self.confidence < 1):
            raise ValueError(
                f"a promise of {self.per_week} a week over {self.weeks} weeks at confidence {self.confidence}: "
                "the first two must be above 0, the last one at least 0 and below 1"
            )

    def allowed(self, weeks: float) -> float:
        """How many incidents `weeks` of history may have had for the promise to hold, a real number.

        With c of them in w weeks and Jeffreys' prior, the rate has a gamma distribution of shape c + 1/2, and the
        number in the next weeks a negative binomial one; c is the greatest for which that exceeds the promised number
        with a probability of at most 1 - confidence.
        """
        if self.confidence == 0:
            return self.per_week * weeks
        most = np.floor(self.per_week * self.weeks)
        share = self.weeks / (self.weeks + weeks)

        def exceeded(c: float) -> float:
            return float(betainc(most + 1, c + 0.5, share))

        low, high = 0.0, self.per_week * weeks
        if exceeded(low) > 1 - self.confidence:
            # Not even an empty history would do: the tail below is asked for a small part of one incident.
            return 1e-3 * high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if exceeded(middle) <= 1 - self.confidence else (low, middle)
        return low


class Unsaid(NamedTuple):
    """Incidents that are left out of the replay although nobody said that they were real.

    Some were outages, some what quiet weeks have by chance. Without the latter the replay has fewer high peaks than
    quiet weeks, the threshold falls, more of them call and are left out in turn, and it falls again. So as many of the
    allowed peaks count as had as quiet weeks would have called there at the promised rate, and no more than there are
    incidents. Those that people confirmed cost nothing: they were no chance.

    Attributes
    ----------
    number
        How many.
    share
        Of the history, from the beginning of the earliest of them to its end.
    """

    number: int
    share: float

    def left_of(self, allowed: float) -> float:
        """How many of the allowed peaks the rest of the replay may have.

        Where hardly any is left, half a peak is: just above the highest one; none at all would be no threshold.
        """
        return max(allowed - min(self.number, allowed * self.share), min(allowed, 0.5))


NONE_UNSAID = Unsaid(0, 0.0)


def threshold_for(peaks: FloatArray, allowed: float) -> float:
    """The score from which on `allowed` incidents are to be expected in a period like the one replayed.

    Up to `_TAIL_PEAKS` of the highest peaks take part in an exponential tail above the one after them: as many as are
    allowed are then expected, not counted. Where more are allowed than that, the threshold is just above the first peak
    that is one too many, since what reaches it calls.

    Parameters
    ----------
    peaks
        Scores of the peaks of the replayed period, falling, (p,).
    allowed
        How many of them may reach it, above 0.

    Returns
    -------
    float
        The threshold, at least `LEAST_THRESHOLD`.
    """
    ranked = np.sort(peaks)[::-1]
    if allowed >= len(ranked):
        return max(float(ranked[-1]), LEAST_THRESHOLD) if len(ranked) else LEAST_THRESHOLD
    number = min(_TAIL_PEAKS, len(ranked) - 1)
    joint = ranked[max(number, int(allowed))]
    above = float(np.nextafter(joint, np.inf))
    if allowed < number:
        scale = float(np.mean(ranked[:number] - joint))
        above = max(above, float(joint + scale * np.log(number / allowed)))
    return max(above, LEAST_THRESHOLD)
