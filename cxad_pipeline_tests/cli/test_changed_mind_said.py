"""That another verdict has ended a silence, and which incident takes verdicts, is said by command and API."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from command_world import USAGE
from fastapi.testclient import TestClient
from incident_store_world import incident, save

from cxad_pipeline.cli import main
from cxad_pipeline.serving.app import create_app
from cxad_pipeline.serving.review_schema import FeedbackAnswer
from cxad_pipeline.settings import load_settings
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.silences import find_silences

pytest_plugins = ["store_databases"]
ONE, OTHER = incident(1), incident(2)


class Desk:
    """Somebody with a terminal and a key for the API, on one store that holds two incidents of a segment."""

    def __init__(self, folder: Path, url: str) -> None:
        self.config = folder / "config.yaml"
        key = {"sha256": hashlib.sha256(b"secret").hexdigest(), "roles": ["reviewer"]}
        serving = {"keys": {"desk": key}, "state": f"{folder}/serving"}
        self.config.write_text(json.dumps({"store": {"url": url}, "serving": serving}))
        settings = load_settings(self.config)
        self.store: Store = open_store(settings)
        self.client = TestClient(create_app(settings), headers={"Authorization": "Bearer secret"})
        save(self.store, ONE, OTHER)

    def type(self, *arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(main, ["--config", str(self.config), "feedback", *arguments, "--by", "ann"])
        assert done.exit_code == code, done.output
        return done

    def post(self, incident_id: str, verdict: str) -> tuple[int, Any]:
        answer = self.client.post("/api/feedback", json={"incident_id": incident_id, "verdict": verdict})
        return answer.status_code, answer.json()

    def silences(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get("/api/silences").json()["silences"]
        return found


@pytest.fixture
def desk(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("CXAD_CONFIG", "")  # which the command sets, and the fixture takes back
    made = Desk(tmp_path, store_url)
    yield made
    made.client.close()
    made.store.close()


def test_the_command_says_which_silence_has_ended(desk: Desk) -> None:
    assert "has ended" not in desk.type(ONE.id, "expected").stdout
    (made,) = desk.silences()
    said = desk.type(ONE.id, "confirmed").stdout
    assert f"{made['id']}, of billing / voice / de, hold_time_seconds, has ended with this verdict" in said
    assert desk.silences() == []
    assert "silence" not in desk.type(ONE.id, "new_trend").stdout, "it has ended once"


def test_the_command_says_how_long_a_silence_goes_on_that_others_asked_for(desk: Desk) -> None:
    desk.type(ONE.id, "expected")
    desk.type(OTHER.id, "expected", "--until", "2999-01-02T03:04")
    said = desk.type(ONE.id, "confirmed").stdout
    (left,) = desk.silences()
    assert "goes on until 2999-01-02 03:04" in said
    assert f"others asked for it; `cxad silence --end {left['id']}` ends it" in said


def test_the_api_says_which_silences_were_given_up(desk: Desk) -> None:
    status, said = desk.post(ONE.id, "expected")
    assert (status, said["released"]) == (201, [])
    made = said["silence"]
    status, said = desk.post(ONE.id, "false_alarm")
    (ended,) = FeedbackAnswer.model_validate(said).model_dump(mode="json")["released"]
    assert (status, ended["id"], ended["ended_by"], said["silence"]) == (201, made["id"], "desk", None)
    assert said["released"][0]["ends_at"] == said["at"]
    assert desk.silences() == []


def test_a_merged_incident_takes_no_verdict_and_who_took_it_in_is_named(desk: Desk) -> None:
    save(desk.store, incident(1, status="merged", merged_into=OTHER.id))
    refused = desk.type(ONE.id, "expected", code=USAGE).stderr
    assert f"incident {ONE.id} was taken in by {OTHER.id}" in refused
    assert f"`cxad feedback {OTHER.id} expected`" in refused
    status, problem = desk.post(ONE.id, "confirmed")
    assert (status, problem["status"]) == (409, 409)
    assert f"was taken in by {OTHER.id}" in problem["detail"]
    with desk.store.reading() as connection:
        assert find_silences(connection) == []


def test_a_withdrawn_incident_takes_no_verdict_and_none_counts(desk: Desk) -> None:
    desk.type(ONE.id, "confirmed")
    save(desk.store, incident(1, status="withdrawn"))
    words = f"incident {ONE.id} was withdrawn, since its contacts have changed: it takes no verdict"
    for verdict in ("confirmed", "expected", "false_alarm", "new_trend"):
        assert words in " ".join(desk.type(ONE.id, verdict, code=USAGE).stderr.split())
        status, problem = desk.post(ONE.id, verdict)
        assert (status, problem["detail"]) == (409, f"incident_id: {words}.")
    assert desk.silences() == []
    assert desk.client.get("/api/feedback/precision").json() == {"segments": []}
