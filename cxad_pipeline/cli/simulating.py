"""Simulation from a terminal, with a progress bar.

Belongs here: the bar, and where labels go. Does not belong here: the simulation (`interactions.simulation`).
"""

from __future__ import annotations

import datetime as dt

from rich.progress import TaskProgressColumn

from cxad_pipeline.cli.terminal import progress_bar
from cxad_pipeline.interactions.simulation import (
    SimulationConfig,
    expected_interactions,
    write_samples,
    write_simulation,
)


def simulate_file(
    output: str,
    *,
    labels: str | None,
    incidents: str | None,
    start: dt.datetime,
    rows: int,
    seed: int,
    anomaly_rate: float,
    incidents_per_week: float,
    volume: float,
) -> list[str]:
    """Simulate into a file; give the paths of all files written."""
    config = SimulationConfig(
        start=start.replace(tzinfo=dt.UTC),
        interactions=rows,
        seed=seed,
        anomaly_rate=anomaly_rate,
        incidents=incidents_per_week,
        volume_scale=volume,
    )
    beside = labels or _labels_beside(output)
    with progress_bar(TaskProgressColumn()) as progress:
        task = progress.add_task("simulating", total=expected_interactions(config))
        write_simulation(config, output, beside, incidents, lambda done: progress.advance(task, done))
    return [path for path in (output, beside, incidents) if path]


def simulate_samples() -> list[str]:
    """Write the committed samples again."""
    return write_samples("data")


def _labels_beside(output: str) -> str:
    """`calls.csv.gz` has its labels in `_calls.labels.csv`; the underscore keeps landing from reading them."""
    parent, separator, name = output.rpartition("/")
    return f"{parent}{separator}_{name.split('.')[0]}.labels.csv"
