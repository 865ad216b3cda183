"""Channels: the ways a message leaves the pipeline.

Belongs here: one class per channel, its retries and its errors. Does not belong here: what a message says (`messages`,
`run_failure`), and whether it is to be sent at all (`delivery`).

The address of a Slack webhook is a password. It is kept out of repr, error texts, chained exceptions and log records;
slack_sdk writes it to its logger at DEBUG, and at INFO when it retries, so the client gets a logger that says nothing.
"""

from __future__ import annotations

import http.client
import logging
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlsplit

import click
from slack_sdk.errors import SlackClientError
from slack_sdk.http_retry.builtin_handlers import (
    ConnectionErrorRetryHandler,
    RateLimitErrorRetryHandler,
    ServerErrorRetryHandler,
)
from slack_sdk.http_retry.request import HttpRequest
from slack_sdk.http_retry.response import HttpResponse
from slack_sdk.http_retry.state import RetryState
from slack_sdk.webhook import WebhookClient

from cxad_pipeline.alerting.messages import Message, escape
from cxad_pipeline.alerting.redaction import redact
from cxad_pipeline.alerting.wording import one_line

ATTEMPTS = 4
"""Requests for one message, the first included."""

TIMEOUT_SECONDS = 10
"""Wait for Slack's answer to one request."""

LONGEST_RETRY_AFTER_SECONDS = 60
"""A longer `Retry-After` fails the delivery instead of holding a run's slot."""

_TEXT_LIMIT = 3000
_ANSWER_LIMIT = 200

_ADVICE = {
    400: "the message was refused; please report it with this answer",
    403: "the webhook may not post: ask an administrator of the workspace, or create a new webhook",
    404: "the webhook does not exist any more: create a new one and set SLACK_WEBHOOK_URL",
    410: "the channel is archived: create a webhook for another channel and set SLACK_WEBHOOK_URL",
    429: "Slack limits the rate: run the alert again later, and backfill fewer windows at once",
}
_ADVICE_SERVER = "Slack is at fault: run the alert again later"
_ADVICE_CONNECTION = "check the network, the proxy and SLACK_WEBHOOK_URL, then run the alert again"
_ADVICE_REDIRECTED = 'this is not Slack\'s "ok": check SLACK_WEBHOOK_URL and the proxy'


class DeliveryError(Exception):
    """A message was not delivered; the text says what the channel answered and what to do, and holds no secret."""


class Secret(Protocol):
    """A value that hides itself, such as pydantic's SecretStr."""

    def get_secret_value(self) -> str:
        """The value in clear."""
        ...


@dataclass(frozen=True)
class Receipt:
    """Proof of a delivery: the channel's name, the time (UTC) and what the channel answered."""

    channel: str
    sent_at: datetime
    answer: str


class Channel(Protocol):
    """A way for messages to leave."""

    @property
    def name(self) -> str:
        """Name of the channel in records and errors."""
        ...

    def send(self, message: Message) -> Receipt:
        """Send one message.

        Raises
        ------
        DeliveryError
            If the message was not delivered.
        """
        ...


class ConsoleChannel:
    """Prints messages to standard output."""

    name = "console"

    def send(self, message: Message) -> Receipt:
        """Print the plain text; characters that the terminal's encoding lacks become question marks.

        Parameters
        ----------
        message
            Any message.

        Returns
        -------
        Receipt
            With the answer "printed".
        """
        encoding = sys.stdout.encoding or "utf-8"
        click.echo(message.text.encode(encoding, errors="replace").decode(encoding) + "\n")  # a blank line between two
        return Receipt(self.name, datetime.now(UTC), "printed")


class SlackWebhookChannel:
    """Posts messages to a Slack incoming webhook.

    Retried, at most `ATTEMPTS` requests in all: 429 after the time that Slack asks for, 5xx and connection errors
    with growing waits. A request whose answer is lost may have been posted, so a retry can deliver a message twice;
    an answer that does not come within `TIMEOUT_SECONDS` is therefore not waited for again.

    Parameters
    ----------
    url
        Address of the webhook, plain or in an object with `get_secret_value()`.

    Raises
    ------
    ValueError
        If the address is not an http or https address; the message does not repeat it.
    """

    name = "slack"

    def __init__(self, url: Secret | str) -> None:
        # The client is the only place that holds the address; its repr does not show it.
        self._client = WebhookClient(
            _checked(url),
            timeout=TIMEOUT_SECONDS,
            logger=_silent_logger(),
            retry_handlers=[
                _RateLimit(max_retry_count=ATTEMPTS - 1),
                _ServerError(max_retry_count=ATTEMPTS - 1),
                ConnectionErrorRetryHandler(max_retry_count=ATTEMPTS - 1),
            ],
        )

    def __repr__(self) -> str:
        return "SlackWebhookChannel(url='[hidden]')"

    def send(self, message: Message) -> Receipt:
        """Post one message.

        Parameters
        ----------
        message
            Its blocks are posted as they are, its text, escaped, as what notifications show.

        Returns
        -------
        Receipt
            With Slack's answer.

        Raises
        ------
        DeliveryError
            If Slack refused the message, or could not be reached, or limited the rate through all attempts.
        """
        try:
            response = self._client.send(
                text=escape(message.text[:_TEXT_LIMIT]),
                blocks=list(message.blocks) or None,
                unfurl_links=False,
                unfurl_media=False,
            )
        # A malformed address or answer is a ValueError or an HTTPException; all others that urllib raises are OSErrors.
        except (OSError, http.client.HTTPException, SlackClientError, ValueError) as error:
            failure = f"no usable answer: {type(error).__name__}: {self._shown(str(error))}; {_ADVICE_CONNECTION}"
        else:
            answer = self._shown(response.body)
            if response.status_code == 200 and answer == "ok":
                return Receipt(self.name, datetime.now(UTC), answer)
            failure = f"answer {response.status_code} {answer!r}; {_advice(response.status_code)}"
        # Raised outside the except block: a chained exception would carry the address in its text or its frames.
        raise DeliveryError(f"Slack did not take the message {message.headline!r}: {failure}")

    def _shown(self, text: str) -> str:
        """A foreign text that may quote the address (proxies do), fit to be shown."""
        url = self._client.url
        parts = urlsplit(url)
        secrets = [url, parts.query, *(piece for piece in parts.path.split("/") if len(piece) > 7)]
        return one_line(redact(text, (secret for secret in secrets if len(secret) > 1)), _ANSWER_LIMIT)


class _RateLimit(RateLimitErrorRetryHandler):
    """slack_sdk's handler sleeps as long as it is told and fails on a date: only bounded seconds are waited for."""

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        if not super()._can_retry(state=state, request=request, response=response, error=error):
            return False
        headers = response.headers if response else {}
        waits = [values[0] for name, values in headers.items() if name.lower() == "retry-after"]
        return all(wait.isdecimal() and int(wait) <= LONGEST_RETRY_AFTER_SECONDS for wait in waits)


class _ServerError(ServerErrorRetryHandler):
    """slack_sdk retries 500 and 503 only; gateways answer 502 and 504."""

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        if super()._can_retry(state=state, request=request, response=response, error=error):
            return True
        return response is not None and response.status_code in (502, 504)


def _checked(url: Secret | str) -> str:
    address = (url if isinstance(url, str) else url.get_secret_value()).strip()
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not address.isascii() or not address.isprintable() or " " in address:
        # Raised here, not above, so that no chained exception quotes the address.
        raise ValueError(
            "SLACK_WEBHOOK_URL is not an address that begins with https:// (it is not shown, being a secret): "
            'copy it again from the app\'s page "Incoming Webhooks"'
        )
    return address


def _silent_logger() -> logging.Logger:
    """A logger outside logging's tree, which no configuration of levels or handlers reaches."""
    logger = logging.Logger("cxad_pipeline.alerting.slack_sdk", level=logging.CRITICAL + 1)
    logger.disabled = True
    return logger


def _advice(status: int) -> str:
    if status >= 500:
        return _ADVICE_SERVER
    if status < 400:
        return _ADVICE_REDIRECTED
    return _ADVICE.get(status, _ADVICE[403])
