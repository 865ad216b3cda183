"""What a configuration watches: metrics, windows, and the words for them.

Belongs here: from settings to the arguments of `incidents` and `alerting`. Does not belong here: what is done with
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from cxad_pipeline.incidents import MetricRule, Promise
from cxad_pipeline.interactions.configured_columns import watched_columns
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.settings import Settings

_OF_THE_MESSAGE = ("window", "incident", "run_id")
"""Placeholders of links whose value depends on what a message is about."""


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
    """Addresses with their placeholders filled; empty ones, and those for which a value is missing, are left out."""
    found = {label: filled_link(link, settings, **values) for label, link in links.items()}
    return {label: link for label, link in found.items() if link}


def filled_link(link: str, settings: Settings, **values: str) -> str | None:
    """One address with its placeholders filled: those of the settings (`alerts.links`), and those that are given.

    None where one of them has no value: half an address, or one of a page on the reader's own machine, leads nowhere.
    Those that are given are encoded: a window's key may have a plus sign, which a query would take for a space.
    """
    known: dict[str, str | None] = {
        **dict.fromkeys(_OF_THE_MESSAGE),
        "dagster": settings.alerts.dagster_url,
        "mlflow": settings.alerts.mlflow_url,
        "model": settings.mlflow.registered_model,
        "port": str(settings.ports.dagster),
        "api_port": str(settings.ports.api),
        **{name: quote(value, safe="") for name, value in values.items()},
    }
    for name, value in known.items():
        placeholder = f"{{{name}}}"
        if value is not None:
            link = link.replace(placeholder, value)
        elif placeholder in link:
            return None
    return link
