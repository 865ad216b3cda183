"""Pages of a listing: a cursor is the place of the page's last row.

Belongs here: how a place is written, and how moments are. Does not belong here: the listings (`anomalies`, `incidents`,
`outbox`).

Pages follow one another by the last row's place and not by counting: what is written meanwhile neither repeats nor
hides a row that was there.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import struct

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PLACE = struct.Struct(">qq")


class CursorError(ValueError):
    """A cursor that no listing has given."""


def iso(moment: dt.datetime) -> str:
    """A moment as the product writes it: ISO 8601 in UTC with microseconds and `Z`."""
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def cursor_of(moment: dt.datetime, number: int) -> str:
    """The cursor of a row's place: its moment, and its number among those of that moment."""
    microseconds = (moment - _EPOCH) // dt.timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_PLACE.pack(microseconds, number)).decode().rstrip("=")


def place_of(cursor: str) -> tuple[dt.datetime, int]:
    """The place that `cursor_of` wrote.

    Raises
    ------
    CursorError
        If it is none.
    """
    try:
        microseconds, number = _PLACE.unpack(base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (binascii.Error, struct.error, ValueError) as error:
        raise CursorError("the cursor is none that a listing has given; begin without one") from error
    try:
        return _EPOCH + dt.timedelta(microseconds=microseconds), number
    except OverflowError:  # a made-up place outside all years is before or after everything
        bound = dt.datetime.max if microseconds > 0 else dt.datetime.min
        return bound.replace(tzinfo=dt.UTC), number
