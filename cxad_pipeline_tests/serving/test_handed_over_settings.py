"""What the sidecar is handed: all that it works by, whatever secrets are set, and none of the alerts' secrets."""

from __future__ import annotations

import asyncio
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_store_world import until, world_in
from pydantic import BaseModel, SecretStr
from service_world import ServiceWorld

from cxad_pipeline.serving import supervision
from cxad_pipeline.serving.supervision import Supervisor, handed_over
from cxad_pipeline.settings import Settings, load_settings
from cxad_pipeline.settings.reading import ALIASES, SECRETS, secrets_of

SECRET = "https://example.org/s3cr3t-4711"


def secret_fields(model: type[BaseModel], *path: str) -> Iterator[tuple[str, ...]]:
    """The places of all secrets of a tree, by the types of its fields."""
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *typing.get_args(field.annotation)):
            if kind is SecretStr:
                yield (*path, name)
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from secret_fields(kind, *path, name)


FIELDS = list(secret_fields(Settings))
VARIABLES = {path: f"CXAD_{'__'.join(path).upper()}" for path in FIELDS}
SHARED = {path: name for name, path in ALIASES.items() if path in FIELDS}


def test_the_settings_know_each_of_their_secrets() -> None:
    assert sorted(FIELDS) == sorted(SECRETS)
    assert len(FIELDS) >= 4


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_whichever_secret_is_set_the_sidecar_gets_the_settings_without_it(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SHARED.get(path, VARIABLES[path]), SECRET)
    given = ServiceWorld(tmp_path).settings()
    assert secrets_of(given) == [SECRET]
    line = handed_over(given)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert SECRET.encode() not in line
    assert b"4711" not in line
    _is_the_same_without_alerts(given, line)


def test_with_all_that_can_be_set_the_sidecar_gets_what_it_works_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, SECRET)
    monkeypatch.setenv("CXAD_STORE__URL", "postgresql://someone:pa55word@127.0.0.1/cx")
    monkeypatch.setenv("CXAD_TRAINING__START", "2026-03-02T00:00:00Z")
    (tmp_path / "config.yaml").write_text("{}")
    given = load_settings(tmp_path / "config.yaml")
    assert len(secrets_of(given)) == len(FIELDS)
    line = handed_over(given)
    assert SECRET.encode() not in line
    assert b"pa55word" in line, "it writes to that database"
    _is_the_same_without_alerts(given, line)


def _is_the_same_without_alerts(given: Settings, line: bytes) -> None:
    tree: dict[str, Any] = json.loads(line)
    assert set(tree) == set(Settings.model_fields) - {"alerts"}
    assert Settings.model_validate(tree) == given.model_copy(update={"alerts": Settings().alerts})


def test_the_service_becomes_ready_with_every_secret_set_and_tells_none(tmp_path: Path) -> None:
    secrets = {SHARED.get(path, VARIABLES[path]): SECRET for path in FIELDS}
    with world_in(tmp_path) as registry:
        registry.new_champion()  # there is no local copy: only the sidecar brings one
        world = ServiceWorld.of(tmp_path, registry.settings())
        with world.running(**secrets, CXAD_ALERTS__SLACK__CHANNEL="C1") as service:
            assert service.client.get("/health").json()["status"] == "ok"
    assert "Traceback" not in service.log
    assert "s3cr3t" not in service.log


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="on Windows the sidecar holds no lock")
def test_what_nobody_expected_counts_as_a_failed_start_and_is_logged_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def fails_twice(settings: Settings) -> bytes:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("a bug")
        return handed_over(settings)

    monkeypatch.setattr(supervision, "handed_over", fails_twice)
    world = ServiceWorld(tmp_path)

    async def scenario() -> None:
        supervisor = Supervisor(world.settings())
        await supervisor.start()
        try:
            await until((world.state / "sidecar.json").exists)
        finally:
            await supervisor.stop()

    asyncio.run(scenario())
    failures = [record for record in caplog.records if record.name == supervision.__name__]
    assert {record.levelname for record in failures} == {"ERROR"}
    traces = [record.exc_text for record in failures if record.exc_info]
    assert ["RuntimeError: a bug" in str(trace) for trace in traces] == [True, True]
    again = [record for record in failures if not record.exc_info]
    assert [vars(record)["pause_seconds"] for record in again] == [1.0, 2.0]
    assert {vars(record)["reason"] for record in again} == {"it can't be started or watched (RuntimeError)"}
