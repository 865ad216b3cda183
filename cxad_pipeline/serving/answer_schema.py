"""The answers of /score in words, for the OpenAPI.

Belongs here: what each key means, its unit and range. Does not belong here: writing an answer (`answers`), which takes
no detour over these models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from cxad_pipeline.detection.attribution import Direction

Flag = Literal[0, 1]

_ID = "As given in the request."
_SCORES = (
    "Score by model, higher = more anomalous; a model's own scale, comparable with its threshold in /models. `both`: "
    "all members; `ensemble`: those and `ensemble`; a member's name: that one alone."
)
_FLAGS = (
    "1 where the score reaches the model's threshold, else 0. `ensemble` says for `both` whether any member flags, "
    "and for `ensemble` what the configured strategy decides, as in batch scoring; it is left out for a single member."
)
_VERSION = "Version of the registered model that scored."
_LABEL_PATTERN = "^v"

_EXAMPLE: dict[str, JsonValue] = {
    "interaction_id": "I-20261013-004711",
    "scores": {"iforest": 0.6124, "rcf": 2.2041},
    "is_anomaly": {"iforest": 1, "rcf": 1, "ensemble": 1},
}
_REASON: dict[str, JsonValue] = {
    "column": "hold_time_seconds",
    "value": 612.0,
    "low": 10.0,
    "high": 140.2,
    "direction": "high",
    "share": 0.63,
    "segment": "billing/voice",
    "text": "hold time 612 s, typical 10-140 s for billing/voice",
}
_TYPICAL: dict[str, JsonValue] = {
    "segment": "billing/voice",
    "columns": {"hold_time_seconds": {"low": 10.0, "high": 140.2}},
}
_EXPLAINED: dict[str, JsonValue] = {**_EXAMPLE, "severity": 74.2, "reasons": [_REASON], "typical_ranges": _TYPICAL}
_TOTALS: dict[str, JsonValue] = {
    "total_records": 1,
    "anomalies_detected": 1,
    "processing_time_ms": 0.412,
    "model_version": "v3",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReasonDetails(_Part):
    """One column's part in a score."""

    column: str = Field(description="Name of the column.", examples=["hold_time_seconds"])
    value: float | str | None = Field(
        description="Its value in the record, in the column's unit; null where missing. Of the start of the contact, "
        "local weekday and time: `Sunday 03:12`.",
        examples=[612.0],
    )
    low: float | None = Field(
        description="5th percentile of the column in training, of the records of `segment`; null where there is none.",
        examples=[10.0],
    )
    high: float | None = Field(description="95th percentile, likewise.", examples=[140.2])
    direction: Direction = Field(
        description="Of a number: `high`, `low` or `within` low to high, `unseen` where training has no value of it. "
        "Of a category or an hour: `rare`, `common` or `unseen`. `missing`: the record has no value.",
    )
    share: float = Field(
        gt=0, le=1, description="Part of what makes the record unusual that is this column's.", examples=[0.63]
    )
    segment: str = Field(
        description="Segment that low and high are of, or its parent where training has too few records of it; empty: "
        "all records.",
        examples=["billing/voice"],
    )
    text: str = Field(description="All of it in words.", examples=[_REASON["text"]])


class TypicalRange(_Part):
    """What is typical of a number, in its column's unit."""

    low: float = Field(description="5th percentile in training.", examples=[10.0])
    high: float = Field(description="95th percentile in training.", examples=[140.2])


class TypicalRanges(_Part):
    """What is typical of the numbers of a record."""

    segment: str = Field(description="Segment that the ranges are of; empty: all records.", examples=["billing/voice"])
    columns: dict[str, TypicalRange] = Field(
        description="By number column; those that training has no value of in this segment are left out."
    )


class ScoreEntry(_Part):
    """Scores of one interaction."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    interaction_id: str = Field(description=_ID, examples=["I-20261013-004711"])
    scores: dict[str, float] = Field(description=_SCORES, examples=[_EXAMPLE["scores"]])
    is_anomaly: dict[str, Flag] = Field(description=_FLAGS, examples=[_EXAMPLE["is_anomaly"]])


class ExplainedEntry(ScoreEntry):
    """Scores of one interaction and why it has them; with `explain=true`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXPLAINED]})

    severity: float = Field(
        ge=0,
        le=100,
        description="How rare the score is on a log scale, rounded to one decimal; 100: one normal interaction in a "
        "million or fewer. The ensemble's, or that of the single model.",
        examples=[74.2],
    )
    reasons: list[ReasonDetails] = Field(max_length=3, description="Highest share first.")
    typical_ranges: TypicalRanges = Field(description="What is typical of the record's segment.")


class ScoreLine(ScoreEntry):
    """A line of an NDJSON answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE | {"model_version": "v3"}]})

    model_version: str = Field(pattern=_LABEL_PATTERN, description=_VERSION, examples=["v3"])


class ExplainedLine(ExplainedEntry):
    """A line of an NDJSON answer with `explain=true`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXPLAINED | {"model_version": "v3"}]})

    model_version: str = Field(pattern=_LABEL_PATTERN, description=_VERSION, examples=["v3"])


class ScoreAnswer(_Part):
    """Scores of the interactions of a request, in its order."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"scores": [_EXAMPLE], **_TOTALS}, {"scores": [_EXPLAINED], **_TOTALS}]}
    )

    scores: Annotated[list[ExplainedEntry] | list[ScoreEntry], Field(description="One entry for each interaction.")]
    total_records: int = Field(ge=0, description="Number of interactions.", examples=[1])
    anomalies_detected: int = Field(
        ge=0,
        description="How many of them are flagged: by `ensemble` in `is_anomaly`, or by the single model.",
        examples=[1],
    )
    processing_time_ms: float = Field(
        ge=0, description="Reading, scoring and writing, on the server, in milliseconds.", examples=[0.412]
    )
    model_version: str = Field(pattern=_LABEL_PATTERN, description=_VERSION, examples=["v3"])
    ignored_fields: dict[str, int] = Field(
        default_factory=dict,
        description="Fields that the schema does not know, and in how many records each stood; left out where there "
        "are none. A misspelt name shows here.",
        examples=[{"aht_second": 1}],
    )
    unknown_categories: dict[str, int] = Field(
        default_factory=dict,
        description="Category columns, and how many records have a category that training has not seen, which counts "
        "as none; left out where there are none.",
        examples=[{"queue": 1}],
    )
