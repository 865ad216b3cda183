"""What the tests of the model store live in: MLflow on SQLite with small detectors, and a state folder."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from process_state import environment_as_before
from serving_examples import fitted_detector, simulated

from cxad_pipeline.detection import Detector
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.tracking import TrainingRuns, mlflow_client
from cxad_pipeline.registry.training_rows import model_input
from cxad_pipeline.serving.local_copy import LocalCopy, read_pointer
from cxad_pipeline.serving.state_folder import model_source
from cxad_pipeline.settings import Settings, load_settings

PATIENCE = 120.0
"""Seconds after which a condition is taken for one that never comes true."""


class RegistryWorld:
    """An MLflow of its own in a folder, and settings of a service that follows it."""

    def __init__(self, folder: Path, empty_database: Path) -> None:
        self.folder = folder
        self.database = folder / "mlflow.db"
        with closing(sqlite3.connect(empty_database)) as source, closing(sqlite3.connect(self.database)) as target:
            source.backup(target)
        (folder / "config.yaml").write_text("timezone: UTC\n")

    def settings(self, **mlflow: str) -> Settings:
        """As the service gets them: MLflow is asked once at the start, and then only when a reload asks."""
        return load_settings(
            self.folder / "config.yaml",
            mlflow={
                "tracking_uri": f"sqlite:///{self.database}",
                "artifacts": str(self.folder / "artifacts"),
                **mlflow,
            },
            serving={"state": str(self.folder / "state"), "poll_seconds": 3600},
            store={"url": f"sqlite:///{self.folder}/store.db"},
        )

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def register(self, detector: Detector | None = None) -> str:
        """A new version; its number."""
        detector = detector or fitted_detector()
        settings = self.settings()
        with TrainingRuns(settings, "training-of-a-test").child("ensemble"):
            return versions.register(detector, settings, example=model_input(simulated(4_000, 1).slice(0, 5), detector))

    def crown(self, version: str) -> str:
        """Make a version the champion; its number."""
        settings = self.settings()
        mlflow_client(settings).set_registered_model_alias(settings.mlflow.registered_model, "champion", version)
        return version

    def new_champion(self, detector: Detector | None = None) -> str:
        return self.crown(self.register(detector))

    def run_id(self, version: str) -> str:
        settings = self.settings()
        return str(mlflow_client(settings).get_model_version(settings.mlflow.registered_model, version).run_id)

    def model_folder(self, version: str) -> Path:
        """Where MLflow keeps the version's files."""
        settings = self.settings()
        client = mlflow_client(settings)
        entry = client.get_model_version(settings.mlflow.registered_model, version)
        logged = client.get_logged_model(entry.source.removeprefix("models:/"))
        return Path(urlsplit(logged.artifact_location).path)

    def detector_folder(self, version: str) -> Path:
        return self.model_folder(version) / "artifacts" / "detector"

    def move_files(self, version: str, place: str) -> str:
        """Let MLflow look for a version's files elsewhere; gives where they are."""
        settings = self.settings()
        entry = mlflow_client(settings).get_model_version(settings.mlflow.registered_model, version)
        model = (entry.source.removeprefix("models:/"),)
        with closing(sqlite3.connect(self.database)) as database:
            before = database.execute("SELECT artifact_location FROM logged_models WHERE model_id = ?", model)
            found = str(before.fetchone()[0])
            database.execute("UPDATE logged_models SET artifact_location = ? WHERE model_id = ?", (place, *model))
            database.commit()
        return found

    def copy(self, settings: Settings | None = None) -> LocalCopy | None:
        """What the pointer names, for a service with these settings."""
        return read_pointer(self.state, model_source(settings or self.settings()))

    def copies(self) -> list[str]:
        """Folders among the copies, half-written ones included."""
        return sorted(path.name for path in (self.state / "models").iterdir())


@contextmanager
def world_in(folder: Path) -> Iterator[RegistryWorld]:
    """An MLflow in a folder; what MLflow writes into the environment goes when the block ends."""
    with environment_as_before():
        yield RegistryWorld(folder, Path(_migrated().name) / "mlflow.db")


@functools.cache
def _migrated() -> tempfile.TemporaryDirectory[str]:
    """A folder with a database without a run: migrating takes seconds, copying does not."""
    folder = tempfile.TemporaryDirectory()
    config = Path(folder.name) / "config.yaml"
    config.write_text("timezone: UTC\n")
    mlflow_client(load_settings(config, mlflow={"tracking_uri": f"sqlite:///{folder.name}/mlflow.db"}))
    return folder


@functools.cache
def other_detector() -> Detector:
    """One that gives other scores than `fitted_detector()`."""
    return fitted_detector("max")


def damage(folder: Path, how: str) -> None:
    """Make a detector's folder into one that must be refused."""
    arrays, document = folder / "arrays.npz", folder / "detector.json"
    if how == "truncated arrays":
        arrays.write_bytes(arrays.read_bytes()[: arrays.stat().st_size // 2])
    elif how == "no arrays":
        arrays.unlink()
    elif how == "version 1":
        document.write_text(document.read_text().replace('"version": 2', '"version": 1', 1))
    elif how == "no JSON":
        document.write_text("{")
    elif how == "another program's":
        document.write_text('{"format": "other", "version": 2}')
    else:
        raise ValueError(how)


DAMAGES = ("truncated arrays", "no arrays", "version 1", "no JSON", "another program's")


def served_files(port: int) -> str:
    """Address of a model's files that an MLflow server on a port of this machine would hand out."""
    return f"http://127.0.0.1:{port}/api/2.0/mlflow-artifacts/artifacts/1/models/m"


async def until(condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Wait until something is true, and give it."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, "it has not come true"
        await asyncio.sleep(0.02)
    return found
