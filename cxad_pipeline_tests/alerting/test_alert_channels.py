"""The webhook over real HTTP: one attempt, errors that say what to do, an address that appears nowhere; the console."""

from __future__ import annotations

import io
import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from alert_parcels import MESSAGE, all_told, failure_of, parcel
from pydantic import SecretStr
from slack_double import SECRET_PARTS, SECRET_PATH, Answer, SlackDouble, assert_within_slack_limits
from slack_sdk.webhook import WebhookClient

from cxad_pipeline.alerting.channels import ConsoleChannel, SlackWebhookChannel
from cxad_pipeline.alerting.channels.slack_requests import retry_after
from cxad_pipeline.alerting.message import Message

PLAIN = Message("a headline", "a headline\nand more")


def test_a_message_arrives_with_its_blocks_and_an_escaped_text(slack: SlackDouble) -> None:
    receipt = SlackWebhookChannel(slack.url).deliver(parcel())
    (body,) = slack.bodies
    assert_within_slack_limits(body["blocks"])
    assert body["blocks"] == MESSAGE.blocks
    assert body["text"] == "Hold time is high in billing\n41 of 55 contacts &lt;!channel&gt;"
    assert receipt == {"answer": "ok"}


def test_the_address_may_be_a_secret_object_with_a_line_break(slack: SlackDouble) -> None:
    SlackWebhookChannel(SecretStr(slack.url + "\n")).deliver(parcel(message=PLAIN))
    assert slack.bodies == [{"text": "a headline\nand more", "unfurl_links": False, "unfurl_media": False}]


def test_a_webhook_posts_what_it_cannot_edit(slack: SlackDouble) -> None:
    channel = SlackWebhookChannel(slack.url)
    assert not channel.edits
    channel.deliver(parcel("2", "update", first=channel.deliver(parcel())))
    assert slack.bodies[0] == slack.bodies[1]


@pytest.mark.parametrize(
    ("answer", "uncertain", "wait"),
    [
        (Answer(500, "rollup_error"), True, None),
        (Answer(502, "bad gateway"), True, None),
        (Answer(503, "busy", {"Retry-After": "12"}), True, 12.0),
        (Answer(504, "gateway timeout"), True, None),
        (Answer(reset=True), True, None),
        (Answer(429, "rate_limited", {"Retry-After": "1"}), False, 1.0),
        (Answer(429, "rate_limited"), False, None),
        (Answer(408, "request timeout"), False, None),
        (Answer(200, "<html>Please log in</html>"), False, None),
    ],
)
def test_a_passing_fault_is_left_to_a_later_attempt(
    slack: SlackDouble, answer: Answer, uncertain: bool, wait: float | None
) -> None:
    slack.answers = [answer]
    error = failure_of(SlackWebhookChannel(slack.url), parcel())
    assert (error.permanent, error.uncertain, error.retry_after) == (False, uncertain, wait)
    assert len(slack.bodies) == 1


def test_a_wait_may_be_given_as_a_date(slack: SlackDouble) -> None:
    until = datetime.now(UTC) + timedelta(minutes=5)
    slack.answers = [Answer(429, "rate_limited", {"Retry-After": format_datetime(until, usegmt=True)})]
    wait = failure_of(SlackWebhookChannel(slack.url), parcel()).retry_after
    assert wait is not None
    assert 200 < wait <= 300


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("31", 31.0),
        (" 0 ", 0.0),
        ("99999999999999999999", 86_400.0),
        ("Mon, 12 Oct 2026 12:01:30 GMT", 90.0),
        ("Mon, 12 Oct 2026 12:01:30 -0000", 90.0),
        ("Mon, 12 Oct 2026 11:00:00 GMT", 0.0),
        ("Tue, 12 Oct 2027 12:00:00 GMT", 86_400.0),
        ("-5", None),
        ("1.5", None),
        ("\u0663", None),
        ("nan", None),
        ("soon", None),
        ("Mon, 99 Oct 2026 12:00:00 GMT", None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
        ("Wed, 99999999999999999999 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999", None),
    ],
)
def test_retry_after_is_read_as_http_writes_it(given: str, seconds: float | None) -> None:
    now = datetime(2026, 10, 12, 12, tzinfo=UTC)
    assert retry_after({"retry-AFTER": given}, now) == seconds
    assert retry_after({"Other": given}, now) is None


def test_an_answer_that_does_not_come_is_not_waited_for(slack: SlackDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxad_pipeline.alerting.channels.slack_webhook.TIMEOUT_SECONDS", 1)
    slack.answers = [Answer(silent=True)]
    error = failure_of(SlackWebhookChannel(slack.url), parcel())
    assert (error.uncertain, error.permanent) == (True, False)
    assert "TimeoutError" in str(error)
    assert "check the network" in str(error)
    assert len(slack.bodies) == 1


def test_a_slack_that_cannot_be_reached_has_certainly_nothing(slack: SlackDouble) -> None:
    channel = SlackWebhookChannel(slack.url)
    slack.stop()
    error = failure_of(channel, parcel())
    assert (error.uncertain, error.permanent) == (False, False)


@pytest.mark.parametrize(
    ("answer", "says", "permanent"),
    [
        (Answer(404, "no_service"), "404 'no_service'; the webhook does not exist any more: create a new one", False),
        (Answer(400, "invalid_blocks"), "400 'invalid_blocks'; the message was refused", True),
        (Answer(413, "too large"), "413 'too large'; ", True),
        (Answer(403, "action_prohibited"), "403 'action_prohibited'; the webhook may not post", False),
        (Answer(410, "channel_is_archived"), "410 'channel_is_archived'; the channel is archived", False),
    ],
)
def test_a_webhook_can_be_mended_and_a_message_that_is_refused_cannot(
    slack: SlackDouble, answer: Answer, says: str, permanent: bool
) -> None:
    slack.answers = [answer]
    error = failure_of(SlackWebhookChannel(slack.url), parcel(message=PLAIN))
    assert (error.permanent, error.uncertain) == (permanent, False)
    assert says in str(error)
    assert "'a headline'" in str(error)
    assert len(slack.bodies) == 1


def test_an_answer_that_is_not_slacks_says_so(slack: SlackDouble) -> None:
    slack.answers = [Answer(200, "<html>Please log in</html>")]
    error = failure_of(SlackWebhookChannel(slack.url), parcel())
    assert "200 '<html>Please log in</html>'; this is not Slack's \"ok\"" in str(error)


@pytest.mark.parametrize("fault", ["none", "echo", "rate", "reset", "refused"])
def test_the_address_appears_nowhere(slack: SlackDouble, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="slack_sdk")
    channel = SlackWebhookChannel(slack.url + "?k=q9z")
    slack.answers = {
        "echo": [Answer(404, f"cannot post to {slack.url} ({SECRET_PATH}; {SECRET_PARTS[2]}; k=q9z)")],
        "rate": [Answer(429, "rate_limited", {"Retry-After": "0"})],
        "reset": [Answer(reset=True)],
    }.get(fault, [])
    if fault == "refused":
        slack.stop()
    told = repr(channel) + str(channel)
    told += repr(channel.deliver(parcel())) if fault == "none" else all_told(failure_of(channel, parcel()))
    told += "".join(record.getMessage() + repr(vars(record)) for record in caplog.records) + caplog.text
    for secret in (*SECRET_PARTS, "q9z"):
        assert secret not in told


def test_slack_sdk_alone_does_log_the_address(slack: SlackDouble, caplog: pytest.LogCaptureFixture) -> None:
    """The control of the test above: without our logger the address is there to be found."""
    caplog.set_level(logging.DEBUG)
    WebhookClient(slack.url).send(text="hello")
    assert SECRET_PATH in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.slack.com/services/T0SECRET0",
        "ftp://hooks/T0SECRET0",
        "https://",
        "https://h:x/T0SECRET0",
        "https://h/T0SECRET0 x",
        "https://h/T0SECRET0é",
    ],
)
def test_an_unusable_address_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match="SLACK_WEBHOOK_URL") as caught:
        SlackWebhookChannel(url)
    assert "T0SECRET0" not in str(caught.value)
    assert caught.value.__context__ is None


def test_the_console_prints_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    channel = ConsoleChannel()
    assert channel.deliver(parcel()) == {"printed": True}
    assert capsys.readouterr().out == MESSAGE.text + "\n\n"
    assert (channel.name, channel.edits) == ("console", False)


def test_a_terminal_of_few_characters_still_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    ConsoleChannel().deliver(parcel(message=Message("x", "7 · für 客服")))
    terminal.flush()
    assert terminal.buffer.getvalue() == b"7 ? f?r ??\n\n"


def test_a_terminal_that_nobody_reads_is_a_failed_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as pipe:
        unread = io.TextIOWrapper(pipe, write_through=True)
        monkeypatch.setattr(sys, "stdout", unread)
        assert "Broken pipe; configure a channel" in str(failure_of(ConsoleChannel(), parcel()))
        unread.detach()


def test_a_process_without_standard_output_is_a_failed_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert "no standard output; configure a channel" in str(failure_of(ConsoleChannel(), parcel()))
