"""`cxad score` and `cxad evaluate` where a champion is."""

from __future__ import annotations

import csv
import gzip
import io
import os
import pty
import select
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from command_world import FAILED, USAGE, CommandWorld, one_line, summary

SAMPLE = "data/input/inference/mock_inference.csv"
LABELS = "data/labels/mock_train_labels.csv"


def _records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_one_model_and_some_windows(trained: CommandWorld) -> None:
    done = trained.run(
        "score", "--model", "iforest", "--since", "2026-10-13 06:00:00", "--until", "2026-10-13 12:00:00"
    )
    assert done.returncode == 0, done.stderr
    rows = summary(done.stdout)
    assert rows["windows"] == ["1"]
    (written,) = trained.processed.glob("anomalies_iforest_*.csv")
    assert rows["files written"] == [f"data/processed/{written.name}"]
    exported = _records(written.read_text(encoding="utf-8"))
    assert written.name == "anomalies_iforest_20261013T060000Z.csv"
    assert all("2026-10-13T06" <= row["timestamp"] < "2026-10-13T12" for row in exported)
    scores = [name for name in exported[0] if name.endswith(("_score", "_anomaly", "_threshold"))]
    assert scores == ["iforest_score", "iforest_anomaly", "iforest_threshold"]


def test_times_without_landed_rows_are_refused_by_name(trained: CommandWorld) -> None:
    done = trained.run("score", "--since", "2031-01-01")
    assert done.returncode == USAGE
    assert "since 2031-01-01" in one_line(done.stderr)


def test_a_file_is_scored_into_every_format_alike(trained: CommandWorld) -> None:
    given = (trained.folder / SAMPLE).read_text(encoding="utf-8").splitlines()
    mixed = [*given[:400], "X-1,not a time" + "," * (given[0].count(",") - 1)]
    (trained.folder / "mixed.csv").write_text("\n".join(mixed) + "\n", encoding="utf-8")
    for name in ("out/b.csv.gz", "out/c.parquet"):
        done = trained.run("score", "--input", "mixed.csv", "--output", name)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # no progress bar where nobody looks at a terminal
        rows = summary(done.stdout)
        assert rows["scored"][0].startswith("399 by v")
        assert rows["rejected"] == ["1"]
        stem = name.split(".")[0]
        assert rows["files written"] == [name, f"{stem}.rejected.csv"]
        (refused,) = _records((trained.folder / f"{stem}.rejected.csv").read_text(encoding="utf-8"))
        assert "not a time" in str(refused)
    out = trained.folder / "out"
    plain = _records(gzip.decompress((out / "b.csv.gz").read_bytes()).decode())
    assert [row["interaction_id"] for row in plain] == [line.split(",")[0] for line in mixed[1:-1]]
    table = pq.read_table(out / "c.parquet")
    assert [float(row["ensemble_score"]) for row in plain] == table["ensemble_score"].to_pylist()


@pytest.fixture(scope="module")
def on_a_terminal(trained: CommandWorld) -> str:
    """What `cxad score` shows on a terminal while it scores the sample into a file of this name."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cxad_pipeline.cli", "score", "--input", SAMPLE, "--output", "on-a-terminal.csv"],
        cwd=trained.folder,
        env=trained.environment | {"TERM": "xterm-256color", "COLUMNS": "100"},
        stdout=terminal,
        stderr=terminal,
        stdin=terminal,
    )
    os.close(terminal)
    shown, deadline = b"", time.monotonic() + 250
    while time.monotonic() < deadline:
        ready, _, _ = select.select([controller], [], [], 1)
        if ready:
            try:
                block = os.read(controller, 65_536)
            except OSError:  # the other end is closed: the command is done
                break
            if not block:
                break
            shown += block
    os.close(controller)
    assert process.wait(60) == 0, shown
    return shown.decode()


@pytest.mark.timeout(900)
def test_a_terminal_shows_a_bar_and_wraps_no_path(on_a_terminal: str) -> None:
    assert "scoring mock_inference.csv" in on_a_terminal
    assert "\x1b[" in on_a_terminal
    assert any(line.rstrip().endswith("on-a-terminal.csv") for line in on_a_terminal.splitlines())


@pytest.mark.usefixtures("on_a_terminal")
@pytest.mark.timeout(900)
def test_direct_scores_are_the_scores_of_the_pipeline(trained: CommandWorld) -> None:
    by_file = {
        row["interaction_id"]: row["ensemble_score"]
        for row in _records((trained.folder / "on-a-terminal.csv").read_text(encoding="utf-8"))
    }
    by_window = {
        row["interaction_id"]: row["ensemble_score"]
        for file in trained.processed.glob("anomalies_ensemble_2026*.csv")
        for row in _records(file.read_text(encoding="utf-8"))
    }
    assert by_window == by_file
    assert len(by_file) == 2976


def test_evaluation_counts_labels_when_it_is_given_some(trained: CommandWorld) -> None:
    with_labels = trained.run("evaluate", "--labels", LABELS)
    assert with_labels.returncode == 0, with_labels.stderr
    rows = summary(with_labels.stdout)
    report = _records((trained.processed / "label_report.csv").read_text(encoding="utf-8"))
    total = next(row for row in report if row["model"] == "ensemble" and row["kind"] == "any")
    assert f"ensemble: {total['found']} of {total['labelled']} found" in rows["labelled anomalies"][0]
    without = trained.run("evaluate")
    assert without.returncode == 0, without.stderr
    assert "labelled anomalies" not in summary(without.stdout)
    assert not (trained.processed / "label_report.csv").exists()


def test_labels_of_other_rows_fail_the_run_in_one_line(trained: CommandWorld) -> None:
    done = trained.run("evaluate", "--labels", "data/labels/mock_inference_labels.csv")
    assert done.returncode == FAILED
    assert "names none of the" in one_line(done.stderr)


def test_a_file_without_the_needed_columns_is_refused_with_what_to_do(trained: CommandWorld) -> None:
    (trained.folder / "foreign.csv").write_text("call,when\n1,2026-10-12\n", encoding="utf-8")
    done = trained.run("score", "--input", "foreign.csv", "--output", "never.csv")
    assert done.returncode == USAGE, done.stderr
    said = one_line(done.stderr)
    assert "no column interaction_id, timestamp" in said
    assert "under sources in the configuration" in said
    assert not (trained.folder / "never.csv").exists()


def test_a_category_that_training_has_not_seen_is_counted_in_the_summary(trained: CommandWorld) -> None:
    rows = (trained.folder / "data/input/inference/mock_inference.csv").read_text(encoding="utf-8").splitlines()[:41]
    (trained.folder / "warranty.csv").write_text(
        "\n".join([rows[0], *(row.rpartition(",")[0] + ",warranty" for row in rows[1:])]) + "\n", encoding="utf-8"
    )
    done = trained.run("score", "--input", "warranty.csv", "--output", "warranty.scored.csv")
    assert done.returncode == 0, done.stderr
    assert summary(done.stdout)["unknown to the model"] == ["queue in 40 rows: not seen in training"]
