"""The console: messages on standard output, where nothing else is configured.

Belongs here: printing. Does not belong here: the text (`message`).
"""

from __future__ import annotations

import sys
from typing import Any

import click

from cxad_pipeline.alerting.channels.channel import Parcel


class ConsoleChannel:
    """Prints messages to standard output."""

    name = "console"
    edits = False

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        """Print the plain text; characters that the terminal's encoding lacks become question marks.

        Parameters
        ----------
        parcel
            Any message.

        Returns
        -------
        dict
            `{"printed": True}`.
        """
        encoding = sys.stdout.encoding or "utf-8"
        shown = parcel.message.text.encode(encoding, errors="replace").decode(encoding)
        click.echo(shown + "\n")  # a blank line between two
        return {"printed": True}
