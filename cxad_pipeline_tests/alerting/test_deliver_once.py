"""A window is told once, not when alerts are off, and not when it is long past."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from alerting_examples import END, digest_of, morning, row
from slack_double import Answer, SlackDouble

from cxad_pipeline.alerting import ConsoleChannel, DeliveryError, DeliveryRecord, SlackWebhookChannel, deliver_once
from cxad_pipeline.alerting.delivery import DeliveryStatus

SOON = END + timedelta(minutes=5)


def stored(record: DeliveryRecord) -> DeliveryRecord:
    """The record after a way through JSON, as callers keep it."""
    return DeliveryRecord.from_dict(json.loads(json.dumps(record.to_dict())))


def test_scoring_a_window_again_sends_nothing_however_often(slack: SlackDouble) -> None:
    channel = SlackWebhookChannel(slack.url)
    first = deliver_once(digest_of(morning()), channel, None, now=SOON)
    second = deliver_once(digest_of([*morning(), row(500)]), channel, stored(first), now=SOON)
    third = deliver_once(digest_of(morning()), channel, stored(second), now=SOON)
    assert len(slack.bodies) == 1
    assert [first.status, second.status, third.status] == ["sent", "skipped", "skipped"]
    assert first.sent_at == second.sent_at == third.sent_at
    assert (
        first.headline
        == third.headline
        == "7 of 400 interactions unusual (expected about 4) · 12 Oct 2026 06:00-12:00 UTC"
    )
    assert first.note == ""
    assert "already sent to slack" in second.note


def test_disabled_sends_nothing_and_a_later_run_may_send(slack: SlackDouble) -> None:
    channel = SlackWebhookChannel(slack.url)
    off = deliver_once(digest_of(morning()), channel, None, enabled=False, now=SOON)
    assert (off.status, off.sent_at, slack.bodies) == ("disabled", None, [])
    on = deliver_once(digest_of(morning()), channel, stored(off), now=SOON)
    assert (on.status, len(slack.bodies)) == ("sent", 1)


def test_switching_alerts_off_does_not_forget_that_a_window_was_told(slack: SlackDouble) -> None:
    channel = SlackWebhookChannel(slack.url)
    record = deliver_once(digest_of(morning()), channel, None, now=SOON)
    record = deliver_once(digest_of(morning()), channel, stored(record), enabled=False, now=SOON)
    record = deliver_once(digest_of(morning()), channel, stored(record), now=SOON)
    assert (record.status, len(slack.bodies)) == ("skipped", 1)


@pytest.mark.parametrize(("age", "status"), [(timedelta(days=2), "sent"), (timedelta(days=2, seconds=1), "too old")])
def test_windows_beyond_the_longest_age_are_recorded_only(
    slack: SlackDouble, age: timedelta, status: DeliveryStatus
) -> None:
    channel = SlackWebhookChannel(slack.url)
    record = deliver_once(digest_of(morning()), channel, None, max_age=timedelta(days=2), now=END + age)
    assert record.status == status
    assert len(slack.bodies) == (status == "sent")
    assert (record.sent_at is None) == (status == "too old")


def test_without_a_longest_age_every_window_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    record = deliver_once(digest_of(morning()), ConsoleChannel(), None, now=END + timedelta(days=900))
    assert record.status == "sent"
    assert record.headline in capsys.readouterr().out


def test_late_data_after_no_data_is_news_and_the_way_back_is_not(slack: SlackDouble) -> None:
    channel = SlackWebhookChannel(slack.url)
    record = deliver_once(digest_of([]), channel, None, now=SOON)
    record = deliver_once(digest_of([]), channel, stored(record), now=SOON)
    assert (record.status, len(slack.bodies)) == ("skipped", 1)
    record = deliver_once(digest_of(morning()), channel, stored(record), now=SOON)
    assert (record.status, len(slack.bodies)) == ("sent", 2)
    record = deliver_once(digest_of([]), channel, stored(record), now=SOON)
    assert (record.status, len(slack.bodies)) == ("skipped", 2)


def test_another_channel_has_not_been_told(slack: SlackDouble) -> None:
    printed = deliver_once(digest_of(morning()), ConsoleChannel(), None, now=SOON)
    posted = deliver_once(digest_of(morning()), SlackWebhookChannel(slack.url), stored(printed), now=SOON)
    assert (posted.status, posted.channel, len(slack.bodies)) == ("sent", "slack", 1)


def test_a_failed_delivery_leaves_the_window_untold(slack: SlackDouble) -> None:
    channel = SlackWebhookChannel(slack.url)
    slack.answers = [Answer(404, "no_service")]
    with pytest.raises(DeliveryError):
        deliver_once(digest_of(morning()), channel, None, now=SOON)
    assert deliver_once(digest_of(morning()), channel, None, now=SOON).status == "sent"


def test_a_record_of_another_window_is_refused(slack: SlackDouble) -> None:
    channel = SlackWebhookChannel(slack.url)
    record = deliver_once(digest_of(morning()), channel, None, now=SOON)
    with pytest.raises(ValueError, match="record of the same window"):
        deliver_once(digest_of(morning()), channel, replace(record, window="other"), now=SOON)


@pytest.mark.parametrize(
    "changes",
    [{"status": "gone"}, {"sent_at": "yesterday"}, {"sent_at": "2026-10-12T12:00:00"}, {"sent_at": 5}, {"extra": 1}],
)
def test_a_record_that_was_not_written_by_us_is_refused(changes: dict[str, Any]) -> None:
    good = DeliveryRecord("w", "slack", SOON, "sent", "h", "scored").to_dict()
    assert DeliveryRecord.from_dict(good).to_dict() == good
    with pytest.raises(ValueError, match="not a delivery record"):
        DeliveryRecord.from_dict(good | changes)
