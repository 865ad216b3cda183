"""What reviewers send and get, in words, for the OpenAPI.

Belongs here: anomalies, verdicts, silences, precision: what each key means, its unit and range. Does not belong here:
the routes (`routes_review`), incidents (`incident_schema`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import ConfigDict, Field, create_model, model_validator

from cxad_pipeline.interactions.record import TEXT_PATTERN
from cxad_pipeline.serving.answer_schema import Flag, ReasonDetails
from cxad_pipeline.serving.incident_schema import VERDICT, Part, Verdict, VerdictDetails
from cxad_pipeline.serving.query import INCIDENT_PATTERN, Cursor, Moment, StrictBool, Text

LONGEST_NOTE = 2000
_INTERACTION: dict[str, Any] = {
    "interaction_id": "I-20261013-004711",
    "timestamp": "2026-10-13T09:30:00.000000Z",
    "hold_time_seconds": 612.0,
    "queue": "billing",
}
_SINCE = "Contacts that began then or later: ISO 8601; without zone, in the configured `timezone`."
_ONE_OF_TWO: dict[str, Any] = {
    "allOf": [
        {
            "oneOf": [
                {
                    "required": [one],
                    "properties": {one: {"type": "string"}, other: {"type": "null"}},
                }
                for one, other in (("interaction_id", "incident_id"), ("incident_id", "interaction_id"))
            ]
        },
        {
            "anyOf": [
                {"properties": {"until": {"type": "null"}}},
                {"properties": {"verdict": {"const": "expected"}}},
            ]
        },
    ]
}


class AnomalyDetails(Part):
    """One interaction that was found unusual."""

    interaction_id: str = Field(description="As given to /score.", examples=["I-20261013-004711"])
    timestamp: dt.datetime = Field(description="Start of the contact, UTC.", examples=["2026-10-13T09:30:00.000000Z"])
    scored_at: dt.datetime = Field(description="When it was scored, UTC.", examples=["2026-10-13T09:41:07.314159Z"])
    model: str = Field(description="What was asked for: both, ensemble or one model.", examples=["both"])
    model_version: str = Field(description="Version of the registered model that scored.", examples=["v3"])
    severity: float = Field(ge=0, le=100, description="How rare the score is on a log scale.", examples=[74.2])
    scores: dict[str, float] = Field(description="Score by model.", examples=[{"iforest": 0.6124, "rcf": 2.2041}])
    is_anomaly: dict[str, Flag] = Field(description="By model.", examples=[{"iforest": 1, "rcf": 1, "ensemble": 1}])
    reasons: list[ReasonDetails] = Field(description="Highest share first.")
    interaction: dict[str, Any] = Field(description="The record that was scored.", examples=[_INTERACTION])
    source: str = Field(description="By which way it came: api, or batch scoring.", examples=["api"])
    verdict: VerdictDetails | None = Field(description="The latest on the interaction; null: nobody has said anything.")


class AnomalyPage(Part):
    """Anomalies, the latest contact first."""

    anomalies: list[AnomalyDetails]
    next: str | None = Field(
        description="Pass it as `cursor`, with the same filters, for the next page; null: this is the last.",
        examples=["AAZMB6ZfKAAAAAAAAAAoyg"],
    )


class AnomalyQuery(Part):
    """Which anomalies are wanted."""

    since: Moment | None = Field(None, description=_SINCE, examples=["2026-10-13T00:00:00Z"])
    until: Moment | None = Field(
        None, description="Contacts that began before then, likewise.", examples=["2026-10-14T00:00:00Z"]
    )
    min_severity: float | None = Field(
        None, ge=0, le=100, allow_inf_nan=False, description="This severe or more.", examples=[60]
    )
    channel: Text | None = Field(None, description="Of this channel.", examples=["voice"])
    language: Text | None = Field(None, description="In this language.", examples=["en"])
    queue: Text | None = Field(None, description="Of this queue.", examples=["billing"])
    interaction_id: Text | None = Field(
        None,
        description="One interaction, by every model version that found it unusual.",
        examples=["I-20261013-004711"],
    )
    hide_expected: StrictBool = Field(
        False,
        description="Without those that are said to be expected or a false alarm, or that a silence covers.",
    )
    cursor: Cursor | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=500, description="Most anomalies of a page.")


class FeedbackBody(Part):
    """What somebody says of an interaction or of an incident."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_ONE_OF_TWO)

    interaction_id: Text | None = Field(
        None,
        description="Of an interaction that was found unusual; this or `incident_id`.",
        examples=["I-20261013-004711"],
    )
    incident_id: str | None = Field(
        None, pattern=INCIDENT_PATTERN, description="This or `interaction_id`.", examples=["20261013-3f9a2c"]
    )
    verdict: Verdict = Field(description=VERDICT, examples=["confirmed"])
    note: str = Field(
        "",
        max_length=LONGEST_NOTE,
        pattern=TEXT_PATTERN,
        description="In your own words; no personal data.",
        examples=["Line to billing was down."],
    )
    until: Moment | None = Field(
        None,
        description="With `expected` alone: how long to keep quiet about it; without it, for feedback.expected_days.",
        examples=["2026-10-20T08:00:00Z"],
    )

    @model_validator(mode="after")
    def _whole(self) -> FeedbackBody:
        if (self.interaction_id is None) == (self.incident_id is None):
            raise ValueError("give either interaction_id or incident_id")
        if self.until is not None and self.verdict != "expected":
            raise ValueError("until goes with the verdict expected alone, which is what keeps quiet")
        return self


class SilenceDetails(Part):
    """What nobody is told of for a time."""

    id: int = Field(description="Ends it: DELETE /api/silences/{id}.", examples=[4])
    scope: Literal["incidents", "anomalies"] = Field(description="Of what nobody is told.")
    segment: dict[str, str] = Field(
        description="Dimension -> value: this segment and those inside it; empty: all contacts.",
        examples=[{"queue": "billing", "channel": "voice"}],
    )
    metric: str | None = Field(description="This one alone; null: all.", examples=["hold_time_seconds"])
    owner: str = Field(description="Who made it: name of the API key.", examples=["quality-desk"])
    reason: str = Field(description="Why, in their words.", examples=["Migration of the billing line."])
    starts_at: dt.datetime = Field(description="UTC.", examples=["2026-10-13T11:02:41.120000Z"])
    ends_at: dt.datetime = Field(description="UTC.", examples=["2026-10-14T06:00:00.000000Z"])
    ended_by: str | None = Field(description="Who ended it before its time; null: nobody did.", examples=[None])


class SilenceAnswer(SilenceDetails):
    """The silence as it is kept."""

    extended: bool = Field(
        description="true: one of the same segment and metric held already and was extended; it keeps its id and "
        "start, and has the later end of the two.",
        examples=[False],
    )


class FeedbackAnswer(VerdictDetails):
    """The verdict as it was added, and what it brought about at once."""

    interaction_id: str | None = Field(description="As given.", examples=["I-20261013-004711"])
    incident_id: str | None = Field(description="As given.", examples=[None])
    silence: SilenceDetails | None = Field(
        description="What `expected` has made or extended; null with other verdicts."
    )
    released: list[SilenceDetails] = Field(
        description="Silences that `expected` had made before, of which this other verdict on the same is a change of "
        "mind: ended, or going on until `ends_at` where others asked for it."
    )


class SilenceQuery(Part):
    """Which silences are wanted."""

    active: StrictBool = Field(True, description="Those that hold now; false: those that have ended, too.")


class SilenceList(Part):
    """Silences, the one that ends last first."""

    silences: list[SilenceDetails]


class SilenceBody(Part):
    """What nobody shall be told of, until when, and why; the form of each deployment has its dimensions and metrics."""

    segment: dict[str, str]
    metric: str | None = None
    reason: str = Field(
        min_length=1,
        max_length=LONGEST_NOTE,
        pattern=TEXT_PATTERN,
        description="Why, in your own words; no personal data.",
        examples=["Migration of the billing line."],
    )
    ends_at: Moment = Field(description="When people are told again.", examples=["2026-10-14T06:00:00Z"])
    new_segment: StrictBool = Field(
        False,
        description="The segment is still to come, such as a queue that opens tomorrow; without it, one in which "
        "no contact was counted so far is refused, since it may be misspelt.",
    )


def silence_form(dimensions: Sequence[str], subjects: Sequence[str]) -> type[SilenceBody]:
    """The form of a deployment with these dimensions, whose incidents are about these subjects."""
    described = Field(
        description="Dimension -> value: nobody is told of this segment and those inside it; {}: of nothing at all.",
        examples=[dict(zip(dimensions, ("billing", "voice"), strict=False))],
    )
    segment: Any = dict[Literal[tuple(dimensions)], Text]  # type: ignore[misc]
    metric: Any = Literal[tuple(subjects)] | None
    of_metric = Field(None, description="Incidents about this one alone; null: about any.", examples=[subjects[0]])
    return create_model("SilenceBody", __base__=SilenceBody, segment=(segment, described), metric=(metric, of_metric))


class PrecisionQuery(Part):
    """Which verdicts count."""

    since: Moment | None = Field(
        None, description="Verdicts since then; without it, all of them.", examples=["2026-09-01T00:00:00Z"]
    )


class SegmentPrecision(Part):
    """How often it was right about a segment, as people say."""

    segment: dict[str, str] = Field(description="Dimension -> value; empty: all contacts.")
    confirmed: int = Field(examples=[7])
    expected: int = Field(examples=[1])
    false_alarms: int = Field(examples=[2])
    new_trends: int = Field(examples=[0])
    precision: float | None = Field(
        description="Confirmed ones among those that are confirmed or a false alarm; null: there is neither.",
        examples=[0.78],
    )


class PrecisionList(Part):
    """Segments with verdicts on their incidents."""

    segments: list[SegmentPrecision]
