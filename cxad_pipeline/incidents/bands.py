"""The band that a window of a segment is expected in, on the scale that people read.

Belongs here: what of a model a band needs, and the band of windows. Does not belong here: whether anybody is called,
which is for the tests (`evidence.py`), and how baselines are kept (`store`).

A band is meant to hold `COVERAGE` of the single windows in which nothing is wrong. Of means this is so where there are
as many values as a test asks for. With fewer the band is wider, and the mean is outside it more often all the same,
since that of a few values of a scale of five points is not normal. Of counts it holds that share or more, since counts
go in steps.

How many standard deviations a mean's band reaches down and up is what the replay of history says, each day judged by
the others: waits have long upper tails, and busy hours differ more from one another than the model's one variance says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from cxad_pipeline.incidents.distributions import beta_binomial_tail, negative_binomial_tail
from cxad_pipeline.incidents.metrics import MetricRule
from cxad_pipeline.incidents.profiles import as_share
from cxad_pipeline.incidents.windows import Windows

if TYPE_CHECKING:
    from cxad_pipeline.incidents.findings import Findings
    from cxad_pipeline.incidents.incident_model import IncidentModel, Replay
    from cxad_pipeline.incidents.segments import Key

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]
Bounds = tuple[float, float]
"""Least and greatest value that a metric can have."""

COVERAGE = 0.99
"""Share of single windows that are inside their band when nothing is wrong."""
LEAST_TO_LEARN = 1_000
"""Quiet cells from which on their deviations say how far a band reaches: five are beyond it at either end."""
_OUTSIDE = (1 - COVERAGE) / 2
_FARTHEST = 6.0
_WITHOUT_BOUNDS = (-np.inf, np.inf)


class Band(NamedTuple):
    """What is usual in each window, (t,) each; NaN where nothing can be said."""

    expected: FloatArray
    low: FloatArray
    high: FloatArray


class Reach(NamedTuple):
    """How many standard deviations a band reaches: `low` is below 0, `high` above."""

    low: float
    high: float


NORMAL = Reach(float(ndtri(_OUTSIDE)), float(ndtri(1 - _OUTSIDE)))


@dataclass(frozen=True, eq=False)
class MeanBaseline:
    """A metric's mean in one segment.

    Attributes
    ----------
    logarithmic
        As in `MetricRule`.
    value
        Expected mean by slot of the week on the working scale, (slots,).
    variance
        Of a window's true mean around it: that between windows and that of the estimate, (slots,).
    within
        Variance of a value inside its window.
    reach
        Of the band.
    bounds
        Beyond which there are no values, in the metric's own unit.
    """

    logarithmic: bool
    value: FloatArray
    variance: FloatArray
    within: float
    reach: Reach
    bounds: Bounds = _WITHOUT_BOUNDS

    def band(self, slot: IntegerArray, values: FloatArray) -> Band:
        """The band of window means.

        Parameters
        ----------
        slot
            Place of each window in the week, (t,).
        values
            How many values its mean is of, (t,). Where there is none, there is an expected value and no band.
        """
        scale = MetricRule("", "high", self.logarithmic)
        # As the tests have it: no duration is below 0 s.
        middle = np.maximum(self.value[slot], 0.0) if self.logarithmic else self.value[slot]
        within = np.divide(self.within, values, out=np.full(len(slot), np.nan), where=values > 0)
        deviation = np.sqrt(within + self.variance[slot])
        ends = (middle + reach * deviation for reach in self.reach)
        with np.errstate(over="ignore"):
            return Band(*(np.clip(scale.unworked(part), *self.bounds) for part in (middle, *ends)))


@dataclass(frozen=True, eq=False)
class CountBaseline:
    """A count in one segment.

    Attributes
    ----------
    family
        `contacts`; or `complaints` or `together`, which are some of the contacts.
    rate
        Expected by slot of the week, (slots,): per window, or per contact.
    dispersion
        Of a window's count around it: that of a negative binomial; of a beta-binomial for `together`.
    """

    family: str
    rate: FloatArray
    dispersion: float

    def band(self, slot: IntegerArray, contacts: FloatArray) -> Band:
        """The band of counts.

        Parameters
        ----------
        slot
            Place of each window in the week, (t,).
        contacts
            All contacts of each window, (t,); of no account for `contacts` itself.
        """
        exposure = np.ones(len(slot)) if self.family == "contacts" else contacts
        # A week has few slots, and windows without many contacts are alike: each different one is worked out once.
        (rate, exposed), place = np.unique(np.stack([self.rate[slot], exposure]), axis=1, return_inverse=True)
        if self.family == "together":
            share = as_share(rate)
            expected, most = share * exposed, exposed
            tail = partial(beta_binomial_tail, n=exposed, share=share, dispersion=self.dispersion)
        else:
            expected = rate * exposed
            # By Cantelli's inequality less than _OUTSIDE is beyond fifteen standard deviations.
            most = np.ceil(expected + 15 * np.sqrt(expected + self.dispersion * expected**2))
            tail = partial(negative_binomial_tail, mean=expected, dispersion=self.dispersion)
        low, high = (_largest(tail, most, probability) for probability in (1 - _OUTSIDE, _OUTSIDE))
        return Band(*(part[place.reshape(-1)] for part in (expected, low, high)))


@dataclass(frozen=True, eq=False)
class SegmentBaselines:
    """What a calibration knows of one segment.

    Attributes
    ----------
    seconds, timezone
        Of its windows.
    means, counts
        By metric, and by family. A segment with too little history has none, nor has a metric without any value.
    closure
        All values that the contacts of the segment share, `SegmentTree.closure`.
    """

    seconds: int
    timezone: str
    means: Mapping[str, MeanBaseline]
    counts: Mapping[str, CountBaseline]
    closure: Key = ()

    def band(self, family: str, starts: IntegerArray, number: FloatArray) -> Band | None:
        """The band of windows of this length; None where nothing is known of this family.

        Parameters
        ----------
        family
            Metric's name, `contacts`, `complaints` or `together`.
        starts
            Start of each window, ascending, seconds since 1970 UTC, (t,), t > 0.
        number
            Values of the metric, or contacts, in each of them, (t,).
        """
        baseline = self.means.get(family) or self.counts.get(family)
        if baseline is None:
            return None
        windows = Windows.covering(int(starts[0]), int(starts[-1]), self.seconds, self.timezone)
        return baseline.band(windows.slot[windows.of_moments(starts)], number)


def baselines_of(
    model: IncidentModel, replay: Replay, bounds: Mapping[str, Bounds] | None = None
) -> Iterator[tuple[Key, SegmentBaselines]]:
    """What a calibration knows of each segment.

    Parameters
    ----------
    model, replay
        What `IncidentModel.fit` gave.
    bounds
        Of metrics that have any.
    """
    profiles, bounds = model.monitor.profiles, bounds or {}
    called = np.any(replay.findings.alerts(model.thresholds()), axis=0)
    of_metrics = reaches(replay.findings, model.metrics, np.asarray(called))
    rates = {"contacts": profiles.volume, "complaints": profiles.complaints, "together": profiles.together}
    for s, key in enumerate(model.tree.keys):
        means, counts = {}, {}
        if not model.monitor.cold[s]:
            for m, (metric, mean) in enumerate(zip(model.metrics, profiles.means, strict=True)):
                if replay.rollups.count[m, s].any():
                    means[metric.name] = MeanBaseline(
                        metric.logarithmic,
                        mean.baseline.value[s],
                        mean.baseline.variance[s] + mean.between[s],
                        float(mean.within[s, 0]),
                        of_metrics[m],
                        bounds.get(metric.name, _WITHOUT_BOUNDS),
                    )
            for family, rate in rates.items():
                if rate is not None:
                    counts[family] = CountBaseline(family, rate.baseline.value[s], float(rate.dispersion[s, 0]))
        yield key, SegmentBaselines(model.window_seconds, model.timezone, means, counts, model.tree.closure(s))


def reaches(findings: Findings, metrics: tuple[MetricRule, ...], called: npt.NDArray[np.bool_]) -> list[Reach]:
    """How far the band of each metric has to reach for `COVERAGE` of quiet cells to be inside.

    Parameters
    ----------
    findings
        The replay of history.
    metrics
        Those that were tested.
    called
        Windows in which people would have been called, (t,): they do not count.
    """
    shifts = {one.family: one.statistic for one in findings.evidence if one.kind == "shift"}
    found = []
    for metric in metrics:
        surprises = shifts[metric.name][:, ~called]
        surprises = surprises[~np.isnan(surprises)]
        if len(surprises) < LEAST_TO_LEARN:
            found.append(NORMAL)
            continue
        deviations = metric.sign * np.clip(-ndtri(10.0**-surprises), -_FARTHEST, _FARTHEST)
        low, high = np.quantile(deviations, [_OUTSIDE, 1 - _OUTSIDE]).tolist()
        found.append(Reach(min(low, 0.0), max(high, 0.0)))
    return found


def _largest(tail: Callable[[FloatArray], FloatArray], most: FloatArray, probability: float) -> FloatArray:
    """The largest count, up to the most there can be, that is reached with more than a probability, (c,).

    Parameters
    ----------
    tail
        From counts to the probability of so many or more.
    """
    low, high = np.zeros_like(most), most
    while (low < high).any():
        middle = np.ceil((low + high) / 2)
        reached = tail(middle) > probability
        low, high = np.where(reached, middle, low), np.where(reached, high, middle - 1)
    return low
