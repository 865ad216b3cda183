"""A message, as every channel takes it.

Belongs here: its form. Does not belong here: what it says (`incident_messages`, `digest`, `run_failure`), and how it
leaves (`channels`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Block = dict[str, Any]


@dataclass(frozen=True)
class Message:
    """What a channel sends.

    Attributes
    ----------
    headline
        The outcome in one line: the first line of `text`, the subject of an e-mail.
    text
        The whole message as plain text, not escaped for any channel.
    blocks
        The same for Slack (Block Kit), escaped; empty where the text is enough.
    html
        The same as the body of an HTML e-mail, escaped; empty where the text is enough.
    news
        What has changed, in one or two lines of plain text: what is posted into the thread of a message that can be
        edited. Empty: the message is new in itself.
    """

    headline: str
    text: str
    blocks: Sequence[Block] = ()
    html: str = ""
    news: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The message as JSON takes it."""
        return {
            "headline": self.headline,
            "text": self.text,
            "blocks": list(self.blocks),
            "html": self.html,
            "news": self.news,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Message:
        """The message that `to_dict` wrote."""
        return cls(**{**stored, "blocks": tuple(stored["blocks"])})
