"""A misspelt address of the store is no quiet centre: who reads is told that there is none, and none is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command_world import USAGE

from cxad_pipeline.cli import main

READING = (
    ["incidents"],
    ["incident", "20260302-000009"],
    ["precision"],
    ["silences"],
    ["alerts"],
    ["alerts", "--dead"],
)
CHANGING_WHAT_IS_THERE = (
    ["feedback", "20260302-000009", "confirmed"],
    ["feedback", "I-1", "confirmed"],
    ["silence", "--end", "4"],
    ["alerts", "--retry"],
    ["alerts", "--drop", "all"],
)
SILENCE = ["silence", "--segment", "queue=billing", "--reason", "x", "--hours", "1"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXAD_CONFIG", "")  # which the command sets, and the fixture takes back
    written = tmp_path / "config.yaml"
    written.write_text(json.dumps({"store": {"url": f"sqlite:///{tmp_path}/stoer/store.db"}}))
    return written


def _run(config: Path, command: list[str]) -> Result:
    return CliRunner().invoke(main, ["--config", str(config), *command])


@pytest.mark.parametrize("command", [*READING, *CHANGING_WHAT_IS_THERE], ids=" ".join)
def test_there_is_no_store_yet_is_one_line_with_what_makes_one(config: Path, command: list[str]) -> None:
    for _ in range(2):
        done = _run(config, command)
        assert (done.exit_code, done.stdout) == (USAGE, "")
        assert done.stderr.startswith(f"cxad: there is no store at SQLite file {config.parent}/stoer/store.db yet")
        assert all(words in done.stderr for words in ("store.url", "cxad workflow", "cxad score"))
        assert done.stderr.count("\n") == 1
    assert not (config.parent / "stoer").exists()


def test_a_silence_can_be_made_before_anything_was_scored_and_what_reads_reads_then(config: Path) -> None:
    assert _run(config, SILENCE).exit_code == 0
    assert (config.parent / "stoer" / "store.db").is_file()
    for command in (["incidents"], ["precision"], ["silences"], ["alerts"]):
        assert _run(config, command).exit_code == 0
