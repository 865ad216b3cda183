"""The answers about incidents, alerts and silences as they are written.

Belongs here: from the store's records to plain JSON. Does not belong here: what the keys mean (`incident_schema`,
`review_schema`), questions to the store (`routes_*`).

JSON knows neither infinity nor NaN, and a risk ratio may be without bound: such numbers are null.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxad_pipeline.incidents.incident import Call, Incident
    from cxad_pipeline.interactions.schema import InteractionSchema
    from cxad_pipeline.store.incidents import StoredIncident
    from cxad_pipeline.store.outbox_status import Delivery
    from cxad_pipeline.store.silences import Silence


def plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with moments as texts in UTC, segments as maps, and null for what is no finite number."""
    return {name: _plain(name, value) for name, value in record.items()}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return moment(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if name == "segment":
        return dict(value)
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def moment(at: dt.datetime) -> str:
    """A moment as the product writes it."""
    from cxad_pipeline.store.pages import iso

    return iso(at)


def titles(schema: InteractionSchema) -> Callable[[Incident], str]:
    """What puts an incident into a line, in the words and units of the deployment's columns."""
    columns = {column.name: column for column in schema.columns}

    def words(name: str) -> str:
        return columns[name].words if name in columns else name.replace("_", " ")

    def unit(name: str) -> str:
        return columns[name].unit if name in columns else ""

    def title(incident: Incident) -> str:
        from cxad_pipeline.incidents.incident_words import segment_words, what

        return f"{segment_words(incident.segment)}: {what(incident, words, unit)}"

    return title


def incident_answer(stored: StoredIncident, title: Callable[[Incident], str]) -> dict[str, Any]:
    """An incident with its title and the latest verdict, without its calls."""
    return {**plain(asdict(stored.incident)), "title": title(stored.incident), "verdict": stored.verdict}


def call_answer(call: Call) -> dict[str, Any]:
    """A call; its window as a moment."""
    return plain({**asdict(call), "window": dt.datetime.fromtimestamp(call.window, dt.UTC)})


def silence_answer(silence: Silence) -> dict[str, Any]:
    """A silence."""
    return plain(asdict(silence))


def delivery_answer(delivery: Delivery) -> dict[str, Any]:
    """A message on one channel; when it was settled is told by what became of it."""
    told: dict[str, Any] = {name: value for name, value in delivery.items() if name != "settled_at"}
    settled = delivery["settled_at"]
    told["sent_at"] = settled if delivery["state"] == "sent" else None
    told["given_up_at"] = settled if delivery["state"] in ("dead", "dropped") else None
    return told
