"""What both Slack channels know of requests: limits, waits, lost answers, and a logger that says nothing.

Belongs here: what is the same for a webhook and for the Web API. Does not belong here: either of them
(`slack_webhook`, `slack`).

slack_sdk writes addresses and messages to its logger at DEBUG, and the address of a webhook is a password; so its
clients get a logger that no configuration reaches.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.error import URLError

from slack_sdk.errors import SlackClientError

from cxad_pipeline.alerting.block_kit import escape

TIMEOUT_SECONDS = 10
"""Longest wait for the connection, and again for each part of Slack's answer."""

LONGEST_WAIT_SECONDS = 86_400.0
"""A `Retry-After` beyond this is taken for this."""

ANSWER_LIMIT = 200
"""Characters of a foreign answer that are shown."""

TEXT_LIMIT = 3000
"""Characters of the plain text, escaped: what notifications show. Slack refuses edits with more than 4000."""

# A malformed answer is a ValueError or an HTTPException, an answer in JSON that is no object an AttributeError of
# slack_sdk; all others that urllib raises are OSErrors.
REQUEST_FAULTS = (OSError, http.client.HTTPException, SlackClientError, ValueError, AttributeError)


def fallback_text(text: str) -> str:
    """A text, escaped and cut to `TEXT_LIMIT`; no entity is cut in two."""
    written = ""
    for character in text:
        piece = escape(character)
        if len(written) + len(piece) >= TEXT_LIMIT:
            return written + "…"
        written += piece
    return written


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that an answer asks to wait (RFC 9110, section 10.2.3: seconds or an HTTP date).

    Parameters
    ----------
    headers
        Headers of the answer, names in any case.
    now
        Present time, for dates; the clock's by default.

    Returns
    -------
    float or None
        0 to `LONGEST_WAIT_SECONDS`; None where the header is missing or cannot be read.
    """
    given = next((value.strip() for name, value in headers.items() if name.lower() == "retry-after"), "")
    if given.isascii() and given.isdecimal():
        return min(float(given), LONGEST_WAIT_SECONDS)
    try:
        moment = parsedate_to_datetime(given)
    except (ValueError, OverflowError):  # the latter where a year, a day or an offset is too large for a date
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)  # "-0000" stands for UTC
    wait = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(max(wait, 0.0), LONGEST_WAIT_SECONDS)


def may_have_arrived(fault: Exception) -> bool:
    """Whether a request may have done its work although it failed.

    urllib wraps what fails before the whole request has gone out (name, connection, TLS, sending) in a URLError; what
    fails while it waits for the answer comes as it is.
    """
    return not isinstance(fault, URLError | SlackClientError)


def silent_logger() -> logging.Logger:
    """A logger outside logging's tree, which no configuration of levels or handlers reaches."""
    logger = logging.Logger("cxad_pipeline.alerting.slack_sdk", level=logging.CRITICAL + 1)
    logger.disabled = True
    return logger
