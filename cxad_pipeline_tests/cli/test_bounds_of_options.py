"""Options refuse in one line what lies beyond their bounds: no finite numbers, and longer notes than the API takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command_world import USAGE
from incident_store_world import incident, save
from pydantic import ValidationError

from cxad_pipeline.cli import main
from cxad_pipeline.serving.review_schema import FeedbackBody
from cxad_pipeline.settings import load_settings
from cxad_pipeline.store.database import open_store

ONE = incident(1)
SILENCE = ("silence", "--segment", "all", "--reason", "works", "--hours", "1")
Typed = Callable[..., Result]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("CXAD_CONFIG", "")  # which the command sets, and the fixture takes back
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"store": {"url": f"sqlite:///{tmp_path}/store.db"}}))
    store = open_store(load_settings(config))
    save(store, ONE)
    store.close()

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["--config", str(config), *arguments])

    return run


def refused(done: Result, option: str) -> str:
    """The one line that says what is wrong with an option."""
    assert done.exit_code == USAGE
    (line,) = (line for line in done.stderr.splitlines() if "Invalid value" in line)
    assert f"'{option}'" in line
    return line


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "0", "-1"])
def test_a_silence_lasts_a_finite_number_of_hours(typed: Typed, number: str) -> None:
    assert number in refused(typed(*SILENCE[:-1], number), "--hours")
    assert "no silences" in typed("silences", "--all").output


@pytest.mark.parametrize("option", ["--anomaly-rate", "--incidents-per-week", "--volume"])
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_simulations_take_finite_numbers(typed: Typed, tmp_path: Path, option: str, number: str) -> None:
    output = tmp_path / "made.csv"
    refused(typed("simulate", "--output", str(output), "--rows", "10", option, number), option)
    assert not output.exists()


def test_a_note_is_as_long_as_the_api_takes_it(typed: Typed) -> None:
    longest = "ä" * 2_000
    assert FeedbackBody(incident_id=ONE.id, verdict="confirmed", note=longest).note == longest
    with pytest.raises(ValidationError):
        FeedbackBody(incident_id=ONE.id, verdict="confirmed", note=longest + "x")
    feedback = ("feedback", ONE.id, "confirmed", "--by", "ann", "--note")
    assert "2,001 characters; give at most 2,000" in refused(typed(*feedback, longest + "x"), "--note")
    assert typed("precision").output.startswith("nobody has said anything")
    assert typed(*feedback, longest).exit_code == 0


def test_so_is_the_reason_of_a_silence(typed: Typed) -> None:
    given = ("silence", "--segment", "all", "--new", "--hours", "1", "--owner", "ann", "--reason")
    assert "5,000 characters; give at most 2,000" in refused(typed(*given, "x" * 5_000), "--reason")
    assert "no silences" in typed("silences", "--all").output
    assert typed(*given, "x" * 2_000).exit_code == 0
