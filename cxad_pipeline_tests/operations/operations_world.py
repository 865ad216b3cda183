"""A small world for the tests of operations: the committed samples as history and as scored windows, a store, channels
that record.

Belongs here: what several of these tests need. Does not belong here: claims.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxad_pipeline.alerting.channels import Parcel
from cxad_pipeline.incidents.contacts import contacts_of
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.interactions.simulation import INFERENCE_SAMPLE, TRAINING_SAMPLE, simulate_table
from cxad_pipeline.operations.calibration import Judgements, fitted
from cxad_pipeline.operations.judging import Judged, judge
from cxad_pipeline.operations.statistics import record_statistics
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.operations.watched import watched_metrics
from cxad_pipeline.settings import Settings, load_settings
from cxad_pipeline.store.database import Store

START = dt.datetime(2026, 10, 12, tzinfo=dt.UTC)
STEP = dt.timedelta(hours=6)
NOW = dt.datetime(2026, 10, 14, 0, 5, tzinfo=dt.UTC)


class RecordingChannel:
    """A channel that keeps what it was given."""

    def __init__(self, name: str = "recording", edits: bool = False) -> None:
        self.name, self.edits = name, edits
        self.parcels: list[Parcel] = []

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        self.parcels.append(parcel)
        return {"number": len(self.parcels)}

    def kinds(self) -> list[str]:
        return [parcel.kind for parcel in self.parcels]


@cache
def training_rows() -> pa.Table:
    """Four weeks without an incident."""
    return simulate_table(TRAINING_SAMPLE).interactions


@cache
def scored_rows() -> pa.Table:
    """Two days with one incident: hold in billing by voice is four minutes longer on the second day, 9 to 14."""
    return as_scored(simulate_table(INFERENCE_SAMPLE).interactions)


def as_scored(rows: pa.Table) -> pa.Table:
    """Rows with the columns that scoring adds, as far as operations reads them; one in a hundred is flagged."""
    number = rows.num_rows
    flags = (np.arange(number) % 100 == 0).astype(np.int8)
    added = {
        "ensemble_anomaly": pa.array(flags),
        "severity": pa.array(np.where(flags, 40.0, 5.0)),
        "top_reasons": pa.array(["hold time 612 s, typical 10-140 s" if flag else "" for flag in flags]),
        "model_version": pa.array(["v1"] * number),
    }
    for name, values in added.items():
        rows = rows.append_column(name, values)
    return rows


def between(rows: pa.Table, start: dt.datetime, end: dt.datetime) -> pa.Table:
    """The rows of a period."""
    kind = rows.schema.field("timestamp").type
    inside = pc.and_(
        pc.greater_equal(rows["timestamp"], pa.scalar(start, kind)), pc.less(rows["timestamp"], pa.scalar(end, kind))
    )
    return rows.filter(inside)


def make_settings(folder: Path, store_url: str, **overrides: Any) -> Settings:
    """The local configuration with everything below a folder."""
    sections: dict[str, Any] = {
        "paths": {name: str(folder / name) for name in ("training", "inference", "storage", "processed")},
        "store": {"url": store_url},
    }
    repository = Path(__file__).parents[2]
    return load_settings(repository / "configs" / "config.local.yaml", **(sections | overrides))


def write_history(settings: Settings, rows: pa.Table | None = None) -> None:
    """Storage as training leaves it."""
    storage = Path(settings.paths.storage)
    storage.mkdir(parents=True, exist_ok=True)
    pq.write_table(training_rows() if rows is None else rows, storage / "training_interactions.parquet")


def write_scored(settings: Settings, rows: pa.Table, start: dt.datetime = START, windows: int = 8) -> None:
    """Storage as scoring leaves it."""
    folder = Path(settings.paths.storage) / "ensemble_scores"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(windows):
        begin = start + number * STEP
        pq.write_table(between(rows, begin, begin + STEP), folder / f"{begin:%Y-%m-%d-%H%M}.parquet")


_models: dict[str, IncidentModel] = {}


def model_of(settings: Settings) -> IncidentModel:
    """The model of the four weeks, fitted once for each configuration of incidents."""
    key = repr((settings.incidents, settings.segments, settings.timezone))
    if key not in _models:
        contacts = contacts_of(training_rows(), settings.segments.dimensions, watched_metrics(settings))
        _models[key] = fitted(contacts, settings, Judgements((), {}))[0]
    return _models[key]


class World:
    """One store, one configuration, one model; windows are counted and judged in it."""

    def __init__(self, settings: Settings, store: Store, channels: Sequence[RecordingChannel]) -> None:
        self.settings, self.store, self.channels = settings, store, list(channels)
        self.model = model_of(settings)
        self.teller = Teller(settings, self.channels, lambda moment: f"{moment:%Y-%m-%d}")

    def judge(
        self, rows: pa.Table | None = None, *, first: int = 0, windows: int = 8, together: int = 8, now: Any = NOW
    ) -> list[Judged]:
        """Count and judge scoring windows, several in one go."""
        rows = scored_rows() if rows is None else rows
        found = []
        for number in range(first, first + windows, together):
            parts = []
            for each in range(number, min(number + together, first + windows)):
                begin = START + each * STEP
                parts.append((begin, between(rows, begin, begin + STEP)))
                record_statistics(self.store, self.model, parts[-1][1], begin, begin + STEP, now)
            start, end = parts[0][0], parts[-1][0] + STEP
            tables = [table for _, table in parts]
            found.append(judge(self.store, self.model, tables, start, end, self.settings, self.teller, lambda: now))
        return found
