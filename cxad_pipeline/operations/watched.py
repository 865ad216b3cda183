"""What a configuration watches: metrics, windows, and the words for them.

Belongs here: from settings to the arguments of `incidents` and `alerting`. Does not belong here: what is done with
them.
"""

from __future__ import annotations

from collections.abc import Mapping

from cxad_pipeline.incidents import MetricRule, Promise
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.settings import Settings, SettingsError

_COUNTED = "complaints"


def watched_metrics(settings: Settings) -> tuple[MetricRule, ...]:
    """The metrics that incidents are looked for in; durations count on a logarithmic scale.

    Complaints are not among them: contacts with a complaint are counted and tested by themselves.

    Raises
    ------
    SettingsError
        If `incidents.metrics` names a column that is none, no metric, or is counted anyway; or if none is left.
    """
    schema = schema_of(settings)
    if settings.incidents.metrics:
        bad = {metric.name: metric.bad for metric in settings.incidents.metrics}
        for name in bad:
            if name not in schema or not schema[name].is_metric:
                known = ", ".join(
                    column.name for column in schema.columns if column.is_metric and column.name != _COUNTED
                )
                raise SettingsError(f"incidents.metrics: {name} is no metric of the schema (allowed: {known})")
            if name == _COUNTED:
                raise SettingsError(f"incidents.metrics: {name} are counted and tested anyway; leave them out")
    else:
        columns = [schema[name] for name in settings.features.numeric if name in schema and name != _COUNTED]
        bad = {column.name: column.bad_direction for column in columns if column.bad_direction is not None}
    if not bad:
        raise SettingsError(
            "incidents.metrics: no metric under features.numeric has a bad end that the schema knows; name metrics "
            "and their bad ends, or set incidents.enabled to false"
        )
    return tuple(MetricRule(name, end, logarithmic=schema[name].unit == "s") for name, end in bad.items())


def promise(settings: Settings) -> Promise:
    """The promised number of incidents."""
    return Promise(settings.incidents.budget_per_week)


def window_seconds(settings: Settings) -> int:
    """Length of the windows that are tested."""
    return 60 * settings.incidents.window_minutes


def filled(links: Mapping[str, str], settings: Settings, **values: str) -> dict[str, str]:
    """Addresses with their placeholders filled: `{port}` and `{api_port}`, and those that are given."""
    return {label: filled_link(link, settings, **values) for label, link in links.items()}


def filled_link(link: str, settings: Settings, **values: str) -> str:
    """One address with its placeholders filled."""
    ports = {"port": str(settings.ports.dagster), "api_port": str(settings.ports.api)}
    for name, value in {**ports, **values}.items():
        link = link.replace(f"{{{name}}}", value)
    return link
