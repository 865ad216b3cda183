"""Taking secrets out of texts that come from elsewhere: error messages, answers of servers, names.

Belongs here: recognising and hiding secrets. Does not belong here: escaping and shortening for a channel
(`messages`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "[hidden]"

LONGEST = 100_000
"""Characters of a text that are looked through; what is beyond them is left out."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A Slack webhook is its own password.
    (re.compile(r"https?://hooks\.slack(?:-gov)?\.com/\S*", re.IGNORECASE), HIDDEN),
    # So are those of Discord and Teams, which Apprise takes.
    (re.compile(r"https?://discord(?:app)?\.com/api/webhooks/\S*", re.IGNORECASE), HIDDEN),
    (re.compile(r"https?://[\w.-]*(?:webhook\.office|logic\.azure|powerplatform)\.com\S*", re.IGNORECASE), HIDDEN),
    # scheme://user:password@host, as database addresses have it; a password may itself contain "@".
    (re.compile(r"(?<=://)[^\s/]*@"), f"{HIDDEN}@"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(?:xox[a-z]|xapp)-[\w-]+|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{20,}"), HIDDEN),
    # password=..., "api_key": "...", AWS_SECRET_ACCESS_KEY=...
    (
        re.compile(
            # Looked for once in each word, which is then taken whole: the time grows with the length of the text.
            r"(?<![\w-])((?=[\w-]*?(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|authorization|"
            r"signature))[\w-]++[\"']?\s*[=:]\s*)"
            # Quotes that were cut off hide all that follows them.
            r"(?:\"[^\"]*(?:\"|\Z)|'[^']*(?:'|\Z)|(?:(?:bearer|basic)\s+)?[^\s,;&\"']+)",
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
        The text, up to the last whole word of its first `LONGEST` characters, with `[hidden]` for each known secret,
        and for what looks like one: webhook addresses, passwords in addresses, bearer tokens, keys of AWS, Slack and
        GitHub, and values assigned to names such as `password` or `token`. A secret of no known form that is not named
        in `secrets` cannot be recognised.
    """
    # The longest first: one secret may contain another.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if len(text) > LONGEST:
        # Half a secret would not be known for one; none that is recognised has a blank in it, but in quotes.
        whole = text[:LONGEST].rsplit(maxsplit=1)
        text = f"{whole[0] if len(whole) > 1 else ''} …"
    for pattern, hidden in _PATTERNS:
        text = pattern.sub(hidden, text)
    return text


def address_secrets(address: str, *, shortest: int = 4) -> list[str]:
    """The parts of an address that may be secrets, and the address itself, for `redact`.

    Parameters
    ----------
    address
        An address whose keys may stand anywhere: user, password, host, path or query, as in webhooks and in the
        addresses of Apprise.
    shortest
        Shorter parts are left out: they are also words of ordinary texts.

    Returns
    -------
    list of str
        The address, its query and its parts, as they are written and without percent-encoding. The scheme is not among
        them, nor is the host where the scheme is http or https.
    """
    scheme, _, rest = address.partition("://")
    place, _, query = rest.partition("?")
    parts = [query, *re.split(r"[/:@?&=#,;]", rest)]
    if scheme.lower() in ("http", "https"):
        host = place.split("/")[0].rpartition("@")[2].partition(":")[0]
        parts = [part for part in parts if part != host]
    long = [part for part in parts if len(part) >= shortest]
    return [address, *dict.fromkeys([*long, *map(unquote, long)])]
