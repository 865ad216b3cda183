"""Incidents in words: the plain sentences that messages, the API and the command line share.

Belongs here: what needs nothing but the incident and the names of its columns. Does not belong here: layout, links,
times on somebody's clock (`alerting`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from cxad_pipeline.incidents.incident import Cause, Incident, Reason
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.metrics import FAR, NEAR
from cxad_pipeline.incidents.segments import UNKNOWN, Key

_TOGETHER = "several metrics bad at once"
_MEANS: tuple[Kind, ...] = ("shift", "drift", "slow drift")
_TAILS: tuple[Kind, ...] = ("far tail", "near tail")
_TELLING = 2.0
"""Least surprise of a further reason: what is so by chance in more than one of a hundred windows explains nothing."""
_SECONDS = "s"
"""Unit of durations. Their mean is one on a logarithmic scale (`metrics.MetricRule`), which is near the median: the
arithmetic mean, which one says that something averages, is often half as much again."""
_USUAL_WINDOW = dt.timedelta(hours=1)
"""An incident does not know the length of its windows: one longer than this is taken to have several."""
_WIDE = 20.0
"""From which factor between its bounds on an interval says nothing but that the ratio is uncertain."""
Words = Callable[[str], str]
"""From a column's name to its words or to its unit; an unknown column's unit is empty."""


def what(incident: Incident, words: Words, unit: Words) -> str:
    """What is wrong, in one sentence without its end.

    "hold time around 214 s, usually 62 s; very high in 8 of 20 contacts, usually 0.6". Of a metric it says how its mean
    moved at its worst, where that is known, and how many contacts show it; of all else how many contacts do.

    Parameters
    ----------
    incident
        The incident.
    words
        From a column to its words, such as `InteractionSchema.words`.
    unit
        From a column to its unit, empty where it has none.
    """
    number = affected_words(incident)
    if incident.kind == "volume":
        return number
    if incident.kind == "complaints":
        return f"complaints in {number}"
    if incident.kind == "together":
        return f"{_TOGETHER} in {number}"
    level = f"{'very ' if incident.kind == 'far tail' else ''}{incident.direction} in {number}"
    mean = _mean_of(incident)
    if mean is None:
        return f"{words(incident.metric)} {level}"
    return f"{_mean_words(incident.metric, *mean, words, unit)}; {level}"


def affected_words(incident: Incident) -> str:
    """How many contacts it is about: "41 of 55 contacts, usually 4.2"; of a volume, "109 contacts, usually 28".

    Where it lasted longer than the windows whose contacts are counted, as far as it tells: "9 of 10 contacts at worst".
    """
    contacts = _contacts(incident.contacts)
    part = contacts if incident.kind == "volume" else f"{incident.affected:,} of {contacts}"
    worst = " at worst" if _counts_its_worst_window(incident) else ""
    return f"{part}{worst}, usually {count_words(incident.expected_affected)}"


def further_reasons(incident: Incident) -> list[Reason]:
    """The reasons that `what` does not say already and that say something, the strongest first."""
    said: tuple[Kind, ...] = (incident.kind,)
    if incident.kind in _TAILS:
        said = (incident.kind, "shift")
    elif incident.kind in _MEANS:
        said = (incident.kind, "near tail")
    return [
        reason
        for reason in incident.reasons
        if reason.surprise >= _TELLING and (reason.family != incident.metric or reason.kind not in said)
    ]


def reason_words(reason: Reason, words: Words, unit: Words) -> str:
    """One test in words, as it was at its worst: "hold time among its worst 3% in 9 contacts, usually 0.4".

    Parameters
    ----------
    reason
        The test. Its metric may have another bad end than the incident's, so the words name none.
    words, unit
        As for `what`.
    """
    if reason.kind in _MEANS:
        return _mean_words(reason.family, reason.kind, reason.observed, reason.expected, words, unit)
    if reason.kind == "volume":
        return f"more contacts than usual: {count_words(reason.observed)}, usually {count_words(reason.expected)}"
    number = f"{_contacts(reason.observed)}, usually {count_words(reason.expected)}"
    if reason.kind in _TAILS:
        subject = f"{words(reason.family)} among its worst {FAR if reason.kind == 'far tail' else NEAR:.0%}"
    else:
        subject = "complaints" if reason.kind == "complaints" else _TOGETHER
    return f"{subject} in {number}"


def cause_words(cause: Cause, kind: Kind) -> str:
    """Where it comes from.

    "queue billing: 38 of 41 affected, 5.2 times as likely as elsewhere (3.1-8.7), 93% of all affected". Where the
    bounds of a ratio are far apart, the lower one stands for it.

    Parameters
    ----------
    cause
        The part of the contacts.
    kind
        Of the incident: for one of volume, contacts are compared with the usual number of them.
    """
    part = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in cause.segment)
    times, interval = _times(cause)
    if kind == "volume":
        return (
            f"{part}: {_contacts(cause.affected)}, usually {cause.contacts:,}, {times} the increase elsewhere"
            f"{interval}, {cause.share:.0%} of all contacts"
        )
    return (
        f"{part}: {cause.affected:,} of {cause.contacts:,} affected, {times} as likely as elsewhere{interval}, "
        f"{cause.share:.0%} of all affected"
    )


def segment_words(segment: Key) -> str:
    """A segment: "billing / voice / de", "all contacts", and "unknown language" where a value is missing."""
    if not segment:
        return "all contacts"
    return " / ".join(
        f"{UNKNOWN} {name.replace('_', ' ')}" if value == UNKNOWN else _plain(value) for name, value in segment
    )


def figure_words(value: float) -> str:
    """A value with thousands separated and no more decimals than its size needs: 4,210 or 70.5 or 3.25."""
    written = f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def count_words(value: float) -> str:
    """A count or a ratio: whole from 10 on, with one decimal below, unless it is whole: 28, 1.2, 3, under 0.1."""
    if 0 < value < 0.05:
        return "under 0.1"
    written = f"{value:,.{0 if value >= 9.95 else 1}f}"
    return written.removesuffix(".0")


def _mean_of(incident: Incident) -> tuple[Kind, float, float] | None:
    """Kind of the test, mean, and the usual mean of the metric that leads; None where they are not known.

    Where a tail of the metric leads, they are among the reasons.
    """
    if incident.kind in _MEANS:
        return incident.kind, incident.observed, incident.expected
    for reason in incident.reasons:
        if (reason.family, reason.kind) == (incident.metric, "shift"):
            return reason.kind, reason.observed, reason.expected
    return None


def _counts_its_worst_window(incident: Incident) -> bool:
    """Whether its contacts are those of the highest call alone, though it has more windows; of means nothing tells."""
    several = incident.ended_at - incident.started_at > _USUAL_WINDOW
    return several and incident.kind not in _MEANS and incident.affected == incident.observed


def _mean_words(family: str, kind: Kind, observed: float, expected: float, words: Words, unit: Words) -> str:
    name, suffix = words(family), f" {unit(family)}" if unit(family) else ""
    many = name.endswith("s") and not name.endswith(("ss", "us", "is"))
    lately = f"{'have' if many else 'has'} lately"
    if unit(family) == _SECONDS:
        verb = "around" if kind == "shift" else f"{lately} been around"
    else:
        verb = f"{lately} averaged" if kind != "shift" else "average" if many else "averages"
    return f"{name} {verb} {figure_words(observed)}{suffix}, usually {figure_words(expected)}{suffix}"


def _times(cause: Cause) -> tuple[str, str]:
    """A cause's ratio, and its interval in brackets after a blank."""
    if not cause.high <= _WIDE * cause.low:
        return f"at least {count_words(cause.low)} times", ""
    return f"{count_words(cause.risk_ratio)} times", f" ({count_words(cause.low)}-{count_words(cause.high)})"


def _contacts(number: float) -> str:
    return f"{count_words(number)} {'contact' if number == 1 else 'contacts'}"


def _plain(value: str) -> str:
    """A value from the data as one printable line: it must not be able to steer a terminal or forge a line."""
    return " ".join("".join(ch if ch.isprintable() else " " for ch in value).split())
