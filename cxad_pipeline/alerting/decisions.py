"""What is decided on a change of an incident: notices, withdrawn keys, and what is remembered.

Belongs here: the form of a decision, the keys of notices, and to whom one goes. Does not belong here: the rules
(`notices`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cxad_pipeline.alerting.channels.channel import Channel
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.store.incidents import Told
from cxad_pipeline.store.outbox import Notice

NoticeKind = Literal["opened", "update", "repeat", "resolved", "edit"]
Wording = NoticeKind | Literal["changed"]
"""How a message is worded: an `update` may tell that the incident has `changed`."""
Make = Callable[[Incident, Wording], Message]


@dataclass(frozen=True)
class Decision:
    """What becomes of one change.

    Attributes
    ----------
    withdrawn
        Keys to take out of the outbox, before the notices go in. A key that is not there, or was tried, stays.
    notices
        What goes into the outbox, to the channels that `receivers` names.
    told
        What people were last told, to be stored with the incident.
    """

    withdrawn: tuple[str, ...]
    notices: tuple[Notice, ...]
    told: Told


def receivers(notice: Notice, channels: Iterable[Channel]) -> list[str]:
    """Names of the channels that a notice goes to: an edit only to those that can edit."""
    return [channel.name for channel in channels if notice.kind != "edit" or channel.edits]


def topic_of(incident_id: str) -> str:
    """What all messages of one incident have in common."""
    return f"incident:{incident_id}"


def key_of(incident_id: str, kind: NoticeKind, number: int) -> str:
    """Of a message of an incident: `opened` comes once; all others count."""
    return f"{topic_of(incident_id)}:{kind}" + ("" if kind == "opened" else f":{number}")


def waiting_keys(incident_id: str, told: Told, now: datetime) -> tuple[str, ...]:
    """Keys that the message which waits can have; none where none does.

    The number tells which message it is, and only of the first of which kind. One that is due waits no more, though a
    channel may not have it yet.
    """
    if told.at is None or told.at <= now:
        return ()
    kinds: tuple[NoticeKind, ...] = ("opened",) if told.number == 1 else ("update", "resolved")
    return tuple(key_of(incident_id, kind, told.number) for kind in kinds)
