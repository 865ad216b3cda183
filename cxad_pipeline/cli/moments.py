"""Times as commands read and show them.

Belongs here: both. Without a zone a time is in the configured `timezone`, in which all are shown. Does not belong here:
which times a command takes.
"""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import click

from cxad_pipeline.settings import Settings


def moment(text: str) -> dt.datetime:
    """A date, or a date and a time of day, of ISO 8601; naive where it names no zone. For click's `type=`.

    Raises
    ------
    click.BadParameter
        If it is none.
    """
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no time; write 2026-10-13, 2026-10-13T09:00 or ...T09:00Z") from error


def placed(moment: dt.datetime, settings: Settings) -> dt.datetime:
    """A moment with a zone: its own, or else the configured one."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=ZoneInfo(settings.timezone))


def shown(moment: dt.datetime | str | None, settings: Settings) -> str:
    """A moment to the minute; empty where there is none."""
    if moment is None:
        return ""
    at = dt.datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{at.astimezone(ZoneInfo(settings.timezone)):%Y-%m-%d %H:%M}"
