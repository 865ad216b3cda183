"""Parcels for the tests of channels, and the search for secrets in all that a failure leaves behind."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import pytest

from cxad_pipeline.alerting.block_kit import header, section
from cxad_pipeline.alerting.channels import Channel, DeliveryError, Parcel
from cxad_pipeline.alerting.message import Message

MESSAGE = Message(
    "Hold time is high in billing",
    "Hold time is high in billing\n41 of 55 contacts <!channel>",
    blocks=[header("Hold time is high in billing"), section("41 of 55 contacts")],
    html="<p>41 of <b>55</b> contacts</p>",
    news="Now 41 of 55 contacts",
)
QUEUED_AT = datetime.now(UTC)
"""Before all posts: where a message is looked for, it is among those since it was queued."""


def parcel(key: str = "incident:1:opened", kind: str = "opened", **changes: Any) -> Parcel:
    """A message on its way, with what a test changes in it."""
    given: dict[str, Any] = {
        "key": key,
        "topic": "incident:1",
        "kind": kind,
        "message": MESSAGE,
        "queued_at": QUEUED_AT,
    }
    return Parcel(**(given | changes))


def failure_of(channel: Channel, given: Parcel) -> DeliveryError:
    """The error of a delivery that must fail."""
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(given)
    return caught.value


def all_told(error: BaseException) -> str:
    """Text, repr and attributes of an error, and its traceback below the caller with all local variables."""
    assert error.__context__ is None
    assert error.__cause__ is None
    inner: TracebackType | None = error.__traceback__
    # The frames of this test directory hold the secrets in clear, being the ones who gave them.
    while inner is not None and "cxad_pipeline_tests" in inner.tb_frame.f_code.co_filename:
        inner = inner.tb_next
    told = traceback.TracebackException(type(error), error, inner, capture_locals=True)
    return f"{error} {error!r} {vars(error)} {''.join(told.format())}"
