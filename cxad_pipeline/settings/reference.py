"""The reference of the configuration as Markdown, derived from the models: `docs/configuration.md`.

Belongs here: how a key is shown. Does not belong here: what it means, which its field says.
"""

from __future__ import annotations

import datetime as dt
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AwareDatetime, BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cxad_pipeline.settings.nodes import Cron, Location, Zone
from cxad_pipeline.settings.reading import ALIASES, CONFIG_VARIABLE, DEFAULT_CONFIG, NAMED_LISTS, PREFIX
from cxad_pipeline.settings.tree import Settings

_INTRODUCTION = f"""\
# Configuration

Every key of the configuration. The file is `{DEFAULT_CONFIG}`, or the one that `{CONFIG_VARIABLE}` names; a key that it
does not set has the default. An environment variable wins over the file. Lists and maps are given as JSON and stand for
all that the file says there; `null` is no value; an empty variable counts as not set. Unknown keys and bad values are
refused with file or variable, key, value and what is allowed.

`<name>` stands for the name of an entry, `<key>` for a key of a map, `[]` for each entry of a list. In variables
they are in capitals: `{PREFIX}MODELS__IFOREST__THRESHOLD_PERCENTILE=98.5`.

This page is written by `cxad_pipeline.settings.reference`.
"""
_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    dt.date: "date",
    dt.datetime: "date or time (ISO 8601; UTC where it has no zone)",
    AwareDatetime: "date or time (ISO 8601; UTC where it has no zone)",
    SecretStr: "secret text",
    types.NoneType: "null",
}
_CHECKED = {
    typing.get_args(kind)[1].func: words
    for kind, words in {
        Zone: "IANA time zone",
        Cron: "cron expression of five fields",
        Location: "folder or `s3://bucket/prefix`",
    }.items()
}
_LIMITS = {Ge: ("ge", "at least"), Gt: ("gt", "above"), Le: ("le", "at most"), Lt: ("lt", "below")}


@dataclass(frozen=True)
class Key:
    """One key of the configuration as the reference shows it."""

    path: str
    type: str
    default: str
    meaning: str
    variable: str


def reference() -> str:
    """All keys of the configuration as a Markdown page.

    Returns
    -------
    str
        One table for each section: key, type, default, meaning, environment variable.
    """
    page = [_INTRODUCTION]
    for name, field in Settings.model_fields.items():
        page.append(f"## {name}\n\n{field.description}\n")
        page.append("| key | type | default | meaning | environment variable |\n|---|---|---|---|---|")
        page += [
            f"| `{key.path}` | {_cell(key.type)} | {_cell(key.default)} | {_cell(key.meaning)} | {key.variable} |"
            for key in keys(name)
        ]
        page.append("")
    return "\n".join(page)


def keys(section: str) -> Iterator[Key]:
    """The keys of a section, those of several models in a list once each."""
    seen: set[tuple[str, str, str]] = set()
    for key in _below(Settings.model_fields[section], section, f"{PREFIX}{section.upper()}"):
        if (key.path, key.type, key.default) not in seen:
            seen.add((key.path, key.type, key.default))
            yield key


def _below(field: FieldInfo, path: str, variable: str) -> Iterator[Key]:
    annotation, metadata = _bare(field.annotation, field.metadata)
    models = list(_models(annotation))
    if not models:
        yield _key(field, path, variable, _in_words(annotation, metadata))
        return
    origin = typing.get_origin(annotation)
    if origin is list:
        named = path in NAMED_LISTS
        yield _key(field, path, variable, "list of maps", "" if named else "JSON")
        path, variable = f"{path}[]", f"{variable}__<NAME>" if named else ""
    elif origin is dict:
        yield _key(field, path, variable, "map of maps")
        path, variable = f"{path}.<key>", f"{variable}__<KEY>" if variable else ""
    for model in models:
        for name, inner in model.model_fields.items():
            yield from _below(inner, f"{path}.{name}", f"{variable}__{name.upper()}" if variable else "")


def _key(field: FieldInfo, path: str, variable: str, words: str, form: str = "") -> Key:
    shared = [name for name, where in ALIASES.items() if ".".join(where) == path]
    variables = [*([variable] if variable else []), *shared]
    text = " or ".join(f"`{name}`" for name in variables) or "in the list's JSON"
    return Key(path, words, _default(field), field.description or "", f"{text} ({form})" if form and variable else text)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, list) and any(isinstance(entry, BaseModel) for entry in value):
        return ", ".join(f"`{entry.name}`" for entry in value if hasattr(entry, "name"))
    if isinstance(value, dt.datetime):
        return f"`{value.isoformat()}`"
    if value is None or value == "" or value == [] or value == {}:
        return {None: "null", "": "empty"}.get(value, "none") if not isinstance(value, list | dict) else "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return f"`[{', '.join(repr(item) if item == '' else str(item) for item in value)}]`"
    if isinstance(value, dict):
        return "`{" + ", ".join(f"{name}: {item}" for name, item in value.items()) + "}`"
    return f"`{value}`"


def _bare(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation, *more = typing.get_args(annotation)
        metadata = [*metadata, *more]
    return annotation, metadata


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for argument in typing.get_args(annotation):
            yield from _models(argument)


def _in_words(annotation: Any, metadata: list[Any]) -> str:
    annotation, metadata = _bare(annotation, metadata)
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of {_in_words(arguments[0], [])}"
    if origin is dict:
        return f"map of {_in_words(arguments[0], [])} to {_in_words(arguments[1], [])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_in_words(part, [] if part is types.NoneType else metadata) for part in arguments)
    checked = [_CHECKED[item.func] for item in metadata if getattr(item, "func", None) in _CHECKED]
    if checked:
        return checked[0]
    limits = []
    for item in _flat(metadata):
        if isinstance(item, Len):
            limits.append("not empty" if item.max_length is None else f"{item.max_length} character")
        elif getattr(item, "pattern", None):
            limits.append(f"`{item.pattern}`")
        else:
            limits += [
                f"{words} {getattr(item, name):g}" for kind, (name, words) in _LIMITS.items() if type(item) is kind
            ]
    return ", ".join([_WORDS[annotation], *dict.fromkeys(limits)])


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else [item]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
