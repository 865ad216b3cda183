"""Windows that nobody has judged between those that a digest tells: a day that never landed is no quiet day.

Belongs here: which they are. Does not belong here: their words (`alerting.digest`), and asking for them to be judged
(`defs.unjudged_windows`).

They have no rows in the store, so they are what rows leave. Each is told by the digest of the first window after it.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Connection

from cxad_pipeline.incidents import Windows
from cxad_pipeline.incidents.history import windows_of_days
from cxad_pipeline.operations.watched import window_seconds
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.baselines import baselines_at
from cxad_pipeline.store.judged_windows import NotJudged, judged_periods

OPEN = 1.0
"""Contacts that are usual in a window, for it to be missed: at night and on closed days nobody is."""


def windows_not_judged(
    connection: Connection, settings: Settings, start: int, end: int, now: dt.datetime
) -> NotJudged | None:
    """The windows of a period that nobody has judged and that usually have contacts; None where there are none.

    Where no calibration knows what is usual in them, each window counts.

    Parameters
    ----------
    connection
        `Store.reading`, or in a transaction that writes.
    settings
        The configuration.
    start, end
        The period, seconds since 1970 UTC, the end exclusive.
    now
        The present time.
    """
    if start >= end:
        return None
    windows = Windows.covering(start, end - 1, window_seconds(settings), settings.timezone)
    missed = ~windows_of_days(windows, settings.incidents.special_days)
    for begin, stop in judged_periods(connection, windows.start, windows.end):
        missed[(windows.starts < stop) & (windows.starts + windows.seconds > begin)] = False
    (known,) = baselines_at(connection, (), [now])
    if known is not None and known.seconds == windows.seconds and "contacts" in known.counts:
        missed &= known.counts["contacts"].rate[windows.slot] >= OPEN
    starts = windows.starts[missed]
    if not len(starts):
        return None
    return NotJudged(int(starts[0]), int(starts[-1]) + windows.seconds, len(starts))
