"""Whether a threshold leaves anything to be found: the share of faults of a stated size that would call somebody.

Belongs here: which faults are tried, how many of them are found, and the sentence for too few. Does not belong here:
the threshold (`budget.py`), the tests (`monitor.py`).

A promise is easily kept by a threshold that nothing reaches, and a low one after a short history comes to that: the
fewer incidents history may have had, the further out the tail has to be. The threshold alone does not show it, since
scores have no upper end of their own. So faults are put into contacts of the history, and tested as any window is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cxad_pipeline.incidents.incident_model import IncidentModel, Replay
from cxad_pipeline.incidents.metrics import MetricRule
from cxad_pipeline.incidents.monitor import WARM_UP
from cxad_pipeline.incidents.states import State

SEGMENTS = 5
"""The largest ones, where a fault is seen best: what is missed there is missed everywhere."""
FACTOR = 2.0
"""How much worse a fault makes a metric; one that can be negative, by a standard deviation of its values."""
LEAST_SHARE = 1 / 3
"""Share of these faults that should be found: they are coarse, and some metrics vary too much for an hour to show."""


@dataclass(frozen=True)
class Power:
    """How many of the faults that were tried were found; none is tried where nothing is tested yet."""

    found: int
    tried: int

    @property
    def is_low(self) -> bool:
        """Whether so few are found that the promise should be another one."""
        return self.found < LEAST_SHARE * self.tried


def power_of(model: IncidentModel, replay: Replay) -> Power:
    """Put faults into a history, and count those that would have called somebody.

    Each fault makes one metric twice as bad, for all contacts of one window of one segment: one of its usual windows,
    with a typical number of contacts. It is found where a segment that shares contacts with it reaches its threshold.
    All contacts together are tried only where they are the one segment that there is.

    Parameters
    ----------
    model
        What calibration taught.
    replay
        The history that it was taught by, `IncidentModel.fit`.
    """
    by_size = np.argsort(-replay.rollups.contacts.sum(axis=1), kind="stable")
    largest = [int(s) for s in by_size if model.tree.keys[s] or len(model.tree) == 1][:SEGMENTS]
    outcomes = [
        _is_found(model, replay, s, metric, window)
        for s in largest
        for metric, window in zip(model.metrics, _typical_windows(model, replay, s), strict=False)
    ]
    return Power(sum(outcomes), len(outcomes))


def warning_of(power: Power, model: IncidentModel) -> str | None:
    """What to do about a promise that leaves little to be found, in one sentence; None where it leaves enough."""
    if not power.tried:
        return (
            f"nothing can be found yet: none of the largest segments has a window that is tested after these "
            f"{model.monitor.weeks:.1f} weeks of history; give more of it (incidents.history_days), or longer windows "
            "(incidents.window_minutes) where they have too few contacts"
        )
    if not power.is_low:
        return None
    return (
        f"the promise of {model.promise.per_week:g} a week leaves little to be found: of {power.tried} faults that "
        f"make a metric twice as bad for {model.window_seconds // 60} minutes in one of the largest segments, "
        f"{power.found} would reach the threshold {model.threshold:.2f}; raise incidents.budget_per_week, or give more "
        f"history than these {model.monitor.weeks:.1f} weeks (incidents.history_days)"
    )


def _typical_windows(model: IncidentModel, replay: Replay, s: int) -> Iterator[int]:
    """Tested windows of a segment that called nobody, from its median number of contacts upwards."""
    calls = replay.findings.alerts(model.thresholds())[s]
    usual = np.flatnonzero((replay.findings.states[s] == State.TESTED) & ~calls)
    order = usual[np.argsort(replay.rollups.contacts[s, usual], kind="stable")]
    yield from order[len(order) // 2 :].tolist()


def _is_found(model: IncidentModel, replay: Replay, s: int, metric: MetricRule, window: int) -> bool:
    """Whether a fault of a metric in a window of a segment calls somebody."""
    windows = replay.rollups.windows.between(max(window - WARM_UP, 0), window + 1)
    contacts = replay.contacts.within(windows)
    inside = model.tree.members[s][contacts.leaf_in(model.tree)]
    met = inside & (windows.of_moments(contacts.moments) == windows.number - 1)
    values = contacts.values[metric.name]
    known = replay.contacts.values[metric.name]
    if (known < 0).any():  # twice a value below 0 is better where high ones are bad
        bad = values + metric.sign * np.nanstd(known)
    else:
        bad = values * FACTOR if metric.bad == "high" else values / FACTOR
    worse = np.where(met, bad, values)
    contacts = replace(contacts, values={**contacts.values, metric.name: worse})
    alerts = model.test(model.rollups(contacts, windows)).alerts(model.thresholds())
    return bool((alerts[:, -1] & model.tree.overlap[s]).any())
