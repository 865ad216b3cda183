"""Slack by a bot token over real HTTP: one message a topic, its edits and its thread, and no doubles."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alert_parcels import MESSAGE, failure_of, parcel
from slack_bot_double import CHANNEL, TOKEN, Fault, SlackBotDouble, posts_in, refusal

from cxad_pipeline.alerting.channels import SlackChannel
from cxad_pipeline.alerting.message import Message

POST, UPDATE = "chat.postMessage", "chat.update"
HISTORY, REPLIES = "conversations.history", "conversations.replies"


@pytest.fixture
def slack() -> Iterator[SlackBotDouble]:
    with SlackBotDouble() as double:
        yield double


@pytest.fixture
def channel(slack: SlackBotDouble) -> SlackChannel:
    return SlackChannel(TOKEN, CHANNEL, slack.url)


def test_a_new_message_has_blocks_an_escaped_text_and_its_key(slack: SlackBotDouble, channel: SlackChannel) -> None:
    receipt = channel.deliver(parcel())
    (posted,) = slack.messages
    assert receipt == {"channel": CHANNEL, "ts": posted["ts"]}
    assert posted["text"] == "Hold time is high in billing\n41 of 55 contacts &lt;!channel&gt;"
    assert posted["blocks"] == MESSAGE.blocks
    payload = {"key": "incident:1:opened", "id": parcel().identity}
    assert posted["metadata"] == {"event_type": "cxad_alert", "event_payload": payload}
    assert slack.methods() == [POST]  # nothing is looked for on a first attempt


@pytest.mark.parametrize("kind", ["update", "resolved", "repeat"])
def test_news_edit_the_first_message_and_stand_in_its_thread(
    slack: SlackBotDouble, channel: SlackChannel, kind: str
) -> None:
    first = channel.deliver(parcel())
    later = Message("Worse", "Worse\nnow all", blocks=MESSAGE.blocks[:1], news="All contacts & more")
    receipt = channel.deliver(parcel("incident:1:2", kind, message=later, first=first))
    top, reply = slack.messages
    assert (top["text"], top["blocks"], top["edited"]) == ("Worse\nnow all", MESSAGE.blocks[:1], 1)
    assert top["metadata"]["event_payload"]["key"] == "incident:1:opened"
    assert (reply["text"], reply["thread_ts"]) == ("All contacts &amp; more", top["ts"])
    assert reply["metadata"]["event_payload"]["key"] == "incident:1:2"
    assert reply["broadcast"] == (kind == "repeat")
    assert receipt == {"channel": CHANNEL, "ts": reply["ts"], "thread_ts": top["ts"]}


def test_an_edit_changes_the_first_message_and_tells_nobody(slack: SlackBotDouble, channel: SlackChannel) -> None:
    first = channel.deliver(parcel())
    receipt = channel.deliver(parcel("incident:1:3", "edit", message=Message("h", "h\nnew score"), first=first))
    (only,) = slack.messages
    assert (only["text"], only["blocks"]) == ("h\nnew score", [])
    assert receipt == first
    assert slack.methods() == [POST, UPDATE]


def test_without_news_the_headline_stands_in_the_thread(slack: SlackBotDouble, channel: SlackChannel) -> None:
    first = channel.deliver(parcel())
    channel.deliver(parcel("2", "update", message=Message("A headline", "A headline\nmore"), first=first))
    assert slack.messages[1]["text"] == "A headline"


@pytest.mark.parametrize("kind", ["opened", "digest", "run_failure"])
def test_what_stands_alone_is_a_new_message_whatever_the_topic_had_before(
    slack: SlackBotDouble, channel: SlackChannel, kind: str
) -> None:
    first = channel.deliver(parcel("digest:1", "digest"))
    channel.deliver(parcel("digest:2", kind, first=first))
    assert ["thread_ts" in message for message in slack.messages] == [False, False]


def test_an_update_without_a_first_message_is_a_new_one(slack: SlackBotDouble, channel: SlackChannel) -> None:
    assert "thread_ts" not in channel.deliver(parcel("2", "update"))
    assert channel.deliver(parcel("3", "edit"))["note"] == "there is no message to edit"
    assert slack.methods() == [POST]


def test_a_first_message_in_another_channel_is_left_behind(slack: SlackBotDouble, channel: SlackChannel) -> None:
    channel.deliver(parcel("2", "update", first={"channel": "C0OTHER", "ts": "1.0"}))
    assert slack.methods() == [POST]


LOST = [
    pytest.param(Fault(POST, reset=True, done=True), id="reset"),
    pytest.param(Fault(POST, status=502, body="<html>bad gateway</html>", done=True), id="502"),
    pytest.param(Fault(POST, body={"ok": False, "error": "fatal_error"}, done=True), id="fatal_error"),
    pytest.param(Fault(POST, body="<html>Please log in", status=503, done=True), id="503"),
]


@pytest.mark.parametrize("fault", LOST)
def test_a_message_whose_answer_was_lost_is_not_posted_again(
    slack: SlackBotDouble, channel: SlackChannel, fault: Fault
) -> None:
    slack.faults = [fault]
    error = failure_of(channel, parcel())
    assert (error.uncertain, error.permanent) == (True, False)
    receipt = channel.deliver(parcel(uncertain=True))
    (posted,) = slack.messages
    assert receipt == {"channel": CHANNEL, "ts": posted["ts"], "found": True}


@pytest.mark.parametrize("fault", LOST)
def test_news_whose_answer_was_lost_are_not_posted_again(
    slack: SlackBotDouble, channel: SlackChannel, fault: Fault
) -> None:
    first = channel.deliver(parcel())
    slack.faults = [fault]
    assert failure_of(channel, parcel("2", "repeat", first=first)).uncertain
    receipt = channel.deliver(parcel("2", "repeat", first=first, uncertain=True))
    assert [message.get("thread_ts") for message in slack.messages] == [None, first["ts"]]
    assert receipt == {
        "channel": CHANNEL,
        "ts": slack.messages[1]["ts"],
        "thread_ts": first["ts"],
        "found": True,
    }


def test_a_slow_slack_is_not_waited_for_and_asked_later(slack: SlackBotDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    slack.faults = [Fault(POST, silent=True)]
    with monkeypatch.context() as impatient:
        impatient.setattr("cxad_pipeline.alerting.channels.slack.TIMEOUT_SECONDS", 1)
        error = failure_of(SlackChannel(TOKEN, CHANNEL, slack.url), parcel())
    assert error.uncertain
    assert "TimeoutError" in str(error)
    SlackChannel(TOKEN, CHANNEL, slack.url).deliver(parcel(uncertain=True))  # it had not arrived
    assert len(slack.messages) == 1
    assert slack.methods() == [POST, HISTORY, POST]


def test_an_update_that_failed_before_the_news_is_done_whole(slack: SlackBotDouble, channel: SlackChannel) -> None:
    first = channel.deliver(parcel())
    slack.faults = [Fault(UPDATE, reset=True, done=True)]
    assert failure_of(channel, parcel("2", "update", first=first)).uncertain
    channel.deliver(parcel("2", "update", first=first, uncertain=True))
    assert [message.get("thread_ts") for message in slack.messages] == [None, first["ts"]]


def test_the_message_is_found_behind_many_others_and_through_pages(
    slack: SlackBotDouble, channel: SlackChannel
) -> None:
    slack.most_per_page = 7
    channel.deliver(parcel())
    slack.post_by_people(30)
    assert channel.deliver(parcel(uncertain=True))["found"]
    assert slack.methods().count(HISTORY) == 5
    channel.deliver(parcel("another key", uncertain=True))
    assert slack.methods()[-1] == POST


def test_a_search_without_end_is_given_up_and_the_receipt_says_so(slack: SlackBotDouble, channel: SlackChannel) -> None:
    slack.most_per_page = 1
    slack.post_by_people(30)
    receipt = channel.deliver(parcel(uncertain=True))
    assert "a double cannot be ruled out" in receipt["note"]
    assert len(slack.messages) == 31


@pytest.mark.parametrize("code", ["missing_scope", "not_in_channel"])
def test_a_bot_that_may_not_read_delivers_all_the_same(slack: SlackBotDouble, channel: SlackChannel, code: str) -> None:
    slack.faults = [refusal(HISTORY, code, needed="channels:history"), refusal(REPLIES, code)]
    first = channel.deliver(parcel(uncertain=True))
    assert first["note"] == f"a double cannot be ruled out: the bot may not read the channel ({code})"
    receipt = channel.deliver(parcel("2", "update", first=first, uncertain=True))
    assert receipt["note"] == first["note"]
    assert len(slack.messages) == 2


def test_the_key_of_another_app_is_not_ours(slack: SlackBotDouble, channel: SlackChannel) -> None:
    slack.post_by_people(1)
    slack.messages[0]["metadata"] = {"event_type": "other", "event_payload": {"id": parcel().identity}}
    assert "found" not in channel.deliver(parcel(uncertain=True))


def test_a_message_that_people_deleted_is_posted_anew_for_news_only(
    slack: SlackBotDouble, channel: SlackChannel
) -> None:
    first = channel.deliver(parcel())
    slack.delete(first["ts"])
    assert channel.deliver(parcel("2", "edit", first=first))["note"] == "not edited: message_not_found"
    assert slack.messages == []
    channel.deliver(parcel("3", "update", first=first))
    (anew,) = slack.messages
    assert anew["blocks"] == MESSAGE.blocks
    assert channel.deliver(parcel("3", "update", first=first, uncertain=True))["ts"] == anew["ts"]
    assert len(slack.messages) == 1


def test_where_edits_are_not_allowed_the_news_are_told_all_the_same(
    slack: SlackBotDouble, channel: SlackChannel
) -> None:
    first = channel.deliver(parcel())
    slack.faults = [refusal(UPDATE, "edit_window_closed"), refusal(UPDATE, "cant_update_message")]
    receipt = channel.deliver(parcel("2", "update", first=first))
    assert (receipt["thread_ts"], receipt["note"]) == (first["ts"], "not edited: edit_window_closed")
    assert channel.deliver(parcel("3", "edit", first=first))["note"] == "not edited: cant_update_message"


def test_as_a_process_of_its_own_the_double_keeps_a_record(tmp_path: Path) -> None:
    record = tmp_path / "posts.jsonl"
    script = Path(__file__).with_name("slack_bot_double.py")
    command = [sys.executable, str(script), "--record", str(record)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            channel = SlackChannel(TOKEN, CHANNEL, process.stdout.readline().strip())
            first = channel.deliver(parcel())
            channel.deliver(parcel("2", "update", first=first))
        finally:
            process.kill()
    assert [(line["method"], line["key"]) for line in posts_in(record)] == [
        (POST, "incident:1:opened"),
        (UPDATE, "incident:1:opened"),
        (POST, "2"),
    ]
