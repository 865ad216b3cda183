"""What a channel is: what it is given, what it gives back and how it fails.

Belongs here: the interface between the outbox's deliveries and the channels, and the error that all of them raise. Does
not belong here: any one channel (a module each), which channels there are (`configured`), and whether, when and how
often a delivery is tried (`delivery`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from cxad_pipeline.alerting.message import Message

FOLLOW_UPS = frozenset({"update", "repeat", "resolved", "edit"})
"""Kinds that belong to the topic's first message. The others stand alone, even where a topic (the digests) has many."""


ATTEMPT_SECONDS = 120.0
"""After so long a channel begins nothing more for a message, or ends what it does. An attempt that outlived its lease
(`delivery`) would be made again by somebody else meanwhile."""


class Secret(Protocol):
    """A value that hides itself, such as pydantic's SecretStr."""

    def get_secret_value(self) -> str:
        """The value in clear."""
        ...


class DeliveryError(Exception):
    """A message was not delivered, or it is not known whether it was.

    The text says what the channel answered and what to do, and holds no secret.

    Parameters
    ----------
    text
        The fault in one line.
    retry_after
        Seconds for which the channel asked to be left alone, at most a day; None where it did not say.
    permanent
        The message or its address will never be taken. What is wrong with the channel (a revoked token, a password
        that was changed, a bot that was not invited) is not permanent: people mend it within hours, and until then an
        attempt now and then costs less than the page that would be lost.
    uncertain
        The message may have arrived all the same: the answer to a request that had been sent was lost.
    """

    def __init__(
        self, text: str, *, retry_after: float | None = None, permanent: bool = False, uncertain: bool = False
    ) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.permanent = permanent
        self.uncertain = uncertain


@dataclass(frozen=True)
class Parcel:
    """One message on its way to one channel.

    Attributes
    ----------
    key
        Name of the message, the same in every attempt.
    topic
        What it is about, such as "incident:20261013-3f9a2c" or "digest".
    kind
        "opened", "update", "repeat", "resolved", "edit", "digest" or "run_failure". An `edit` brings the topic's first
        message up to date and calls nobody.
    message
        What is said.
    uncertain
        An earlier attempt began and its end is not known: the message may be there already.
    first
        Receipt of the topic's first message on this channel; None where there is none.
    queued_at
        When the message was put into the outbox, time zone aware.
    """

    key: str
    topic: str
    kind: str
    message: Message
    queued_at: datetime
    uncertain: bool = False
    first: Mapping[str, Any] | None = None

    @property
    def identity(self) -> str:
        """By which receivers know doubles: the same in every attempt, and of no other message anywhere.

        The keys of two installations can be alike, as those of their digests are, and so can those of a store and of
        the one that follows it. When a message was queued, to the microsecond, tells them apart.
        """
        queued_at = self.queued_at.astimezone(UTC).isoformat(timespec="microseconds")
        return hashlib.sha256(f"{queued_at} {self.key}".encode(errors="surrogatepass")).hexdigest()[:40]

    @property
    def begun_by(self) -> Mapping[str, Any] | None:
        """Receipt of the message that this one continues; None for one that stands alone."""
        return self.first if self.kind in FOLLOW_UPS else None


class Channel(Protocol):
    """A way for messages to leave."""

    @property
    def name(self) -> str:
        """Name in the outbox, in metrics and in errors; it stays the same as long as the settings do."""
        ...

    @property
    def edits(self) -> bool:
        """Whether it can change a message that it has sent; parcels of kind `edit` go to such channels only."""
        ...

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        """Deliver one message, in one attempt of limited time (`ATTEMPT_SECONDS`).

        Parameters
        ----------
        parcel
            The message.

        Returns
        -------
        dict
            The receipt, as JSON takes it. That of a topic's first message comes back with the later ones
            (`Parcel.first`).

        Raises
        ------
        DeliveryError
            If the message was not delivered, or it is not known whether it was.
        """
        ...
