"""The life of an incident as people see it: from its changes through rules, outbox and channels to Slack and mail."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from slack_bot_double import CHANNEL, TOKEN, SlackBotDouble
from smtp_double import SmtpDouble
from told_incidents import FOUND, HOUR, incident

from cxad_pipeline.alerting.channels import Channel, EmailChannel, SlackChannel
from cxad_pipeline.alerting.decisions import Decision, receivers
from cxad_pipeline.alerting.delivery import deliver_due
from cxad_pipeline.alerting.incident_messages import MessageContext, incident_message
from cxad_pipeline.alerting.notices import notices_of, repeats
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.settings.operations import AlertSettings
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import NOTHING_TOLD, get_incident, save_incident
from cxad_pipeline.store.outbox import queue, withdraw

pytest_plugins = ["store_databases"]

CONTEXT = MessageContext(InteractionSchema(), ZoneInfo("UTC"), {"Dagster": "https://example.test/"}, 1, 5.0)


class Told:
    """What operations do with each change, on a store with two channels."""

    def __init__(self, store: Store, channels: list[Channel], **policy: Any) -> None:
        self.store, self.channels, self.policy = store, channels, AlertSettings(**policy)
        self.now = FOUND

    def change(self, after: Incident, *, silenced: bool = False) -> None:
        after = replace(after, updated_at=self.now)
        with self.store.writing() as connection:
            known = get_incident(connection, after.id)
            before, told = (known.incident, known.told) if known is not None else (None, NOTHING_TOLD)
            context = replace(CONTEXT, told_severity=told.severity if told.at else None)
            decision = notices_of(
                before,
                after,
                told,
                silenced=silenced,
                policy=self.policy,
                now=self.now,
                make=lambda incident, kind: incident_message(incident, kind, context=context),
            )
            self._keep(connection, after, decision)

    def send(self, after: dt.timedelta) -> None:
        """Some time passes, then there is a round."""
        self.now += after
        with self.store.writing() as connection:
            known = get_incident(connection, incident().id)
            assert known is not None
            context = replace(CONTEXT, told_severity=known.told.severity)
            for one, decision in repeats(
                [(known.incident, known.told)],
                silenced=lambda _: False,
                policy=self.policy,
                now=self.now,
                make=lambda incident, kind: incident_message(incident, kind, context=context),
            ):
                self._keep(connection, one, decision)
        summary = deliver_due(self.store, self.channels, policy=self.policy, now=lambda: self.now)
        assert summary.errors == {}

    def _keep(self, connection: Any, incident: Incident, decision: Decision) -> None:
        for key in decision.withdrawn:
            withdraw(connection, key)
        save_incident(connection, incident, (), decision.told)
        for notice in decision.notices:
            queue(connection, notice, receivers(notice, self.channels), at=dt.datetime.now(dt.UTC))


@pytest.fixture
def slack() -> Iterator[SlackBotDouble]:
    with SlackBotDouble() as double:
        yield double


@pytest.fixture
def mail() -> Iterator[SmtpDouble]:
    with SmtpDouble() as double:
        yield double


@pytest.fixture
def channels(slack: SlackBotDouble, mail: SmtpDouble) -> list[Channel]:
    email = EmailChannel("alerts@example.test", ["ops@example.test"], host="127.0.0.1", port=mail.port, security="none")
    return [SlackChannel(TOKEN, CHANNEL, slack.url), email]


def test_one_message_on_slack_with_its_news_in_the_thread_and_few_mails(
    store: Store, channels: list[Channel], slack: SlackBotDouble, mail: SmtpDouble
) -> None:
    told = Told(store, channels, update_minutes=60, repeat_hours=24)
    found = incident(severity=45.0, alert_severity=45.0)
    told.change(found)
    told.send(HOUR / 60)
    told.change(replace(found, severity=50.0, affected=50, contacts=70))  # an edit: no news
    told.send(HOUR)
    told.change(replace(found, severity=65.0, affected=72, contacts=96))
    told.send(HOUR)
    told.change(replace(found, severity=65.0, affected=72, contacts=96))  # one more window of it
    told.send(25 * HOUR)
    told.change(replace(found, status="resolved", severity=65.0, affected=80, contacts=110, resolved_at=told.now))
    told.send(2 * HOUR)

    (top,) = [message for message in slack.messages if "thread_ts" not in message]
    assert top["text"].startswith("Over: severity 65 · billing / voice")
    assert top["edited"] == 4
    thread = [message["text"] for message in slack.messages if "thread_ts" in message]
    assert thread == [
        "Severity 45 → 65; 72 of 96 contacts, usually 4.2.",
        "Still open after 1 hour; 72 of 96 contacts, usually 4.2; severity 65.",
        "Over after 1 hour; 80 of 110 contacts, usually 4.2; severity 65.",
    ]
    subjects = [str(one["Subject"]).split(" · ")[0] for one in mail.mails]
    assert subjects == ["Severity 45", "Worse: severity 65", "Still open: severity 65", "Over: severity 65"]
    html = mail.mails[1].get_body(("html",))
    assert html is not None
    assert "Severity 45 → 65" in html.get_content()
    assert "very high in 72 of 96 contacts, usually 4.2" in html.get_content()


def test_what_changes_while_it_waits_is_told_once(
    store: Store, channels: list[Channel], slack: SlackBotDouble, mail: SmtpDouble
) -> None:
    told = Told(store, channels, wait_minutes=10)
    told.change(incident(severity=45.0))
    told.send(5 * HOUR / 60)
    assert slack.messages == []
    told.change(incident(severity=81.0))
    told.send(5 * HOUR / 60)
    (message,) = slack.messages
    assert message["text"].startswith("Severity 81")
    assert len(mail.mails) == 1


def test_an_incident_that_goes_by_another_name_says_so(
    store: Store, channels: list[Channel], slack: SlackBotDouble, mail: SmtpDouble
) -> None:
    """At once where people were told long ago; else when they may be told again, as it is by then."""
    told = Told(store, channels, update_minutes=60)
    found = incident(severity=45.0)
    told.change(found)
    told.send(HOUR)
    voice = replace(found, segment=(("channel", "voice"),), severity=47.0)
    told.change(voice)
    told.send(HOUR / 60)
    told.change(replace(voice, segment=(), severity=52.0))
    told.send(HOUR / 2)
    assert len(mail.mails) == 2
    told.change(replace(voice, segment=(), severity=53.0, affected=50))
    told.send(HOUR / 2)

    (top,) = [message for message in slack.messages if "thread_ts" not in message]
    assert top["text"].startswith("Changed: severity 53 · all contacts · hold time")
    thread = [message["text"] for message in slack.messages if "thread_ts" in message]
    what = "hold time around 412 s, usually 61.5 s; very high in"
    assert thread == [
        f"Now voice · {what} 41 of 55 contacts, usually 4.2; severity 45 → 47.",
        f"Now all contacts · {what} 50 of 55 contacts, usually 4.2; severity 52 → 53.",
    ]
    subjects = [" · ".join(str(one["Subject"]).split(" · ")[:2]) for one in mail.mails]
    assert subjects == [
        "Severity 45 · billing / voice",
        "Changed: severity 47 · voice",
        "Changed: severity 53 · all contacts",
    ]


def test_what_was_withdrawn_unheard_comes_back_as_new(
    store: Store, channels: list[Channel], slack: SlackBotDouble, mail: SmtpDouble
) -> None:
    told = Told(store, channels, wait_minutes=10)
    told.change(incident(severity=45.0))
    told.change(incident(severity=45.0, status="withdrawn"))
    told.send(HOUR)
    told.change(incident(severity=46.0))
    told.send(HOUR)
    told.change(incident(severity=47.0, affected=48))
    told.send(HOUR)
    assert [str(one["Subject"]).split(" · ")[0] for one in mail.mails] == ["Severity 46"]
    assert [message["text"].split(" · ")[0] for message in slack.messages] == ["Severity 47"]


@pytest.mark.parametrize(("status", "mails"), [("resolved", 1), ("withdrawn", 0), ("merged", 0)])
def test_what_ends_while_it_waits_is_told_once_or_never(
    store: Store, channels: list[Channel], slack: SlackBotDouble, mail: SmtpDouble, status: Any, mails: int
) -> None:
    told = Told(store, channels, wait_minutes=10)
    told.change(incident())
    told.change(incident(status=status, merged_into="20261013-000000"))
    told.send(HOUR)
    assert len(mail.mails) == len(slack.messages) == mails
    assert all(message["text"].startswith("Over") for message in slack.messages)


def test_a_silence_takes_back_what_waits_and_its_end_tells_it(
    store: Store, channels: list[Channel], slack: SlackBotDouble
) -> None:
    told = Told(store, channels, wait_minutes=10)
    told.change(incident(severity=45.0))
    told.change(incident(severity=46.0), silenced=True)
    deliver_due(store, channels, policy=told.policy, now=lambda: told.now + HOUR)
    assert slack.messages == []
    told.send(HOUR)
    told.send(HOUR)
    (message,) = slack.messages
    assert message["text"].startswith("Severity 46")
