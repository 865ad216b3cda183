"""A working folder as a clone has one, and `cxad` as a process in it."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

REPOSITORY = Path(__file__).resolve().parent.parent
NO_MODEL, USAGE, FAILED, INTERRUPTED = 3, 2, 1, 130
TRAINING_ROWS = 33_201
# Few rows and small forests: these tests are about the command, not about the models.
SMALL_FORESTS = {
    "CXAD_MODELS__IFOREST__PARAMS__N_ESTIMATORS": "20",
    "CXAD_MODELS__RCF__PARAMS__N_ESTIMATORS": "10",
    "CXAD_MODELS__RCF__PARAMS__TREE_SIZE": "64",
    "CXAD_LANDING__SETTLE_SECONDS": "0",
}
_OURS = ("CXAD_", "ENABLE_", "MLFLOW_", "DAGSTER_", "BATCH_SCORE_CRON", "SLACK_WEBHOOK_URL", "API_PORT", "PYTHONWARN")


class CommandWorld:
    """A folder with copies of the configuration and the samples, the training sample cut short.

    Parameters
    ----------
    folder
        An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(REPOSITORY / "configs", folder / "configs")
        for part in ("inference", "training"):
            (folder / "data" / "input" / part).mkdir(parents=True)
        training, inference = "data/input/training/mock_train.csv", "data/input/inference/mock_inference.csv"
        for name in (training, inference):
            shutil.copy2(REPOSITORY / name, folder / name)
        shutil.copytree(REPOSITORY / "data" / "labels", folder / "data" / "labels")
        shutil.copy2(REPOSITORY / "workspace.yaml", folder / "workspace.yaml")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        scripts = str(Path(sys.executable).parent)
        path = os.pathsep.join([str(_tools(folder / "tools")), scripts, plain.get("PATH", "")])
        self.environment = plain | SMALL_FORESTS | {"PATH": path}

    def copied_to(self, folder: Path) -> CommandWorld:
        """This world as it is now, in a folder that is not there yet; MLflow's files stay where MLflow knows them."""
        shutil.copytree(self.folder, folder)
        copied = copy.copy(self)
        copied.folder = folder
        return copied

    @property
    def processed(self) -> Path:
        """Where exports and figures are."""
        return self.folder / "data" / "processed"

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start `cxad` with pipes for its output."""
        return subprocess.Popen(
            [sys.executable, "-m", "cxad_pipeline.cli", *arguments],
            cwd=self.folder,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `cxad` to its end; the keywords are environment variables."""
        process = self.start(*arguments, **variables)
        try:
            out, err = process.communicate(timeout=280)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(list(arguments), process.returncode, out, err)

    def instance(self) -> dg.DagsterInstance:
        """The Dagster instance that the commands record on."""
        return dg.DagsterInstance.from_config(str(self.folder / "data" / "state" / "dagster"))

    def rows_by_window(self) -> Mapping[str | None, object]:
        """Rows of the latest materialization of each window of ensemble_scores, as Dagster knows them."""
        with self.instance() as instance:
            records = instance.fetch_materializations(dg.AssetKey("ensemble_scores"), limit=1000).records
        latest: dict[str | None, object] = {}
        for record in records:  # newest first
            materialization = record.asset_materialization
            assert materialization is not None
            latest.setdefault(materialization.partition, materialization.metadata["dagster/row_count"].value)
        return latest


def _tools(folder: Path) -> Path:
    """A folder with a `tail` that shows nothing.

    Dagster shows by it what steps write, and ends it with the run, shown or not: on a busy machine, lines are lost.
    """
    folder.mkdir()
    tail = folder / "tail"
    tail.write_text("#!/bin/sh\nexec sleep 3600\n", encoding="utf-8")
    tail.chmod(0o755)
    return folder


def summary(output: str) -> dict[str, list[str]]:
    """The rows of the summary at the end of a command's output: name -> lines of its value."""
    rows: dict[str, list[str]] = {}
    name = ""
    for line in output.splitlines():
        if not line.startswith("  ") or (line.startswith("   ") and not name):
            continue
        head, _, value = line.strip().partition("  ")
        if line[2] != " ":
            name = head
            rows[name] = [value.strip()]
        else:
            rows[name].append(line.strip())
    return rows


def one_line(error: str) -> str:
    """The single line that an error ends with; anything like a traceback is a failure."""
    assert "Traceback" not in error, error
    lines = [line for line in error.splitlines() if line.startswith("cxad: ")]
    assert len(lines) == 1, error
    assert error.splitlines()[-1] == lines[0], error
    return lines[0]
