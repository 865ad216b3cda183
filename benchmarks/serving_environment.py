"""A virtual environment that holds the service and nothing else, as the extra `[serving]` installs it.

Belongs here: making it. Does not belong here: what runs in it (`server_processes`).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from measuring import run_process
from scratch_project import REPOSITORY

_SOURCES = ("pyproject.toml", "README.md", "LICENSE")


def serving_environment(folder: Path) -> Path:
    """Install docker/serving.lock and the project into a new environment below a folder; where its commands lie.

    The project is built with the setuptools of the environment that runs this, so that the new one has none.

    Raises
    ------
    SystemExit
        If something can't be installed, with what pip says.
    """
    target, source, wheels = folder / "serving-environment", folder / "source", folder / "wheels"
    source.mkdir()
    for name in _SOURCES:
        shutil.copy(REPOSITORY / name, source)
    # without the caches beside the modules: the new environment compiles its own kernels
    shutil.copytree(
        REPOSITORY / "cxad_pipeline", source / "cxad_pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    pip = (sys.executable, "-m", "pip")
    run_process([sys.executable, "-m", "venv", target], folder, {})
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)]
    run_process(built, folder, {})
    commands = target / "bin"
    install = [str(commands / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    run_process([*install, "--require-hashes", "--requirement", REPOSITORY / "docker/serving.lock"], folder, {})
    run_process([*install, *wheels.glob("*.whl")], folder, {})
    return commands
