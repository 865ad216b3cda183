"""Silences: who said that something is not to be told, of what, and until when.

Belongs here: adding, ending and finding them, whether one covers a segment, and whether it can ever cover any. Does not
belong here: verdicts, which add some (`feedback`), and what becomes of a message that is silenced (`alerting`).

A silence always has an owner and an end. None is ever deleted: it is ended, and it stays known by whom.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from sqlalchemy import Connection, Row, insert, select, update

from cxad_pipeline.incidents.incident import contains, segment_of, segment_text
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.columns import storable
from cxad_pipeline.store.incident_tables import silences
from cxad_pipeline.store.segment_names import as_stored, closures

Scope = Literal["incidents", "anomalies"]
SCOPES: tuple[str, ...] = get_args(Scope)
_MOST_VALUES = 10


class UnknownSegmentError(ValueError):
    """No contact was counted in a segment yet; the message names the nearest ones, and not what was given."""


@dataclass(frozen=True)
class Silence:
    """Something that is not to be told.

    Attributes
    ----------
    id
        Its number.
    scope
        `incidents`: nobody is told of incidents that it covers; `anomalies`: reviewers may have them left out.
    segment
        Covered with all segments inside it; empty: everything.
    metric
        The only one that is covered; None: all.
    owner
        Who answers for it.
    reason
        In their own words; may be empty.
    starts_at, ends_at
        From and to, the end not included; UTC.
    ended_by
        Who ended it before its time; None where nobody did.
    """

    id: int
    scope: Scope
    segment: Key
    metric: str | None
    owner: str
    reason: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    ended_by: str | None = None


def add_silence(
    connection: Connection,
    *,
    scope: Scope,
    segment: Key,
    metric: str | None,
    owner: str,
    reason: str = "",
    starts_at: dt.datetime,
    ends_at: dt.datetime,
) -> Silence:
    """Add a silence.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    scope, segment, metric, owner, reason, starts_at, ends_at
        As in `Silence`.

    Returns
    -------
    Silence
        As it is kept.

    Raises
    ------
    ValueError
        If it has no owner, ends before or when it starts, or the scope is none.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope = {scope!r}: must be one of {', '.join(SCOPES)}")
    if not owner.strip():
        raise ValueError("a silence needs an owner: name who answers for it")
    if ends_at <= starts_at:
        raise ValueError(f"a silence must end after it starts: ends_at {ends_at} is not after starts_at {starts_at}")
    row = {
        "scope": scope,
        "segment": segment_text(segment),
        "metric": metric,
        "owner": owner,
        "reason": reason,
        "starts_at": starts_at,
        "ends_at": ends_at,
    }
    return _silence(connection.execute(insert(silences).returning(silences), row).one())


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


def end_silence(connection: Connection, silence_id: int, at: dt.datetime, by: str) -> Silence | None:
    """End a silence; one that has ended stays as it is, one that has not begun never begins.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    silence_id
        Its number.
    at
        When it ends.
    by
        Who ends it.

    Returns
    -------
    Silence or None
        As it is now; None where there is none of that number.
    """
    if not -(2**63) <= silence_id < 2**63:
        return None
    row = connection.execute(select(silences).where(silences.c.id == silence_id)).one_or_none()
    if row is None:
        return None
    if row.ends_at <= at:
        return _silence(row)
    ended = {"ends_at": max(at, row.starts_at), "ended_by": by}
    change = update(silences).where(silences.c.id == silence_id).values(ended).returning(silences)
    return _silence(connection.execute(change).one())


def find_silences(
    connection: Connection, *, active_at: dt.datetime | None = None, scope: Scope | None = None
) -> list[Silence]:
    """The silences, the one that ends last first.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    active_at
        Only those that hold at that moment; None: all that there ever were.
    scope
        Only those of that scope.
    """
    query = select(silences).order_by(silences.c.ends_at.desc(), silences.c.id.desc())
    if active_at is not None:
        query = query.where(silences.c.starts_at <= active_at, silences.c.ends_at > active_at)
    if scope is not None:
        query = query.where(silences.c.scope == scope)
    return [_silence(row) for row in connection.execute(query)]


def silencing(
    candidates: Iterable[Silence], segment: Key, metric: str | None, *, scope: Scope = "incidents"
) -> Silence | None:
    """The first of the silences that covers a metric of a segment; None where none does.

    Parameters
    ----------
    candidates
        Of the moment in question, `find_silences`.
    segment
        It is covered where the silence's segment contains it: every contact of it is one of the silence's. Of an
        incident the `closure_of` its segment, since it may have been named by less than its contacts share.
    metric
        It is covered where the silence names none or the same.
    scope
        Silences of another scope cover nothing.
    """
    # In the form that a database holds, since anomalies are read from one.
    inner = as_stored(segment)
    named = None if metric is None else storable(metric)
    for silence in candidates:
        of_metric = silence.scope == scope and silence.metric in (None, named)
        if of_metric and contains(as_stored(silence.segment), inner):
            return silence
    return None


def _silence(row: Row[Any]) -> Silence:
    return Silence(
        row.id,
        cast(Scope, row.scope),
        segment_of(row.segment),
        row.metric,
        row.owner,
        row.reason,
        row.starts_at,
        row.ends_at,
        row.ended_by,
    )
