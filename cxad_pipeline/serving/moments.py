"""Times of records, which come as texts, as moments.

Belongs here: microseconds since 1970 UTC from texts of the form that `interactions.record` accepts. Does not belong
here: saying whether a text is a time (`interactions.record`), and columns of files (`interactions.conversion`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from cxad_pipeline.serving.batch import iso

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND, _SECOND = dt.timedelta(microseconds=1), dt.timedelta(seconds=1)


def microseconds(texts: Sequence[str], zone: str) -> npt.NDArray[np.int64]:
    """Moments of valid texts.

    A time without zone is in `zone`, as in files: where clocks are set back it means the first of the two moments;
    where they are set forward, a time that does not exist means the moment at which they were. What is finer than a
    microsecond is cut off.

    Parameters
    ----------
    texts
        Texts that match `TIMESTAMP_PATTERN`, (n,).
    zone
        Name of a time zone.

    Returns
    -------
    ndarray
        Microseconds since 1970 UTC, (n,) int64.
    """
    clock = ZoneInfo(zone)
    moments = []
    for text in texts:
        time = dt.datetime.fromisoformat(text.upper())
        moments.append(((time if time.tzinfo is not None else _on(clock, time)) - _EPOCH) // _MICROSECOND)
    return np.array(moments, dtype=np.int64)


def utc_texts(texts: Sequence[str | None], zone: str) -> list[str | None]:
    """Times in one form, ISO 8601 in UTC; (n,), None where missing."""
    moments = iter(microseconds([text for text in texts if text is not None], zone).tolist())
    return [None if text is None else iso(next(moments)) for text in texts]


def _on(clock: ZoneInfo, time: dt.datetime) -> dt.datetime:
    """The moment at which a clock shows a time, in UTC."""
    before, after = _offset(time.replace(tzinfo=clock)), _offset(time.replace(tzinfo=clock, fold=1))
    time = time.replace(tzinfo=dt.UTC)
    # The two are the same on most days. Where clocks are set back, the larger one gives the first of two moments.
    return time - before if before >= after else _change(clock, time - after, time - before)


def _change(clock: ZoneInfo, low: dt.datetime, high: dt.datetime) -> dt.datetime:
    """The moment in (low, high] at which a clock is set forward; both are in UTC, and so is the result."""
    offset = _offset(low.astimezone(clock))
    low, high = low.replace(microsecond=0), high.replace(microsecond=0)
    while high - low > _SECOND:
        middle = low + (high - low) // (2 * _SECOND) * _SECOND
        if _offset(middle.astimezone(clock)) == offset:
            low = middle
        else:
            high = middle
    return high


def _offset(time: dt.datetime) -> dt.timedelta:
    return time.utcoffset() or dt.timedelta(0)
