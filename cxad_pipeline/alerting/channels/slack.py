"""Slack by a bot token: one message for each topic, edited as things change, with the news in its thread.

Belongs here: which calls of Slack's Web API a parcel becomes, and looking for a message that may be there already. Does
not belong here: blocks (`block_kit`), what error codes mean (`slack_errors`), and trying again (`delivery`).

Every message carries its identity as metadata, which people do not see. An attempt after one whose end is not known
looks for it first, in the channel or in the thread, and posts nothing where it finds it. The token is kept out of repr,
error texts, chained exceptions and log records.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.web import SlackResponse

from cxad_pipeline.alerting.channels import slack_errors
from cxad_pipeline.alerting.channels.channel import ATTEMPT_SECONDS, DeliveryError, Parcel, Secret
from cxad_pipeline.alerting.channels.slack_requests import (
    ANSWER_LIMIT,
    REQUEST_FAULTS,
    TIMEOUT_SECONDS,
    fallback_text,
    may_have_arrived,
    retry_after,
    silent_logger,
)
from cxad_pipeline.alerting.redaction import redact
from cxad_pipeline.alerting.wording import one_line

EVENT_TYPE = "cxad_alert"
"""Type of the metadata that carry a message's key and identity."""

CLOCK_TOLERANCE = timedelta(minutes=10)
"""How far our clock may be ahead of Slack's when a message is looked for by time."""

PAGE = 200
PAGES = 20
"""Most messages that a look goes through: 20 pages of 200, newest first."""

API = "https://slack.com/api/"

_ADVICE_CONNECTION = "check the network, the proxy and alerts.slack.api_url; it is tried again later"
_UNKNOWN = "a double cannot be ruled out"


class _SlackError(DeliveryError):
    """A `DeliveryError` that also keeps Slack's code, where Slack gave one."""

    def __init__(self, text: str, code: str = "", **attributes: Any) -> None:
        super().__init__(text, **attributes)
        self.code = code


class SlackChannel:
    """Posts, edits and threads messages in one Slack channel as a bot.

    Scopes of the bot: `chat:write`, and `channels:history` (`groups:history` for a private channel) for looking
    whether a message is there already. Without the latter messages are delivered all the same, and a receipt says
    where a double could not be ruled out.

    Parameters
    ----------
    token
        Token of the bot, plain or in an object with `get_secret_value()`.
    channel
        ID of the channel, such as C0123456789.
    api_url
        Where Slack's Web API is.

    Raises
    ------
    ValueError
        If the token cannot be one, or the channel is not an ID. The message does not repeat the token.
    """

    name = "slack"
    edits = True

    def __init__(self, token: Secret | str, channel: str, api_url: str = API) -> None:
        if not re.fullmatch(r"[CGD][A-Z0-9]{2,}", channel):
            raise ValueError(
                f"alerts.slack.channel {channel!r} is not the ID of a channel: open the channel's details in Slack and "
                "copy the ID at their end, such as C0123456789"
            )
        # The client is the only place that holds the token; its repr does not show it.
        self._client = WebClient(
            _checked(token), base_url=api_url, timeout=TIMEOUT_SECONDS, logger=silent_logger(), retry_handlers=[]
        )
        self._channel = channel
        self._end = 0.0

    def __repr__(self) -> str:
        return f"SlackChannel(token='[hidden]', channel={self._channel!r})"

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        """Post a new message, or edit the topic's first one and post the news into its thread.

        Parameters
        ----------
        parcel
            `opened`, `digest`, `run_failure`, and whatever has no first message: a new message. `edit`: the first
            message is replaced. `update`, `resolved`: that, and the news in its thread. `repeat`: the news are shown in
            the channel too. Where people have deleted the first message, an `edit` does nothing and the others post
            anew.

        Returns
        -------
        dict
            `channel` and `ts` of the message that was posted (for `edit`: of the edited one), `thread_ts` for one in a
            thread, `found` where it was there already, `note` where something could not be done.

        Raises
        ------
        DeliveryError
            If Slack refused, could not be reached, or did not answer.
        """
        self._end = time.monotonic() + ATTEMPT_SECONDS
        first = parcel.begun_by
        # A message in another channel is left behind when the settings move on.
        if first is not None and first.get("channel") == self._channel and first.get("ts"):
            return self._continue(parcel, str(first["ts"]))
        if parcel.kind == "edit":
            return {"channel": self._channel, "note": "there is no message to edit"}
        return self._post(parcel)

    def _post(self, parcel: Parcel) -> dict[str, Any]:
        receipt = self._looked_for(parcel, None)
        if "ts" in receipt:
            return receipt
        message = parcel.message
        answer = self._ask(
            parcel,
            self._client.chat_postMessage,
            text=fallback_text(message.text),
            blocks=list(message.blocks) or None,
            metadata=_metadata(parcel),
            mrkdwn=False,
            unfurl_links=False,
            unfurl_media=False,
        )
        return {**receipt, "channel": self._channel, "ts": _timestamp(answer)}

    def _continue(self, parcel: Parcel, thread: str) -> dict[str, Any]:
        receipt: dict[str, Any] = {}
        if parcel.kind != "edit":
            receipt = self._looked_for(parcel, thread)
            if "ts" in receipt:
                return receipt
        try:
            self._ask(
                parcel,
                self._client.chat_update,
                ts=thread,
                text=fallback_text(parcel.message.text),
                # Left out, the blocks would stay as they were; the metadata are to stay, and are left out.
                blocks=list(parcel.message.blocks),
                parse="none",
            )
        except _SlackError as error:
            code = error.code
            if code not in slack_errors.MESSAGE_GONE | slack_errors.NOT_EDITABLE:
                raise
        else:
            code = ""
        if parcel.kind == "edit":
            return {"channel": self._channel, "ts": thread} | ({"note": f"not edited: {code}"} if code else {})
        if code in slack_errors.MESSAGE_GONE:
            return self._post(parcel)
        answer = self._ask(
            parcel,
            self._client.chat_postMessage,
            thread_ts=thread,
            reply_broadcast=True if parcel.kind == "repeat" else None,
            text=fallback_text(parcel.message.news or parcel.message.headline),
            metadata=_metadata(parcel),
            mrkdwn=False,
            unfurl_links=False,
            unfurl_media=False,
        )
        notes = [note for note in (receipt.get("note"), f"not edited: {code}" if code else None) if note]
        receipt = {"channel": self._channel, "ts": _timestamp(answer), "thread_ts": thread}
        return receipt | ({"note": "; ".join(notes)} if notes else {})

    def _looked_for(self, parcel: Parcel, thread: str | None) -> dict[str, Any]:
        """The receipt of a message that is there already; else empty, or with a note where that cannot be known."""
        if not parcel.uncertain:
            return {}
        oldest = f"{(parcel.queued_at - CLOCK_TOLERANCE).timestamp():.6f}"
        place = {"thread_ts": thread} if thread else {}
        search = {"oldest": oldest, "limit": PAGE, "include_all_metadata": True}
        cursor: str | None = None
        for _ in range(PAGES):
            if time.monotonic() > self._end - ATTEMPT_SECONDS / 2:
                return {"note": f"{_UNKNOWN}: looking for it took too long"}
            try:
                if thread is None:
                    answer = self._ask(parcel, self._client.conversations_history, cursor=cursor, **search)
                else:
                    answer = self._ask(parcel, self._client.conversations_replies, ts=thread, cursor=cursor, **search)
            except _SlackError as error:
                if error.code in slack_errors.MESSAGE_GONE:
                    return {}
                if error.code not in slack_errors.HISTORY_CLOSED:
                    raise
                return {"note": f"{_UNKNOWN}: the bot may not read the channel ({error.code})"}
            messages = answer.get("messages")
            for found in messages if isinstance(messages, list) else []:
                if _identity_of(found) == parcel.identity:
                    return {"channel": self._channel, "ts": str(found["ts"]), **place, "found": True}
            following = _member(answer.get("response_metadata"), "next_cursor")
            if not isinstance(following, str) or not following:
                return {}
            cursor = following
        return {"note": f"{_UNKNOWN}: more than {PAGE * PAGES} messages have been posted since"}

    def _ask(self, parcel: Parcel, call: Callable[..., SlackResponse], **arguments: Any) -> Mapping[str, Any]:
        """Slack's answer to one call about our channel; raises `_SlackError` for one that is not ok."""
        given = {name: value for name, value in arguments.items() if value is not None}
        what = f"Slack did not take the message {parcel.message.headline!r}"
        if time.monotonic() >= self._end:
            raise _SlackError(f"{what}: its answers took more than {ATTEMPT_SECONDS:g} seconds; {_ADVICE_CONNECTION}")
        try:
            answer = call(channel=self._channel, **given).data
            if isinstance(answer, dict):
                return answer
            failure = _SlackError(f"{what}: no usable answer; {_ADVICE_CONNECTION}", uncertain=True)
        except SlackApiError as error:
            failure = self._refusal(what, error.response)
        except REQUEST_FAULTS as error:
            failure = _SlackError(
                f"{what}: no usable answer: {type(error).__name__}: {self._shown(str(error))}; {_ADVICE_CONNECTION}",
                uncertain=may_have_arrived(error),
            )
        # Raised outside the except block: a chained exception would carry the token in its frames.
        raise failure

    def _refusal(self, what: str, response: SlackResponse) -> _SlackError:
        data = response.data if isinstance(response.data, dict) else {}
        # What a proxy answers in place of Slack may quote the token.
        status, code = response.status_code, self._shown(str(data.get("error") or ""))
        limited = status == 429 or code in slack_errors.RATE_LIMITS
        if limited and code not in slack_errors.RATE_LIMITS:
            code = "ratelimited"
        advice = slack_errors.advice_for(code, self._shown(str(data.get("needed") or "")))
        return _SlackError(
            f"{what}: answer {status} {code!r}; {advice}",
            code,
            retry_after=retry_after(response.headers),
            permanent=slack_errors.is_permanent(code),
            uncertain=status >= 500 or code in slack_errors.AT_FAULT,
        )

    def _shown(self, text: str) -> str:
        """A foreign text, fit to be shown."""
        return one_line(redact(text, [self._client.token or ""]), ANSWER_LIMIT)


def _metadata(parcel: Parcel) -> dict[str, Any]:
    return {"event_type": EVENT_TYPE, "event_payload": {"key": parcel.key, "id": parcel.identity}}


def _identity_of(found: object) -> str | None:
    """The identity that a message of the channel carries; None for what is not ours, or no message at all."""
    metadata = _member(found, "metadata")
    if _member(metadata, "event_type") != EVENT_TYPE or _member(found, "ts") is None:
        return None
    identity = _member(_member(metadata, "event_payload"), "id")
    return identity if isinstance(identity, str) else None


def _member(of: object, name: str) -> object:
    return of.get(name) if isinstance(of, Mapping) else None


def _timestamp(answer: Mapping[str, Any]) -> str:
    """The name of the posted message. Slack says "ok" with it always; a proxy's own answer may lack it."""
    ts = answer.get("ts")
    if not isinstance(ts, str):
        raise _SlackError(f"Slack said ok without naming the message; {_ADVICE_CONNECTION}", uncertain=True)
    return ts


def _checked(token: Secret | str) -> str:
    value = (token if isinstance(token, str) else token.get_secret_value()).strip()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(
            "SLACK_BOT_TOKEN is not a token (it is not shown, being a secret): copy the bot token, xoxb-..., again "
            'from the app\'s page "OAuth & Permissions"'
        )
    return value
