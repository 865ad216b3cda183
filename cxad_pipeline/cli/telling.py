"""Who was told of an incident, and why nobody was, in words.

Belongs here: what commands say of messages and of the silence that kept an incident quiet. Does not belong here: the
commands (`incidents`, `silencing`), what is told when (`alerting.notices`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxad_pipeline.cli.moments import shown
from cxad_pipeline.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cxad_pipeline.store.incidents import StoredIncident
    from cxad_pipeline.store.outbox_status import Delivery
    from cxad_pipeline.store.silences import Silence


def delivery_words(delivery: Delivery, settings: Settings) -> str:
    """What became of a message, and when: "sent 2026-10-13 15:05", "due ..." or "given up ..."."""
    if delivery["state"] == "pending":
        return f"due {shown(delivery['due_at'], settings)}"
    ended = {"sent": "sent", "dead": "given up", "dropped": "put away, given up"}[delivery["state"]]
    return f"{ended} {shown(delivery['settled_at'], settings)}"


def error_words(delivery: Delivery) -> str:
    """Why a message failed, without its headline, which the channels name and which is shown beside it."""
    return (delivery["error"] or "").replace(f" {delivery['headline']!r}", "")


def silence_of(
    connection: Connection, found: StoredIncident, silences: Sequence[Silence], now: dt.datetime
) -> Silence | None:
    """The silence because of which nobody was told of an incident; None where somebody was, or none covers it.

    Parameters
    ----------
    connection
        `Store.reading`.
    found
        The incident.
    silences
        All that there ever were, `find_silences`.
    now
        The present moment, UTC.

    Returns
    -------
    Silence or None
        One that holds now, or held when the incident ended; else one that held when it was found.
    """
    from cxad_pipeline.store.segment_names import closure_of
    from cxad_pipeline.store.silences import silencing

    one = found.incident
    if found.told.at is not None or not silences:
        return None
    closure = closure_of(connection, one.segment)
    for moment in (now if one.status == "open" else one.resolved_at or one.updated_at, one.opened_at):
        held = [silence for silence in silences if silence.starts_at <= moment < silence.ends_at]
        silence = silencing(held, closure, one.metric)
        if silence is not None:
            return silence
    return None


def telling_words(
    found: StoredIncident, deliveries: Sequence[Delivery], silence: Silence | None, settings: Settings
) -> str:
    """How people are told, and when they were, or are to be: a message that waits has told nobody.

    Parameters
    ----------
    found
        The incident.
    deliveries
        Of its messages.
    silence
        `silence_of` it.
    settings
        Its clock is used.
    """
    if silence is not None:
        return f"silenced, number {silence.id}, until {shown(silence.ends_at, settings)}"
    how = "at once" if found.incident.critical else "in the digest"
    sent = max((one["settled_at"] or "" for one in deliveries if one["state"] == "sent"), default="")
    due = min((one["due_at"] for one in deliveries if one["state"] == "pending"), default="")
    parts = [f"last sent {shown(sent, settings)}"] if sent else []
    parts += [f"due {shown(due, settings)}"] if due else []
    if deliveries:
        return ", ".join([how, *(parts or ["but no message could be delivered"])])
    return f"{how}, {shown(found.told.at, settings)}" if found.told.at is not None else f"{how}; nobody has been yet"
