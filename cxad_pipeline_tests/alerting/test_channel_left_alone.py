"""A rate limit holds for a channel, with all that is to be told while it lasts."""

from __future__ import annotations

import datetime as dt
from typing import Any

from cxad_pipeline.alerting.channels import DeliveryError, Parcel
from cxad_pipeline.alerting.delivery import deliver_due
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.settings.operations import AlertSettings
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.outbox import Notice, queue

pytest_plugins = ["store_databases"]

NOW = dt.datetime(2026, 10, 13, 13, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


class _Limited:
    """A channel that takes nothing for an hour."""

    name, edits = "slack", False

    def __init__(self) -> None:
        self.asked: list[str] = []

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        self.asked.append(parcel.key)
        raise DeliveryError("429", retry_after=3600)


def test_messages_that_are_queued_after_a_rate_limit_ask_nothing_before_it_ends(store: Store) -> None:
    limited = _Limited()
    for minute in range(60):
        now = NOW + minute * MINUTE
        with store.writing() as connection:
            key = f"run:{minute}"
            content = Message(key, key).to_dict()
            queue(connection, Notice(key, "run_failure", key, content, now), ["slack"], at=now)
        deliver_due(store, [limited], policy=AlertSettings(), now=lambda now=now: now)  # type: ignore[misc]
    assert limited.asked == ["run:0"]
    deliver_due(store, [limited], policy=AlertSettings(), now=lambda: NOW + 60 * MINUTE)
    assert len(limited.asked) == 2
