"""Silencing what is silenced already extends that, in a terminal and by the API alike, whoever did it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from cxad_pipeline.cli import main
from cxad_pipeline.serving.app import create_app
from cxad_pipeline.settings import load_settings
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.silences import Silence, find_silences


class Desk:
    """Somebody with a terminal and a key for the API, on one store."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.yaml"
        key = {"sha256": hashlib.sha256(b"secret").hexdigest(), "roles": ["reviewer"]}
        tree = {
            "store": {"url": f"sqlite:///{folder}/store.db"},
            "serving": {"keys": {"desk": key}, "state": f"{folder}/serving"},
        }
        self.config.write_text(json.dumps(tree))
        settings = load_settings(self.config)
        self.store: Store = open_store(settings)
        self.client = TestClient(create_app(settings), headers={"Authorization": "Bearer secret"})

    def type(self, hours: float, *more: str) -> dict[str, str]:
        """What the command shows, row by row."""
        given = ["--segment", "queue=billing", "--reason", "typed", "--hours", str(hours), "--owner", "ann", *more]
        done = CliRunner().invoke(main, ["--config", str(self.config), "silence", *given])
        assert done.exit_code == 0, done.output
        lines = [line.strip().partition("  ") for line in done.stdout.splitlines()[1:]]
        return {name: value.strip() for name, _, value in lines}

    def post(self, hours: float, **more: Any) -> tuple[int, Any]:
        ends_at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
        body = {"segment": {"queue": "billing"}, "reason": "posted", "ends_at": ends_at.isoformat(), **more}
        answer = self.client.post("/api/silences", json=body)
        return answer.status_code, answer.json()

    def silences(self) -> list[Silence]:
        with self.store.reading() as connection:
            return find_silences(connection)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("CXAD_CONFIG", "")  # which the command sets, and the fixture takes back
    made = Desk(tmp_path)
    yield made
    made.client.close()
    made.store.close()


def test_the_command_says_that_it_has_extended_one(desk: Desk) -> None:
    assert "extended" not in desk.type(1)
    status, said = desk.post(3)
    assert (status, said["extended"], said["owner"], said["reason"]) == (200, True, "desk", "posted")
    (before,) = desk.silences()
    rows = desk.type(2)
    assert rows["extended"].startswith("there was one already, by desk, until ")
    assert rows["extended"].split("until ")[1].startswith(rows["until"][: len("2026-10-13 09:00")]), "the later end"
    (after,) = desk.silences()
    assert (after.id, after.starts_at, after.ends_at) == (before.id, before.starts_at, before.ends_at)
    assert (after.owner, after.reason) == ("ann", "typed")


def test_the_api_says_whether_it_has_made_or_extended_one(desk: Desk) -> None:
    status, made = desk.post(1)
    assert (status, made["extended"]) == (201, False)
    status, said = desk.post(2)
    assert (status, said["extended"]) == (200, True)
    assert (said["id"], said["starts_at"]) == (made["id"], made["starts_at"])
    assert said["ends_at"] > made["ends_at"]
    listed = desk.client.get("/api/silences").json()["silences"]
    assert listed == [{name: value for name, value in said.items() if name != "extended"}]


def test_another_metric_is_another_silence_and_an_ended_one_stays_ended(desk: Desk) -> None:
    number = desk.post(1)[1]["id"]
    assert desk.post(1, metric="csat")[0] == 201
    assert "extended" not in desk.type(1, "--metric", "complaints")
    assert len(desk.silences()) == 3
    assert desk.client.delete(f"/api/silences/{number}").status_code == 200
    status, again = desk.post(1)
    assert (status, again["extended"]) == (201, False)
    assert again["id"] != number
