"""A project folder for one benchmark, and the commands that are run in it.

Belongs here: the folder's content and the environment of its commands. Does not belong here: what is measured.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measuring import Process, run_process

REPOSITORY = Path(__file__).parents[1]


@contextmanager
def scratch_project() -> Iterator[Path]:
    """A folder with the committed configuration and training sample, and nothing else; gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(REPOSITORY / "configs", folder / "configs")
        training = folder / "data/input/training"
        training.mkdir(parents=True)
        shutil.copy(REPOSITORY / "data/input/training/mock_train.csv", training)
        yield folder


def cxad(folder: Path, *arguments: str | Path) -> Process:
    """Run a `cxad` command there, as a user would."""
    variables = {
        "ENABLE_ALERTS": "false",
        "CXAD_SCHEDULE__FIRST_WINDOW": "2026-09-01",
        "DAGSTER_HOME": str(folder / "dagster"),
    }
    return run_process([Path(sys.executable).with_name("cxad"), *arguments], folder, variables)


def python(folder: Path, script: str, *arguments: str | Path) -> Process:
    """Run one of the benchmarks' own scripts there."""
    return run_process([sys.executable, Path(__file__).with_name(script), *arguments], folder, {})
