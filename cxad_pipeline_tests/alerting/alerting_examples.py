"""Score tables and a digest that several alerting tests share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from cxad_pipeline.alerting import WindowDigest, build_digest
from cxad_pipeline.interactions.schema import COLUMNS

START = datetime(2026, 10, 12, 6, tzinfo=UTC)
END = datetime(2026, 10, 12, 12, tzinfo=UTC)
DIMENSIONS = ("queue", "channel", "language")
METRICS = tuple(column for column in COLUMNS if column.is_metric)


def row(number: int, **changes: Any) -> dict[str, Any]:
    """One ordinary scored interaction, with what a test changes in it."""
    return {
        "interaction_id": f"c-{number:04d}",
        "timestamp": START + timedelta(seconds=number),
        "csat": 4.0,
        "ies": 70.5,
        "complaints": 0,
        "aht_seconds": 300.0,
        "hold_time_seconds": 30.0,
        "transfers": 0,
        "channel": "voice",
        "language": "en",
        "queue": "billing",
        "customer_name": "Erika Mustermann",
        "ensemble_score": 0.2,
        "ensemble_anomaly": 0,
        "severity": 10.0,
        "top_reasons": "",
        "model_version": "3",
    } | changes


def digest_of(rows: Sequence[Mapping[str, Any]], **changes: Any) -> WindowDigest:
    """The digest of some rows with the arguments that most tests want."""
    arguments: dict[str, Any] = {
        "window": (START, END),
        "expected_rate": 0.01,
        "dimensions": DIMENSIONS,
        "metrics": METRICS,
        "links": {},
        "model_version": "3",
        "rejected": 0,
    }
    return build_digest(pa.Table.from_pylist(list(rows)), **(arguments | changes))


def flagged(number: int, severity: float, **changes: Any) -> dict[str, Any]:
    """One anomaly."""
    return row(number, ensemble_anomaly=1, ensemble_score=0.9, severity=severity) | changes


def morning() -> list[dict[str, Any]]:
    """400 interactions: 6 anomalies in 40 of support / chat / de, one elsewhere."""
    rows = [row(number) for number in range(360)]
    rows += [row(number, queue="support", channel="chat", language="de") for number in range(360, 400)]
    for number, severity in ((361, 71.0), (365, 97.4), (370, 88.0), (380, 64.0), (381, 63.0), (390, 62.0)):
        rows[number] |= {
            "ensemble_anomaly": 1,
            "ensemble_score": severity / 100,
            "severity": severity,
            "hold_time_seconds": 1622.4,
            "csat": None,
            "top_reasons": "hold time 1,622 s (typical 10-95 s); no survey",
        }
    rows[17] |= {"ensemble_anomaly": 1, "ensemble_score": 0.8, "severity": 80.0, "complaints": 3}
    return rows
