"""How figures, times and foreign texts are written in messages, the same in every channel.

Belongs here: single words and lines. Does not belong here: which lines a message has (`messages`, `run_failure`).
"""

from __future__ import annotations

from datetime import datetime, timedelta


def one_line(text: str, limit: int) -> str:
    """A foreign text as one printable line of at most `limit` characters.

    Line breaks, terminal escapes, direction marks and other unprintable characters become spaces: a queue name must
    not be able to rewrite a terminal or to forge a line of the message.
    """
    line = " ".join("".join(ch if ch.isprintable() else " " for ch in text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def number(value: float) -> str:
    """A value with thousands separated and no more decimals than its size needs: 4,210 or 70.5 or 3.25."""
    written = f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def percent(share: float) -> str:
    """A share as a percentage: one decimal, two below 1 %, such as 4.9% or 0.93%."""
    return f"{share:.1%}" if share >= 0.01 else f"{share:.2%}"


def about(expected: float) -> str:
    """An expected count as people say it: "about 13", "under 1"."""
    return "under 1" if expected < 1 else f"about {expected:,.0f}"


def window_in_words(start: datetime, end: datetime) -> str:
    """A UTC window as people read it: "12 Oct 2026 06:00-12:00 UTC"; midnight at the end of the day is 24:00."""
    first = f"{start.day} {start:%b %Y %H:%M}"
    last_day = end - timedelta(microseconds=1)
    if start.date() == last_day.date():
        closing = "24:00" if end.date() != start.date() else f"{end:%H:%M}"
        return f"{first}-{closing} UTC"
    return f"{first} to {end.day} {end:%b %Y %H:%M} UTC"
