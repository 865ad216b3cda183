"""Contacts for the benchmark of incidents: a real month from a bank's call centre, and simulated ones.

Belongs here: where contacts come from, how they are counted. Does not belong here: faults (`incident_faults.py`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from cxad_pipeline import incidents
from cxad_pipeline.files import Folder
from cxad_pipeline.incidents import MetricRule, Rollups, SegmentTree, Tails, Windows
from cxad_pipeline.interactions.landing import list_landed, read_period
from cxad_pipeline.interactions.simulation import SimulationConfig, simulate_table
from cxad_pipeline.interactions.sources import readers
from cxad_pipeline.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[1]
AHT, HOLD = "aht_seconds", "hold_time_seconds"
DURATIONS = (MetricRule(AHT, "high", True), MetricRule(HOLD, "high", True))
ALL_METRICS = (
    *DURATIONS,
    MetricRule("csat", "low"),
    MetricRule("ies", "low"),
    MetricRule("transfers", "high"),
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Contacts(incidents.Contacts):
    """Contacts, and their segments."""

    tree: SegmentTree
    metrics: tuple[MetricRule, ...]
    timezone: str

    def tails(self) -> Tails:
        """The tails of these contacts."""
        return Tails.fit(self.tree, self.metrics, self.leaf, self.values)

    def rollups(self, tails: Tails, windows: Windows) -> Rollups:
        """The contacts, counted."""
        return Rollups.of_contacts(
            self.tree,
            self.metrics,
            tails,
            windows,
            self.moments,
            self.leaf,
            self.values,
            self.complaints,
            self.flagged,
        )


def contacts_of(
    table: pa.Table, dimensions: tuple[str, ...], metrics: tuple[MetricRule, ...], timezone: str
) -> Contacts:
    """The contacts of a table with the columns of the schema."""
    found = incidents.contacts_of(table, dimensions, metrics)
    tree = SegmentTree.of(dimensions, found.leaves)
    return Contacts(**vars(found), tree=tree, metrics=metrics, timezone=timezone)


def real_month(folder: Path | None) -> Contacts | str:
    """January 1999 of the bank's call centre as its configuration reads it, or a sentence that says what is missing."""
    settings = load_settings(REPOSITORY / "configs" / "config.technion.yaml")
    named = folder or Path(os.environ.get("CXAD_PATHS__TRAINING") or REPOSITORY / settings.paths.training)
    if not (named / "january.tsv").exists():
        return f"skipped: no january.tsv in {named.name!r}; --technion FOLDER or CXAD_PATHS__TRAINING says where it is"
    landed = Folder(str(named))
    later = datetime.now(UTC) + timedelta(days=1)
    files = [stat for stat in list_landed(landed, settings, later).ready if stat.path == "january.tsv"]
    rows = read_period(landed, files, None, None, readers(settings))
    return contacts_of(rows.accepted, ("queue",), DURATIONS, "Asia/Jerusalem")


def simulated_weeks(seed: int, weeks: int, dimensions: tuple[str, ...], volume: float = 1.0) -> Contacts:
    """Weeks from a Monday on with single anomalies and no incident."""
    start = datetime(2026, 9, 7, tzinfo=UTC)
    config = SimulationConfig(
        start, start + timedelta(weeks=weeks), seed=seed, anomaly_rate=0.01, incidents=(), volume_scale=volume
    )
    return contacts_of(simulate_table(config).interactions, dimensions, ALL_METRICS, "UTC")


def two_periods(contacts: Contacts) -> tuple[Windows, Windows]:
    """The hours of the first fourteen days, and those from then on to the last contact."""
    whole = Windows.covering(int(contacts.moments.min()), int(contacts.moments.max()), 3_600, contacts.timezone)
    border = int(np.searchsorted(whole.day, whole.day[0] + 14))
    return whole.between(0, border), whole.between(border, whole.number)
