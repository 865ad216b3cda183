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

_WHOLE = "white-space:nowrap"
_SHORT = 17
"""Characters up to which a cell stays on one line, such as a moment with its year: columns of short texts would be
narrowed to a letter or two in favour of a long one."""


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


def table(title: str, rows: Sequence[Sequence[str]], *, names: Sequence[str] = ()) -> str:
    """A titled table of any texts, (rows, columns), with the columns' names where there are any."""
    top = "".join(
        f'<th scope="col" style="{_CELL};{_WHOLE};{_QUIET};font-weight:normal">{escape(name)}</th>' for name in names
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows)
    head = f"<tr>{top}</tr>\n" if top else ""
    return (
        f'<h2 style="font-size:15px;margin:14px 0 2px 0">{escape(title)}</h2>\n'
        f'<table width="100%" cellpadding="0" cellspacing="0" style="border-collapse:collapse;font-size:14px">\n'
        f"{head}{body}</table>"
    )


def _cell(text: str) -> str:
    style = f"{_CELL};{_WHOLE}" if len(text) <= _SHORT else _CELL
    return f'<td style="{style}">{escape(text)}</td>'


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
