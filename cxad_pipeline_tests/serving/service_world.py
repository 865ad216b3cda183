"""The whole service as a user runs it: `cxad serve` as a process, with a model of its own in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from serving_examples import fitted_detector
from unused_ports import unused_port

from cxad_pipeline.detection import Detector
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.serving.local_copy import keep
from cxad_pipeline.serving.state_folder import model_source
from cxad_pipeline.settings import Settings, load_settings

PATIENCE = 120.0
_OURS = ("CXAD_", "MLFLOW_", "PROMETHEUS_", "API_PORT", "ENABLE_")


class ServiceWorld:
    """A folder with a configuration, an MLflow database that is not there yet, and a state folder.

    Parameters
    ----------
    folder
        An empty folder.
    serving
        Keys of the section `serving`.
    """

    def __init__(self, folder: Path, **serving: Any) -> None:
        self.folder = folder
        self.state = folder / "state"
        tree = {
            "mlflow": {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "artifacts": str(folder / "artifacts")},
            "serving": {"state": str(self.state), "poll_seconds": 3600} | serving,
            "store": {"url": f"sqlite:///{folder}/store.db"},
        }
        (folder / "config.yaml").write_text(json.dumps(tree))

    @classmethod
    def of(cls, folder: Path, settings: Settings) -> ServiceWorld:
        """A world whose MLflow is there already."""
        world = cls.__new__(cls)
        world.folder, world.state = folder, Path(settings.serving.state)
        tree = settings.model_dump(mode="json", include={"mlflow", "serving", "store"})
        (folder / "config.yaml").write_text(json.dumps(tree))
        return world

    def settings(self) -> Settings:
        return load_settings(self.folder / "config.yaml")

    def place_model(self, detector: Detector | None = None, version: str = "3") -> None:
        """Put a model where the service looks first: among its local copies."""
        detector = detector or fitted_detector()

        def fetch(into: Path) -> tuple[Path, str, str]:
            detector.save(into / "detector")
            return into / "detector", version, f"run-of-version-{version}"

        settings = self.settings()
        self.state.mkdir(mode=0o700, exist_ok=True)
        keep(self.state, schema_of(settings), model_source(settings), fetch)

    @contextmanager
    def running(self, **variables: str) -> Iterator[RunningService]:
        """`cxad serve` until the block ends; it has to end by itself then."""
        service = RunningService(self, variables)
        try:
            service.wait_until_ready()
            yield service
        finally:
            service.stop()


class RunningService:
    """A process of `cxad serve`."""

    def __init__(self, world: ServiceWorld, variables: dict[str, str]) -> None:
        self.port = unused_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = world.folder / f"serve-{self.port}.log"
        plain = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        given = {"CXAD_CONFIG": str(world.folder / "config.yaml"), "API_PORT": str(self.port)}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cxad_pipeline.cli", "serve"],
                cwd=world.folder,
                env=plain | given | variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.client = httpx2.Client(base_url=self.url, timeout=PATIENCE, trust_env=False, verify=False)

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log
            try:
                return self.client.get("/readyz").status_code == 200
            except httpx2.TransportError:
                return False

        until(ready)

    def stop(self) -> None:
        """Ask it to end; what does not is killed, with what it has started."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing is left of it
                os.killpg(self.process.pid, signal.SIGKILL)


def until(holds: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Wait until something is true, and give it."""
    end = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.02)  # between two looks; the deadline decides
    return found
