"""Settings and events for tests of the live stream."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from cxad_pipeline.serving.live_events import Message
from cxad_pipeline.serving.subscription import Subscription
from cxad_pipeline.settings.serving import ServingSettings


def stream_settings(state: Path, **stream: Any) -> ServingSettings:
    return ServingSettings.model_validate({"state": str(state), "stream": stream})


def an_event(name: object, **columns: Any) -> dict[str, Any]:
    return {"interaction_id": str(name), "severity": 10.0, "anomaly": False, **columns}


def events_named(names: Iterable[object]) -> list[dict[str, Any]]:
    return [an_event(name) for name in names]


def all_there_is(subscription: Subscription) -> list[Message]:
    """Read without waiting until there is nothing more."""
    messages, more = subscription.read()
    while more:
        some, more = subscription.read()
        messages += some
    return messages


def name_of(message: Message) -> str:
    return str(orjson.loads(message.data)["interaction_id"])


def missed_in(messages: Iterable[Message]) -> int:
    return sum(orjson.loads(message.data)["missed"] for message in messages if message.name == "dropped")
