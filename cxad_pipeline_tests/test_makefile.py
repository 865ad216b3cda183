"""The Makefile: its targets are those of the design, and they run commands that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cxad_pipeline.cli import main

# As the design names them.
TARGETS = (
    *("help", "setup", "install", "train", "evaluate", "serve", "batch", "batch-iforest", "batch-rcf"),
    *("test", "lint", "bench", "clean", "docker-up", "docker-down", "workflow", "up"),
)
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture(scope="module")
def repository() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def make_folder(tmp_path: Path, repository: Path) -> Path:
    """The Makefile in a folder where everything is installed already."""
    shutil.copy(repository / "Makefile", tmp_path)
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy2(repository / name, tmp_path)
    scripts = tmp_path / ".venv" / "bin"
    scripts.parent.mkdir()
    scripts.symlink_to(Path(sys.executable).parent)
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def _make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=plain | variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_help_is_the_default_and_lists_every_target_of_the_design(make_folder: Path) -> None:
    done = _make(make_folder, "help")
    assert done.returncode == 0
    listed = dict(re.findall(r"^  ([a-z-]+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert set(TARGETS) <= set(listed)
    assert _make(make_folder).stdout == done.stdout


def test_every_listed_target_can_be_made(make_folder: Path) -> None:
    listed = re.findall(r"^  ([a-z-]+) +\S", _make(make_folder, "help").stdout, re.MULTILINE)
    phony = re.findall(r"^\.PHONY:((?:.*\\\n)*.*)$", (make_folder / "Makefile").read_text(), re.MULTILINE)[0]
    assert set(listed) == set(phony.replace("\\", " ").split())
    for target in listed:
        done = _make(make_folder, "-n", target)
        assert done.returncode == 0, done.stderr


def test_the_recipes_run_commands_that_exist(make_folder: Path, repository: Path) -> None:
    recipes = {target: _make(make_folder, "-n", target).stdout for target in TARGETS if target != "help"}
    everything = "\n".join(recipes.values())
    for command in set(re.findall(r"\.venv/bin/cxad (\S+)", everything)):
        assert command in main.commands
    for arguments in re.findall(r"\.venv/bin/cxad (\S+(?: --?\S+ \S+)*)$", everything, re.MULTILINE):
        command, *options = arguments.split()
        known = {name for parameter in main.commands[command].params for name in parameter.opts}
        assert {option for option in options if option.startswith("-")} <= known
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = set(re.findall(r"^(?:@)?\.venv/bin/([a-z-]+)", everything, re.MULTILINE))
    assert wanted <= {"cxad", "pytest", "ruff", "mypy", "lint-imports", "python", "pip"}
    assert "cxad" in project["project"]["scripts"]
    for script in wanted:
        assert shutil.which(script, path=str(Path(sys.executable).parent)), f"{script} is not installed"
    for script in re.findall(r"\.venv/bin/python (\S+\.py)", everything):
        assert (repository / script).is_file()


def test_workflow_runs_the_workflow_and_nothing_else_when_all_is_installed(make_folder: Path) -> None:
    assert _make(make_folder, "-n", "workflow").stdout.splitlines() == [".venv/bin/cxad workflow"]


def test_a_changed_lock_file_is_installed_again(make_folder: Path) -> None:
    installed = (make_folder / ".venv" / ".installed").stat().st_mtime
    os.utime(make_folder / "requirements.lock", (installed + 10, installed + 10))
    assert "--require-hashes" in _make(make_folder, "-n", "workflow").stdout


def test_an_old_python_is_refused_with_what_to_do(make_folder: Path) -> None:
    (make_folder / ".venv" / ".installed").unlink()
    old = make_folder / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit 0\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    done = _make(make_folder, "workflow", "PYTHON=./old-python")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed; ./old-python is Python 3.9.1" in done.stdout


def test_another_configuration_reaches_the_command(make_folder: Path) -> None:
    (make_folder / "Makefile").open("a").write("\nshow: \n\t@echo $$CXAD_CONFIG\n")
    assert _make(make_folder, "show", "CONFIG=mine.yaml").stdout == "mine.yaml\n"
    assert _make(make_folder, "show", CXAD_CONFIG="other.yaml").stdout == "other.yaml\n"


def test_continuous_integration_makes_what_the_readme_begins_with(repository: Path) -> None:
    script = (repository / ".ci" / "run").read_text(encoding="utf-8")
    assert os.access(repository / ".ci" / "run", os.X_OK)
    assert "set -euo pipefail" in script
    assert {"make lint", "make test", "make workflow"} <= set(script.splitlines())
