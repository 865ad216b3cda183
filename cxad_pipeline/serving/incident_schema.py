"""The answers about incidents, alerts and segments in words, for the OpenAPI.

Belongs here: what each key means, its unit and range. Does not belong here: writing an answer (`incident_answers`),
which takes no detour over these models.

A segment is a map of dimension to value, empty for all contacts.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

IncidentStatus = Literal["open", "resolved", "merged", "withdrawn"]
DeliveryState = Literal["pending", "sent", "dead", "dropped"]
Verdict = Literal["confirmed", "expected", "false_alarm", "new_trend"]

VERDICT = (
    "confirmed: a real problem; expected: unusual, and known to be; false_alarm: nothing unusual; new_trend: what is "
    "usual has changed."
)
_SEGMENT = "Dimension -> value; empty: all contacts."
_BILLING: dict[str, JsonValue] = {"queue": "billing", "channel": "voice"}
_TITLE = "billing / voice: hold time around 191 s, usually 62 s; high in 41 of 55 contacts, usually 6.2"
_OBSERVED = "Count, or mean in the metric's own unit; of durations the mean on a logarithmic scale, near the median."
_AT = "2026-10-13T09:00:00.000000Z"


class Part(BaseModel):
    """What knows its keys and no others."""

    model_config = ConfigDict(extra="forbid")


class VerdictDetails(Part):
    """What somebody said of an interaction or an incident."""

    verdict: Verdict = Field(description=VERDICT, examples=["confirmed"])
    by: str = Field(description="Name of the API key, or of who said it.", examples=["quality-desk"])
    at: dt.datetime = Field(description="When, in UTC.", examples=["2026-10-13T11:02:41.120000Z"])
    note: str = Field(description="In their own words; may be empty.", examples=["Line to billing was down."])
    until: dt.datetime | None = Field(
        None,
        description="End of the silence that `expected` has made, UTC; null, or left out, where there is none.",
        examples=["2026-10-20T08:00:00.000000Z"],
    )


class CauseDetails(Part):
    """A part of the contacts in which most of what is affected lies."""

    segment: dict[str, str] = Field(description=_SEGMENT, examples=[{"language": "de"}])
    risk_ratio: float | None = Field(
        description="How many times likelier a contact in it is affected than one outside; null: without bound.",
        examples=[4.1],
    )
    low: float | None = Field(description="Lower bound of its 95 % interval.", examples=[2.6])
    high: float | None = Field(description="Upper bound; null: there is none.", examples=[6.4])
    affected: int = Field(description="Affected contacts in it.", examples=[31])
    contacts: int = Field(description="Contacts in it.", examples=[36])
    share: float = Field(description="Of all that is affected, 0 to 1.", examples=[0.76])


class IncidentReason(Part):
    """One test that speaks for the incident, at its worst."""

    family: str = Field(description="Metric, `together`, `contacts` or `complaints`.", examples=["hold_time_seconds"])
    kind: str = Field(description="Which test of it.", examples=["shift"])
    observed: float | None = Field(description=_OBSERVED, examples=[191.4])
    expected: float | None = Field(description="What is usual, likewise.", examples=[62.0])
    surprise: float | None = Field(description="-log10 of its p-value.", examples=[9.3])


class ExampleDetails(Part):
    """An interaction that shows the incident."""

    interaction_id: str = Field(description="Its id.", examples=["I-20261013-004711"])
    timestamp: dt.datetime = Field(description="Start of the contact, UTC.", examples=[_AT])
    value: float | None = Field(description="Of the incident's metric; null where it has none.", examples=[612.0])
    severity: float = Field(description="Of the interaction, 0 to 100.", examples=[74.2])
    reasons: str = Field(description="As the detector says them; may be empty.", examples=["hold time 612 s"])


class IncidentDetails(Part):
    """A segment that is, or was, going wrong."""

    id: str = Field(description="Day of its first window, and digits of a hash.", examples=["20261013-3f9a2c"])
    status: IncidentStatus = Field(
        description="merged: taken in by another; withdrawn: after its windows were scored again nothing is left of it."
    )
    title: str = Field(description="What it is, in words.", examples=[_TITLE])
    segment: dict[str, str] = Field(description=_SEGMENT, examples=[_BILLING])
    metric: str = Field(description="Family of the test that leads.", examples=["hold_time_seconds"])
    direction: Literal["high", "low"] = Field(description="The bad end.", examples=["high"])
    kind: str = Field(description="Which test of it.", examples=["shift"])
    started_at: dt.datetime = Field(description="Start of its first window, UTC.", examples=[_AT])
    ended_at: dt.datetime = Field(description="End of its last window, UTC.", examples=["2026-10-13T11:00:00.000000Z"])
    score: float = Field(description="Highest score of its windows as it is now.", examples=[6.1])
    severity: float = Field(description="The same, 0 to 100.", examples=[68.0])
    alert_score: float = Field(description="The score as it was when people were told.", examples=[5.4])
    alert_severity: float = Field(description="The severity as it was then.", examples=[61.0])
    critical: bool = Field(description="Whether people are told at once; else it is in the digest.")
    observed: float | None = Field(description=_OBSERVED, examples=[191.4])
    expected: float | None = Field(description="What is usual, likewise.", examples=[62.0])
    affected: int = Field(description="Contacts that show it.", examples=[41])
    expected_affected: float | None = Field(description="How many usually do.", examples=[6.2])
    contacts: int = Field(description="Contacts of the segment in its windows.", examples=[55])
    causes: list[CauseDetails] = Field(description="Up to three, the strongest first.")
    reasons: list[IncidentReason] = Field(
        description="Up to three, the strongest first; where a tail of a metric leads, last its mean (`shift`)."
    )
    examples: list[ExampleDetails] = Field(description="Up to three, the clearest first.")
    model_version: str = Field(description="Version of the detector; empty where none scored.", examples=["v3"])
    threshold: float = Field(description="What its highest window had to reach.", examples=[4.2])
    opened_at: dt.datetime = Field(description="When it was found, UTC.", examples=["2026-10-13T12:00:07.120000Z"])
    updated_at: dt.datetime = Field(description="When it last changed, UTC.", examples=["2026-10-13T12:00:07.120000Z"])
    resolved_at: dt.datetime | None = Field(description="When it was resolved, UTC.", examples=[None])
    merged_into: str | None = Field(description="The incident that took it in.", examples=[None])
    verdict: VerdictDetails | None = Field(description="The latest on it; null: nobody has said anything.")


class IncidentPage(Part):
    """Incidents, the latest first."""

    incidents: list[IncidentDetails]
    next: str | None = Field(
        description="Pass it as `cursor`, with the same filters, for the next page; null: this is the last.",
        examples=["AAZMB6ZfKAAAAAAAAAAoyg"],
    )


class CallDetails(Part):
    """One segment in one window whose score reached the threshold."""

    segment: dict[str, str] = Field(description=_SEGMENT, examples=[_BILLING])
    window: dt.datetime = Field(description="Start of the window, UTC.", examples=[_AT])
    score: float = Field(description="-log10 of its adjusted p-value.", examples=[6.1])
    threshold: float = Field(description="What it reached.", examples=[4.2])
    family: str = Field(description="Of the test that leads there.", examples=["hold_time_seconds"])
    kind: str = Field(description="Which test of it.", examples=["shift"])
    observed: float | None = Field(description=_OBSERVED, examples=[191.4])
    expected: float | None = Field(description="What is usual, likewise.", examples=[62.0])
    affected: int = Field(description="Contacts that show it.", examples=[22])
    expected_affected: float | None = Field(description="How many usually do.", examples=[3.1])
    contacts: int = Field(description="All contacts there.", examples=[28])


class DeliveryDetails(Part):
    """One message on one channel."""

    id: int = Field(description="For /api/alerts/retry and /api/alerts/drop.", examples=[12])
    key: str = Field(description="Of the message: by it doubles are dropped.", examples=["20261013-3f9a2c:1"])
    kind: str = Field(description="What it is about.", examples=["incident"])
    topic: str = Field(description="What it belongs to.", examples=["incident:20261013-3f9a2c"])
    channel: str = Field(description="Where it goes.", examples=["slack"])
    state: DeliveryState = Field(
        description="pending: it waits or is tried again; dead: it was given up; dropped: likewise, and put away."
    )
    headline: str = Field(description="Its first line.", examples=[_TITLE])
    attempts: int = Field(description="How often it was tried.", examples=[1])
    uncertain: bool = Field(description="Whether an attempt may have reached the channel with nobody knowing.")
    error: str | None = Field(description="Why the last attempt failed; null: it did not.", examples=[None])
    queued_at: dt.datetime = Field(description="When it was written, UTC.", examples=["2026-10-13T12:00:07.120000Z"])
    due_at: dt.datetime = Field(description="When the next attempt is due, or the last one was, UTC.", examples=[_AT])
    sent_at: dt.datetime | None = Field(description="When it was sent, UTC; null: it was not.", examples=[None])
    given_up_at: dt.datetime | None = Field(description="When it was given up, UTC; null: it was not.", examples=[None])


class WholeIncident(IncidentDetails):
    """An incident with what it is made of and who was told."""

    calls: list[CallDetails] = Field(description="Its windows, the first one first.")
    alerts: list[DeliveryDetails] = Field(description="Its messages, the latest first.")


class AlertPage(Part):
    """Messages, the latest first."""

    alerts: list[DeliveryDetails]
    next: str | None = Field(
        description="Pass it as `cursor`, with the same `state`, for the next page; null: this is the last.",
        examples=["AAZMB6ZfKAAAAAAAAAAoyg"],
    )


class Revived(Part):
    """What came of a retry."""

    revived: int = Field(description="Dead letters that are tried again.", examples=[2])


class Dropped(Part):
    """What came of putting away."""

    dropped: int = Field(description="Dead letters that were put away.", examples=[2])


class Achieved(Part):
    """Incidents that began in some days of data."""

    days: int = Field(examples=[7])
    incidents: int = Field(description="Those that began in them, without merged and withdrawn ones.", examples=[4])
    per_week: float = Field(examples=[4.0])


class Budget(Part):
    """The promise, and what became of it."""

    promised_per_week: float = Field(description="`incidents.budget_per_week`, as calibrated.", examples=[5.0])
    replayed_per_week: float | None = Field(
        description="Incidents a week that the replay of history raised; null: nothing is calibrated yet.",
        examples=[4.8],
    )
    threshold: float | None = Field(description="Score from which on people are called.", examples=[4.2])
    calibrated_at: dt.datetime | None = Field(description="When, UTC.", examples=["2026-10-11T02:41:00.000000Z"])
    until: dt.datetime | None = Field(
        description="End of the newest data that were counted, UTC; null: none were.",
        examples=["2026-10-13T11:00:00.000000Z"],
    )
    achieved: list[Achieved] = Field(description="The last 7 and the last 28 days before `until`.")
