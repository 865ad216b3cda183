"""Fixtures of the registry tests: simulated rows, one trained detector, MLflow on SQLite in a temporary folder."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from process_state import environment_as_before

from cxad_pipeline.detection import Detector, DetectorConfig, EnsembleConfig, ModelConfig
from cxad_pipeline.interactions.simulation import SimulationConfig, simulate_table
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.tracking import TrainingRuns, mlflow_client
from cxad_pipeline.registry.training_rows import model_input
from cxad_pipeline.settings import Settings, load_settings

CONFIG = DetectorConfig(
    numeric=["csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers"],
    categorical=["channel", "language", "queue"],
    models=(
        ModelConfig("iforest", "isolation_forest", {"n_estimators": 30}, 97),
        ModelConfig("rcf", "random_cut_forest", {"n_estimators": 15, "tree_size": 128}, 97),
    ),
    ensemble=EnsembleConfig(threshold_percentile=97),
    segments=["queue", "channel"],
    random_state=5,
)


@pytest.fixture(autouse=True)
def _environment_as_before() -> Iterator[None]:
    """MLflow writes what it is told into the environment; nothing of it reaches another test."""
    with environment_as_before():
        yield


@pytest.fixture(scope="session")
def rows() -> pa.Table:
    """4,000 interactions to train on."""
    return simulate_table(_simulation(4_000, seed=1)).interactions


@pytest.fixture(scope="session")
def fresh() -> pa.Table:
    """3,000 other interactions, with values missing, and categories that no training row has."""
    table = simulate_table(_simulation(3_000, seed=2)).interactions
    queue = table["queue"].to_pylist()
    queue[5], queue[6], queue[7] = "never seen", None, ""
    return table.set_column(table.column_names.index("queue"), "queue", pa.array(queue, pa.string()))


def _simulation(interactions: int, seed: int) -> SimulationConfig:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    return SimulationConfig(start=start, interactions=interactions, seed=seed, anomaly_rate=0.02, incidents=())


@pytest.fixture(scope="session")
def detectors(rows: pa.Table) -> dict[str, Detector]:
    """One detector for each strategy."""
    found = {}
    for strategy in ("average", "max", "voting"):
        ensemble = dataclasses.replace(CONFIG.ensemble, strategy=strategy)
        found[strategy] = Detector.fit(rows, dataclasses.replace(CONFIG, ensemble=ensemble))
    return found


@pytest.fixture(scope="session")
def detector(detectors: dict[str, Detector]) -> Detector:
    return detectors["average"]


@pytest.fixture(scope="session")
def _empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without a run: migrating takes seconds, copying does not."""
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow_client(_settings_in(folder))
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def new_settings(_empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Settings]:
    """Settings with an empty MLflow and folders of their own, as many as a test wants."""

    def make() -> Settings:
        folder = tmp_path_factory.mktemp("registry")
        with (
            closing(sqlite3.connect(_empty_mlflow)) as source,
            closing(sqlite3.connect(folder / "mlflow.db")) as target,
        ):
            source.backup(target)
        return _settings_in(folder)

    return make


def _settings_in(folder: Path) -> Settings:
    config = folder / "config.yaml"
    config.write_text("timezone: UTC\n")
    return load_settings(
        config,
        mlflow={"tracking_uri": f"sqlite:///{folder}/mlflow.db", "artifacts": str(folder / "artifacts")},
        paths={"processed": str(folder / "processed")},
    )


@pytest.fixture
def settings(new_settings: Callable[[], Settings]) -> Settings:
    return new_settings()


@pytest.fixture(scope="session")
def register(rows: pa.Table) -> Callable[[Settings, Detector], str]:
    """Register a detector from a run of its own; give its version."""

    def act(settings: Settings, detector: Detector) -> str:
        with TrainingRuns(settings, "training-of-a-test").child("ensemble"):
            return versions.register(detector, settings, example=model_input(rows.slice(0, 5), detector))

    return act
