"""A worker's model: loaded from the local copy, replaced as a whole, kept when what comes next is no good."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_store_world import PATIENCE, damage, other_detector, until
from serving_examples import CONFIG, fitted_detector, interactions, simulated

from cxad_pipeline.detection import Detector
from cxad_pipeline.interactions.schema import Column, InteractionSchema
from cxad_pipeline.serving.health import concerns
from cxad_pipeline.serving.local_copy import LocalCopy, keep, load_copy
from cxad_pipeline.serving.model_store import ModelStore
from cxad_pipeline.serving.snapshot import Snapshot
from cxad_pipeline.serving.state_folder import model_source, works_for, write_json
from cxad_pipeline.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer for a load than a service waits for it before it starts without a model."""
    monkeypatch.setattr("cxad_pipeline.serving.model_store._START_SECONDS", PATIENCE)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "config.yaml").write_text("timezone: UTC\n")
    (tmp_path / "state").mkdir()
    return load_settings(
        tmp_path / "config.yaml",
        serving={"state": str(tmp_path / "state")},
        mlflow={"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"},
    )


def put(
    settings: Settings, version: str, detector: Detector | None = None, schema: InteractionSchema | None = None
) -> LocalCopy:
    """What the sidecar does when there is a new champion."""

    def fetch(into: Path) -> tuple[Path, str, str]:
        (detector or fitted_detector()).save(into / "detector")
        return into / "detector", version, f"run-{version}"

    return keep(Path(settings.serving.state), schema or InteractionSchema(), model_source(settings), fetch)


class Worker:
    """A model store and what it has said."""

    def __init__(self, settings: Settings) -> None:
        self.loaded: list[str] = []
        self.failures: list[str] = []
        self.kinds: list[str] = []
        self.models = ModelStore(settings, self._load, self._failed)

    def _failed(self, kind: str, reason: str) -> None:
        self.kinds.append(kind)
        self.failures.append(reason)

    def _load(self, snapshot: Snapshot) -> None:
        self.loaded.append(snapshot.version)

    @property
    def version(self) -> str | None:
        return self.models.current.version if self.models.current else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Worker]:
        await self.models.start()
        try:
            yield self
        finally:
            await self.models.stop()


def copy_folder(settings: Settings, copy: LocalCopy) -> Path:
    return Path(settings.serving.state) / "models" / copy.folder


def test_the_last_good_copy_serves_as_soon_as_it_has_started(settings: Settings):
    copy = put(settings, "3")

    async def scenario() -> None:
        worker = Worker(settings)
        assert worker.models.current is None
        async with worker.running():
            current = worker.models.current
            assert current is not None
            assert (current.version, current.run_id, current.label) == ("3", "run-3", "v3")
            assert worker.loaded == ["3"]
            model = worker.models.status()["model"]
            assert (model["version"], model["run_id"], model["fetched_at"]) == ("3", "run-3", copy.fetched_at)
            assert model["loaded_at"] >= copy.fetched_at
            expected = fitted_detector().score(interactions()).ensemble
            np.testing.assert_array_equal(current.detector.score(interactions()).ensemble, expected)

    asyncio.run(scenario())


def test_without_a_copy_nothing_serves_and_the_status_says_so(settings: Settings):
    async def scenario() -> None:
        async with Worker(settings).running() as worker:
            assert worker.models.current is None
            status = worker.models.status()
            assert status["model"] is None
            assert status["mlflow"] == {"reachable": None}
            assert status["sidecar"]["alive"] is False
            put(settings, "1")
            await until(lambda: worker.version == "1")
            assert worker.models.status()["model"]["version"] == "1"

    asyncio.run(scenario())


def test_every_worker_follows_and_a_request_keeps_the_model_that_it_began_with(settings: Settings):
    put(settings, "1")

    async def scenario() -> None:
        async with Worker(settings).running() as first, Worker(settings).running() as second:
            held = first.models.current
            assert held is not None
            put(settings, "2", other_detector())
            await until(lambda: (first.version, second.version) == ("2", "2"))
            put(settings, "1")  # the alias was moved back
            await until(lambda: (first.version, second.version) == ("1", "1"))
            put(settings, "5")
            put(settings, "6", other_detector())
            await until(lambda: (first.version, second.version) == ("6", "6"))
            assert first.models.current is not None
            assert held.version == "1"
            before, after = (each.detector.score(interactions()).ensemble for each in (held, first.models.current))
            np.testing.assert_array_equal(before, fitted_detector().score(interactions()).ensemble)
            np.testing.assert_array_equal(after, other_detector().score(interactions()).ensemble)
            assert not np.array_equal(before, after)
            assert first.failures == second.failures == []

    asyncio.run(scenario())


def test_a_copy_that_is_damaged_is_refused_once_and_the_old_model_stays(settings: Settings, monkeypatch):
    monkeypatch.setattr("cxad_pipeline.serving.model_store._LOOK_SECONDS", 0.02)
    monkeypatch.setattr("cxad_pipeline.serving.model_store._RETRY_SECONDS", 0.05)
    put(settings, "1")

    async def scenario() -> None:
        async with Worker(settings).running() as worker:
            folder = copy_folder(settings, put(settings, "2", other_detector()))
            damage(folder, "truncated arrays")
            await until(lambda: worker.failures)
            looked = time.monotonic()
            await until(lambda: time.monotonic() - looked > 0.5)  # it looks, and tries, many times meanwhile
            assert len(worker.failures) == 1
            assert worker.failures[0].startswith("version 2 is no detector that can serve: arrays.npz")
            assert worker.kinds == ["copy_refused"]
            assert worker.version == "1"
            status = worker.models.status()
            assert (status["model"]["version"], status["last_error"]) == ("1", worker.failures[0])
            requests = list((Path(settings.serving.state) / "requests").iterdir())
            assert len(requests) == 1  # the sidecar is asked to look at the copy, once
            other_detector().save(folder)
            await until(lambda: worker.version == "2")
            assert worker.models.status()["last_error"] is None

    asyncio.run(scenario())


def elsewhere(settings: Settings) -> Settings:
    """A service on the same state folder that follows another MLflow."""
    mlflow = settings.mlflow.model_copy(update={"tracking_uri": "https://someone:pa55word@another"})
    return settings.model_copy(update={"mlflow": mlflow})


def test_a_copy_from_another_registry_does_not_serve_and_it_is_told_once(settings: Settings, monkeypatch):
    monkeypatch.setattr("cxad_pipeline.serving.model_store._LOOK_SECONDS", 0.02)
    monkeypatch.setattr("cxad_pipeline.serving.model_store._RETRY_SECONDS", 0.05)
    put(elsewhere(settings), "3")

    async def scenario() -> None:
        async with Worker(settings).running() as worker:
            looked = time.monotonic()
            await until(lambda: time.monotonic() - looked > 0.3)  # it looks, and tries, many times meanwhile
            put(elsewhere(settings), "4")
            await until(lambda: time.monotonic() - looked > 0.6)
            assert (worker.models.current, worker.loaded) == (None, [])
            (told,) = worker.failures
            assert "copy of cx-anomaly-detector in https://another, and this service serves" in told
            assert "serving.state of its own" in told
            assert "pa55word" not in told
            status = worker.models.status()
            assert (status["last_error"], status["model"]) == (told, None)
            assert status["copy_of_another"] == "cx-anomaly-detector in https://another"
            assert list((Path(settings.serving.state)).glob("requests/*")) == []  # whose sidecar it is is not known

            put(settings, "3")
            await until(lambda: worker.version == "3")
            status = worker.models.status()
            assert (status["last_error"], status["copy_of_another"]) == (None, None)
            held = worker.models.current
            put(elsewhere(settings), "5")
            await until(lambda: len(worker.failures) == 2)
            assert worker.models.current is held

    asyncio.run(scenario())


def test_a_sidecar_of_an_earlier_time_counts_for_nothing_until_it_gives_a_sign_of_life(settings: Settings, monkeypatch):
    monkeypatch.setattr("cxad_pipeline.serving.model_store._LOOK_SECONDS", 0.02)
    beat = Path(settings.serving.state) / "sidecar.json"
    content = {"pid": 1, "at": 1.0, "works_for": works_for(settings), "mlflow": {"reachable": True}, "store": {}}
    write_json(beat, content | {"works_for": "what was configured before"})

    async def scenario() -> None:
        async with Worker(settings).running() as worker:
            looked = time.monotonic()
            await until(lambda: time.monotonic() - looked > 0.2)
            assert worker.models.status()["sidecar"]["alive"] is False
            assert worker.models.status()["last_error"] is None
            write_json(beat, content)
            await until(lambda: worker.models.status()["sidecar"]["alive"])
            assert worker.models.status()["mlflow"] == {"reachable": True}
            assert worker.failures == []

    asyncio.run(scenario())


def test_a_sidecar_that_stays_away_is_missing_and_one_that_is_being_started_is_not(settings: Settings, monkeypatch):
    put(settings, "1")

    async def scenario() -> None:
        async with Worker(settings).running() as worker:
            status = worker.models.status()
            assert (status["sidecar"]["alive"], status["sidecar"]["missing"]) == (False, False)
            assert concerns(status, 0) == []
            monkeypatch.setattr("cxad_pipeline.serving.sidecar_status._MISSING_SECONDS", 0.1)
            await until(lambda: worker.models.status()["sidecar"]["missing"])
            status = worker.models.status()
            assert status["last_error"].startswith("the sidecar process does not run")
            assert len(concerns(status, 0)) == 1

    asyncio.run(scenario())


def test_a_model_with_a_column_that_the_api_lacks_is_refused(settings: Settings):
    """The configuration may be another than when the copy was made."""
    table = simulated(4_000, 1)
    detector = Detector.fit(
        table.append_column("sentiment", table["ies"]),
        dataclasses.replace(CONFIG, numeric=(*CONFIG.numeric, "sentiment")),
    )
    put(settings, "1", detector, InteractionSchema([Column("sentiment", "float", "")]))

    async def scenario() -> None:
        async with Worker(settings).running() as worker:
            assert worker.models.current is None
            assert len(worker.failures) == 1
            assert "'sentiment'" in worker.failures[0]
            assert "interactions.extra_columns" in worker.failures[0]

    asyncio.run(scenario())


def test_a_reload_without_a_sidecar_says_so_and_the_model_goes_on_serving(settings: Settings):
    put(settings, "1")

    async def scenario() -> None:
        async with Worker(settings).running() as worker:
            held = worker.models.current
            first, *others = await asyncio.gather(*(worker.models.reload(0.3) for _ in range(5)))
            assert (first.before, first.after, first.changed) == ("1", "1", False)
            assert first.error is not None
            assert "the sidecar process does not run" in first.error
            assert all(other is first for other in others)  # five callers, one reload
            assert worker.models.current is held
            assert list((Path(settings.serving.state) / "requests").iterdir()) == []

    asyncio.run(scenario())


def test_a_reload_loads_what_was_refused_before(settings: Settings):
    put(settings, "1")

    async def scenario() -> None:
        async with Worker(settings).running() as worker:
            folder = copy_folder(settings, put(settings, "2", other_detector()))
            whole = folder.with_name("whole")
            shutil.copytree(folder, whole)
            damage(folder, "version 1")
            await until(lambda: worker.failures)
            assert "train again" in worker.failures[0]
            shutil.rmtree(folder)
            whole.rename(folder)
            outcome = await worker.models.reload(0.1)
            assert (outcome.before, outcome.after, outcome.changed) == ("1", "2", True)

    asyncio.run(scenario())


def test_the_event_loop_goes_on_while_a_model_is_loaded(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    put(settings, "1")
    begun, turned, went_on = threading.Event(), threading.Event(), []

    def slowly(*arguments: Any) -> Detector:
        begun.set()
        went_on.append(turned.wait(60))
        return load_copy(*arguments)

    monkeypatch.setattr("cxad_pipeline.serving.model_store.load_copy", slowly)

    async def scenario() -> None:
        worker = Worker(settings)
        starting = asyncio.create_task(worker.models.start())
        while not starting.done():
            await asyncio.sleep(0.02)
            if begun.is_set():
                turned.set()
        await starting
        assert worker.version == "1"
        await worker.models.stop()

    asyncio.run(scenario())
    assert went_on == [True]


def test_a_worker_imports_neither_mlflow_nor_what_comes_with_it():
    program = """
import sys
import cxad_pipeline.serving.model_store, cxad_pipeline.serving.supervision
forbidden = {"dagster", "sklearn", "pandas", "mlflow", "pyarrow", "sqlalchemy", "alembic"}
print(sorted(forbidden & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
