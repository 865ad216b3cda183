"""Which segments and values are known in the store, so that a misspelt one is not taken for one where nothing happens.

Belongs here: refusing those that are not known, with what may have been meant. Does not belong here: by which names
segments are kept (`segment_names`), and what is asked of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from itertools import combinations

from sqlalchemy import Connection, exists, select

from cxad_pipeline.incidents.incident import contains
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.columns import storable
from cxad_pipeline.store.expected_anomalies import DIMENSIONS
from cxad_pipeline.store.segment_names import as_stored, calibrated, closures, counted
from cxad_pipeline.store.tables import anomalies

_MOST_VALUES = 10


class UnknownSegmentError(ValueError):
    """No contact was counted in a segment yet; the message names the nearest ones, and not what was given."""


def check_segment(connection: Connection, segment: Key) -> None:
    """Refuse a segment that covers none of those that are watched: a silence of it would never hold.

    They are those of the newest calibration, by all values that their contacts share; where there is none, those that
    were ever counted. Before anything was counted, every segment is as good as any other.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    segment
        What is to be silenced.

    Raises
    ------
    UnknownSegmentError
        If it covers none.
    """
    known = list(closures(connection).values())
    wanted = as_stored(segment)
    if known and not any(contains(wanted, key) for key in known):
        raise UnknownSegmentError(f"none of the segments that are watched lies in it; {_nearest(wanted, known)}")


def check_value(
    connection: Connection, name: str, value: str, *, dimensions: int, configured: Collection[str] = ()
) -> None:
    """Refuse a value of a dimension that no contact ever had: what is asked of it would always be nothing.

    One that an anomaly has is known, since what the API scores may never be counted. A value that may have been counted
    under the name of another one is not refused, nor is any before something was counted: where all fax is in queue
    fax, the store may have but `queue=fax` for `channel=fax`, until a calibration keeps what its contacts share.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    name, value
        The dimension, and what is asked for.
    dimensions
        How many dimensions the finest segments name.
    configured
        Values that are known without having been counted.

    Raises
    ------
    UnknownSegmentError
        If it is not known.
    """
    names, closed = counted(connection), calibrated(connection)
    seen = {v for key in [*names, *closed.values()] for n, v in key if n == name}
    if not seen or storable(value) in {*seen, *configured} or _is_of_an_anomaly(connection, name, value):
        return
    if _hides([key for key in names if key not in closed], dimensions):
        return
    known = [((name, v),) for v in {*seen, *configured}]
    raise UnknownSegmentError(f"no contact with this value was counted so far; {_nearest(((name, value),), known)}")


def _is_of_an_anomaly(connection: Connection, name: str, value: str) -> bool:
    found = name in DIMENSIONS and connection.scalar(select(exists().where(anomalies.c[name] == value)))
    return bool(found)


def _hides(names: Sequence[Key], dimensions: int) -> bool:
    """Whether one of the names may stand for a single finest segment, whose other values it does not say."""
    finest = [key for key in names if len(key) >= dimensions]
    short = [key for key in names if len(key) < dimensions]
    sizes = {len(key) for key in short}
    named = {frozenset(part) for key in finest for size in sizes for part in combinations(key, size)}
    return any(frozenset(key) not in named for key in short)


def _nearest(wanted: Key, known: Sequence[Key]) -> str:
    """What may have been meant instead of a segment that is not known."""
    for name, value in wanted:
        values = sorted({v for key in known for n, v in key if n == name})
        if not values:
            return f"no segment is told apart by {name}: leave it out"
        if value not in values:
            close = difflib.get_close_matches(value, values, n=3)
            if close:
                return f"did you mean {' or '.join(f'{name}={v}' for v in close)}?"
            more = ", ..." if len(values) > _MOST_VALUES else ""
            return f"known for {name}: {', '.join(values[:_MOST_VALUES])}{more}"
    above = [key for key in known if contains(key, wanted)]
    longest = max(map(len, above), default=0)
    nearest = sorted(", ".join(f"{n}={v}" for n, v in key) for key in above if len(key) == longest)
    return f"the nearest is {' or '.join(filter(None, nearest)) or 'all contacts'}"
