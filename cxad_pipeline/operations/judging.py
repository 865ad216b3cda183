"""Judging windows: from rollups in the store to incidents and the messages about them, in one transaction.

Belongs here: the order of things, and what is read and written in between. Does not belong here: statistics and the
life of an incident (`incidents`), what is told (`alerting.notices`), sending it (`rounds`).

One transaction holds the state of the windows, the incidents with their calls, and the outbox: whoever is killed in the
middle has done nothing, and does all of it the next time. It keeps every other writer out, so what takes long comes
before it: rollups are read and tested in no transaction, and again if by then somebody has counted them anew.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from cxad_pipeline.incidents import WARM_UP, Findings, Rollups, Windows
from cxad_pipeline.incidents.contacts import contacts_of, joined
from cxad_pipeline.incidents.description import Describer
from cxad_pipeline.incidents.incident import Call, Incident
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.incidents.life import Change, Known, calls_of, live
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.operations.examples import with_examples
from cxad_pipeline.operations.standing_calls import standing_calls
from cxad_pipeline.operations.states_in_numbers import metrics_not_tested, states_of
from cxad_pipeline.operations.statistics import windows_within
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import (
    NOTHING_TOLD,
    StoredIncident,
    get_incident,
    known_incidents,
    lock_incidents,
    opened_between,
    save_incident,
)
from cxad_pipeline.store.segment_findings import findings_rows, record_findings, tested_windows
from cxad_pipeline.store.segment_windows import counted_windows, find_windows, read_rollups, windows_of_other_length
from cxad_pipeline.store.silent_windows import replace_silent_windows
from cxad_pipeline.store.verdict_silences import release_of_incident

MEMORY = dt.timedelta(days=14)
"""How long before a window an incident may have ended for a call to belong to it: a queue may be closed for a while."""
WEEK = dt.timedelta(days=7)
_ATTEMPTS = 3
"""How often windows are tested outside of the transaction; then inside, so that it ends however often they change."""


@dataclass(frozen=True)
class Judged:
    """What judging a period came to.

    Attributes
    ----------
    changes
        The incidents that changed.
    states
        Cells by state, in lower case.
    metrics_not_tested
        By metric, cells whose segment was tested and the metric was not, by its state; metrics without any are left
        out.
    windows
        The windows that were judged.
    achieved
        Incidents that began in the seven days up to the end of the period: the budget used.
    """

    changes: tuple[Change, ...]
    states: dict[str, int]
    metrics_not_tested: dict[str, dict[str, int]]
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
    clock: Callable[[], dt.datetime],
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
    clock
        Gives the present time, UTC. What is told depends on when the transaction takes place, which may have to wait
        for others for minutes.

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

    def conclude(connection: Connection, tested: _Tested) -> Judged:
        now = clock()
        known = _known(connection, tested.judged)
        told = {stored.incident.id: stored.told for stored in known}
        before = [call for stored in known for call in stored.calls]  # merged and withdrawn ones have none
        standing = standing_calls(before, tested.calls, model, tested.findings, tested.rollups, tested.judged)

        def stored_incident(name: str) -> Incident | None:
            found = get_incident(connection, name)
            if found is None:
                return None
            told[name] = found.told
            return found.incident

        record_findings(connection, tested.rows)
        replace_silent_windows(connection, model.tree, tested.findings, WARM_UP, tested.counted)
        changes = live(
            [Known(stored.incident, stored.calls) for stored in known],
            [*tested.calls, *standing],
            tested.judged,
            overlap=overlapping(model),
            tested=partial(_tested_windows, connection, model),
            resolve_after=settings.incidents.resolve_after,
            describe=Describer(
                model,
                tested.findings,
                tested.rollups,
                critical_severity=settings.alerts.critical_severity,
                model_version=version_of(scored),
                now=now,
            ),
            now=now,
            stored=stored_incident,
            until=_newest(connection, tested.windows),
        )
        changes = [
            replace(change, after=with_examples(change.before, change.after, scored, (start, end), model))
            for change in changes
        ]
        # All are saved before any is told: a message says how much of the budget is used.
        for change in changes:
            save_incident(connection, change.after, change.calls, told.get(change.after.id, NOTHING_TOLD))
        for change in changes:
            if change.after.status == "withdrawn":
                release_of_incident(connection, change.after.id, now, f"withdrawal of {change.after.id}")
        for change in changes:
            last = told.get(change.after.id, NOTHING_TOLD)
            newest = teller.tell(connection, change.before, change.after, last, now)
            if newest != last:
                save_incident(connection, change.after, change.calls, newest)
        achieved = opened_between(connection, end - WEEK, end)
        return Judged(
            tuple(changes),
            states_of(tested.findings, WARM_UP),
            metrics_not_tested(model, tested.findings, WARM_UP),
            tested.judged,
            achieved,
        )

    for _ in range(_ATTEMPTS):
        with store.reading() as connection:
            tested = _test(connection, model, asked, settings, clock())
        with store.writing() as connection:
            lock_incidents(connection)
            if _at_hand(connection, asked) == (tested.windows, tested.counted):
                return conclude(connection, tested)
    with store.writing() as connection:
        lock_incidents(connection)
        return conclude(connection, _test(connection, model, asked, settings, clock()))


@dataclass(frozen=True, eq=False)
class _Tested:
    """What the tests found, and in what.

    Attributes
    ----------
    windows
        The windows that were read: the first `WARM_UP` only warm the tests up.
    counted
        When each of them was counted, by its start.
    rollups, findings
        Of these windows.
    calls
        In those that are judged.
    rows
        What is to be written beside these.
    """

    windows: Windows
    counted: dict[int, dt.datetime]
    rollups: Rollups
    findings: Findings
    calls: list[Call]
    rows: list[dict[str, Any]]

    @property
    def judged(self) -> Windows:
        """The windows that are judged."""
        return self.windows.between(WARM_UP, self.windows.number)


def _test(
    connection: Connection, model: IncidentModel, asked: Windows, settings: Settings, now: dt.datetime
) -> _Tested:
    windows, counted = _at_hand(connection, asked)  # first: who counts any of them meanwhile shows
    rollups = read_rollups(connection, model.tree, model.metrics, windows)
    late = windows.starts + windows.seconds + 60 * settings.incidents.late_minutes > int(now.timestamp())
    late |= ~np.isin(windows.starts, list(counted))  # nobody knows their contacts, which is not that there are none
    findings = model.test(rollups, late)
    judged = (WARM_UP, windows.number)
    answered = {
        metric.name: profile.expected(windows)
        for metric, profile in zip(model.metrics, model.monitor.profiles.answered, strict=True)
    }
    rows = findings_rows(connection, model.tree, findings, answered, *judged)
    return _Tested(windows, counted, rollups, findings, calls_of(model, findings, rollups, *judged), rows)


def _at_hand(connection: Connection, asked: Windows) -> tuple[Windows, dict[int, dt.datetime]]:
    """The windows that are needed to judge some, and when each was counted, by its start.

    Before the asked ones are judged with them: all from the earliest on that was late, or only counted because its run
    failed before it was judged. Before those, `WARM_UP` more. After them are judged again those that were, up to
    `WARM_UP`: so far do sums over windows carry what was filled in or corrected. Where one of them was only counted,
    its own run judges it and all after it, with its interactions.
    """
    seconds, memory = asked.seconds, int(MEMORY.total_seconds()) // asked.seconds
    found = counted_windows(connection, _wider(asked, memory + WARM_UP, WARM_UP))
    oldest = asked.start - memory * seconds
    waiting = [
        start for start, (state, _) in found.items() if oldest <= start < asked.start and state in (None, "late")
    ]
    earlier = (asked.start - min(waiting)) // seconds if waiting else 0
    later = 0
    for start in sorted(start for start in found if start >= asked.end):
        if found[start][0] is None:
            break
        later = (start + seconds - asked.end) // seconds
    windows = _wider(asked, earlier + WARM_UP, later)
    return windows, {start: at for start, (_, at) in found.items() if windows.start <= start < windows.end}


def _wider(asked: Windows, earlier: int, later: int) -> Windows:
    """The asked windows with some before and after them."""
    number = earlier + asked.number + later
    return Windows(asked.start - earlier * asked.seconds, number, asked.seconds, asked.timezone)


def _known(connection: Connection, judged: Windows) -> list[StoredIncident]:
    """The incidents that the judged windows may change.

    What was resolved before `incidents.window_minutes` was changed stays as it is: its calls are of windows that nobody
    has now, and by the present length others of them would be neighbours.
    """
    known = known_incidents(connection, _moment(judged.start) - MEMORY)
    other = windows_of_other_length(connection, judged.seconds)
    return [
        stored
        for stored in known
        if stored.incident.status == "open" or not other.issuperset(call.window for call in stored.calls)
    ]


def _tested_windows(connection: Connection, model: IncidentModel, segment: Key, after: int, before: int) -> int:
    """As the store counts them, by the name of a segment and by that which its contacts have now."""
    names = {segment, model.tree.named(segment)}
    return sum(tested_windows(connection, name, after, before) for name in names)


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


def _newest(connection: Connection, windows: Windows) -> int:
    """End of the latest window that was ever counted, or of the judged ones, seconds since 1970 UTC."""
    newest = find_windows(connection, since=None, until=None, segment=(), level=None, limit=1)
    ends = [int(dt.datetime.fromisoformat(row["start"]).timestamp()) + row["seconds"] for row in newest]
    return max([windows.end, *ends])


def _moment(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC)
