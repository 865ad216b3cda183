"""Anomalies as the API finds them, for tests of spool, store and routes."""

from __future__ import annotations

import datetime as dt
from typing import Any

from cxad_pipeline.store.records import AnomalyRecord

_START = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)


def moment(seconds: float) -> str:
    """So many seconds after the start of Monday, 2 March 2026."""
    return (_START + dt.timedelta(seconds=seconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def anomaly(interaction_id: str, *, at: float = 0, scored: float = 60, **changes: Any) -> AnomalyRecord:
    """An anomaly of a contact that began `at` and was scored at `scored`, both in seconds."""
    interaction = {
        "interaction_id": interaction_id,
        "timestamp": moment(at),
        "csat": 1.0,
        "aht_seconds": 1840.0,
        "channel": "voice",
        "language": "de",
        "queue": "billing",
    }
    reason = {
        "column": "aht_seconds", "value": 1840.0, "low": 120.0, "high": 900.0, "direction": "high", "share": 0.7,
        "segment": "billing/voice", "text": "handle time 1,840 s, typically 120-900 s in billing/voice",
    }  # fmt: skip
    record: dict[str, Any] = {
        "interaction_id": interaction_id,
        "timestamp": moment(at),
        "scored_at": moment(scored),
        "model": "both",
        "model_version": "v3",
        "severity": 71.2,
        "scores": {"iforest": 0.6124, "rcf": 2.2041},
        "is_anomaly": {"iforest": 1, "rcf": 1, "ensemble": 1},
        "reasons": [reason],
        "interaction": interaction | changes.pop("interaction", {}),
    }
    record |= changes
    return record  # type: ignore[return-value]
