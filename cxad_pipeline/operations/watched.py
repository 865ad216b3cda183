"""What a configuration watches: metrics, windows, and the words for them.

Belongs here: from settings to the arguments of `incidents` and `alerting`. Does not belong here: what is done with
them.
"""

from __future__ import annotations

from collections.abc import Mapping

from cxad_pipeline.incidents import MetricRule, Promise
from cxad_pipeline.interactions.configured_columns import watched_columns
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.settings import Settings


def watched_metrics(settings: Settings) -> tuple[MetricRule, ...]:
    """The metrics that incidents are looked for in; durations count on a logarithmic scale.

    Complaints are not among them: contacts with a complaint are counted and tested by themselves.

    Raises
    ------
    SettingsError
        As `watched_columns` does.
    """
    schema, watched = schema_of(settings), watched_columns(settings)
    return tuple(MetricRule(name, end, logarithmic=schema[name].unit == "s") for name, end in watched.items())


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
