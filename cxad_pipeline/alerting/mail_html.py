"""The body of an HTML e-mail: paragraphs and tables that mail programs of all ages show.

Belongs here: elements, escaping, styles. Does not belong here: what a message says (`incident_messages`, `digest`,
`run_failure`), and the e-mail around it (`channels`).

Styles are inline, since many programs drop all others. No image, so nothing is fetched and nobody is counted. No
colour of text or background is set, but for greys and reds that can be read on white and on black: a mail program's
dark mode turns the rest. The column is as narrow as the screen and at most 600 px wide.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from cxad_pipeline.alerting.wording import LABEL, address, one_line

_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:15px;line-height:1.45"
_RULE = "border-bottom:1px solid rgba(128,128,128,0.35)"
_QUIET = "color:#7a7a7a;font-size:13px"
_CELL = f"padding:4px 12px 4px 0;text-align:left;vertical-align:top;overflow-wrap:anywhere;{_RULE}"
_CODE = "font-family:Menlo,Consolas,monospace;overflow-wrap:anywhere"

_WHOLE = "white-space:nowrap"
_SHORT = 17
"""Characters up to which a cell stays on one line, such as a moment with its year: columns of short texts would be
narrowed to a letter or two in favour of a long one."""
_NAME = 36
"""Characters up to which an interaction's name does, such as a UUID, to be told and copied whole: a telephone of 380 px
has room for so many, and for no column beside them."""


def escape(text: str) -> str:
    """A text in which a mail program finds no element and no entity."""
    return html.escape(text, quote=True)


def page(headline: str, parts: Sequence[str], *, accent: str = "#888888") -> str:
    """A whole document.

    Parameters
    ----------
    headline
        Any text; it is escaped.
    parts
        Elements as the other functions here make them.
    accent
        Colour of the line on the left.
    """
    title = escape(headline)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
        f"<title>{title}</title></head>\n"
        f'<body style="margin:0;padding:12px;{_FONT}">\n'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:600px;width:100%">'
        f'<tr><td style="border-left:4px solid {accent};padding:0 0 0 14px">\n'
        f'<h1 style="font-size:18px;line-height:1.3;margin:0 0 8px 0;overflow-wrap:anywhere">{title}</h1>\n'
        + "\n".join(parts)
        + "\n</td></tr></table>\n</body></html>\n"
    )


def paragraph(text: str, *, quiet: bool = False) -> str:
    """A paragraph of any text; `quiet` is small print."""
    style = f"margin:0 0 10px 0;overflow-wrap:anywhere{';' + _QUIET if quiet else ''}"
    return f'<p style="{style}">{escape(text)}</p>'


def table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """A titled table of any texts, (rows, columns)."""
    return _table(title, ["".join(map(_cell, row)) for row in rows])


def examples(title: str, rows: Sequence[tuple[str, str, str, str]]) -> str:
    """A titled list of interactions, each with what is said of it below its name.

    Parameters
    ----------
    title
        Any text; it is escaped, as all is.
    rows
        Severity, start, name and why, (rows, 4); why may be empty.
    """
    cells = []
    for severity, start, name, why in rows:
        style = f' style="{_WHOLE}"' if len(name) <= _NAME else ""
        below = (line for line in (f"severity {severity}, {start}", why) if line)
        said = "".join(f'<br><span style="{_QUIET}">{escape(line)}</span>' for line in below)
        cells.append(f'<td style="{_CELL}"><span{style}>{escape(name)}</span>{said}</td>')
    return _table(title, cells)


def _table(title: str, rows: Sequence[str]) -> str:
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return (
        f'<h2 style="font-size:15px;margin:14px 0 2px 0">{escape(title)}</h2>\n'
        '<table width="100%" cellpadding="0" cellspacing="0" style="border-collapse:collapse;font-size:14px">\n'
        f"{body}</table>"
    )


def _cell(text: str) -> str:
    style = f"{_CELL};{_WHOLE}" if len(text) <= _SHORT else _CELL
    return f'<td style="{style}">{escape(text)}</td>'


def commands_line(commands: Mapping[str, str]) -> str:
    """Commands to be copied, each after its words, which may be none; any texts."""
    shown = [
        f'{escape(words)} <code style="{_CODE}">{escape(command)}</code>'.strip() for words, command in commands.items()
    ]
    return f'<p style="margin:0 0 10px 0;{_QUIET}">{" &middot; ".join(shown)}</p>'


def links_line(links: Mapping[str, str]) -> str:
    """Links; an address that is neither http nor https is shown as a text, since it might run something."""
    shown = []
    for label, url in links.items():
        place, words = address(url), escape(one_line(label, LABEL) or "link")
        if place.lower().startswith(("http://", "https://")):
            shown.append(f'<a href="{escape(place)}" style="overflow-wrap:anywhere">{words}</a>')
        else:
            shown.append(f"{words}: {escape(place)}")
    return f'<p style="margin:14px 0 10px 0">{" &middot; ".join(shown)}</p>'
