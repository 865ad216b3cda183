"""Slack by an incoming webhook: the simpler way, new messages only.

Belongs here: one request and the meaning of its answer. Does not belong here: what a message says, and trying again
(`delivery`).

The address of a webhook is a password. It is kept out of repr, error texts, chained exceptions and log records.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from slack_sdk.webhook import WebhookClient

from cxad_pipeline.alerting.channels.channel import DeliveryError, Parcel, Secret
from cxad_pipeline.alerting.channels.slack_requests import (
    ANSWER_LIMIT,
    REQUEST_FAULTS,
    TIMEOUT_SECONDS,
    fallback_text,
    may_have_arrived,
    retry_after,
    silent_logger,
)
from cxad_pipeline.alerting.redaction import address_secrets, redact
from cxad_pipeline.alerting.wording import one_line

_ADVICE = {
    400: "the message was refused; please report it with this answer",
    403: "the webhook may not post: ask an administrator of the workspace, or create a new webhook",
    404: "the webhook does not exist any more: create a new one and set SLACK_WEBHOOK_URL",
    410: "the channel is archived: create a webhook for another channel and set SLACK_WEBHOOK_URL",
    429: "Slack limits the rate: it is tried again when Slack allows it",
}
_OF_MESSAGE = (400, 413)
"""Slack will never take this message. The others say what is wrong with the webhook, which can be mended."""
_ADVICE_SERVER = "Slack is at fault: it is tried again later"
_ADVICE_CONNECTION = "check the network, the proxy and SLACK_WEBHOOK_URL; it is tried again later"
_ADVICE_NOT_SLACK = 'this is not Slack\'s "ok": check SLACK_WEBHOOK_URL and the proxy'


class SlackWebhookChannel:
    """Posts messages to a Slack incoming webhook.

    A webhook tells nothing of what it has posted: messages can neither be edited nor looked for, and an attempt after
    one whose answer was lost may post a message twice.

    Parameters
    ----------
    url
        Address of the webhook, plain or in an object with `get_secret_value()`.

    Raises
    ------
    ValueError
        If the address is not an http or https address; the message does not repeat it.
    """

    name = "slack_webhook"
    edits = False

    def __init__(self, url: Secret | str) -> None:
        # The client is the only place that holds the address; its repr does not show it.
        self._client = WebhookClient(_checked(url), timeout=TIMEOUT_SECONDS, logger=silent_logger(), retry_handlers=[])

    def __repr__(self) -> str:
        return "SlackWebhookChannel(url='[hidden]')"

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        """Post one message, by one request.

        Parameters
        ----------
        parcel
            The blocks of its message are posted as they are, the text, escaped, as what notifications show.

        Returns
        -------
        dict
            `{"answer": "ok"}`: a webhook tells no more.

        Raises
        ------
        DeliveryError
            If Slack refused the message, could not be reached, or did not answer.
        """
        message = parcel.message
        try:
            response = self._client.send(
                text=fallback_text(message.text),
                blocks=list(message.blocks) or None,
                unfurl_links=False,
                unfurl_media=False,
            )
        except REQUEST_FAULTS as error:
            failure = DeliveryError(
                f"Slack did not take the message {message.headline!r}: no usable answer: {type(error).__name__}: "
                f"{self._shown(str(error))}; {_ADVICE_CONNECTION}",
                uncertain=may_have_arrived(error),
            )
        else:
            status, answer = response.status_code, self._shown(response.body)
            if status == 200 and answer == "ok":
                return {"answer": answer}
            failure = DeliveryError(
                f"Slack did not take the message {message.headline!r}: answer {status} {answer!r}; {_advice(status)}",
                retry_after=retry_after(dict(response.headers)),
                permanent=status in _OF_MESSAGE,
                uncertain=status >= 500,
            )
        # Raised outside the except block: a chained exception would carry the address in its text or its frames.
        raise failure

    def _shown(self, text: str) -> str:
        """A foreign text that may quote the address (proxies do), fit to be shown."""
        return one_line(redact(text, address_secrets(self._client.url)), ANSWER_LIMIT)


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


def _advice(status: int) -> str:
    if status >= 500 or status == 408:
        return _ADVICE_SERVER
    if status < 400:
        return _ADVICE_NOT_SLACK
    return _ADVICE.get(status, _ADVICE[403])
