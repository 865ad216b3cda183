"""How figures, times and foreign texts are written in messages, the same in every channel.

Belongs here: single words and lines. Does not belong here: which lines a message has (`incident_messages`, `digest`,
`run_failure`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cxad_pipeline.alerting.redaction import redact

LABEL = 60
"""Longest label of a link, in characters."""


def one_line(text: str, limit: int) -> str:
    """A foreign text as one printable line of at most `limit` characters.

    Line breaks, terminal escapes, direction marks and other unprintable characters become spaces: a queue name must
    not be able to rewrite a terminal or to forge a line of the message.
    """
    line = " ".join("".join(ch if ch.isprintable() else " " for ch in text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def address(url: str) -> str:
    """An address without blanks or a password in it; cut addresses lead nowhere, so a longer one stays whole."""
    return redact("".join("".join(ch if ch.isprintable() else " " for ch in url).split()))


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Rows, (r, c), with their columns under each other; the columns in `right` are set to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def examples_in_lines(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Interactions, (r, 4): severity, start, name and why, the first three under each other."""
    places = aligned([row[:3] for row in rows], right=(0,))
    return [f"  {place}  {row[3]}".rstrip() for place, row in zip(places, rows, strict=True)]


def links_in_words(links: Mapping[str, str]) -> str:
    """Links in one line: "Dagster: http://127.0.0.1:3000 · ..."."""
    return " · ".join(f"{one_line(name, LABEL)}: {address(url)}" for name, url in links.items())


def commands_of(incident_id: str, *, stands: bool) -> dict[str, str]:
    """What to do next about an incident, to be copied: the words before each command, and the command.

    Nobody is asked whether one that does not stand, since it was merged or withdrawn, was real.
    """
    found = {"": f"cxad incident {incident_id}"}
    return {**found, "not real?": f"cxad feedback {incident_id} false_alarm"} if stands else found


def commands_in_words(commands: Mapping[str, str]) -> str:
    """Commands in one line, each after its words."""
    return " · ".join(f"{words} {command}".strip() for words, command in commands.items())


def percent(share: float) -> str:
    """A share as a percentage: one decimal, two below 1 %, such as 4.9% or 0.93%."""
    return f"{share:.1%}" if share >= 0.01 else f"{share:.2%}"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A count with its noun: "1 contact", "1,204 contacts"; `nouns` is a plural that has not just an s more."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def moment_in_words(moment: datetime, zone: ZoneInfo, now: datetime) -> str:
    """A moment on the clock of a zone: "12 Oct 14:00", and "12 Oct 2025 14:00" in another year than that of `now`.

    The zone is to be named beside it, once a message.
    """
    local = moment.astimezone(zone)
    year = "" if local.year == now.astimezone(zone).year else f" {local.year}"
    return f"{local.day} {local:%b}{year} {local:%H:%M}"


def span_in_words(start: datetime, end: datetime, zone: ZoneInfo, now: datetime) -> str:
    """A stretch of time on the clock of a zone, with the zone's name: "12 Oct 14:00-18:00 Europe/Berlin".

    Both ends have their year where one of them lies in another year than `now`.
    """
    first, last = start.astimezone(zone), end.astimezone(zone)
    if first.date() == last.date():
        return f"{moment_in_words(start, zone, now)}-{last:%H:%M} {zone.key}"
    year = "" if first.year == last.year == now.astimezone(zone).year else " %Y"
    began, ended = (f"{moment.day} {moment.strftime(f'%b{year} %H:%M')}" for moment in (first, last))
    return f"{began} to {ended} {zone.key}"


def length_in_words(length: timedelta) -> str:
    """How long something lasted: "45 minutes", "4 hours", "1.5 hours", "3 days"."""
    minutes = length.total_seconds() / 60
    if minutes < 60:
        return plural(round(minutes), "minute")
    if minutes < 48 * 60:
        hours = round(minutes / 60, 1)
        return "1 hour" if hours == 1 else f"{hours:g} hours"
    days = round(minutes / 1440, 1)
    return f"{days:g} days"
