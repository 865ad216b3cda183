"""Taking secrets out of texts that come from elsewhere: error messages, answers of servers, names.

Belongs here: recognising and hiding secrets. Does not belong here: escaping and shortening for a channel
(`messages`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "[hidden]"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A Slack webhook is its own password.
    (re.compile(r"https?://hooks\.slack(?:-gov)?\.com/\S*", re.IGNORECASE), HIDDEN),
    # scheme://user:password@host, as database addresses have it; a password may itself contain "@".
    (re.compile(r"(?<=://)[^\s/]*@"), f"{HIDDEN}@"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(?:xox[a-z]|xapp)-[\w-]+|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{20,}"), HIDDEN),
    # password=..., "api_key": "...", AWS_SECRET_ACCESS_KEY=...
    (
        re.compile(
            r"([\w-]*(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|authorization|signature)[\w-]*"
            r"[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|(?:(?:bearer|basic)\s+)?[^\s,;&\"']+)",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Hide secrets in a text.

    Parameters
    ----------
    text
        Any text.
    secrets
        Values that must not appear, hidden wherever they occur; empty ones are passed over.

    Returns
    -------
    str
        The text with `[hidden]` for each known secret, and for what looks like one: webhook addresses, passwords in
        addresses, bearer tokens, keys of AWS, Slack and GitHub, and values assigned to names such as `password` or
        `token`. A secret of no known form that is not named in `secrets` cannot be recognised.
    """
    # The longest first: one secret may contain another.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, hidden in _PATTERNS:
        text = pattern.sub(hidden, text)
    return text
