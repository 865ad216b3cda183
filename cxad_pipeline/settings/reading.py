"""From the YAML file and the environment to `Settings`.

Belongs here: where values come from, which wins, and errors that name the place. Nothing else in the package reads the
configuration file or configuration from the environment.

Environment variables win over the file. A key is overridden by its path in capitals with two underscores between
levels: `CXAD_MODELS__IFOREST__THRESHOLD_PERCENTILE=98.5`; entries of the lists `models` and `sources` are addressed by
their name; whole lists and maps are given as JSON.
"""

from __future__ import annotations

import difflib
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from cxad_pipeline.settings.tree import Settings

DEFAULT_CONFIG = Path("configs/config.local.yaml")
PREFIX = "CXAD_"
CONFIG_VARIABLE = "CXAD_CONFIG"
NAMED_LISTS = ("models", "sources")
SECRETS = (("alerts", "slack_webhook_url"),)
ALIASES: Mapping[str, tuple[str, ...]] = {
    "ENABLE_SCHEDULER": ("schedule", "enabled"),
    "BATCH_SCORE_CRON": ("schedule", "batch_score_cron"),
    "ENABLE_ALERTS": ("alerts", "enabled"),
    "SLACK_WEBHOOK_URL": ("alerts", "slack_webhook_url"),
    "API_PORT": ("ports", "api"),
}
_TAGS = ("isolation_forest", "random_cut_forest")


class SettingsError(ValueError):
    """The configuration can't be used; the message names the place, the key, the value and what is allowed."""


def load_settings(path: str | Path | None = None, **overrides: Any) -> Settings:
    """Read the configuration.

    Parameters
    ----------
    path
        YAML file; by default what `CXAD_CONFIG` names, else `configs/config.local.yaml`.
    **overrides
        Sections given in code; they win over environment and file.

    Returns
    -------
    Settings
        The validated tree.

    Raises
    ------
    SettingsError
        If the file is missing or no YAML map, or a key or value is refused. The message has a line for each fault.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    file = Path(path or named or DEFAULT_CONFIG)
    _check_file(file, "named by CXAD_CONFIG" if named and not path else "run from the project's folder")

    class Sources(BaseSettings):
        """Merges the sources; `Settings` validates the result, so that the tree itself stays a plain model."""

        model_config = SettingsConfigDict(extra="allow")

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  our own reading of the environment stands in
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, _Environment(settings_cls), _File(settings_cls, file)

    merged = Sources(**overrides).model_extra or {}
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        order = {key: list(merged[key]) for key in NAMED_LISTS if isinstance(merged.get(key), dict)}
        raise SettingsError(_explain(error, file, order)) from None


def environment_paths() -> dict[str, tuple[str, ...]]:
    """The variables that are set and speak of the configuration, with the key that each one overrides.

    Returns
    -------
    dict
        Variable -> path in the tree. `CXAD_PORTS__API` goes before the shared name `API_PORT`, and so on.

    Raises
    ------
    SettingsError
        If a variable with our prefix names no section.
    """
    found = {variable: path for variable, path in ALIASES.items() if variable in os.environ}
    for variable in sorted(os.environ):
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        if path[0] not in Settings.model_fields:
            known = ", ".join(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)
            raise SettingsError(
                f"environment variable {variable}: no such key (allowed: {CONFIG_VARIABLE}, and {known}, "
                "each with __ and a key of that section)"
            )
        found = {name: where for name, where in found.items() if where != path}
        found[variable] = path
    return found


class _Environment(PydanticBaseSettingsSource):
    """Environment variables as a tree."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Satisfy the interface; `__call__` builds the whole tree at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for variable, path in sorted(environment_paths().items(), key=lambda item: len(item[1])):
            branch = tree
            for key in path[:-1]:
                branch = branch.setdefault(key, {})
                if not isinstance(branch, dict):
                    raise SettingsError(
                        f"environment variable {variable}: another variable sets {key} as a whole; use one of the two"
                    )
            branch[path[-1]] = _value(variable, os.environ[variable])
            if len(path) == 1:
                tree[path[0]] = _by_name(path[0], tree[path[0]], f"environment variable {variable}")
        return tree


class _File(YamlConfigSettingsSource):
    """The YAML file, its named lists turned into maps, so that the environment can override one key of one entry."""

    def __call__(self) -> dict[str, Any]:
        return {
            str(key): _by_name(str(key), value, str(self.yaml_file_path)) for key, value in super().__call__().items()
        }


def _check_file(file: Path, origin: str) -> None:
    if not file.is_file():
        raise SettingsError(f"{file}: no such configuration file ({origin}); name one by {CONFIG_VARIABLE}")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(content, dict | None):
        raise SettingsError(f"{file}: must be a map of keys to values, such as 'timezone: UTC'")
    for section, key in SECRETS:
        if isinstance((content or {}).get(section), dict) and (content or {})[section].get(key):
            variable = next(name for name, path in ALIASES.items() if path == (section, key))
            raise SettingsError(f"{file}: {section}.{key} is a secret; set it by the environment variable {variable}")


def _value(variable: str, text: str) -> object:
    if text in ("null", ""):
        return None
    if text[0] not in "[{":
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"environment variable {variable}: not JSON: {text!r}") from error


def _by_name(key: str, entries: object, place: str) -> object:
    """A named list as a map; anything else is left for the validation to refuse."""
    if key not in NAMED_LISTS or not isinstance(entries, list):
        return entries
    if not all(isinstance(entry, dict) and "name" in entry for entry in entries):
        raise SettingsError(f"{place}: {key}: each entry must be a map with a name")
    names = [str(entry["name"]) for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"{place}: {key}: each entry needs a name of its own; used twice: {', '.join(twice)}")
    return dict(zip(names, entries, strict=True))


def _explain(error: ValidationError, file: Path, order: Mapping[str, list[str]]) -> str:
    """One line a fault: place, key, value, what is allowed."""
    variables = environment_paths()
    lines = []
    for fault in error.errors(include_url=False):
        path = [str(part) for part in fault["loc"] if part not in _TAGS]
        if len(path) > 1 and path[0] in order and path[1].isdigit():
            path[1] = order[path[0]][int(path[1])]
        key = ".".join(path)
        place = str(file)
        for variable, where in variables.items():
            if path[: len(where)] == list(where) or (list(where[: len(path)]) == path and fault["type"] == "missing"):
                place = f"environment variable {variable}"
        given = fault["input"]
        secret = any(tuple(path[:2]) == where for where in SECRETS)
        value = "" if secret or fault["type"] == "missing" or isinstance(given, dict | BaseModel) else f" = {given!r}"
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            allowed = _allowed_keys(fault["loc"][:-1])
            close = difflib.get_close_matches(path[-1], allowed, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            message = f"no such key{hint} (allowed: {', '.join(allowed)})"
        lines.append(f"{place}: {key}{value}: {message}" if key else f"{place}: {message}")
    return "\n".join(lines)


def _allowed_keys(location: Sequence[int | str]) -> list[str]:
    """Keys of the branch at a location, as pydantic names it."""
    models: list[type[BaseModel]] = [Settings]
    for part in location:
        if isinstance(part, int):
            continue
        if part in _TAGS:
            models = [m for m in models if part in typing.get_args(m.model_fields["algorithm"].annotation)]
            continue
        models = [
            found for m in models if part in m.model_fields for found in _models_in(m.model_fields[part].annotation)
        ]
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]
