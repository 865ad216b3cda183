"""From the YAML file and the environment to `Settings`.

Belongs here: where values come from, which wins, and errors that name the place. Nothing else in the package reads the
configuration file or configuration from the environment.

Environment variables win over the file. A key is overridden by its path in capitals with two underscores between
levels: `CXAD_MODELS__IFOREST__THRESHOLD_PERCENTILE=98.5`; entries of the lists `models` and `sources` are addressed by
their name. A list, a map or a whole section is given as JSON and stands for all that the file says there; `null` is no
value. A variable that is empty counts as not set.
"""

from __future__ import annotations

import copy
import difflib
import os
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cxad_pipeline.settings.models import ALGORITHM_NAMES
from cxad_pipeline.settings.tree import Settings

DEFAULT_CONFIG = Path("configs/config.local.yaml")
PREFIX = "CXAD_"
CONFIG_VARIABLE = "CXAD_CONFIG"
NAMED_LISTS = ("models", "sources")
SECRETS = (
    ("alerts", "slack_webhook_url"),
    ("alerts", "slack", "token"),
    ("alerts", "email", "password"),
    ("alerts", "apprise_urls"),
)
# May hold a secret by mistake, or beside what is none: a key in place of its hash, a password in an address.
_NOT_SHOWN = (*SECRETS, ("serving", "keys"), ("store", "url"), ("mlflow", "tracking_uri"))
ALIASES: Mapping[str, tuple[str, ...]] = {
    "ENABLE_SCHEDULER": ("schedule", "enabled"),
    "BATCH_SCORE_CRON": ("schedule", "batch_score_cron"),
    "ENABLE_ALERTS": ("alerts", "enabled"),
    "SLACK_WEBHOOK_URL": ("alerts", "slack_webhook_url"),
    "SLACK_BOT_TOKEN": ("alerts", "slack", "token"),
    "APPRISE_URLS": ("alerts", "apprise_urls"),
    "API_PORT": ("ports", "api"),
}
# how pydantic's locations name the members of a union, and its messages what they want
_UNION_BRANCH = re.compile(r"^(literal\[|constrained-|function-)")
_OUR_WORDS = re.compile(r"^(Input|String|List|Value) should ")
# faults that concern several sections begin with the key that they are about
_ROOT_FAULT = re.compile(r"^[a-z_.]+: ")


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
    content = _content(file, "named by CXAD_CONFIG" if named and not path else "run from the project's folder")

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
            return init_settings, _FileAndEnvironment(settings_cls, content, str(file))

    merged = Sources(**overrides).model_extra or {}
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        order = {key: list(merged[key]) for key in NAMED_LISTS if isinstance(merged.get(key), dict)}
        raise SettingsError(_explain(error, file, order, overrides)) from None


def secrets_of(settings: Settings) -> list[str]:
    """The secrets of a configuration in clear, for whoever must keep them out of a text."""
    found = []
    for path in SECRETS:
        value: Any = settings
        for key in path:
            value = getattr(value, key)
        if value is not None:
            found.append(value.get_secret_value())
    return found


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
    found = {variable: path for variable, path in ALIASES.items() if os.environ.get(variable)}
    for variable in sorted(os.environ):
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE or not os.environ[variable]:
            continue
        path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        if path[0] not in Settings.model_fields or "" in path:
            known = ", ".join(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)
            raise SettingsError(
                f"environment variable {variable}: no such key (allowed: {CONFIG_VARIABLE}, and {known}, "
                "each with __ and a key of that section)"
            )
        found = {name: where for name, where in found.items() if where != path}
        found[variable] = path
    return found


class _FileAndEnvironment(PydanticBaseSettingsSource):
    """The file's tree, its named lists turned into maps, with the environment's values put in their places."""

    def __init__(self, settings_cls: type[BaseSettings], content: Mapping[str, Any], file: str) -> None:
        super().__init__(settings_cls)
        self._content, self._file = content, file

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Satisfy the interface; `__call__` builds the whole tree at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        tree: dict[str, Any] = {
            key: _by_name(key, value, self._file) for key, value in copy.deepcopy(dict(self._content)).items()
        }
        paths = environment_paths()
        for key in NAMED_LISTS:
            if key not in tree and any(path[0] == key for path in paths.values()):
                entries = [entry.model_dump() for entry in Settings.model_fields[key].default]
                tree[key] = _by_name(key, entries, self._file)
        whole: dict[tuple[str, ...], str] = {}
        ours = sorted((item for item in paths.items() if item[0] not in ALIASES), key=lambda item: len(item[1]))
        shared = [item for item in paths.items() if item[0] in ALIASES]
        for variable, path in [*ours, *shared]:
            if variable in ALIASES and any(path[:n] in whole for n in range(1, len(path))) and _has(tree, path):
                continue  # the name with our prefix wins
            _put(tree, variable, path, whole)
        return tree


def _has(tree: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether the tree says something at a path."""
    branch: Any = tree
    for key in path:
        if not isinstance(branch, Mapping) or key not in branch:
            return False
        branch = branch[key]
    return True


def _put(tree: dict[str, Any], variable: str, path: tuple[str, ...], whole: dict[tuple[str, ...], str]) -> None:
    """Set one variable's value; `whole` collects the keys that variables set to a map or list."""
    place = f"environment variable {variable}"
    value = _value(variable, path)
    branch = tree
    for depth, key in enumerate(path[:-1], start=1):
        name = _spelled(branch, key)
        if depth == 2 and path[0] in NAMED_LISTS and name not in branch:
            names = ", ".join(map(str, branch))
            raise SettingsError(f"{place}: {path[0]} has no entry named {key} (allowed: {names})")
        if branch.get(name) is None:
            branch[name] = {}
        branch = branch[name]
        if not isinstance(branch, dict):
            where = ".".join(path[:depth])
            raise SettingsError(f"{place}: {where} is set to {type(branch).__name__}; it has no keys below it")
    branch[_spelled(branch, path[-1])] = _by_name(path[0], value, place) if len(path) == 1 else value
    if isinstance(value, dict | list):
        whole[path] = variable


def _spelled(branch: Mapping[str, Any], key: str) -> str:
    """The key as the file spells it: variables are in capitals, and so do not tell `Dagster` from `dagster`."""
    return next((name for name in branch if str(name).lower() == key), key)


class _OneKeyLoader(yaml.SafeLoader):
    """YAML in which a key that comes twice in a map is an error: the second one would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make a map of a node, unless it repeats a key."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1 and key != "<<"), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice} comes twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _content(file: Path, origin: str) -> dict[str, Any]:
    if not file.is_file():
        raise SettingsError(f"{file}: no such configuration file ({origin}); name one by {CONFIG_VARIABLE}")
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _OneKeyLoader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise SettingsError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(content, dict | None):
        raise SettingsError(f"{file}: must be a map of keys to values, such as 'timezone: UTC'")
    content = {str(key): value for key, value in (content or {}).items()}
    for secret in SECRETS:
        branch: Any = content
        for key in secret:
            branch = branch.get(key) if isinstance(branch, dict) else None
        if branch:
            own = f"{PREFIX}{'__'.join(secret).upper()}"
            variable = next((name for name, path in ALIASES.items() if path == secret), own)
            raise SettingsError(
                f"{file}: {'.'.join(secret)} is a secret; set it by the environment variable {variable}"
            )
    return content


def _value(variable: str, path: tuple[str, ...]) -> object:
    text = os.environ[variable]
    if text == "null":
        return None
    if text[0] not in "[{":
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        if _may_hold_secret(path):
            raise SettingsError(f"environment variable {variable}: not JSON") from None  # the cause quotes the text
        raise SettingsError(f"environment variable {variable}: not JSON: {text!r}") from error


def _may_hold_secret(path: Sequence[str]) -> bool:
    return any(tuple(path)[: len(secret)] == secret[: len(path)] for secret in _NOT_SHOWN)


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


def _explain(error: ValidationError, file: Path, order: Mapping[str, list[str]], overrides: Mapping[str, Any]) -> str:
    """One line a fault: place, key, value, what is allowed."""
    lines: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False):
        location, given, kind = fault["loc"], fault["input"], fault["type"]
        message = fault["msg"].removeprefix("Value error, ")
        path = [str(part) for part in _without_algorithm(location) if not _UNION_BRANCH.match(str(part))]
        if len(path) > 1 and path[0] in order and path[1].isdigit():
            path[1] = order[path[0]][int(path[1])]
        if not path and _ROOT_FAULT.match(message):
            key, message = message.split(": ", 1)
            path = key.split(".")
        if kind in ("union_tag_invalid", "union_tag_not_found"):
            given = given.get("algorithm") if isinstance(given, dict) else given
            path, message = [*path, "algorithm"], f"must be {' or '.join(ALGORITHM_NAMES)}"
            kind = "missing" if kind == "union_tag_not_found" else kind
        elif kind == "extra_forbidden":
            allowed = _allowed_keys(location[:-1])
            close = difflib.get_close_matches(path[-1], allowed, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            message = f"no such key{hint} (allowed: {', '.join(allowed)})"
        elif kind in ("model_type", "model_attributes_type", "dict_type"):
            message = "must be a map of keys to values"
        message = _OUR_WORDS.sub("must ", message)
        hidden = kind == "missing" or _may_hold_secret(path) or isinstance(given, dict | BaseModel)
        key = ".".join(path) + ("" if hidden else f" = {given!r}")
        place = _place(path, file, overrides)
        lines.setdefault(f"{place}: {key}" if path else place, []).append(message)
    return "\n".join(f"{where}: {', or '.join(dict.fromkeys(messages))}" for where, messages in lines.items())


def _without_algorithm(location: Sequence[int | str]) -> list[int | str]:
    """The location of a fault without the algorithm, which pydantic puts behind the place of a model in the list."""
    tagged = len(location) > 2 and location[0] == "models" and location[2] in ALGORITHM_NAMES
    return [*location[:2], *location[3:]] if tagged else list(location)


def _place(path: Sequence[str], file: Path, overrides: Mapping[str, Any]) -> str:
    """Where the value at a path comes from, or the values below it."""
    branch: Any = overrides
    for key in path:
        branch = branch.get(key, overrides) if isinstance(branch, Mapping) else branch
        if branch is overrides:
            break
    if branch is not overrides:
        return "given in code"
    below = []
    for variable, where in environment_paths().items():
        shared = [part.lower() for part in path[: len(where)]]
        if shared == list(where):
            return f"environment variable {variable}"
        if shared == list(where[: len(path)]) and path:
            below.append(variable)
    return f"{file} with environment variable {', '.join(below)}" if below else str(file)


def _allowed_keys(location: Sequence[int | str]) -> list[str]:
    """Keys of the branch at a location, as pydantic names it."""
    models: list[type[BaseModel]] = [Settings]
    in_map = False
    for part in location:
        if isinstance(part, int) or in_map:
            in_map = False
            continue
        if part in ALGORITHM_NAMES and any("algorithm" in m.model_fields for m in models):
            models = [m for m in models if part in typing.get_args(m.model_fields["algorithm"].annotation)]
            continue
        annotations = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        in_map = any(typing.get_origin(annotation) is dict for annotation in annotations)
        models = [found for annotation in annotations for found in _models_in(annotation)]
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]
