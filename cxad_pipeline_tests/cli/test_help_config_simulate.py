"""The commands that need no model: help, config, simulate."""

from __future__ import annotations

import csv
import re

import click
import dagster as dg
import pytest
import yaml
from click.testing import CliRunner
from command_world import REPOSITORY, CommandWorld

from cxad_pipeline import __version__
from cxad_pipeline.cli import main

COMMANDS = sorted(main.commands)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CommandWorld:
    return CommandWorld(tmp_path_factory.mktemp("plain"))


def test_the_commands_are_those_that_were_promised(folder: CommandWorld) -> None:
    assert COMMANDS == [
        "alerts", "backtest", "calibrate", "config", "evaluate", "feedback", "incident", "incidents", "key",
        "precision", "score", "serve", "silence", "silences", "simulate", "train", "up", "workflow",
    ]  # fmt: skip
    listed = folder.run("-h").stdout
    for name in COMMANDS:
        (line,) = [line for line in listed.splitlines() if re.match(rf"  {name} +\S", line)]
        assert line.endswith("."), f"the summary of {name} is cut: {line}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option_and_the_exit_codes(command: str) -> None:
    done = CliRunner().invoke(main, [command, "--help"], prog_name="cxad")
    assert done.exit_code == 0
    options, _, codes = done.stdout.partition("Exit codes:")
    assert re.findall(r"^  (\d+) ", codes, re.MULTILINE) == ["0", "1", "2", "3", "130"]
    arguments = [p for p in main.commands[command].params if isinstance(p, click.Argument)]
    for argument in arguments:
        assert len(re.findall(rf"\b{argument.metavar}\b", options)) >= 2, "in the usage and in the text"
    others = [p for p in main.commands[command].params if p not in arguments]
    for parameter in others:
        assert f"--{parameter.name.replace('_', '-')}" in options or parameter.name in ("source", "every")
    undocumented = [p.name for p in others if not getattr(p, "help", None)]
    assert undocumented == []


def test_the_version_is_the_package_version(folder: CommandWorld) -> None:
    assert folder.run("--version").stdout.strip() == f"cxad, version {__version__}"


def test_config_shows_what_is_in_force_and_no_secret(folder: CommandWorld) -> None:
    done = folder.run("config", SLACK_WEBHOOK_URL="https://hooks.example/services/T0/B0/hidden", API_PORT="8123")
    assert done.returncode == 0
    shown = yaml.safe_load(done.stdout)
    assert shown["ports"]["api"] == 8123
    assert shown["models"][1]["params"]["n_estimators"] == 10  # from the environment of these tests
    assert "hidden" not in done.stdout + done.stderr


def test_config_says_once_how_messages_get_links(folder: CommandWorld) -> None:
    assert "set alerts.dagster_url" in folder.run("config").stderr
    assert folder.run("config", CXAD_ALERTS__DAGSTER_URL="https://dagster.example.com").stderr == ""


def test_config_of_another_file(folder: CommandWorld) -> None:
    by_option = folder.run("--config", "configs/config.technion.yaml", "config")
    by_variable = folder.run("config", CXAD_CONFIG="configs/config.technion.yaml")
    assert by_option.returncode == 0, by_option.stderr
    assert by_option.stdout == by_variable.stdout
    assert yaml.safe_load(by_option.stdout) != yaml.safe_load(folder.run("config").stdout)


def test_the_reference_names_every_section(folder: CommandWorld) -> None:
    text = folder.run("config", "--reference").stdout
    for section in yaml.safe_load(folder.run("config").stdout):
        assert section in text


def test_the_same_seed_gives_the_same_bytes(folder: CommandWorld) -> None:
    for name, seed in (("one.csv", "7"), ("two.csv", "7"), ("three.csv", "8")):
        done = folder.run("simulate", "--rows", "500", "--seed", seed, "--output", f"made/{name}")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"made/{name}", f"made/_{name.split('.')[0]}.labels.csv"]
        assert done.stderr == ""
    made = folder.folder / "made"
    assert (made / "one.csv").read_bytes() == (made / "two.csv").read_bytes()
    assert (made / "_one.labels.csv").read_bytes() == (made / "_two.labels.csv").read_bytes()
    assert (made / "one.csv").read_bytes() != (made / "three.csv").read_bytes()
    with (made / "one.csv").open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 500


def test_samples_are_made_again_byte_for_byte(folder: CommandWorld) -> None:
    files = sorted(path for path in (folder.folder / "data").rglob("*mock_*") if path.is_file())
    for path in files:
        path.unlink()
    assert folder.run("simulate", "--samples").returncode == 0
    for path in files:
        assert path.read_bytes() == (REPOSITORY / path.relative_to(folder.folder)).read_bytes(), path
    assert len(files) == 5


def test_a_file_simulated_into_the_landing_folder_is_where_lineage_begins(fresh: CommandWorld) -> None:
    done = fresh.run("simulate", "--rows", "50", "--output", "data/input/inference/more.csv")
    assert done.returncode == 0, done.stderr
    with fresh.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("landed_inference_files"))
        assert instance.get_latest_materialization_event(dg.AssetKey("landed_training_files")) is None
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["file"].value == "data/input/inference/more.csv"
