"""What Slack's bot channel says when it fails: what is permanent, how long to wait, what to do, and never the token."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from alert_parcels import all_told, failure_of, parcel
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from slack_bot_double import CHANNEL, TOKEN, Fault, SlackBotDouble, refusal
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from cxad_pipeline.alerting.channels import SlackChannel, slack_requests
from cxad_pipeline.alerting.channels.channel import ATTEMPT_SECONDS

POST, HISTORY = "chat.postMessage", "conversations.history"


@pytest.fixture
def slack() -> Iterator[SlackBotDouble]:
    with SlackBotDouble() as double:
        yield double


@pytest.fixture
def channel(slack: SlackBotDouble) -> SlackChannel:
    return SlackChannel(TOKEN, CHANNEL, slack.url)


@pytest.mark.parametrize(
    ("code", "says", "permanent"),
    [
        ("invalid_auth", "set SLACK_BOT_TOKEN", False),
        ("token_revoked", "set SLACK_BOT_TOKEN", False),
        ("token_expired", "set SLACK_BOT_TOKEN", False),
        ("account_inactive", "set SLACK_BOT_TOKEN", False),
        ("channel_not_found", "check alerts.slack.channel", False),
        ("not_in_channel", "invite the bot to the channel", False),
        ("is_archived", "unarchive it", False),
        ("restricted_action", "ask its administrator", False),
        ("invalid_blocks", "please report it", True),
        ("msg_too_long", "please report it", True),
    ],
)
def test_what_people_can_mend_is_tried_again_and_a_message_that_is_at_fault_is_not(
    slack: SlackBotDouble, channel: SlackChannel, code: str, says: str, permanent: bool
) -> None:
    slack.faults = [refusal(POST, code)]
    error = failure_of(channel, parcel())
    assert (error.permanent, error.uncertain) == (permanent, False)
    assert f"{code!r}; " in str(error)
    assert says in str(error)
    assert "'Hold time is high in billing'" in str(error)


def test_a_missing_scope_is_named(slack: SlackBotDouble, channel: SlackChannel) -> None:
    slack.faults = [refusal(POST, "missing_scope", needed="chat:write", provided="files:read")]
    error = failure_of(channel, parcel())
    assert not error.permanent
    assert "give the app the scope chat:write and install it again" in str(error)


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (Fault(POST, 429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "31"}), 31.0),
        (Fault(POST, 429, "slow down", {"retry-after": "7"}), 7.0),
        (Fault(POST, 429, "", {"Retry-After": "99999999999999999999"}), 86_400.0),
        (Fault(POST, 429, "", {"Retry-After": "soon"}), None),
        (Fault(POST, 200, {"ok": False, "error": "ratelimited"}), None),
        (Fault(POST, 200, {"ok": False, "error": "rate_limited"}), None),
        (Fault(POST, 200, {"ok": False, "error": "message_limit_exceeded"}), None),
        (Fault(POST, 429, "", {"Retry-After": "Wed, 21 Oct 99999999999 07:28:00 GMT"}), None),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(
    slack: SlackBotDouble, channel: SlackChannel, fault: Fault, wait: float | None
) -> None:
    slack.faults = [fault]
    error = failure_of(channel, parcel())
    assert (error.retry_after, error.permanent, error.uncertain) == (wait, False, False)
    assert "Slack limits the rate" in str(error)
    assert slack.methods() == [POST]


def test_a_rate_limit_of_the_search_puts_the_delivery_off(slack: SlackBotDouble, channel: SlackChannel) -> None:
    slack.faults = [Fault(HISTORY, 429, "", {"Retry-After": "60"})]
    assert failure_of(channel, parcel(uncertain=True)).retry_after == 60
    assert slack.messages == []


def test_an_unknown_code_is_tried_again(slack: SlackBotDouble, channel: SlackChannel) -> None:
    slack.faults = [refusal(POST, "a_code_of_next_year")]
    error = failure_of(channel, parcel())
    assert (error.permanent, error.uncertain) == (False, False)


@pytest.mark.parametrize("body", ["[1]", '"x"', "[]", "{", "\xff", "", "null", '{"ok": true}', '{"ok": true, "ts": 5}'])
def test_answers_that_are_not_slacks_are_errors_too(slack: SlackBotDouble, channel: SlackChannel, body: str) -> None:
    slack.faults = [Fault(POST, body=body)]
    assert not failure_of(channel, parcel()).permanent


@pytest.mark.parametrize(
    "found",
    [
        [None],
        ["x", 5, [], {}],
        [{"metadata": "x"}, {"metadata": {"event_type": "cxad_alert", "event_payload": "x"}}],
        [{"metadata": {"event_type": "cxad_alert", "event_payload": {"id": parcel().identity}}}],
        "x",
        {"ts": "1.0"},
    ],
)
@pytest.mark.parametrize("following", [None, "x", {"next_cursor": 5}])
def test_messages_that_are_none_are_not_taken_for_ours(
    slack: SlackBotDouble, channel: SlackChannel, found: object, following: object
) -> None:
    slack.faults = [Fault(HISTORY, body={"ok": True, "messages": found, "response_metadata": following})]
    assert "found" not in channel.deliver(parcel(uncertain=True))
    assert slack.methods() == [HISTORY, POST]


class Clock:
    """A clock that shows so many seconds more each time that it is read."""

    def __init__(self, step: float) -> None:
        self._now, self._step = 0.0, step

    def monotonic(self) -> float:
        self._now += self._step
        return self._now


def test_a_search_that_takes_too_long_is_given_up_and_the_message_posted(
    slack: SlackBotDouble, channel: SlackChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxad_pipeline.alerting.channels.slack.time", Clock(ATTEMPT_SECONDS / 10))
    slack.most_per_page = 1
    slack.post_by_people(30)
    assert "looking for it took too long" in channel.deliver(parcel(uncertain=True))["note"]
    assert 1 <= slack.methods().count(HISTORY) <= 5
    assert slack.methods()[-1] == POST


def test_nothing_is_begun_after_the_time_of_an_attempt(
    slack: SlackBotDouble, channel: SlackChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = channel.deliver(parcel())
    monkeypatch.setattr("cxad_pipeline.alerting.channels.slack.time", Clock(ATTEMPT_SECONDS / 2))
    error = failure_of(channel, parcel("2", "update", first=first))
    assert "more than 120 seconds" in str(error)
    assert not error.permanent
    assert slack.methods() == [POST, "chat.update"]


def test_a_slack_that_cannot_be_reached_has_certainly_nothing(slack: SlackBotDouble, channel: SlackChannel) -> None:
    slack.stop()
    error = failure_of(channel, parcel())
    assert (error.uncertain, error.permanent) == (False, False)
    assert "Connection refused" in str(error)


@pytest.mark.parametrize("fault", ["none", "echo", "reset", "refused", "invalid_auth", "text"])
def test_the_token_appears_nowhere(slack: SlackBotDouble, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="slack_sdk")
    channel = SlackChannel(SecretStr(TOKEN + "\n"), CHANNEL, slack.url)
    slack.faults = {
        "echo": [refusal(POST, f"cannot use {TOKEN}", needed=TOKEN)],
        "text": [Fault(POST, 500, f"<html>Bearer {TOKEN}")],
        "reset": [Fault(reset=True)],
        "invalid_auth": [refusal(POST, "invalid_auth")],
    }.get(fault, [])
    if fault == "refused":
        slack.stop()
    told = repr(channel) + str(channel)
    if fault == "none":
        told += repr(channel.deliver(parcel()))
    else:
        told += all_told(failure_of(channel, parcel()))
    told += "".join(record.getMessage() + repr(vars(record)) for record in caplog.records) + caplog.text
    assert "1234567890" not in told
    assert "s3cr3t" not in told


def test_slack_sdk_alone_does_show_the_token_in_a_traceback(slack: SlackBotDouble) -> None:
    """The control of the test above: without our care the token is there to be found."""
    slack.faults = [refusal(POST, "invalid_auth")]
    with pytest.raises(SlackApiError) as caught:
        WebClient(TOKEN, base_url=slack.url).chat_postMessage(channel=CHANNEL, text="x")
    caught.value.__context__ = None
    assert TOKEN in all_told(caught.value)


@pytest.mark.parametrize("token", ["", "  ", "xoxb 1", "xoxb-1\r\nX: y", "xoxb-é"])
def test_an_unusable_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ValueError, match="SLACK_BOT_TOKEN") as caught:
        SlackChannel(token, CHANNEL)
    assert "xoxb-1" not in str(caught.value)


@pytest.mark.parametrize("name", ["#alerts", "alerts", "U0123456789", ""])
def test_a_channel_is_named_by_its_id(name: str) -> None:
    with pytest.raises(ValueError, match="not the ID of a channel"):
        SlackChannel(TOKEN, name)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("a&<>é\n"), max_size=9), st.integers(0, 700))
def test_texts_are_cut_between_characters_and_not_within_entities(piece: str, times: int) -> None:
    text = piece * times
    cut = slack_requests.fallback_text(text)
    assert len(cut) <= slack_requests.TEXT_LIMIT
    plain = cut.removesuffix("…").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert text.startswith(plain)
    assert cut.endswith("…") == (plain != text)
