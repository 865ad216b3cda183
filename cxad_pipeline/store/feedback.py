"""What people say of anomalies and incidents, in the store.

Belongs here: adding a verdict with what it does to silences, and precision by segment. Does not belong here: the latest
verdict beside what it is about (`anomalies`, `incidents`), which one counts (`counted_verdicts`), when a silence ends
(`verdict_silences`), and what calibration makes of verdicts (`operations`).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select

from cxad_pipeline.incidents.incident import segment_of
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.columns import VERDICTS, digest
from cxad_pipeline.store.counted_verdicts import counted_verdicts
from cxad_pipeline.store.expected_anomalies import leaf_of
from cxad_pipeline.store.gone_incidents import require_standing
from cxad_pipeline.store.incident_tables import incident_feedback, incidents
from cxad_pipeline.store.silences import Scope, Silence, add_silence
from cxad_pipeline.store.tables import anomalies, feedback
from cxad_pipeline.store.verdict_silences import release_of_incident, release_of_interaction
from cxad_pipeline.store.verdicts import StoredVerdict, stored_verdict

EXPECTED_FOR = dt.timedelta(days=7)
"""How long `expected` silences anomalies where the caller names no time."""


@dataclass(frozen=True)
class Said:
    """What was said, and what it brought about at once.

    Attributes
    ----------
    verdict
        As it was added.
    silence
        What `expected` made or extended; None with other verdicts.
    released
        What `expected` had made before, on the same incident or interaction, as it is since this verdict, which is
        another one: ended, or going on as long as others asked for.
    """

    verdict: StoredVerdict
    silence: Silence | None
    released: tuple[Silence, ...] = ()


@dataclass(frozen=True)
class Precision:
    """How often people found that a segment's findings were real.

    Attributes
    ----------
    segment
        The segment.
    confirmed, expected, false_alarms, new_trends
        Findings with that as their latest verdict.
    precision
        Confirmed ones among those that are confirmed or a false alarm, 0 to 1; None where there is neither.
    """

    segment: Key
    confirmed: int
    expected: int
    false_alarms: int
    new_trends: int
    precision: float | None


def add_feedback(
    connection: Connection,
    interaction_id: str,
    verdict: str,
    *,
    by: str,
    note: str = "",
    at: dt.datetime | None = None,
    until: dt.datetime | None = None,
    expected_for: dt.timedelta = EXPECTED_FOR,
) -> Said | None:
    """Add a verdict on an interaction; earlier ones stay, the latest counts.

    `expected` also adds or extends a silence of anomalies: its queue, channel and language, and the column of its first
    reason. Any other verdict gives up the silences that earlier ones on the interaction have made.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    interaction_id
        Of an interaction with a stored anomaly.
    verdict
        `confirmed`, `expected`, `false_alarm` or `new_trend`.
    by
        Who says so; the silence's owner.
    note
        In their own words; the silence's reason.
    at
        When; now by default.
    until, expected_for
        End of the silence, or its length from `at` on; of `expected` alone.

    Returns
    -------
    Said or None
        What was added; None, and nothing is added, where no anomaly of that interaction is stored.

    Raises
    ------
    ValueError
        If the verdict is none of the four, `until` is not after `at` or the verdict brings about no silence.
    """
    at, until = _checked(verdict, at, until, expected_for)
    key = digest(interaction_id)
    newest = select(anomalies).where(anomalies.c.interaction_digest == key).order_by(anomalies.c.scored_at.desc())
    anomaly = connection.execute(newest.limit(1)).one_or_none()
    if anomaly is None:
        return None
    column = anomaly.reasons[0]["column"] if anomaly.reasons else None
    silence = _silence(connection, "anomalies", leaf_of(anomaly), column, by, note, at, until)
    row = {"verdict": verdict, "by": by, "at": at, "note": note, "until": until, "silence": silence and silence.id}
    connection.execute(insert(feedback), [{"interaction_digest": key, "interaction_id": interaction_id, **row}])
    released = () if silence else release_of_interaction(connection, key, at, by)
    return Said(stored_verdict(verdict, by, at, note, until), silence, released)


def add_incident_feedback(
    connection: Connection,
    incident_id: str,
    verdict: str,
    *,
    by: str,
    note: str = "",
    at: dt.datetime | None = None,
    until: dt.datetime | None = None,
    expected_for: dt.timedelta,
) -> Said | None:
    """Add a verdict on an incident; earlier ones stay, the latest counts, for what the incident is now.

    `expected` also adds or extends a silence of incidents: its segment and metric. Any other verdict gives up the
    silences that earlier ones on the incident, or on those that it took in, have made.

    Parameters
    ----------
    connection, verdict, by, note, at, until, expected_for
        As of `add_feedback`.
    incident_id
        Of a stored incident.

    Returns
    -------
    Said or None
        What was added; None, and nothing is added, where there is no such incident.

    Raises
    ------
    ValueError
        As of `add_feedback`.
    GoneIncidentError
        If it takes none (`require_standing`).
    """
    at, until = _checked(verdict, at, until, expected_for)
    columns = [incidents.c[name] for name in ("segment", "metric", "started_at", "ended_at")]
    query = select(incidents.c.number, incidents.c.id, incidents.c.status, *columns)
    query = query.where(incidents.c.id_digest == digest(incident_id))
    incident = connection.execute(query).one_or_none()
    if incident is None:
        return None
    require_standing(connection, incident.id, incident.status)
    segment = segment_of(incident.segment)
    silence = _silence(connection, "incidents", segment, incident.metric, by, note, at, until)
    row = {"verdict": verdict, "by": by, "at": at, "note": note, "until": until, "silence": silence and silence.id}
    as_it_is = {column.name: incident._mapping[column.name] for column in columns}
    connection.execute(insert(incident_feedback), [{"incident": incident.number, **as_it_is, **row}])
    released = () if silence else release_of_incident(connection, incident.id, at, by)
    return Said(stored_verdict(verdict, by, at, note, until), silence, released)


def precision_by_segment(connection: Connection, since: dt.datetime, scope: Scope = "incidents") -> list[Precision]:
    """How many findings of each segment were real, by what people said at `since` or later.

    Parameters
    ----------
    connection
        `Store.reading`.
    since
        Only what has its latest verdict from then on.
    scope
        Verdicts on incidents, each in the segment that it was given for (`counted_verdicts`), or on anomalies, each in
        its queue, channel and language.

    Returns
    -------
    list of Precision
        The segment with the most verdicts first.
    """
    if scope == "incidents":
        verdicts = [(one.segment, one.verdict) for one in counted_verdicts(connection).values() if one.at >= since]
    else:
        verdicts = _of_anomalies(connection, since)
    counts: dict[Key, Counter[str]] = {}
    for segment, verdict in verdicts:
        counts.setdefault(segment, Counter())[verdict] += 1
    return [_precision(key, counts[key]) for key in sorted(counts, key=lambda key: (-counts[key].total(), key))]


def new_trends_since(connection: Connection, since: dt.datetime | None) -> int:
    """Interactions of which the latest verdict is `new_trend`, said after a moment; None: ever."""
    latest = select(func.max(feedback.c.id)).group_by(feedback.c.interaction_digest)
    query = select(func.count()).where(feedback.c.id.in_(latest), feedback.c.verdict == "new_trend")
    if since is not None:
        query = query.where(feedback.c.at > since)
    return int(connection.execute(query).scalar_one())


def _precision(segment: Key, said: Counter[str]) -> Precision:
    confirmed, false_alarms = said["confirmed"], said["false_alarm"]
    share = confirmed / (confirmed + false_alarms) if confirmed + false_alarms else None
    return Precision(segment, confirmed, said["expected"], false_alarms, said["new_trend"], share)


def _of_anomalies(connection: Connection, since: dt.datetime) -> list[tuple[Key, str]]:
    latest = select(func.max(feedback.c.id)).group_by(feedback.c.interaction_digest)
    same = anomalies.alias("same")
    of_interaction = (
        select(func.max(same.c.id)).where(same.c.interaction_digest == feedback.c.interaction_digest).scalar_subquery()
    )
    query: Select[Any] = (
        select(anomalies.c.queue, anomalies.c.channel, anomalies.c.language, feedback.c.verdict)
        .join_from(feedback, anomalies, anomalies.c.id == of_interaction)
        .where(feedback.c.id.in_(latest), feedback.c.at >= since)
    )
    return [(leaf_of(row), row.verdict) for row in connection.execute(query)]


def _checked(
    verdict: str, at: dt.datetime | None, until: dt.datetime | None, expected_for: dt.timedelta
) -> tuple[dt.datetime, dt.datetime | None]:
    """When it was said, and until when it silences; None where it does not."""
    if verdict not in VERDICTS:
        raise ValueError(f"verdict = {verdict!r}: must be one of {', '.join(VERDICTS)}")
    at = dt.datetime.now(dt.UTC) if at is None else at
    if verdict != "expected":
        if until is not None:
            raise ValueError(f"until is the end of a silence, which {verdict} does not bring about; only expected does")
        return at, None
    until = at + expected_for if until is None else until
    if until <= at:
        raise ValueError(f"until = {until}: must be after the moment of the verdict, {at}")
    return at, until


def _silence(
    connection: Connection,
    scope: Scope,
    segment: Key,
    metric: str | None,
    by: str,
    note: str,
    at: dt.datetime,
    until: dt.datetime | None,
) -> Silence | None:
    """What keeps quiet until then; None where nothing is to."""
    if until is None:
        return None
    kept, _ = add_silence(
        connection,
        scope=scope,
        segment=segment,
        metric=metric,
        owner=by,
        reason=note or "expected",
        starts_at=at,
        ends_at=until,
        by_verdict=True,
    )
    return kept
