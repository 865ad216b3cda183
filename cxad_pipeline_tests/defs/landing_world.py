"""A small world for the Dagster tests: settings below a temporary folder, simulated files, a channel that records."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from cxad_pipeline.alerting.channels import Parcel
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.interactions.simulation import SimulationConfig, write_simulation
from cxad_pipeline.settings import Settings, load_settings

REPOSITORY = Path(__file__).parents[2]
START = dt.datetime(2026, 10, 5, tzinfo=dt.UTC)


class RecordingChannel:
    """A channel that keeps what it was given."""

    name, edits = "recording", False

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        self.sent.append(parcel.message)
        return {"number": len(self.sent)}


def make_settings(folder: Path, **overrides: object) -> Settings:
    sections: dict[str, object] = {
        "paths": {name: str(folder / name) for name in ("training", "inference", "storage", "processed")},
        "mlflow": {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "artifacts": str(folder / "artifacts")},
        "store": {"url": f"sqlite:///{folder}/store.db"},
        "landing": {"settle_seconds": 0},
        "models": {"iforest": {"params": {"n_estimators": 25}}, "rcf": {"params": {"n_estimators": 20}}},
    }
    return load_settings(REPOSITORY / "configs" / "config.local.yaml", **(sections | overrides))


def land(
    settings: Settings, name: str, *, start: dt.datetime, rows: int, seed: int = 1, folder: str = "inference"
) -> Path:
    """Simulate a file into a landing folder."""
    path = Path(getattr(settings.paths, folder)) / name
    config = SimulationConfig(
        start=start, interactions=rows, seed=seed, incidents=0.0, volume_scale=0.2, first_id=seed * 1_000_000
    )
    write_simulation(config, path, path.parents[1] / f"{name}.labels.csv")
    return path
