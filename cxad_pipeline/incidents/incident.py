"""What an incident is: the form that the pipeline, the store, alerts, the API and the dashboard share.

Belongs here: the records, and how a segment is written. Does not belong here: how incidents come about (`life.py`), how
they are kept (`store`) and told (`alerting`).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.interactions.schema import Direction

Status = Literal["open", "resolved", "merged", "withdrawn"]
"""`merged`: taken in by another incident; `withdrawn`: after its windows were scored again nothing is left of it."""


@dataclass(frozen=True)
class Call:
    """One segment in one window whose score reached the threshold: what incidents are made of.

    Attributes
    ----------
    segment
        The segment.
    window
        Start of the window, seconds since 1970 UTC.
    score
        As in `Findings.score`.
    threshold
        What it reached.
    family, kind
        The test that says most there (`Evidence`).
    observed, expected
        Of that test: counts, or means in the metric's own unit.
    affected, expected_affected, contacts
        Contacts of the segment in the window that show it, how many usually do, and all of them. For `volume`, affected
        are the contacts themselves.
    """

    segment: Key
    window: int
    score: float
    threshold: float
    family: str
    kind: Kind
    observed: float
    expected: float
    affected: int
    expected_affected: float
    contacts: int


@dataclass(frozen=True)
class Cause:
    """A part of the contacts in which most of what is affected lies.

    Attributes
    ----------
    segment
        One or two dimensions with their values.
    risk_ratio, low, high
        How many times likelier a contact in it is affected than one outside, with the bounds of its 95 % interval.
    affected, contacts
        In it. For incidents of volume: the contacts that came, and the number that usually does.
    share
        Of all that is affected, 0 to 1: its support.
    """

    segment: Key
    risk_ratio: float
    low: float
    high: float
    affected: int
    contacts: int
    share: float


@dataclass(frozen=True)
class Reason:
    """One test that speaks for the incident, at its worst in the incident's segment.

    Attributes
    ----------
    family, kind
        The test.
    observed, expected
        Counts, or means in the metric's own unit.
    surprise
        -log10 of its p-value.
    """

    family: str
    kind: Kind
    observed: float
    expected: float
    surprise: float


@dataclass(frozen=True)
class Example:
    """An interaction that shows the incident; nothing in it says who called.

    Attributes
    ----------
    interaction_id
        Its name.
    timestamp
        Start, UTC.
    value
        Of the incident's metric; None for incidents of volume, complaints or several metrics together.
    severity
        Of the interaction, 0 to 100.
    reasons
        As the detector says them, joined by "; "; may be empty.
    """

    interaction_id: str
    timestamp: dt.datetime
    value: float | None
    severity: float
    reasons: str


@dataclass(frozen=True)
class Incident:
    """A segment that is, or was, going wrong.

    Attributes
    ----------
    id
        `20261013-3f9a2c`: the day of its first window, and digits of a hash of what it began with.
    status
        Where it is in its life.
    segment
        That of its highest call.
    metric, direction, kind
        Family of the test that leads there, the bad end, and the kind of the test. With the segment they are the key by
        which it is known: never its time or score.
    started_at, ended_at
        Start of its first calling window, end of its last one; UTC.
    score, severity
        Highest score of its calls as it is now, and the same on the product's scale, 0 to 100.
    alert_score, alert_severity
        Both as they were when it was found. They never change: what people were told stays.
    critical
        Whether people are told at once.
    observed, expected
        Of the leading test, at the highest call.
    affected, expected_affected, contacts
        Sums over its calling windows in its segment: "41 of 55 contacts". Windows where another test leads that counts
        other contacts (`impact.counted_as`) are left out.
    causes, reasons, examples
        Up to three of each, the strongest first. Where a tail of a metric leads, the metric's mean at the highest call
        comes last among the reasons, however little it says by itself, unless its shift is one of them already.
    model_version
        Version of the detector that scored its contacts; empty where none did.
    threshold
        What its highest call had to reach.
    opened_at, updated_at, resolved_at
        When it was found, last changed and resolved, by the clock of the pipeline; UTC.
    merged_into
        The incident that took it in.
    """

    id: str
    status: Status
    segment: Key
    metric: str
    direction: Direction
    kind: Kind
    started_at: dt.datetime
    ended_at: dt.datetime
    score: float
    severity: float
    alert_score: float
    alert_severity: float
    critical: bool
    observed: float
    expected: float
    affected: int
    expected_affected: float
    contacts: int
    causes: tuple[Cause, ...]
    reasons: tuple[Reason, ...]
    examples: tuple[Example, ...]
    model_version: str
    threshold: float
    opened_at: dt.datetime
    updated_at: dt.datetime
    resolved_at: dt.datetime | None = None
    merged_into: str | None = None


def highest(calls: Iterable[Call]) -> Call:
    """The call that an incident is known by: the highest score; at a tie the earlier window, then fewer contacts."""
    return min(calls, key=lambda call: (-call.score, call.window, call.contacts, call.segment))


def segment_text(segment: Key) -> str:
    """A segment as it is stored and compared: JSON pairs, `[["queue", "billing"], ["channel", "voice"]]`."""
    return json.dumps([list(pair) for pair in segment], ensure_ascii=True)


def segment_of(text: str) -> Key:
    """What `segment_text` wrote.

    Raises
    ------
    ValueError
        If it is none.
    """
    pairs: Any = json.loads(text)
    if not isinstance(pairs, list) or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise ValueError(f'not a segment: {text[:80]!r}; write pairs, such as [["queue", "billing"]]')
    return tuple((str(name), str(value)) for name, value in pairs)


def contains(outer: Key, inner: Key) -> bool:
    """Whether every contact of one segment is one of the other, as far as their names tell."""
    return set(outer) <= set(inner)
