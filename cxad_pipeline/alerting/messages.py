"""The words and the layout of a digest, for people who read it on a phone or a terminal.

Belongs here: a digest as plain text and as Slack blocks, and the `Message` that every channel takes. Does not belong
here: counting (`digest`), sending (`channels`), and messages about failed runs (`run_failure`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxad_pipeline.alerting.digest import SegmentCount, TopInteraction, WindowDigest
from cxad_pipeline.alerting.redaction import redact
from cxad_pipeline.alerting.wording import about, number, one_line, percent, window_in_words

Block = dict[str, Any]

# Longest foreign texts, in characters. Slack takes 3000 a section and 150 a header, escaped; these leave room for the
# fivefold length of "&amp;".
_SEGMENT, _ID, _REASONS, _VALUES, _LABEL = 60, 64, 240, 240, 60
_SECTION_LIMIT = 3000
_HEADER_LIMIT = 150


@dataclass(frozen=True)
class Message:
    """What a channel sends.

    Attributes
    ----------
    headline
        The outcome in one line: the first line of `text`, the subject of an e-mail.
    text
        The whole message as plain text, not escaped for any channel.
    blocks
        The same for Slack (Block Kit), escaped; empty where the text is enough.
    """

    headline: str
    text: str
    blocks: Sequence[Block] = ()


def digest_message(digest: WindowDigest) -> Message:
    """The digest in the form that channels take."""
    return Message(headline(digest), as_text(digest), as_slack_blocks(digest))


def headline(digest: WindowDigest) -> str:
    """The outcome of a window in one line: how many of how many, how many were to be expected, which window."""
    window = window_in_words(digest.start, digest.end)
    if digest.status == "no_data":
        return f"No interactions landed for {window}"
    high = ": HIGH" if digest.is_high else ""
    return (
        f"{digest.anomalies:,} of {digest.scored:,} interactions unusual{high} "
        f"(expected {about(digest.expected)}) · {window}"
    )


def as_text(digest: WindowDigest) -> str:
    """The digest as plain text, for a console and for Slack's notifications.

    Parameters
    ----------
    digest
        Any digest.

    Returns
    -------
    str
        At most 17 lines; the first is the headline. Foreign texts are printable, on one line and cut.
    """
    lines = [headline(digest), " · ".join(_facts(digest))]
    if digest.status == "scored":
        lines += _segment_table(digest.segments)
    if digest.interactions:
        lines.append("Most severe (severity, start UTC, interaction)")
        places = _aligned([(_when(found), *_who(found)) for found in digest.interactions])
        for found, place in zip(digest.interactions, places, strict=True):
            values = one_line(_values(found), _VALUES)
            lines.append("  ".join(filter(None, (f"  {_severity(found):>3}", place, values))))
            if found.reasons:
                lines.append(f"       {one_line(found.reasons, _REASONS)}")
    if digest.links:
        lines.append(" · ".join(f"{one_line(name, _LABEL)}: {_address(url)}" for name, url in digest.links.items()))
    return "\n".join(lines)


def as_slack_blocks(digest: WindowDigest) -> list[Block]:
    """The digest as Slack's Block Kit, within its limits (50 blocks, 3000 characters a section, 150 a header).

    Nothing that comes from data can ping or link: `&`, `<` and `>` are escaped, automatic linking is off (`verbatim`),
    and data stands in code spans or in plain text elements, where Slack reads no formatting.

    Parameters
    ----------
    digest
        Any digest.

    Returns
    -------
    list of dict
        Blocks for the `blocks` field of a message.
    """
    blocks: list[Block] = [header(headline(digest)), context(" · ".join(_facts(digest)))]
    if digest.segments:
        rows = [
            f"• {code(count.label, _SEGMENT)} {count.anomalies:,} of {count.scored:,} "
            f"({percent(count.rate)}, {_times(count)} the expected rate)"
            for count in digest.segments
        ]
        blocks.append(section("\n".join(["*Segments that stand out*", *rows])))
    elif digest.status == "scored":
        blocks.append(context("No segment stands out."))
    if digest.interactions:
        blocks += [{"type": "divider"}, section("*Most severe interactions*")]
    for found in digest.interactions:
        place = f" · {code(found.segment, _SEGMENT)}" if found.segment else ""
        blocks.append(section(f"*{_severity(found)}* · {code(found.interaction_id, _ID)} · {_when(found)} UTC{place}"))
        told = [one_line(_values(found), _VALUES), one_line(found.reasons, _REASONS)]
        if any(told):
            blocks.append(context(*filter(None, told)))
    if digest.links:
        blocks.append(links_section(digest.links))
    return blocks


def escape(text: str) -> str:
    """A text in which Slack finds no mention, no link and no entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def header(text: str) -> Block:
    """A Slack header; a longer text is cut to 150 characters."""
    text = one_line(text, _HEADER_LIMIT)
    while len(escape(text)) > _HEADER_LIMIT:
        text = one_line(text, len(text) - 1)
    return {"type": "header", "text": {"type": "plain_text", "text": escape(text), "emoji": False}}


def context(*texts: str) -> Block:
    """Slack's small print, at most ten texts, without formatting."""
    return {
        "type": "context",
        "elements": [{"type": "plain_text", "text": escape(text), "emoji": False} for text in texts],
    }


def section(mrkdwn: str) -> Block:
    """A Slack section of a text that is already escaped and within 3000 characters."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": mrkdwn, "verbatim": True}}


def code(text: str, limit: int) -> str:
    """A foreign text as a Slack code span; a backtick would end it and becomes an apostrophe."""
    # A span of nothing shows as two backticks.
    return f"`{escape(one_line(text, limit).replace('`', chr(39))) or '?'}`"


def links_section(links: Mapping[str, str]) -> Block:
    """Links as a Slack section; those beyond its limit are left out whole."""
    written = ""
    for label, url in links.items():
        # "|" and ">" would end the address, a blank would break it.
        address = escape(_address(url).replace("|", "%7C").replace("<", "%3C").replace(">", "%3E"))
        link = f"<{address}|{escape(one_line(label, _LABEL).replace('|', '/').replace('`', chr(39))) or 'link'}>"
        longer = f"{written} · {link}" if written else link
        if len(longer) <= _SECTION_LIMIT:
            written = longer
    return section(written or "No link is short enough to show.")


def _facts(digest: WindowDigest) -> list[str]:
    facts = []
    if digest.status == "scored":
        verdict = "high" if digest.is_high else "normal"
        facts.append(
            f"Unusual rate {percent(digest.rate)}, expected {percent(digest.expected_rate)}: {verdict} "
            f"(high from {digest.high_from:,})"
        )
    else:
        facts.append("Nothing was scored: this is missing data, not zero anomalies")
    if digest.rejected:
        facts.append(f"{digest.rejected:,} {'row' if digest.rejected == 1 else 'rows'} rejected")
    if digest.model_version:
        facts.append(f"model {one_line(digest.model_version, _LABEL)}")
    return facts


def _segment_table(segments: Sequence[SegmentCount]) -> list[str]:
    if not segments:
        return ["No segment stands out"]
    rows = [("Segments that stand out", "unusual", "of", "rate", "x expected")]
    rows += [
        (
            f"  {one_line(count.label, _SEGMENT)}",
            f"{count.anomalies:,}",
            f"{count.scored:,}",
            percent(count.rate),
            f"{count.ratio:.1f}",
        )
        for count in segments
    ]
    return _aligned(rows, numbers=True)


def _aligned(rows: Sequence[tuple[str, ...]], *, numbers: bool = False) -> list[str]:
    """Rows with their columns under each other; with `numbers` all columns but the first are set to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if numbers and place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _times(count: SegmentCount) -> str:
    return f"{count.ratio:.1f} times"


def _severity(found: TopInteraction) -> str:
    return f"{found.severity:.0f}"


def _when(found: TopInteraction) -> str:
    return f"{found.timestamp.day} {found.timestamp:%b %H:%M}"


def _who(found: TopInteraction) -> tuple[str, ...]:
    identity = one_line(found.interaction_id, _ID)
    return (identity, one_line(found.segment, _SEGMENT)) if found.segment else (identity,)


def _values(found: TopInteraction) -> str:
    return ", ".join(f"{value.label} {number(value.value)} {value.unit}".rstrip() for value in found.values)


def _address(url: str) -> str:
    """An address without blanks or a password in it; cut addresses lead nowhere, so a longer one stays whole."""
    return redact("".join(url.split()))
