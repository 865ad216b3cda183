"""An incident that several alerting tests tell of, and the limits that Slack publishes for what they tell it with."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

from cxad_pipeline.incidents.incident import Cause, Example, Incident, Reason

FOUND = dt.datetime(2026, 10, 13, 13, 5, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)

BILLING = (("queue", "billing"), ("channel", "voice"))


def incident(**changes: Any) -> Incident:
    """Hold times in a queue that were far too long from 12:00 to 13:00 UTC, with what a test changes in it."""
    long_hold = Incident(
        id="20261013-3f9a2c",
        status="open",
        segment=BILLING,
        metric="hold_time_seconds",
        direction="high",
        kind="far tail",
        started_at=dt.datetime(2026, 10, 13, 12, tzinfo=dt.UTC),
        ended_at=dt.datetime(2026, 10, 13, 13, tzinfo=dt.UTC),
        score=3.8,
        severity=63.3,
        alert_score=3.8,
        alert_severity=63.3,
        critical=True,
        observed=41.0,
        expected=4.2,
        affected=41,
        expected_affected=4.2,
        contacts=55,
        causes=(Cause((("language", "de"),), 6.3, 3.9, 10.2, 36, 40, 36 / 41),),
        reasons=(
            Reason("hold_time_seconds", "far tail", 41.0, 4.2, 8.1),
            Reason("hold_time_seconds", "shift", 412.0, 61.5, 6.4),
            Reason("contacts", "volume", 55.0, 41.0, 2.2),
        ),
        examples=(
            Example("c-0365", dt.datetime(2026, 10, 13, 12, 6, tzinfo=dt.UTC), 1622.4, 97.4, "hold time 1,622 s"),
            Example("c-0370", dt.datetime(2026, 10, 13, 12, 9, tzinfo=dt.UTC), 1407.0, 88.0, ""),
        ),
        model_version="3",
        threshold=2.4,
        opened_at=FOUND,
        updated_at=FOUND,
    )
    return replace(long_hold, **changes)


def texts_of(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All text objects of the blocks."""
    found: list[dict[str, Any]] = []
    for block in blocks:
        found += [block["text"]] if "text" in block else []
        found += block.get("elements", [])
    return found


def assert_slack_takes(blocks: list[dict[str, Any]]) -> None:
    """Slack's published limits for the kinds of block that we use."""
    assert 1 <= len(blocks) <= 50
    for block in blocks:
        assert block["type"] in {"header", "section", "context", "divider"}
        if block["type"] == "header":
            assert block["text"]["type"] == "plain_text"
            assert 1 <= len(block["text"]["text"]) <= 150
        if block["type"] == "section":
            assert 1 <= len(block["text"]["text"]) <= 3000
        if block["type"] == "context":
            assert 1 <= len(block["elements"]) <= 10
            assert all(1 <= len(element["text"]) <= 3000 for element in block["elements"])
    for text in texts_of(blocks):
        assert text["type"] == "plain_text" or text["verbatim"] is True
    json.dumps(blocks).encode()
