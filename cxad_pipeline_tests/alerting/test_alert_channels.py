"""Delivery over real HTTP: retries, errors that say what to do, and a webhook address that appears nowhere."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from types import TracebackType

import pytest
from alerting_examples import digest_of, flagged, morning
from pydantic import SecretStr
from slack_double import SECRET_PARTS, SECRET_PATH, Answer, SlackDouble, assert_within_slack_limits
from slack_sdk.webhook import WebhookClient

from cxad_pipeline.alerting import ConsoleChannel, DeliveryError, Message, SlackWebhookChannel, digest_message

MESSAGE = Message("a headline", "a headline\nand more")


def test_a_digest_arrives_with_its_blocks_and_an_escaped_text(slack: SlackDouble) -> None:
    digest = digest_of([flagged(n, 90.0, queue="<!channel>") for n in range(6)])
    receipt = SlackWebhookChannel(slack.url).send(digest_message(digest))
    (body,) = slack.bodies
    assert_within_slack_limits(body["blocks"])
    assert body["text"].startswith("6 of 6 interactions unusual")
    assert "&lt;!channel&gt;" in body["text"]
    assert "<!channel>" not in str(body)
    assert (receipt.channel, receipt.answer) == ("slack", "ok")


def test_the_address_may_be_a_secret_object_with_a_line_break(slack: SlackDouble) -> None:
    SlackWebhookChannel(SecretStr(slack.url + "\n")).send(MESSAGE)
    assert slack.bodies == [{"text": "a headline\nand more", "unfurl_links": False, "unfurl_media": False}]


def test_a_rate_limit_is_waited_out_as_long_as_slack_asks(slack: SlackDouble) -> None:
    slack.answers = [Answer(429, "rate_limited", {"Retry-After": "1"})]
    SlackWebhookChannel(slack.url).send(MESSAGE)
    first, second = slack.times
    assert second - first >= 1


@pytest.mark.parametrize(
    "answer",
    [Answer(status, "rollup_error") for status in (500, 502, 503, 504)] + [Answer(reset=True)],
    ids=["500", "502", "503", "504", "reset"],
)
def test_a_passing_fault_is_retried(slack: SlackDouble, answer: Answer) -> None:
    slack.answers = [answer]
    SlackWebhookChannel(slack.url).send(MESSAGE)
    assert len(slack.bodies) == 2
    assert slack.bodies[0] == slack.bodies[1]


def test_faults_of_all_kinds_share_four_attempts(slack: SlackDouble) -> None:
    limited = Answer(429, "rate_limited", {"Retry-After": "0"})
    slack.answers = [limited, Answer(500, "rollup_error"), limited, limited, limited]
    with pytest.raises(DeliveryError, match="429 'rate_limited'; Slack limits the rate: run the alert again later"):
        SlackWebhookChannel(slack.url).send(MESSAGE)
    assert len(slack.bodies) == 4


def test_a_request_without_answer_is_not_sent_again(slack: SlackDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been posted."""
    monkeypatch.setattr("cxad_pipeline.alerting.channels.TIMEOUT_SECONDS", 0.3)
    slack.answers = [Answer(silent=True)]
    with pytest.raises(DeliveryError, match=r"TimeoutError.*check the network"):
        SlackWebhookChannel(slack.url).send(MESSAGE)
    assert len(slack.bodies) == 1


@pytest.mark.parametrize("wait", ["3600", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_wait_that_is_long_or_a_date_fails_at_once(slack: SlackDouble, wait: str) -> None:
    slack.answers = [Answer(429, "rate_limited", {"Retry-After": wait})]
    with pytest.raises(DeliveryError, match="429"):
        SlackWebhookChannel(slack.url).send(MESSAGE)
    assert len(slack.bodies) == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(404, "no_service"), "404 'no_service'; the webhook does not exist any more: create a new one"),
        (Answer(400, "invalid_blocks"), "400 'invalid_blocks'; the message was refused"),
        (Answer(403, "action_prohibited"), "403 'action_prohibited'; the webhook may not post"),
        (Answer(410, "channel_is_archived"), "410 'channel_is_archived'; the channel is archived"),
        (Answer(200, "<html>Please log in</html>"), "200 '<html>Please log in</html>'; this is not Slack's \"ok\""),
    ],
)
def test_a_lasting_fault_is_not_retried_and_says_what_to_do(slack: SlackDouble, answer: Answer, says: str) -> None:
    slack.answers = [answer]
    with pytest.raises(DeliveryError) as caught:
        SlackWebhookChannel(slack.url).send(MESSAGE)
    assert says in str(caught.value)
    assert "'a headline'" in str(caught.value)
    assert len(slack.bodies) == 1


def _whole_traceback(error: BaseException) -> str:
    """The traceback below this test's own frame, chained exceptions and local variables included."""
    inner: TracebackType | None = error.__traceback__.tb_next if error.__traceback__ else None
    told = traceback.TracebackException(type(error), error, inner, capture_locals=True)
    assert error.__context__ is None
    assert error.__cause__ is None
    return "".join(told.format())


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
    try:
        told += repr(channel.send(MESSAGE))
        assert fault in ("none", "rate", "reset")
    except DeliveryError as error:
        assert fault in ("echo", "refused")
        told += str(error) + repr(error) + _whole_traceback(error)
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
    message = digest_message(digest_of(morning()))
    receipt = ConsoleChannel().send(message)
    assert capsys.readouterr().out == message.text + "\n\n"
    assert receipt.channel == "console"


def test_a_terminal_of_few_characters_still_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    ConsoleChannel().send(Message("x", "7 · für 客服"))
    terminal.flush()
    assert terminal.buffer.getvalue() == b"7 ? f?r ??\n\n"
