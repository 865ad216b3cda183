"""By what receivers know doubles: the same in every attempt, and of no other message of any installation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from alert_parcels import QUEUED_AT, parcel
from slack_bot_double import CHANNEL, TOKEN, SlackBotDouble
from smtp_double import SmtpDouble

from cxad_pipeline.alerting.channels import EmailChannel, Parcel, SlackChannel
from cxad_pipeline.alerting.channels.channel import DeliveryError
from cxad_pipeline.alerting.delivery import deliver_due
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.settings import Settings
from cxad_pipeline.settings.operations import AlertSettings
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.outbox import Notice, queue

pytest_plugins = ["store_databases"]

DIGEST = "digest:2026-10-14T07:00Z"
INSTANT = dt.timedelta(microseconds=1)


def test_two_messages_with_one_key_are_two_by_when_they_were_queued_and_no_zone_matters() -> None:
    one = parcel(DIGEST)
    berlin = parcel(DIGEST, queued_at=QUEUED_AT.astimezone(ZoneInfo("Europe/Berlin")))
    others = [parcel(DIGEST, queued_at=QUEUED_AT + INSTANT), parcel(DIGEST + "x"), parcel("\ud800")]
    assert berlin.identity == one.identity
    assert len({given.identity for given in [one, *others]}) == 4


def test_the_digests_of_two_installations_are_two_mails() -> None:
    with SmtpDouble() as server:
        for later in (0, 1, 0):
            channel = EmailChannel("cxad@example.test", ["ops@example.test"], port=server.port, security="none")
            channel.deliver(parcel(DIGEST, "digest", queued_at=QUEUED_AT + later * INSTANT))
    berlin, lisbon, again = (mail["Message-ID"] for mail in server.mails)
    assert berlin == again != lisbon


def test_the_digest_of_another_installation_in_the_channel_is_not_taken_for_ours() -> None:
    with SlackBotDouble() as slack:
        channel = SlackChannel(TOKEN, CHANNEL, slack.url)
        channel.deliver(parcel(DIGEST, "digest", queued_at=QUEUED_AT + INSTANT))
        receipt = channel.deliver(parcel(DIGEST, "digest", uncertain=True))
        assert "found" not in receipt
        assert channel.deliver(parcel(DIGEST, "digest", uncertain=True))["found"]
    assert len(slack.messages) == 2


class _Losing:
    """A channel whose first answers are lost."""

    name, edits = "mail", False

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.parcels: list[Parcel] = []

    def deliver(self, given: Parcel) -> dict[str, Any]:
        self.parcels.append(given)
        if len(self.parcels) <= self.losses:
            raise DeliveryError("lost", uncertain=True)
        return {}


def test_it_is_the_same_in_every_attempt_also_after_a_restart(
    store_url: str, settings_for: Callable[..., Settings]
) -> None:
    now = dt.datetime(2026, 10, 14, 7, 0, 0, 123_456, tzinfo=dt.UTC)
    channel = _Losing(3)

    def attempt(store: Store, at: dt.datetime) -> None:
        deliver_due(store, [channel], policy=AlertSettings(), now=lambda: at)
        store.close()

    store = open_store(settings_for(store_url))
    with store.writing() as connection:
        queue(connection, Notice(DIGEST, "digest", "digest", Message("h", "h").to_dict(), now), ["mail"], at=now)
    attempt(store, now)
    for hours in range(1, 4):
        attempt(open_store(settings_for(store_url)), now + dt.timedelta(hours=hours))
    assert len(channel.parcels) == 4
    assert {given.identity for given in channel.parcels} == {parcel(DIGEST, queued_at=now).identity}
