"""Two working folders: one in which nothing has been trained, and one that `cxad workflow` has run in once."""

from __future__ import annotations

import subprocess

import pytest
from command_world import CommandWorld


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> CommandWorld:
    """A folder of this test alone, nothing trained."""
    return CommandWorld(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[CommandWorld, subprocess.CompletedProcess[str]]:
    """A folder and what `cxad workflow` said in it, the first time."""
    world = CommandWorld(tmp_path_factory.mktemp("trained"))
    return world, world.run("workflow")


@pytest.fixture(scope="session")
def trained(first_run: tuple[CommandWorld, subprocess.CompletedProcess[str]]) -> CommandWorld:
    """A folder that has been trained and scored in."""
    world, done = first_run
    assert done.returncode == 0, done.stderr
    return world
