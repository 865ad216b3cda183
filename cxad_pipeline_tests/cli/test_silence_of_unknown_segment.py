"""A silence is refused for the same segments and metrics in a terminal and by the API; one that is to come is made."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from command_world import USAGE
from fastapi.testclient import TestClient
from incident_store_world import save_windows

from cxad_pipeline.cli import main
from cxad_pipeline.serving.app import create_app
from cxad_pipeline.settings import load_settings
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.silences import find_silences


class Desk:
    """Somebody with a terminal and a key for the API, on one store in which billing and sales were counted."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.yaml"
        key = {"sha256": hashlib.sha256(b"secret").hexdigest(), "roles": ["reviewer"]}
        tree = {
            "store": {"url": f"sqlite:///{folder}/store.db"},
            "serving": {"keys": {"desk": key}, "state": f"{folder}/serving"},
            "incidents": {"metrics": [{"name": "aht_seconds", "bad": "high"}]},
        }
        self.config.write_text(json.dumps(tree))
        settings = load_settings(self.config)
        self.store: Store = open_store(settings)
        save_windows(self.store, 1)
        self.client = TestClient(create_app(settings), headers={"Authorization": "Bearer secret"})

    def type(self, *arguments: str) -> Result:
        return CliRunner().invoke(
            main, ["--config", str(self.config), "silence", "--reason", "x", "--hours", "1", *arguments]
        )

    def post(self, **body: Any) -> tuple[int, str]:
        ends_at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        answer = self.client.post("/api/silences", json={"reason": "x", "ends_at": ends_at.isoformat(), **body})
        return answer.status_code, str(answer.json().get("detail"))

    def silences(self) -> int:
        with self.store.reading() as connection:
            return len(find_silences(connection))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("CXAD_CONFIG", "")  # which the command sets, and the fixture takes back
    made = Desk(tmp_path)
    yield made
    made.client.close()
    made.store.close()


def test_a_misspelt_value_is_refused_with_the_nearest_one(desk: Desk) -> None:
    typed = desk.type("--segment", "queue=biling")
    assert typed.exit_code == USAGE
    assert typed.stderr.count("\n") == 1
    status, detail = desk.post(segment={"queue": "biling"})
    assert status == 422
    for said, way_out in ((typed.stderr, "--new"), (detail, "new_segment")):
        assert "did you mean queue=billing?" in said
        assert way_out in said
    assert desk.silences() == 0


def test_a_segment_that_is_still_to_come_is_silenced_on_demand(desk: Desk) -> None:
    assert desk.type("--segment", "queue=biling", "--new").exit_code == 0
    assert desk.post(segment={"queue": "bling"}, new_segment=True)[0] == 201
    assert desk.silences() == 2


def test_a_segment_that_was_counted_and_a_metric_that_is_watched_need_no_more(desk: Desk) -> None:
    for metric in ("aht_seconds", "contacts", "complaints", "together"):
        assert desk.type("--segment", "queue=billing", "--metric", metric).exit_code == 0
        assert desk.post(segment={"queue": "sales"}, metric=metric)[0] == 201
    assert desk.silences() == 8


def test_an_unknown_metric_is_refused_with_those_that_are_watched(desk: Desk) -> None:
    typed = desk.type("--segment", "queue=billing", "--metric", "aht")
    assert typed.exit_code == USAGE
    status, detail = desk.post(segment={"queue": "billing"}, metric="aht")
    assert status == 422
    for said in (typed.stderr, detail):
        assert all(name in said for name in ("metric", "aht_seconds", "complaints", "contacts", "together"))
        assert "csat" not in said
    assert desk.silences() == 0


def test_an_unknown_dimension_is_refused_with_those_that_are_configured(desk: Desk) -> None:
    typed = desk.type("--segment", "queu=billing")
    assert typed.exit_code == USAGE
    status, detail = desk.post(segment={"queu": "billing"})
    assert status == 422
    for said in (typed.stderr, detail):
        assert all(name in said for name in ("queue", "channel", "language"))
    assert desk.silences() == 0
