"""Whole incidents of the simulation, hours long and of one queue in one channel: how many are called, and how soon.

Belongs here: incidents against their labels, with and without pairs of dimensions as segments. Does not belong here:
faults put into single hours (`incident_faults.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import report
from incident_data import ALL_METRICS, Contacts, contacts_of

from cxad_pipeline.incidents import Monitor, Promise, SegmentTree, Windows, incidents_of
from cxad_pipeline.interactions.simulation import SimulationConfig, simulate_table

DIMENSIONS = ("queue", "channel", "language")
START = datetime(2026, 9, 7, tzinfo=UTC)
QUIET, WITH_INCIDENTS = timedelta(weeks=4), timedelta(weeks=2)
A_WEEK = 5.0


@dataclass(frozen=True)
class Called:
    """What became of the incidents of some weeks: hours until each was called (None: never), and calls for nothing."""

    delays: tuple[float | None, ...]
    false: int


def incident_table(seeds: Sequence[int], volumes: Sequence[float]) -> report.Table:
    """Incidents found at the default promise, by volume, with and without pairs."""
    rows: list[report.Row] = []
    for volume in volumes:
        found: dict[str, list[Called]] = {"with pairs": [], "without": []}
        for seed in seeds:
            contacts, truth = weeks_with_incidents(seed, volume)
            found["with pairs"].append(called(contacts, truth))
            found["without"].append(called(replace(contacts, tree=without_pairs(contacts.tree)), truth))
        for name, results in found.items():
            delays = [delay for result in results for delay in result.delays]
            hours = [delay for delay in delays if delay is not None]
            rows.append(
                {
                    "segments": name,
                    "contacts a week": round(25_000 * volume),
                    "incidents": len(delays),
                    "found, %": report.rounded(100 * len(hours) / len(delays), 3),
                    "median hours until called": report.rounded(float(np.median(hours)), 2) if hours else None,
                    "calls for nothing a week": report.rounded(
                        sum(result.false for result in results) / (len(results) * WITH_INCIDENTS / timedelta(weeks=1)),
                        3,
                    ),
                }
            )
    note = (
        f"Simulated incidents of {len(seeds)} centres, each of one queue in one channel for some hours, in two weeks "
        "after four without; at five calls a week as promised. Found: a segment with contacts of it is called while it "
        "lasts; hours are counted to the end of that window."
    )
    return report.Table("Whole incidents", [*rows[0]], rows, note)


def weeks_with_incidents(seed: int, volume: float) -> tuple[Contacts, pa.Table]:
    """Four weeks without an incident and two with some, and what these were."""
    quiet = SimulationConfig(START, START + QUIET, seed=seed, anomaly_rate=0.01, incidents=(), volume_scale=volume)
    later = replace(quiet, start=START + QUIET, end=START + QUIET + WITH_INCIDENTS, incidents=A_WEEK)
    first, second = simulate_table(quiet), simulate_table(later)
    table = pa.concat_tables([first.interactions, second.interactions])
    return contacts_of(table, DIMENSIONS, ALL_METRICS, "UTC"), second.incidents


def without_pairs(tree: SegmentTree) -> SegmentTree:
    """The tree with all contacts, single values and leaves alone."""
    kept = np.flatnonzero(tree.level != 2)
    return replace(tree, keys=[tree.keys[s] for s in kept.tolist()], members=tree.members[kept])


def called(contacts: Contacts, truth: pa.Table) -> Called:
    """Learn from the weeks without incidents, judge those with some."""
    seconds = int(timedelta(hours=1) / timedelta(seconds=1))
    border = int((START + QUIET).timestamp())
    first = Windows.covering(int(START.timestamp()), border - 1, seconds)
    later = Windows.covering(border, int((START + QUIET + WITH_INCIDENTS).timestamp()) - 1, seconds)
    history = contacts.within(first)
    tails = history.tails()
    monitor = Monitor.fit(contacts.tree, contacts.metrics, history.rollups(tails, first))
    whole = Windows.covering(int(START.timestamp()), int(later.end) - 1, seconds)
    alerts = monitor.test(contacts.rollups(tails, whole)).alerts(monitor.threshold(Promise(A_WEEK)))
    alerts[:, : first.number] = False
    incidents = incidents_of(contacts.tree, alerts)
    real: set[int] = set()
    delays = []
    for one in truth.to_pylist():
        key = tuple((name, one[name]) for name in DIMENSIONS if one[name])
        overlapping = (contacts.tree.members & contacts.tree.leaves_in(key)).any(axis=1)
        begin, end = one["start"].timestamp(), one["end"].timestamp()
        during = (whole.starts + seconds > begin) & (whole.starts < end)
        cells = alerts & overlapping[:, None] & during
        real |= {number for number, (segments, windows) in enumerate(incidents) if cells[segments, windows].any()}
        when = whole.starts[cells.any(axis=0)]
        delays.append((float(when[0]) + seconds - begin) / seconds if len(when) else None)
    return Called(tuple(delays), len(incidents) - len(real))
