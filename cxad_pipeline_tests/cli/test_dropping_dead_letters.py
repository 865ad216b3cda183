"""What nobody will read any more is put away, from a terminal and by the API, and nobody is told of it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_world import USAGE
from fastapi.testclient import TestClient
from incident_store_world import incident, save, save_messages

from cxad_pipeline.cli import main
from cxad_pipeline.serving.app import create_app
from cxad_pipeline.serving.incident_schema import AlertPage, Dropped
from cxad_pipeline.settings import load_settings
from cxad_pipeline.store.database import Store, open_store

ONE, OTHER = incident(9), incident(3)


class Desk:
    """Somebody with a terminal and a key for the API, and two messages that were given up."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.yaml"
        key = {"sha256": hashlib.sha256(b"secret").hexdigest(), "roles": ["reviewer"]}
        tree = {"serving": {"keys": {"desk": key}, "state": f"{folder}/serving"}}
        self.config.write_text(json.dumps({"store": {"url": f"sqlite:///{folder}/store.db"}, **tree}))
        settings = load_settings(self.config)
        self.store: Store = open_store(settings)
        self.client = TestClient(create_app(settings), headers={"Authorization": "Bearer secret"})
        for one in (ONE, OTHER):
            save(self.store, one)
            save_messages(self.store, one)

    def alerts(self, *arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(main, ["--config", str(self.config), "alerts", *arguments])
        assert done.exit_code == code, done.output
        return done.output

    def numbers(self, state: str) -> list[int]:
        page = AlertPage.model_validate(self.client.get("/api/alerts", params={"state": state}).json())
        return [one.id for one in page.alerts]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("CXAD_CONFIG", "")  # which the command sets, and the fixture takes back
    made = Desk(tmp_path)
    yield made
    made.client.close()
    made.store.close()


def test_one_or_all_are_put_away_and_stay_in_the_list(desk: Desk) -> None:
    latest, first = desk.numbers("dead")
    assert "put away  1" in desk.alerts("--drop", str(first))
    assert "1 dead" in desk.alerts()
    assert "no dead letter has this number" in desk.alerts("--drop", str(first), code=USAGE)
    assert "no dead letter has this number" in desk.alerts("--retry", str(first), code=USAGE)
    assert "put away  1" in desk.alerts("--drop", "all")
    assert "put away  0" in desk.alerts("--drop", "all")
    listed = desk.alerts()
    assert "0 dead" in listed
    assert listed.count("put away, given up ") == 2
    assert listed.count("550 no such user") == 2
    assert "550" not in desk.alerts("--dead")
    assert "pending again  0" in desk.alerts("--retry")
    assert desk.numbers("dropped") == [latest, first]


@pytest.mark.parametrize("arguments", ["--drop mail", "--drop -1", "--drop 1.5", "--drop ١", "--drop 1 --retry 1"])  # noqa: RUF001 - an Arabic digit
def test_what_means_no_dead_letter_changes_nothing(desk: Desk, arguments: str) -> None:
    said = desk.alerts(*arguments.split(), code=USAGE)
    assert ("not both" if "--retry" in arguments else "give the number of a message") in said
    assert len(desk.numbers("dead")) == 2


def test_all_are_not_put_away_by_an_option_without_its_value(desk: Desk) -> None:
    assert "requires an argument" in desk.alerts("--drop", code=USAGE)
    assert len(desk.numbers("dead")) == 2


def test_the_api_puts_away_and_says_how_many(desk: Desk) -> None:
    latest, first = desk.numbers("dead")
    answers = [desk.client.post("/api/alerts/drop", json=body) for body in ({"ids": [first]}, {"ids": [first]}, {}, {})]
    assert [Dropped.model_validate(answer.json()).dropped for answer in answers] == [1, 0, 1, 0]
    assert (desk.numbers("dead"), desk.numbers("dropped")) == ([], [latest, first])
    assert desk.client.post("/api/alerts/retry", json={}).json() == {"revived": 0}
    assert desk.client.post("/api/alerts/drop", json={"ids": []}).status_code == 422


def test_an_incident_says_that_nobody_could_be_told_also_when_the_message_was_put_away(desk: Desk) -> None:
    desk.alerts("--drop", "all")
    (alert,) = (
        one for one in desk.client.get(f"/api/incidents/{ONE.id}").json()["alerts"] if one["channel"] == "email"
    )
    assert (alert["state"], alert["error"], alert["sent_at"]) == ("dropped", "550 no such user", None)
    assert alert["given_up_at"]
    done = CliRunner().invoke(main, ["--config", str(desk.config), "incident", ONE.id])
    assert "put away, given up " in done.output
