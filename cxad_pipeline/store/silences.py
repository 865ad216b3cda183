"""Silences: who said that something is not to be told, of what, and until when.

Belongs here: adding, extending, ending and finding them, and whether one covers a segment. Does not belong here:
whether it can ever cover any (`known_segments`), verdicts, which add some (`feedback`), and what becomes of a message
that is silenced (`alerting`).

A silence always has an owner and an end. None is ever deleted: it is ended, and it stays known by whom.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from sqlalchemy import Connection, Row, case, insert, literal, select, text, update

from cxad_pipeline.incidents.incident import contains, segment_of, segment_text
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.columns import Moment, storable
from cxad_pipeline.store.incident_tables import silences
from cxad_pipeline.store.segment_names import as_stored

Scope = Literal["incidents", "anomalies"]
SCOPES: tuple[str, ...] = get_args(Scope)
_LOCK = 4_283_904_411_718_520_235  # those of migrations and of incidents are below it


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
    by_verdict: bool = False,
) -> tuple[Silence, Silence | None]:
    """Add a silence, or extend the one that there is.

    Of one scope, segment and metric there are no two at a time: where the new one would overlap with another, that one
    gets the later end of the two, and the owner and the reason of the new one. So it is for several that are added at
    once.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    scope, segment, metric, owner, reason, starts_at, ends_at
        As in `Silence`.
    by_verdict
        Whether a verdict asks for it, so that a change of mind may shorten it (`shorten_silence`), and nobody by hand.

    Returns
    -------
    (Silence, Silence or None)
        As it is kept; and as it was before, where it was extended.

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
    lock_silences(connection)
    said = {"owner": owner, "reason": reason}
    held = _overlapping(connection, scope, segment, metric, starts_at, ends_at)
    if held is None:
        row = {"scope": scope, "segment": segment_text(segment), "metric": metric, **said}
        new = {"starts_at": starts_at, "ends_at": ends_at, "asked_until": None if by_verdict else ends_at}
        return _silence(connection.execute(insert(silences).returning(silences), {**row, **new}).one()), None
    times: dict[str, Any] = {"starts_at": min(held.starts_at, starts_at), "ends_at": max(held.ends_at, ends_at)}
    if not by_verdict:
        asked = silences.c.asked_until
        times["asked_until"] = case((asked > ends_at, asked), else_=literal(ends_at, Moment()))
    change = update(silences).where(silences.c.id == held.id).values({**said, **times, "ended_by": None})
    return _silence(connection.execute(change.returning(silences)).one()), held


def lock_silences(connection: Connection) -> None:
    """Let one transaction at a time change silences; in SQLite one that writes keeps all others out by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _overlapping(
    connection: Connection, scope: Scope, segment: Key, metric: str | None, starts_at: dt.datetime, ends_at: dt.datetime
) -> Silence | None:
    """The silence of just this scope, segment and metric that holds some time of a period, the one that ends last."""
    columns = silences.c
    query = (
        select(silences)
        .where(
            columns.scope == scope,
            columns.metric.is_not_distinct_from(metric),
            columns.starts_at < ends_at,
            columns.ends_at > starts_at,
            columns.starts_at < columns.ends_at,  # ended before it began, it holds at no time
        )
        .order_by(columns.ends_at.desc(), columns.id.desc())
    )
    wanted = frozenset(as_stored(segment))  # the order of its dimensions makes no difference
    found = map(_silence, connection.execute(query))
    return next((one for one in found if frozenset(as_stored(one.segment)) == wanted), None)


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
    lock_silences(connection)
    row = connection.execute(select(silences).where(silences.c.id == silence_id)).one_or_none()
    if row is None:
        return None
    if row.ends_at <= at:
        return _silence(row)
    ended = {"ends_at": max(at, row.starts_at), "ended_by": by, "asked_until": None}
    change = update(silences).where(silences.c.id == silence_id).values(ended).returning(silences)
    return _silence(connection.execute(change).one())


def shorten_silence(
    connection: Connection, silence_id: int, at: dt.datetime, by: str, wanted_until: dt.datetime | None
) -> Silence | None:
    """Have a silence end when the last of those who still want it wanted it to; at once, where nobody does.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`, after `lock_silences`.
    silence_id
        Of one that is stored.
    at
        When it ends where nobody wants it; it never becomes longer.
    by
        Who wants it no more.
    wanted_until
        The latest end that verdicts want; None: none does. An end that was asked for by hand counts as well.

    Returns
    -------
    Silence or None
        As it is now; None where it had ended by then.
    """
    row = connection.execute(select(silences).where(silences.c.id == silence_id)).one()
    if row.ends_at <= at:
        return None
    wanted = [end for end in (wanted_until, row.asked_until) if end is not None and end > at]
    if not wanted:
        return end_silence(connection, silence_id, at, by)
    change = update(silences).where(silences.c.id == silence_id).values(ends_at=min(row.ends_at, max(wanted)))
    return _silence(connection.execute(change.returning(silences)).one())


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
