"""Calibration: what is usual, and the threshold that keeps the promise, from history and from what people said of it.

Belongs here: from settings, history and feedback to an `IncidentModel` and its record in the store. Does not belong
here: the statistics (`incidents`), and when calibration runs (`defs`).

What verdicts bring about, here and nowhere else, so that nothing changes retroactively:

- *confirmed*: the hours of the incident teach nothing, in its segment and all that overlap it, and the replay does not
  count them, since the promise is one for weeks in which nothing changes for the worse;
- nothing said: the same for `UNSAID_DAYS`, or the next calibration would take the outage for usual and withdraw it;
  but it counts as a call, as far as quiet weeks have any (`budget.Unsaid`). After that they teach, or what comes every
  Monday would be told every Monday;
- *new trend*: what came before it in its segment teaches nothing any more; until there is enough of the new, the
  segment is a cold start;
- *false alarm*: each one raises the threshold of its exact segment by `SHIFT_OF_ONE` powers of ten of its rarity, each
  confirmed incident there takes as much back; between 0 and `incidents.max_threshold_shift`;
- *expected*: a silence, made at once by the store; its hours teach as others do.

Each means the segment and the hours that it was given for (`judged_hours`).
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cxad_pipeline.incidents.bands import Bounds, baselines_of
from cxad_pipeline.incidents.contacts import Contacts
from cxad_pipeline.incidents.incident import segment_text
from cxad_pipeline.incidents.incident_model import IncidentModel, LeftOut, Replay
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.operations.history import NoHistoryError, history
from cxad_pipeline.operations.judged_hours import as_judged
from cxad_pipeline.operations.watched import promise, watched_metrics, window_seconds
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.baselines import record_baselines
from cxad_pipeline.store.calibrations import CalibrationRecord, record_calibration
from cxad_pipeline.store.counted_verdicts import counted_verdicts
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import StoredIncident, known_incidents

SHIFT_OF_ONE = 0.25
"""Four false alarms more than confirmed incidents make a segment's threshold ten times rarer."""
UNSAID_DAYS = 14
"""Before the latest contact: how long people have to say that an incident was real."""
MEMORY_DAYS = 180
"""Verdicts on older incidents move no threshold any more: queues and people change."""


@dataclass(frozen=True)
class Judgements:
    """What verdicts mean for a calibration."""

    left_out: tuple[LeftOut, ...]
    shifts: dict[Key, float]


def calibrate(store: Store, settings: Settings, now: dt.datetime) -> tuple[IncidentModel, Replay]:
    """Learn from the history that there is, and keep a record of it and what is usual now.

    Raises
    ------
    NoHistoryError
        If there is no history.
    """
    contacts = history(settings, settings.incidents.history_days, now)
    latest = dt.datetime.fromtimestamp(int(contacts.moments.max()), dt.UTC)
    judgements = judgements_of(judged_incidents(store, now), settings, latest)
    try:
        model, replay = fitted(contacts, settings, judgements)
    except ValueError as error:
        raise NoHistoryError(str(error)) from error
    with store.writing() as connection:
        number = record_calibration(connection, record_of(model, now))
        record_baselines(connection, number, baselines_of(model, replay, _bounds(settings)))
    return model, replay


def judged_incidents(store: Store, now: dt.datetime) -> list[tuple[StoredIncident, str | None]]:
    """The incidents that stand, each with its verdict, as `judgements_of` takes them."""
    with store.reading() as connection:
        known = known_incidents(connection, now - dt.timedelta(days=MEMORY_DAYS))
        said = counted_verdicts(connection)
    return as_judged([stored for stored in known if stored.incident.status in ("open", "resolved")], said)


def judgements_of(
    judged: Sequence[tuple[StoredIncident, str | None]], settings: Settings, latest: dt.datetime
) -> Judgements:
    """What incidents and the latest verdicts on them leave out and shift.

    Parameters
    ----------
    judged
        Incidents with their verdict, None where nobody said anything; as they were judged, `as_judged`.
    settings
        The bound of shifts.
    latest
        The latest contact of the history.
    """
    left_out: list[LeftOut] = []
    balance: defaultdict[Key, int] = defaultdict(int)
    for stored, verdict in judged:
        incident = stored.incident
        begin, end = int(incident.started_at.timestamp()), int(incident.ended_at.timestamp())
        unsaid = verdict is None and latest - incident.ended_at < dt.timedelta(days=UNSAID_DAYS)
        if unsaid or verdict == "confirmed":
            called = tuple(sorted({call.segment for call in stored.calls}))
            left_out.append(LeftOut(incident.segment, begin, end, "unsaid" if unsaid else "confirmed", called))
            balance[incident.segment] -= verdict == "confirmed"
        elif verdict == "new_trend":
            left_out.append(LeftOut(incident.segment, 0, begin, "new trend"))
        elif verdict == "false_alarm":
            balance[incident.segment] += 1
    most = settings.incidents.max_threshold_shift
    shifts = {segment: min(SHIFT_OF_ONE * number, most) for segment, number in balance.items() if number > 0}
    return Judgements(tuple(left_out), {segment: shift for segment, shift in shifts.items() if shift > 0})


def fitted(contacts: Contacts, settings: Settings, judgements: Judgements) -> tuple[IncidentModel, Replay]:
    """A model of these contacts by a configuration."""
    chosen = settings.incidents
    return IncidentModel.fit(
        contacts,
        watched_metrics(settings),
        window_seconds=window_seconds(settings),
        timezone=settings.timezone,
        promise=promise(settings),
        special_days=chosen.special_days,
        left_out=judgements.left_out,
        shifts=judgements.shifts,
        min_effect=chosen.min_effect,
        min_contacts=chosen.min_contacts,
    )


def _bounds(settings: Settings) -> dict[str, Bounds]:
    """Least and greatest value of each metric."""
    return {
        column.name: (
            -math.inf if column.minimum is None else column.minimum,
            math.inf if column.maximum is None else column.maximum,
        )
        for column in schema_of(settings).columns
        if column.is_metric
    }


def record_of(model: IncidentModel, now: dt.datetime) -> CalibrationRecord:
    """What the store keeps of a calibration."""
    start, end, contacts = model.history
    return CalibrationRecord(
        at=now,
        history_start=dt.datetime.fromtimestamp(start, dt.UTC),
        history_end=dt.datetime.fromtimestamp(end, dt.UTC),
        contacts=contacts,
        segments=len(model.tree),
        metrics=[metric.name for metric in model.metrics],
        threshold=model.threshold,
        promised_per_week=model.promise.per_week,
        replayed_per_week=model.replayed_per_week,
        weeks=model.monitor.weeks,
        shifts={segment_text(segment): shift for segment, shift in model.shifts.items()},
    )
