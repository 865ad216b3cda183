"""The columns that a configuration names, held against those that there can be.

Belongs here: what is watched, by name, and names that no file can ever give. Does not belong here: types and ranges of
single keys (`settings`), columns that only the files tell of, which training leaves out with a warning.

All of it is known before any data is read. Columns of the schema may be absent from an export, so they are never
refused. Others come from an export as it is: all of its columns where a source maps none, those under `keep` where it
does. They are text, so none of them is a metric.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.interactions.schema import Direction
from cxad_pipeline.settings import Settings, SettingsError

COUNTED = "complaints"
"""Contacts with one are counted and tested by themselves: it is watched without being named."""
NOT_COLUMNS = ("contacts", "together")
"""What incidents may be about beside metrics: how many contacts come, and several metrics at once."""
_CLOSE = 0.8
"""Likeness (`difflib`) from which on a name is taken for another: `queu`, not `server`."""
_DECLARE = "a column of its own goes under interactions.extra_columns"


def watched_columns(settings: Settings) -> dict[str, Direction]:
    """The metrics that incidents are looked for in, with their bad end.

    Raises
    ------
    SettingsError
        If `incidents.metrics` names a column that is none, no metric, or is counted anyway; or if none is left.
    """
    schema = schema_of(settings)
    metrics = [column.name for column in schema.columns if column.is_metric and column.name != COUNTED]
    for name in (metric.name for metric in settings.incidents.metrics):
        if name == COUNTED:
            raise SettingsError(f"incidents.metrics: {name} are counted and tested anyway; leave them out")
        if name not in metrics:
            raise SettingsError(
                f"incidents.metrics: {name} is no metric of the schema{_instead(name, metrics)} "
                f"(allowed: {', '.join(metrics)})"
            )
    watched: dict[str, Direction] = {metric.name: metric.bad for metric in settings.incidents.metrics}
    if not watched:
        ends = {name: schema[name].bad_direction for name in settings.features.numeric if name in metrics}
        watched = {name: end for name, end in ends.items() if end is not None}
    if not watched:
        raise SettingsError(
            "incidents.metrics: no metric under features.numeric has a bad end that the schema knows; name metrics "
            "and their bad ends, or set incidents.enabled to false"
        )
    return watched


def subjects(settings: Settings) -> list[str]:
    """What an incident of a deployment can be about, by the names that silences use."""
    watched = watched_columns(settings) if settings.incidents.enabled else {}
    return [*watched, COUNTED, *NOT_COLUMNS]


def check_columns(settings: Settings) -> None:
    """Refuse names of columns that no file can give, and those that look like a slip.

    Raises
    ------
    SettingsError
        With a line for each fault.
    """
    faults = list(_features(settings))
    if settings.incidents.enabled:
        try:
            watched_columns(settings)
        except SettingsError as error:
            faults.append(str(error))
    if faults:
        raise SettingsError("\n".join(faults))


def _features(settings: Settings) -> Iterator[str]:
    schema, features = schema_of(settings), settings.features
    metrics = [column.name for column in schema.columns if column.is_metric]
    for name in features.numeric:
        if name not in metrics:
            yield (
                f"features.numeric: {name} is no metric of the schema{_instead(name, metrics)} "
                f"(known: {', '.join(metrics)}; {_DECLARE})"
            )
    gives = [column.name for column in schema.columns if not column.required]
    gives += [name for source in settings.sources for name in source.keep]
    known = [*schema.required, *gives]
    any_may_come = not all(source.columns for source in settings.sources)
    categories = {
        "features.categorical": features.categorical,
        "features.relative_to": features.relative_to,
        "segments.dimensions": settings.segments.dimensions,
    }
    for key, names in categories.items():
        for name in names:
            meant = _instead(name, _written_alike(name, known) if any_may_come else known)
            if name not in known and (meant or not any_may_come):
                yield f"{key}: no source gives a column {name}{meant} (known: {', '.join(gives)}; {_DECLARE})"


def _written_alike(name: str, known: Sequence[str]) -> list[str]:
    """Those that it may be a slip of although it may exist, too: not `channel` of `channel_id`, nor of `channel2`."""
    return [other for other in known if other.count("_") == name.count("_") and _digits(other) >= _digits(name)]


def _digits(name: str) -> int:
    return sum(map(str.isdigit, name))


def _instead(name: str, known: Sequence[str]) -> str:
    """The name that was meant, as a question; empty where none is close."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=_CLOSE)
    return f"; did you mean {close[0]}?" if close else ""
