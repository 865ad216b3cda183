"""docker-compose.yml, .env.example and the Dockerfile as Docker reads them, for tests that run without Docker."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<rule>:\?|:-)(?P<word>[^}]*))?\}")


def env_file(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines if line.strip() and not line.startswith("#")]
    return dict(pairs)


def variables(text: str) -> dict[str, str | None]:
    """Variable -> rule (`:?` required, `:-` default, None) of every variable that a compose file reads."""
    return {found["name"]: found["rule"] for found in _VARIABLE.finditer(text)}


def interpolated(node: Any, values: dict[str, str]) -> Any:
    """A tree with each `${...}` replaced by the rules of Compose."""
    if isinstance(node, dict):
        return {key: interpolated(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [interpolated(value, values) for value in node]
    if not isinstance(node, str):
        return node

    def value(found: re.Match[str]) -> str:
        given = values.get(found["name"], "")
        if given or found["rule"] is None:
            return given
        if found["rule"] == ":?":
            raise KeyError(f"{found['name']}: {found['word']}")
        return found["word"]

    return _VARIABLE.sub(value, node)


def services(path: Path, values: dict[str, str]) -> dict[str, dict[str, Any]]:
    return interpolated(yaml.safe_load(path.read_text(encoding="utf-8")), values)["services"]


@dataclass(frozen=True)
class Instruction:
    stage: int
    name: str
    words: list[str]


def dockerfile(path: Path) -> list[Instruction]:
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    found, stage = [], -1
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, rest = line.split(None, 1)
        stage += name == "FROM"
        found.append(Instruction(stage, name, json.loads(rest) if rest.startswith("[") else shlex.split(rest)))
    return found


def copies(instructions: list[Instruction], stage: int | None = None) -> list[tuple[list[str], str]]:
    """(sources, target) of what is copied from the repository."""
    wanted = [
        each
        for each in instructions
        if each.name == "COPY" and not each.words[0].startswith("--from") and stage in (None, each.stage)
    ]
    return [(each.words[:-1], each.words[-1]) for each in wanted]


def image_environment(instructions: list[Instruction]) -> dict[str, str]:
    """What `ENV` sets in the last stage."""
    last = max(each.stage for each in instructions)
    pairs = [
        word.split("=", 1) for each in instructions if each.name == "ENV" and each.stage == last for word in each.words
    ]
    return dict(pairs)
