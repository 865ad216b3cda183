"""Keys of scoring windows, which also name their files in storage.

Belongs here: how a key is written, and which moment it speaks of. Does not belong here: which windows there are, and
the key of the one that a moment lies in (`defs.partitions`).

Dagster writes the keys: by `KEY_FORMAT`, on the clock of the schedule. Where windows begin every hour and the clock
shows one hour twice, it appends to the second one its offset from UTC: `2026-10-25-0200`, `2026-10-25-0200+0100`.
"""

from __future__ import annotations

import datetime as dt

KEY_FORMAT = "%Y-%m-%d-%H%M"
_WITHOUT_OFFSET = len("2026-10-25-0200")


def start_of_key(key: str, zone: dt.tzinfo) -> dt.datetime:
    """When the window of a key begins.

    Parameters
    ----------
    key
        As Dagster writes it.
    zone
        Of the schedule.

    Returns
    -------
    datetime
        UTC. Of windows that do not begin every hour, where the clock shows their beginning twice, the first of the two
        moments: the key does not say which it was.

    Raises
    ------
    ValueError
        If it is the key of no window.
    """
    if len(key) <= _WITHOUT_OFFSET:
        return dt.datetime.strptime(key, KEY_FORMAT).replace(tzinfo=zone).astimezone(dt.UTC)
    return dt.datetime.strptime(key, f"{KEY_FORMAT}%z").astimezone(dt.UTC)
