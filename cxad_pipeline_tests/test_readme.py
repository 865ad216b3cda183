"""The README is true: its commands run in the order in which they stand, its paths exist, its Python works."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from command_world import REPOSITORY, CommandWorld
from unused_ports import unused_port

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
# Continuous integration makes the first two (test_makefile), test_interfaces runs what the third does.
MADE_ELSEWHERE = {"make workflow", "make test", "make up"}
API = "http://127.0.0.1:8000"


def _blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def _commands(page: str = README) -> list[str]:
    """One command a line; in a quoted text a line may go on."""
    lines = [line for block in _blocks("sh", page) for line in block.replace(",\n  ", ", ").splitlines() if line]
    return [line for line in lines if line not in MADE_ELSEWHERE]


@pytest.mark.timeout(900)
def test_every_command_runs(tmp_path: Path) -> None:
    world = CommandWorld(tmp_path)
    incidents = _commands((REPOSITORY / "docs" / "incidents.md").read_text(encoding="utf-8"))
    commands = [*_commands(), *incidents]
    assert len(commands) - 6 >= len(incidents) >= 6
    with ExitStack() as servers:
        port = ""
        for command in commands:
            words = shlex.split(command)
            variables = {}
            while "=" in words[0]:
                name, _, value = words.pop(0).partition("=")
                variables[name] = value
            if words == ["make", "serve"]:
                port = servers.enter_context(_serving(world))
            elif words[0] == "curl":
                _call(words, port)
            else:
                assert words[0] == "cxad", f"{command}: neither cxad nor one of {sorted(MADE_ELSEWHERE)}"
                if words[1] == "feedback":
                    words[2] = _incident(world)
                done = world.run(*words[1:], **variables)
                assert done.returncode == 0, f"{command}\n{done.stderr}"
                if "--output" in words:
                    assert (world.folder / words[words.index("--output") + 1]).stat().st_size > 0
    assert port, "the README does not serve"
    assert {"champion_model", "ensemble_scores"} <= _made(world)


def _incident(world: CommandWorld) -> str:
    """The id of the sample's incident, in place of the one in the documentation."""
    listing = world.run("incidents")
    found = re.search(r"\b20261013-[0-9a-f]{6}\b", listing.stdout)
    assert found, listing.stdout + listing.stderr
    return found.group()


@contextmanager
def _serving(world: CommandWorld) -> Iterator[str]:
    """What `make serve` starts, on a free port."""
    port = str(unused_port())
    process = world.start("serve", API_PORT=port)
    try:
        deadline = time.monotonic() + 300
        while not _ready(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _ready(port: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10).status == 200)
    except OSError:
        return False


def _call(words: list[str], port: str) -> None:
    """What curl does with an address and `--json`; an answer that is no success fails."""
    _, address, option, body = words
    assert address.startswith(API)
    assert option == "--json"
    request = urllib.request.Request(
        address.replace(API, f"http://127.0.0.1:{port}"), body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["scores"][0]["reasons"]


def _made(world: CommandWorld) -> set[str]:
    with world.instance() as instance:
        return {key.to_user_string() for key in instance.all_asset_keys()}


def test_every_link_and_path_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    named = [
        word
        for word in re.findall(r"`([\w./-]+)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
        if word.startswith(("configs/", "data/input", "data/labels", "docs/", "cxad_pipeline/", "docker"))
    ]
    assert len(links) >= 3
    assert len(named) >= 8
    absent = [path for path in [*links, *named] if not (REPOSITORY / path).exists()]
    assert absent == []


def test_every_make_target_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_exit_codes_are_those_of_the_command() -> None:
    from cxad_pipeline.cli.terminal import EXIT_CODES

    paragraph = re.search(r"Exit codes:(.*?)\n\n", README, re.DOTALL)
    assert paragraph is not None
    assert re.findall(r"\b(\d+) [a-z]", paragraph.group(1)) == [code for code, _ in EXIT_CODES]


def test_the_columns_are_those_of_the_schema() -> None:
    from cxad_pipeline.interactions.schema import COLUMNS

    named = re.search(r"optional: `([^`]+)`", README)
    assert named is not None
    assert re.split(r",\s+", named.group(1)) == [column.name for column in COLUMNS]


def test_the_detector_of_the_readme_runs(tmp_path: Path) -> None:
    """As a script of its own, on rows of the training sample."""
    block = _blocks("python")[0]
    sample = REPOSITORY / "data" / "input" / "training" / "mock_train.csv"
    script = tmp_path / "block.py"
    check = "assert len(scores.ensemble) == len(scores.severity) == len(scores.flags['ensemble']) == len(reasons)"
    script.write_text(
        f"import pandas\ntable = pandas.read_csv({str(sample)!r}, nrows=3000)\n{block}\n{check}\nprint(len(reasons))\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "3000"
    assert done.stderr == ""


def test_the_forests_of_the_readme_run(tmp_path: Path) -> None:
    _, block = _blocks("python")
    script = tmp_path / "block.py"
    sums = "forest.attribution(X[:5]).sum(axis=1) - forest.anomaly_score(X[:5])"
    script.write_text(f"{block}\nassert np.abs({sums}).max() < 1e-9\n", encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
