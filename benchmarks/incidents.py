"""Faults of a segment that are found at a promised number of alerts, and whether the promise is kept.

Four faults are put into 300 random queue-hours each, one at a time, of a bank's call centre (january.tsv) and of the
simulation; the combined detector of `cxad_pipeline.incidents` and four single detectors call equally often, by
thresholds from the first two weeks alone. Eligible are all queue-hours after these weeks with at least so many calls
that they have 47 on average, as in the table that the bars come from; a fault of four hours is put into four of them in
a row, and, shown beside it without a bar, into any four hours of which the first is eligible.

Whole incidents: those that the simulation makes, against their labels, with and without pairs of dimensions.

The promise: months of simulation without an incident, each with two weeks of history before it. The speed: 1,000
segments in the hours of 28 days.

    python benchmarks/incidents.py [--quick] [--seeds N] [--technion FOLDER] [--output FOLDER]

Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import report
from incident_data import ALL_METRICS, Contacts, real_month, simulated_weeks, two_periods
from incident_faults import FAULTS, OURS, Trial, Trials
from incident_singles import SINGLES
from incident_truth import incident_table
from matplotlib.figure import Figure

from cxad_pipeline.incidents import Monitor, Promise, Rollups, SegmentTree, Windows, incidents_of
from cxad_pipeline.incidents.rollups import over_leaves

MANY, FEW = 31, 4
SETTINGS = ((MANY, 1, 1), (FEW, 1, 1), (FEW, 4, 4), (FEW, 4, 1))
"""Alerts a month, hours of the fault, and how many of them have to be eligible."""
BUDGET = 5.0
WIDTH = 0.16  # of a detector's column in the picture
MEAN_CALLS = 47.0
BARS = dict(zip(FAULTS, (28, 68, 98, 85), strict=True))
FEW_BARS = {"handle time x2": (15, 90), "hold +120 s": (80, 90)}
REAL, SIMULATED = "call centre", "simulation"


def main() -> int:
    parser = report.arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="simulated months for the promise")
    parser.add_argument("--technion", type=Path, default=None, help="folder with january.tsv")
    options = parser.parse_args()
    number, seeds = (5, 1) if options.quick else (300, options.seeds)
    found = report.Report("incidents", options.quick)
    real = real_month(options.technion)
    sources: dict[str, Contacts] = {} if isinstance(real, str) else {REAL: real}
    sources[SIMULATED] = simulated_weeks(0, 6, ("queue",))
    trials = {name: power(contacts, number) for name, contacts in sources.items()}
    for name, (hours, results) in trials.items():
        found.tables[f"power, {name}"] = power_table(name, hours, results)
        found.bars += power_bars(name, results)
    if isinstance(real, str):
        found.tables[f"power, {REAL}"] = report.Table(
            f"Faults found, {REAL}", ["detector"], [{"detector": OURS, "missing": real}]
        )
    months = [kept(seed) for seed in range(seeds)]
    weeks = {} if isinstance(real, str) else real_weeks(real)
    found.tables["promise"] = promise_table(months, weeks)
    within = sum(calls <= BUDGET * 4 for calls, _ in months)
    found.bars.append(report.Bar("months within the budget, of 100", 100 * within / seeds, 95))
    found.tables["incidents"] = (
        incident_table(range(1), [0.1]) if options.quick else incident_table(range(6), [1, 0.33])
    )
    seconds = speed(*((30, 3) if options.quick else (1_000, 28)))
    found.tables["speed"] = report.Table("Speed", ["what", "seconds"], [{"what": k, "seconds": v} for k, v in seconds])
    found.bars.append(report.Bar("1,000 segments x 28 days tested, s", seconds[-1][1], 30, at_most=True))
    return found.finish(drawn(trials, [calls for calls, _ in months]), options.output)


def power(contacts: Contacts, number: int) -> tuple[str, list[Trial]]:
    """The faults found, and which queue-hours they were put into, in words."""
    least = least_calls(contacts)
    trials = Trials(contacts, least, number)
    eligible = trials.counts[trials.counts >= least]
    words = (
        f"{number} times one of the {len(eligible)} queue-hours after the first two weeks with at least {least} calls "
        f"(mean {eligible.mean():.1f})"
    )
    return words, [trial for setting in SETTINGS for trial in trials.run(*setting)]


def least_calls(contacts: Contacts) -> int:
    """The least number of calls with which queue-hours have `MEAN_CALLS` on average, or the nearest to it."""
    _, later = two_periods(contacts)
    inside = contacts.within(later)
    cells = inside.leaf * later.number + later.of_moments(inside.moments)
    counts = np.bincount(cells)
    return min(range(5, 60), key=lambda least: abs(counts[counts >= least].mean() - MEAN_CALLS))


def power_table(name: str, hours: str, results: Sequence[Trial]) -> report.Table:
    rows = [
        {
            "detector": trial.detector,
            "alerts a month": trial.per_month,
            "hours": trial.hours,
            "busy hours": trial.busy,
            "calls an hour": report.rounded(trial.calls, 3),
            **{fault: report.rounded(share, 3) for fault, share in trial.found.items()},
            "achieved a month": report.rounded(trial.achieved, 3),
        }
        for trial in results
    ]
    note = f"{hours}. Per cent found; busy hours: so many of the fault's have as many calls; "
    note += "achieved: incidents a month without faults, after the first two weeks."
    return report.Table(f"Faults found, {name}", [*rows[0]], rows, note)


def power_bars(name: str, results: Sequence[Trial]) -> list[report.Bar]:
    ours = {(t.per_month, t.hours): t.found for t in results if t.detector == OURS and t.busy == t.hours}
    best = {
        fault: max(t.found[fault] for t in results if t.detector != OURS and t.per_month == MANY) for fault in FAULTS
    }
    bars = [
        report.Bar(f"{name}: {fault}, {MANY} a month", ours[MANY, 1][fault], bar, peer=best[fault])
        for fault, bar in BARS.items()
    ]
    for fault, wanted in FEW_BARS.items():
        for hours, bar in zip((1, 4), wanted, strict=True):
            bars.append(report.Bar(f"{name}: {fault}, {FEW} a month, {hours} h", ours[FEW, hours][fault], bar))
    return bars


def kept(seed: int) -> tuple[int, float]:
    """Incidents called in four simulated weeks without any, after two of history."""
    contacts = simulated_weeks(seed, 6, ("queue", "channel", "language"))
    return called(contacts, Promise(BUDGET))


def called(contacts: Contacts, promise: Promise) -> tuple[int, float]:
    """Incidents after the first two weeks, and the length of that time in weeks."""
    first, later = two_periods(contacts)
    history = contacts.within(first)
    tails = history.tails()
    monitor = Monitor.fit(contacts.tree, contacts.metrics, history.rollups(tails, first))
    findings = monitor.test(contacts.rollups(tails, later))
    number = len(incidents_of(contacts.tree, findings.alerts(monitor.threshold(promise))))
    return number, later.number / (7 * later.per_day)


def real_weeks(contacts: Contacts) -> dict[str, float]:
    """Incidents a week of the real month after the first two weeks."""
    number, weeks = called(contacts, Promise(BUDGET))
    return {"incidents a week": number / weeks}


def promise_table(months: Sequence[tuple[int, float]], weeks: dict[str, float]) -> report.Table:
    calls = np.array([number for number, _ in months]) / 4
    rows: list[report.Row] = [
        {
            "period": f"{len(months)} simulated months without incident",
            "promised a week": BUDGET,
            "mean": report.rounded(float(calls.mean()), 3),
            "median": report.rounded(float(np.median(calls)), 3),
            "most": report.rounded(float(calls.max()), 3),
            "within": report.rounded(float((calls <= BUDGET).mean()), 3),
        }
    ]
    if weeks:
        rows.append(
            {"period": f"{REAL}, the weeks after", "promised a week": BUDGET}
            | {"mean": report.rounded(weeks["incidents a week"], 3)}
        )
    note = "Thresholds from the two weeks before; queue, channel and language, with all parents, in the simulation."
    return report.Table("The promise", ["period", "promised a week", "mean", "median", "most", "within"], rows, note)


def speed(segments: int, days: int) -> list[tuple[str, float]]:
    """Seconds to fit and to test so many segments in the hours of so many days."""
    random = np.random.default_rng(0)
    leaves = [(f"q{i // 10}", f"c{i % 10}") for i in range(segments - segments // 10 - 11)]
    tree = SegmentTree.of(("queue", "channel"), leaves)
    windows = Windows(1_788_739_200, days * 24)
    usual = random.gamma(2.0, 4.0, size=(len(leaves), 1)) * (1 + np.sin(windows.slot / 12 * np.pi)) + 0.5
    count = random.poisson(usual).astype(float)
    total = random.normal(5 * count, 0.5 * np.sqrt(count + 1e-9))
    squares = total**2 / np.maximum(count, 1) + 0.25 * np.maximum(count - 1, 0)

    def summed(cells: np.ndarray) -> np.ndarray:
        return over_leaves(tree, cells)

    def over_metrics(cells: np.ndarray) -> np.ndarray:
        return np.repeat(summed(cells)[None], len(ALL_METRICS), axis=0)

    far, near = (random.binomial(count.astype(int), share).astype(float) for share in (0.03, 0.2))
    tails = np.stack([over_metrics(far), over_metrics(near)], axis=1)
    contacts = summed(count)
    rare = summed(random.binomial(count.astype(int), 0.02).astype(float))
    rollups = Rollups(
        windows,
        contacts,
        rare,
        rare,
        summed(far),
        over_metrics(count),
        over_metrics(total),
        over_metrics(squares),
        tails,
    )
    begin = time.perf_counter()
    monitor = Monitor.fit(tree, ALL_METRICS, rollups)
    fitted = time.perf_counter()
    monitor.test(rollups)
    tested = time.perf_counter()
    what = f"{len(tree)} segments x {days} days of hours, {len(ALL_METRICS)} metrics"
    return [(f"fit and replay, {what}", fitted - begin), (f"test, {what}", tested - fitted)]


def drawn(trials: dict[str, tuple[str, list[Trial]]], months: Sequence[int]) -> Figure:
    """Faults found at the many alerts a month, and incidents a month against the budget."""
    figure = Figure(figsize=(13, 4.2 * len(trials)), layout="constrained")
    axes = figure.subplots(len(trials), 2, squeeze=False)

    def places_of(detector: int) -> npt.NDArray[np.float64]:
        return np.arange(len(FAULTS)) + (detector - len(SINGLES) / 2) * WIDTH

    for row, (name, (_, results)) in zip(axes, trials.items(), strict=True):
        panels = ((MANY, 1), (FEW, 1))
        for axis, (per_month, hours) in zip(row, panels, strict=True):
            chosen = [t for t in results if (t.per_month, t.hours) == (per_month, hours)]
            for i, detector in enumerate((*SINGLES, OURS)):
                trial = next(t for t in chosen if t.detector == detector)
                axis.bar(places_of(i), list(trial.found.values()), WIDTH, label=detector)
            if per_month == MANY:
                axis.hlines(list(BARS.values()), places_of(0), places_of(len(SINGLES)), colors="black", label="bar")
            axis.set_xticks(range(len(FAULTS)), [fault.replace(", ", ",\n").replace(": ", ":\n") for fault in FAULTS])
            axis.set_ylabel("% found")
            axis.set_title(f"{name}: {per_month} alerts a month, fault of {hours} h")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(
        f"Months without incident: {len(months)}, incidents in four weeks: mean {np.mean(months):.1f}, "
        f"most {max(months)}, promised {BUDGET * 4:g}"
    )
    return figure


if __name__ == "__main__":
    sys.exit(main())
