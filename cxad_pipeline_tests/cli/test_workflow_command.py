"""`cxad workflow`, as somebody sees it who runs it for the first and for the second time."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

from command_world import REPOSITORY, CommandWorld, summary

from cxad_pipeline.cli.instance import Materialized
from cxad_pipeline.cli.pipeline import training_rows


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _exports(world: CommandWorld) -> list[Path]:
    return sorted(world.processed.glob("anomalies_ensemble_*.csv"))


def _number(text: str) -> int:
    return int(text.split()[0].replace(",", ""))


def test_the_summary_says_what_the_files_say(
    first_run: tuple[CommandWorld, subprocess.CompletedProcess[str]],
) -> None:
    world, done = first_run
    assert done.returncode == 0, done.stderr
    rows = summary(done.stdout[done.stdout.index("\nWorkflow\n") :])
    training = len(_rows(world.folder / "data/input/training/mock_train.csv"))
    landed = len(_rows(world.folder / "data/input/inference/mock_inference.csv"))
    exported = [row for file in _exports(world) for row in _rows(file)]
    flagged = [row for row in exported if row["ensemble_anomaly"] == "1"]
    assert _number(rows["training rows in"][0]) == training
    assert _number(rows["training rows rejected"][0]) == 0
    assert _number(rows["rows in"][0]) == landed
    assert _number(rows["rejected"][0]) == 0
    assert _number(rows["scored"][0]) == landed == len(exported)
    assert _number(rows["anomalies"][0]) == len(flagged) > 0
    assert rows["scored"][0].endswith("by v1")
    assert rows["model version"][0].startswith("v1, champion")
    for name in ("iforest", "rcf", "ensemble"):
        threshold = float(exported[0][f"{name}_threshold"])
        assert f"{name} {threshold:.4g}" in rows["thresholds"][0]
    assert {word.split(" ")[0] for word in rows["files written"]} >= {str(_exports(world)[0].relative_to(world.folder))}
    assert all((world.folder / file).is_file() for file in rows["report written"])
    assert "make up" in rows["look around"][0]
    assert "http://127.0.0.1:3000" in rows["look around"][0]
    assert "http://127.0.0.1:5000" in rows["look around"][0]


def test_the_one_incident_of_the_sample_is_printed_and_then_the_digest(
    first_run: tuple[CommandWorld, subprocess.CompletedProcess[str]],
) -> None:
    _, done = first_run
    told, _, rest = done.stdout.partition("\nDigest: ")
    (incident,) = _rows(REPOSITORY / "data" / "labels" / "mock_inference_incidents.csv")
    first = told.splitlines()[0]
    assert incident["queue"] in first
    assert "hold time" in first
    assert "budget: 1 of 5 incidents in the week to 14 Oct 00:00" in told
    assert "2,976 contacts scored" in rest
    rows = summary(done.stdout[done.stdout.index("\nWorkflow\n") :])
    assert rows["incidents"] == ["1 opened, 0 changed"]
    assert rows["messages"] == ["2 sent"]


def test_progress_goes_to_stderr_without_warnings_of_libraries_and_control_characters(
    first_run: tuple[CommandWorld, subprocess.CompletedProcess[str]],
) -> None:
    _, done = first_run
    for line in done.stderr.splitlines():
        # Ours are indented lines about a step, or headings; libraries write otherwise.
        assert line.startswith(("  ", "training", "scoring windows ")), line
        assert "warning" not in line.lower(), line
    assert "rcf_model done in" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    assert "champion_model done in" in done.stderr
    assert "champion_model" not in done.stdout


def test_a_second_run_replaces_and_tells_nothing_twice(trained: CommandWorld) -> None:
    files, counts = sorted(trained.processed.iterdir()), trained.rows_by_window()
    again = trained.run("workflow")
    assert again.returncode == 0, again.stderr
    assert sorted(trained.processed.iterdir()) == files
    assert trained.rows_by_window() == counts
    assert sum(int(str(count)) for count in counts.values()) == 2976
    assert again.stdout.startswith("Workflow\n"), "nobody is told again"
    rows = summary(again.stdout)
    assert rows["messages"] == ["none"]
    assert rows["model version"][0].startswith("v2")


def test_the_summary_names_configured_columns_that_no_training_row_has() -> None:
    rows = dict(training_rows([Materialized("features", None, {"left_out": ["chanel", "ies"]})]))
    assert rows["columns left out"] == "chanel, ies: no training row has a value"
    assert "columns left out" not in dict(training_rows([Materialized("features", None, {"left_out": []})]))
