"""The console: messages on standard output, where nothing else is configured.

Belongs here: printing. Does not belong here: the text (`message`).
"""

from __future__ import annotations

from typing import Any

import click

from cxad_pipeline.alerting.channels.channel import DeliveryError, Parcel
from cxad_pipeline.standard_streams import standard_output


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

        Raises
        ------
        DeliveryError
            If there is no standard output, nobody reads it any more, or it can't be written.
        """
        stream = standard_output()
        if stream is None:
            raise DeliveryError("there is no standard output; configure a channel")
        encoding = stream.encoding or "utf-8"
        shown = parcel.message.text.encode(encoding, errors="replace").decode(encoding)
        try:
            click.echo(shown + "\n", file=stream)  # a blank line between two
        except OSError as error:
            raise DeliveryError(f"standard output takes nothing: {error.strerror}; configure a channel") from error
        return {"printed": True}
