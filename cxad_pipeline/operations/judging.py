"""Judging windows: from rollups in the store to incidents and the messages about them, in one transaction.

Belongs here: the order of things, and what is read and written in between. Does not belong here: statistics and the
life of an incident (`incidents`), what is told (`alerting.notices`), sending it (`rounds`).

One transaction holds the state of the windows, the incidents with their calls, and the outbox: whoever is killed in the
middle has done nothing, and does all of it the next time.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from cxad_pipeline.incidents import WARM_UP, Findings, State, Windows
from cxad_pipeline.incidents.contacts import contacts_of, joined
from cxad_pipeline.incidents.description import Describer
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.incidents.life import Change, Known, calls_of, live
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.operations.examples import with_examples
from cxad_pipeline.operations.statistics import windows_within
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import (
    NOTHING_TOLD,
    get_incident,
    known_incidents,
    lock_incidents,
    opened_between,
    save_incident,
)
from cxad_pipeline.store.segment_windows import find_windows, read_rollups, record_findings, tested_windows

MEMORY = dt.timedelta(days=14)
"""How long before a window an incident may have ended for a call to belong to it: a queue may be closed for a while."""
WEEK = dt.timedelta(days=7)


@dataclass(frozen=True)
class Judged:
    """What judging a period came to.

    Attributes
    ----------
    changes
        The incidents that changed.
    states
        Cells by state, in lower case.
    windows
        The windows that were judged.
    achieved
        Incidents that began in the seven days up to the end of the period: the budget used.
    """

    changes: tuple[Change, ...]
    states: dict[str, int]
    windows: Windows
    achieved: int


def judge(
    store: Store,
    model: IncidentModel,
    scored: Sequence[pa.Table],
    start: dt.datetime,
    end: dt.datetime,
    settings: Settings,
    teller: Teller,
    now: dt.datetime,
) -> Judged:
    """Judge the windows of a period whose rollups are in the store.

    Parameters
    ----------
    store
        Holds rollups, incidents and the outbox.
    model
        Of the latest calibration.
    scored
        The period's scored interactions, one table or several: they give the examples and the new segments.
    start, end
        The period, UTC.
    settings
        The configuration.
    teller
        Makes notices of changes.
    now
        The present time.

    Raises
    ------
    ValueError
        If the period is not made of whole incident windows.
    StoreError
        If the store can't be used; nothing is changed then.
    """
    contacts = joined([contacts_of(table, model.tree.dimensions, model.metrics) for table in scored])
    model = model.for_contacts(contacts)
    asked = windows_within(model, start, end)
    with store.writing() as connection:
        lock_incidents(connection)
        earlier = _left_unjudged(connection, asked) + WARM_UP
        windows = Windows(asked.start - earlier * asked.seconds, asked.number + earlier, asked.seconds, asked.timezone)
        first = WARM_UP
        rollups = read_rollups(connection, model.tree, model.metrics, windows)
        late = windows.starts + windows.seconds + 60 * settings.incidents.late_minutes > int(now.timestamp())
        findings = model.test(rollups, late)
        record_findings(connection, model.tree, findings, first, windows.number)
        calls = calls_of(model, findings, rollups, first, windows.number)
        known = known_incidents(connection, _moment(windows.starts[first]) - MEMORY)
        told = {stored.incident.id: stored.told for stored in known}
        describer = Describer(
            model,
            findings,
            rollups,
            critical_severity=settings.alerts.critical_severity,
            model_version=version_of(scored),
            now=now,
        )

        def stored_incident(name: str) -> Incident | None:
            found = get_incident(connection, name)
            if found is None:
                return None
            told[name] = found.told
            return found.incident

        changes = live(
            [Known(stored.incident, stored.calls) for stored in known],
            calls,
            windows.between(first, windows.number),
            overlap=overlapping(model),
            tested=lambda segment, after, before: tested_windows(connection, segment, after, before, windows.seconds),
            resolve_after=settings.incidents.resolve_after,
            describe=describer,
            now=now,
            stored=stored_incident,
            until=_newest(connection, windows),
        )
        changes = [
            replace(change, after=with_examples(change.before, change.after, scored, (start, end), model))
            for change in changes
        ]
        # All are saved before any is told: a message says how much of the budget is used.
        for change in changes:
            save_incident(connection, change.after, change.calls, told.get(change.after.id, NOTHING_TOLD))
        for change in changes:
            last = told.get(change.after.id, NOTHING_TOLD)
            newest = teller.tell(connection, change.before, change.after, last, now)
            if newest != last:
                save_incident(connection, change.after, change.calls, newest)
        achieved = opened_between(connection, end - WEEK, end)
    return Judged(tuple(changes), states_of(findings, first), windows.between(first, windows.number), achieved)


def overlapping(model: IncidentModel) -> Callable[[Key, Key], bool]:
    """Whether two segments share contacts: by the contacts that there are; by their names where one is not known."""
    position = {key: number for number, key in enumerate(model.tree.keys)}
    overlap = model.tree.overlap

    def share(first: Key, second: Key) -> bool:
        if first in position and second in position:
            return bool(overlap[position[first], position[second]])
        values = dict(first)
        return all(values.get(name, value) == value for name, value in second)

    return share


def version_of(scored: Iterable[pa.Table]) -> str:
    """The version that scored the newest table with rows."""
    labels = [table["model_version"][0].as_py() for table in scored if table.num_rows]
    return str(labels[-1]) if labels else ""


def states_of(findings: Findings, first: int) -> dict[str, int]:
    """How many cells are in each state, from a window on."""
    counts = Counter(np.asarray(findings.states[:, first:]).ravel().tolist())
    return {State(value).name.lower(): number for value, number in sorted(counts.items())}


def _left_unjudged(connection: Connection, asked: Windows) -> int:
    """How many windows before the asked ones are judged with them: back to the earliest that was late, or only counted.

    Only counted is a window whose run failed between counting and judging.
    """
    rows = find_windows(
        connection,
        since=_moment(asked.start) - MEMORY,
        until=_moment(asked.start),
        segment=(),
        level=None,
        limit=int(MEMORY.total_seconds()) // asked.seconds,
    )
    waiting = [
        dt.datetime.fromisoformat(row["start"]).timestamp()
        for row in rows
        if row["state"] in (None, "late") and row["seconds"] == asked.seconds
    ]
    return int(asked.start - min(waiting)) // asked.seconds if waiting else 0


def _newest(connection: Connection, windows: Windows) -> int:
    """End of the latest window that was ever counted, or of the judged ones, seconds since 1970 UTC."""
    newest = find_windows(connection, since=None, until=None, segment=(), level=None, limit=1)
    ends = [int(dt.datetime.fromisoformat(row["start"]).timestamp()) + row["seconds"] for row in newest]
    return max([windows.end, *ends])


def _moment(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC)
