"""Slack's Block Kit: blocks that Slack accepts, and in which no foreign text can ping, link or format.

Belongs here: kinds of block, escaping, Slack's limits. Does not belong here: what a message says
(`incident_messages`, `digest`, `run_failure`).

`&`, `<` and `>` are escaped, automatic linking is off (`verbatim`), and foreign texts stand in code spans or in plain
text elements, where Slack reads no formatting. Links are links in a text: a click on a link *button* is sent to the
app's endpoint, and without one Slack shows a warning beside the button (slackapi/node-slack-sdk, issue 869).
"""

from __future__ import annotations

from collections.abc import Mapping

from cxad_pipeline.alerting.message import Block
from cxad_pipeline.alerting.wording import LABEL, address, commands_in_words, one_line

_SECTION_LIMIT = 3000
_HEADER_LIMIT = 150


def escape(text: str) -> str:
    """A text in which Slack finds no mention, no link and no entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def header(text: str) -> Block:
    """A header; a longer text is cut to 150 characters."""
    return {"type": "header", "text": _plain(text, _HEADER_LIMIT)}


def context(*texts: str) -> Block:
    """Small print, at most ten texts, without formatting."""
    return {"type": "context", "elements": [_plain(text, _SECTION_LIMIT) for text in texts]}


def plain_section(*lines: str) -> Block:
    """Lines without formatting, which any text may stand in; those beyond the limit are left out whole."""
    written = ""
    for line in lines:
        longer = f"{written}\n{_plain(line, _SECTION_LIMIT)['text']}".lstrip("\n")
        written = longer if len(longer) <= _SECTION_LIMIT else written
    return {"type": "section", "text": {"type": "plain_text", "text": written, "emoji": False}}


def section(mrkdwn: str) -> Block:
    """A section of a text that is already escaped and within 3000 characters."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": mrkdwn, "verbatim": True}}


def commands_section(commands: Mapping[str, str]) -> Block:
    """Commands to be copied, each after words of our own, which may be none."""
    return section(commands_in_words({words: code(command, _SECTION_LIMIT) for words, command in commands.items()}))


def code(text: str, limit: int) -> str:
    """A foreign text as a code span; a backtick would end it and becomes an apostrophe."""
    # A span of nothing shows as two backticks.
    return f"`{escape(one_line(text, limit).replace('`', chr(39))) or '?'}`"


def links_section(links: Mapping[str, str]) -> Block:
    """Links; those beyond the limit are left out whole."""
    written = ""
    for label, url in links.items():
        # "|" and ">" would end the address, a blank would break it.
        place = escape(address(url).replace("|", "%7C").replace("<", "%3C").replace(">", "%3E"))
        link = f"<{place}|{escape(one_line(label, LABEL).replace('|', '/').replace('`', chr(39))) or 'link'}>"
        longer = f"{written} · {link}" if written else link
        if len(longer) <= _SECTION_LIMIT:
            written = longer
    return section(written or "No link is short enough to show.")


def _plain(text: str, limit: int) -> Block:
    """A text element; escaping makes a text longer, so it is cut until it fits."""
    text = one_line(text, limit)
    while len(escape(text)) > limit:
        text = one_line(text, len(text) - max(1, (len(escape(text)) - limit) // 5))
    return {"type": "plain_text", "text": escape(text) or "?", "emoji": False}
