"""How the parts of an incident are written, and read back.

Belongs here: from records to rows and back. Does not belong here: queries (`incidents`).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import Row

from cxad_pipeline.incidents.incident import Call, Cause, Example, Incident, Reason, segment_of, segment_text
from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.pages import iso

_PLAIN = (
    "id", "status", "metric", "direction", "kind", "started_at", "ended_at", "score", "severity", "alert_score",
    "alert_severity", "critical", "observed", "expected", "affected", "expected_affected", "contacts",
    "model_version", "threshold", "opened_at", "updated_at", "resolved_at", "merged_into",
)  # fmt: skip
_OF_CALL = (
    "window", "score", "threshold", "family", "kind", "observed", "expected", "affected", "expected_affected",
    "contacts",
)  # fmt: skip
Number = float | str
"""A number in JSON, which has none that are not finite: those are texts that `float` reads."""


def json_number(value: float) -> Number:
    """A number for JSON."""
    value = float(value)
    return value if math.isfinite(value) else repr(value)


def row_of_incident(incident: Incident) -> dict[str, Any]:
    """The columns of an incident.

    Raises
    ------
    ValueError
        If a number is NaN.
    """
    segment = segment_text(incident.segment)
    plain = {name: getattr(incident, name) for name in _PLAIN}
    return {
        **_finite(incident.id, plain),
        "id_digest": digest(incident.id),
        "segment": segment,
        "segment_digest": digest(segment),
        "causes": [_cause(cause) for cause in incident.causes],
        "reasons": [_reason(reason) for reason in incident.reasons],
        "examples": [_example(example) for example in incident.examples],
    }


def incident_of(row: Row[Any]) -> Incident:
    """The incident of a row."""
    return Incident(
        **{name: getattr(row, name) for name in _PLAIN},
        segment=segment_of(row.segment),
        causes=tuple(_cause_of(written) for written in row.causes),
        reasons=tuple(_reason_of(written) for written in row.reasons),
        examples=tuple(_example_of(written) for written in row.examples),
    )


def row_of_call(incident_id: str, call: Call) -> dict[str, Any]:
    """The columns of a call.

    Raises
    ------
    ValueError
        If a number is NaN.
    """
    plain = {name: getattr(call, name) for name in _OF_CALL}
    return {**_finite(incident_id, plain), "segment": segment_text(call.segment)}


def call_of(row: Row[Any]) -> Call:
    """The call of a row."""
    return Call(segment=segment_of(row.segment), **{name: getattr(row, name) for name in _OF_CALL})


def _finite(incident_id: str, plain: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in plain.items():
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"incident {incident_id}: {name} is no number (NaN), which can't be kept")
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in plain.items()}


def _cause(cause: Cause) -> dict[str, Any]:
    numbers = {name: json_number(getattr(cause, name)) for name in ("risk_ratio", "low", "high", "share")}
    counts = {"affected": int(cause.affected), "contacts": int(cause.contacts)}
    return {"segment": segment_text(cause.segment), **numbers, **counts}


def _cause_of(written: Mapping[str, Any]) -> Cause:
    numbers = {name: float(written[name]) for name in ("risk_ratio", "low", "high", "share")}
    return Cause(
        segment=segment_of(written["segment"]), affected=written["affected"], contacts=written["contacts"], **numbers
    )


def _reason(reason: Reason) -> dict[str, Any]:
    numbers = {name: json_number(getattr(reason, name)) for name in ("observed", "expected", "surprise")}
    return {"family": reason.family, "kind": reason.kind, **numbers}


def _reason_of(written: Mapping[str, Any]) -> Reason:
    numbers = {name: float(written[name]) for name in ("observed", "expected", "surprise")}
    return Reason(family=written["family"], kind=written["kind"], **numbers)


def _example(example: Example) -> dict[str, Any]:
    return {
        "interaction_id": example.interaction_id,
        "timestamp": iso(example.timestamp),
        "value": None if example.value is None else json_number(example.value),
        "severity": json_number(example.severity),
        "reasons": example.reasons,
    }


def _example_of(written: Mapping[str, Any]) -> Example:
    value = written["value"]
    return Example(
        written["interaction_id"],
        dt.datetime.fromisoformat(written["timestamp"]),
        None if value is None else float(value),
        float(written["severity"]),
        written["reasons"],
    )
