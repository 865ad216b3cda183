"""Incidents in words: the plain sentences that messages, the API and the command line share.

Belongs here: what needs nothing but the incident and the names of its columns. Does not belong here: layout, links,
times on somebody's clock (`alerting`).
"""

from __future__ import annotations

from collections.abc import Callable

from cxad_pipeline.incidents.incident import Cause, Incident, Reason
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.metrics import FAR, NEAR
from cxad_pipeline.incidents.segments import UNKNOWN, Key

_TOGETHER = "several metrics bad at once"
Words = Callable[[str], str]
"""From a column's name to its words or to its unit; an unknown column's unit is empty."""


def what(incident: Incident, words: Words, unit: Words) -> str:
    """What is wrong, in one sentence without its end: "hold time averages 214 s, usually 62 s".

    Parameters
    ----------
    incident
        The incident.
    words
        From a column to its words, such as `InteractionSchema.words`.
    unit
        From a column to its unit, empty where it has none.
    """
    usually = f"usually {_count(incident.expected_affected)}"
    share = f"in {incident.affected:,} of {incident.contacts:,} contacts, {usually}"
    if incident.kind == "volume":
        return f"contacts: {incident.affected:,}, {usually}"
    if incident.kind in ("shift", "drift", "slow drift"):
        return _mean(incident.metric, incident.kind, incident.observed, incident.expected, words, unit)
    if incident.kind == "complaints":
        return f"complaints {share}"
    if incident.kind == "together":
        return f"{_TOGETHER} {share}"
    return f"{words(incident.metric)} {'very ' if incident.kind == 'far tail' else ''}{incident.direction} {share}"


def reason_words(reason: Reason, words: Words, unit: Words) -> str:
    """One test in words, as it was at its worst: "hold time among its worst 3% in 9 contacts, usually 0.4".

    Parameters
    ----------
    reason
        The test. Its metric may have another bad end than the incident's, so the words name none.
    words, unit
        As for `what`.
    """
    usually = f"usually {_count(reason.expected)}"
    if reason.kind == "volume":
        return f"contacts: {_count(reason.observed)}, {usually}"
    if reason.kind in ("shift", "drift", "slow drift"):
        return _mean(reason.family, reason.kind, reason.observed, reason.expected, words, unit)
    if reason.kind in ("far tail", "near tail"):
        subject = f"{words(reason.family)} among its worst {FAR if reason.kind == 'far tail' else NEAR:.0%}"
    else:
        subject = "complaints" if reason.kind == "complaints" else _TOGETHER
    noun = "contact" if reason.observed == 1 else "contacts"
    return f"{subject} in {_count(reason.observed)} {noun}, {usually}"


def cause_words(cause: Cause, kind: Kind) -> str:
    """Where it comes from: "queue billing: 38 of 41 affected, 5.2 times as likely as elsewhere (3.1-8.7), 93% of all".

    Parameters
    ----------
    cause
        The part of the contacts.
    kind
        Of the incident: for one of volume, contacts are compared with the usual number of them.
    """
    part = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in cause.segment)
    ratio, interval = f"{_count(cause.risk_ratio)} times", f"({_count(cause.low)}-{_count(cause.high)})"
    if kind == "volume":
        return (
            f"{part}: {cause.affected:,} contacts, usually {cause.contacts:,}, {ratio} the increase elsewhere "
            f"{interval}, {cause.share:.0%} of all"
        )
    return (
        f"{part}: {cause.affected:,} of {cause.contacts:,} affected, {ratio} as likely as elsewhere {interval}, "
        f"{cause.share:.0%} of all"
    )


def segment_words(segment: Key) -> str:
    """A segment: "billing / voice / de", "all contacts", and "unknown language" where a value is missing."""
    if not segment:
        return "all contacts"
    return " / ".join(
        f"{UNKNOWN} {name.replace('_', ' ')}" if value == UNKNOWN else _plain(value) for name, value in segment
    )


def _mean(family: str, kind: Kind, observed: float, expected: float, words: Words, unit: Words) -> str:
    suffix = f" {unit(family)}" if unit(family) else ""
    averages = "averages" if kind == "shift" else "has lately averaged"
    return f"{words(family)} {averages} {_figure(observed)}{suffix}, usually {_figure(expected)}{suffix}"


def _figure(value: float) -> str:
    """A mean, with no more decimals than its size needs: 4,210 or 70.5 or 3.25."""
    written = f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def _count(value: float) -> str:
    """A count or a ratio: whole from 10 on, with one decimal below, unless it is whole: 28, 1.2, 3, under 0.1."""
    if 0 < value < 0.05:
        return "under 0.1"
    written = f"{value:,.{0 if value >= 9.95 else 1}f}"
    return written.removesuffix(".0")


def _plain(value: str) -> str:
    """A value from the data as one printable line: it must not be able to steer a terminal or forge a line."""
    return " ".join("".join(ch if ch.isprintable() else " " for ch in value).split())
