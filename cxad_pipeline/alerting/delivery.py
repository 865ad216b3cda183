"""Telling a window once: whether a digest is sent, and the record that remembers it.

Belongs here: the decision to send and its record. Does not belong here: where the record is stored (the caller's), and
grouping, repeating or silencing (they come with incidents and their outbox).

The promise: a window is told at least once per channel, and twice only if the process dies between sending and storing
the record. A window told as "no data" is told once more when late files bring it data, because that is other news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from cxad_pipeline.alerting.channels import Channel
from cxad_pipeline.alerting.digest import DigestStatus, WindowDigest
from cxad_pipeline.alerting.messages import digest_message, headline

DeliveryStatus = Literal["sent", "skipped", "disabled", "too old"]


@dataclass(frozen=True)
class DeliveryRecord:
    """What became of a window's digest.

    Attributes
    ----------
    window
        The window's key (`WindowDigest.window_key`).
    channel
        Name of the channel.
    sent_at
        When the window was told, UTC; None where it never was. A skipped delivery keeps the time of the first.
    status
        `sent`; `skipped`: it had been told before; `disabled`: alerts are off; `too old`: the window ended too long
        ago.
    headline
        First line of what was told, or would have been.
    digest_status
        Whether that was about data ("scored") or the lack of it ("no_data").
    note
        Why nothing was sent, in one sentence; empty when it was.
    """

    window: str
    channel: str
    sent_at: datetime | None
    status: DeliveryStatus
    headline: str
    digest_status: DigestStatus
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON takes it; times in ISO 8601."""
        return {
            "window": self.window,
            "channel": self.channel,
            "sent_at": self.sent_at.isoformat() if self.sent_at else None,
            "status": self.status,
            "headline": self.headline,
            "digest_status": self.digest_status,
            "note": self.note,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> DeliveryRecord:
        """The record that `to_dict` wrote.

        Parameters
        ----------
        stored
            What JSON gave back.

        Raises
        ------
        ValueError
            If a key is missing, or a value is not one that `to_dict` writes.
        """
        try:
            record = cls(**stored)
            sent_at = None if record.sent_at is None else datetime.fromisoformat(stored["sent_at"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a delivery record ({error}): {_REMOVE}") from error
        if record.status not in get_args(DeliveryStatus) or record.digest_status not in get_args(DigestStatus):
            raise ValueError(
                f"not a delivery record (status {record.status!r}, digest_status {record.digest_status!r}): {_REMOVE}"
            )
        if sent_at is not None and sent_at.tzinfo is None:
            raise ValueError(f"not a delivery record (sent_at {stored['sent_at']!r} has no time zone): {_REMOVE}")
        return replace(record, sent_at=sent_at)


_REMOVE = "remove it, and the window is told once more"


def deliver_once(
    digest: WindowDigest,
    channel: Channel,
    record: DeliveryRecord | None,
    *,
    enabled: bool = True,
    max_age: timedelta | None = None,
    now: datetime | None = None,
) -> DeliveryRecord:
    """Send a window's digest unless the channel has had it, alerts are off, or the window is long past.

    Parameters
    ----------
    digest
        The window's digest.
    channel
        Where to send it.
    record
        What the last call for this window returned; None for the first.
    enabled
        False sends nothing.
    max_age
        Windows that ended longer ago are not told, so that a backfill does not flood the channel; None tells all.
    now
        Present time, time zone aware; the clock's by default.

    Returns
    -------
    DeliveryRecord
        To be stored in place of `record`.

    Raises
    ------
    DeliveryError
        If the channel failed. There is no new record then, and the next call tries again.
    ValueError
        If `record` belongs to another window.
    """
    if record is not None and record.window != digest.window_key:
        raise ValueError(
            f"the record is of window {record.window}, the digest of {digest.window_key}: "
            "give the record of the same window"
        )
    now = now or datetime.now(UTC)
    told = record if record is not None and record.channel == channel.name and record.sent_at is not None else None
    if told is not None and told.sent_at is not None and told.digest_status in ("scored", digest.status):
        when = told.sent_at.isoformat(timespec="seconds")
        return replace(told, status="skipped", note=f"This window was already sent to {channel.name} at {when}.")
    unsent = DeliveryRecord(
        digest.window_key, channel.name, None, "disabled", headline(digest), digest.status, "Alerts are off."
    )
    if not enabled:
        return unsent
    if max_age is not None and now - digest.end > max_age:
        note = f"The window ended {_age(now - digest.end)} ago; older than {_age(max_age)} is not sent."
        return replace(unsent, status="too old", note=note)
    receipt = channel.send(digest_message(digest))
    return replace(unsent, status="sent", sent_at=receipt.sent_at, note="")


def _age(span: timedelta) -> str:
    hours = span / timedelta(hours=1)
    return f"{hours:,.0f} h" if hours < 48 else f"{hours / 24:,.0f} days"
