"""The subject of a mail, which mail programs read as it was written.

Belongs here: its encoding (RFC 2047). Does not belong here: what it says, and the other headers (`email`).
"""

from __future__ import annotations

from email.header import Header
from email.headerregistry import UnstructuredHeader
from email.policy import EmailPolicy
from typing import Any

_LONGEST_WORD = 60
"""Longest word, in characters, that stands in a plain subject: a line is not to be of the header's name alone."""


class MailSubject(UnstructuredHeader):
    """A subject that arrives as it is.

    Python's own loses blanks between words that it encodes, and takes `=?...?=` in a foreign name for an encoded word.
    """

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        """Take the text for what it is."""
        kwds.update(parse_tree=cls.value_parser(""), decoded=value)

    def fold(self, *, policy: EmailPolicy) -> str:
        """The whole header: plain where it can be, else all of it in encoded words."""
        text = str(self)
        plain = text.isascii() and "=?" not in text and max(map(len, text.split()), default=0) <= _LONGEST_WORD
        header = Header(text, "us-ascii" if plain else "utf-8", header_name="Subject")
        return f"Subject: {header.encode(linesep=policy.linesep)}{policy.linesep}"
