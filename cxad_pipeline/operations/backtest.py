"""Which incidents a configuration would have raised, before anybody switches it on.

Belongs here: the replay of past days. Does not belong here: the statistics (`incidents`), its picture
(`incident_pictures`), tables of a terminal or of Dagster.

Where there are two weeks of history before the days asked for, these teach and the days are judged by what they taught,
as it would have been. Where there are not, all days teach, and each is judged by the others.

What is known of incidents in the days that teach counts as it does in a calibration, and so does what people said of
them; else a real outage would raise the threshold here alone. The store is only read, and need not be there.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.incidents import WARM_UP, Findings, Rollups, State, Windows
from cxad_pipeline.incidents.contacts import Contacts
from cxad_pipeline.incidents.description import Describer
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.incidents.life import calls_of, live
from cxad_pipeline.incidents.power import power_of, warning_of
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.operations.calibration import Judgements, fitted, judged_incidents, judgements_of
from cxad_pipeline.operations.history import NoHistoryError, history
from cxad_pipeline.operations.judging import overlapping
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import NoStoreError, open_store

LEAST_BEFORE = 14
DAY = 86_400


@dataclass(frozen=True)
class Backtest:
    """What a replay came to.

    Attributes
    ----------
    incidents
        Those that would have been raised, the earliest first.
    windows
        The windows that were replayed.
    best
        Highest score of any segment in each of them, (t,); NaN where nothing was tested.
    states
        State of all contacts together in each of them (`incidents.State`), (t,).
    threshold
        That keeps the promise.
    promised_per_week, replayed_per_week
        The promise, and the number in the replay.
    judged_by
        In words, by which days.
    warning
        That the promise leaves little to be found; None where it leaves enough.
    left_out
        In words, what neither taught nor was replayed of the days that teach, for what is known of incidents in them;
        None where that is nothing.
    raised
        By how much false alarms raised the threshold of each segment.
    """

    incidents: tuple[Incident, ...]
    windows: Windows
    best: np.ndarray
    states: np.ndarray
    threshold: float
    promised_per_week: float
    replayed_per_week: float
    judged_by: str
    warning: str | None
    left_out: str | None = None
    raised: Mapping[Key, float] = field(default_factory=dict)


def backtest(settings: Settings, days: int, now: dt.datetime) -> Backtest:
    """Replay the last days of what has trained and been scored.

    Parameters
    ----------
    settings
        The configuration that is tried.
    days
        How many.
    now
        The present time.

    Raises
    ------
    NoHistoryError
        If there is too little history; the message says how much there is.
    StoreError
        If there is a store, and it can't be used.
    """
    contacts = history(settings, days + settings.incidents.history_days, now)
    seconds = 60 * settings.incidents.window_minutes
    last = int(contacts.moments.max())
    start = (last // seconds + 1) * seconds - days * DAY
    earlier = contacts.chosen(contacts.moments < start)
    before = len(np.unique(earlier.moments // DAY)) if len(earlier.moments) else 0
    teaching = earlier if before >= LEAST_BEFORE else contacts
    judgements = _judgements(settings, dt.datetime.fromtimestamp(int(teaching.moments.max()), dt.UTC), now)
    try:
        if teaching is earlier:
            model, rollups, findings, warning = _by_earlier_days(contacts, earlier, start, last, settings, judgements)
            words = f"by the {before} days of contacts before them"
        else:
            model, replay = fitted(contacts, settings, judgements)
            model = replace(model, tree=replay.tree)
            rollups, findings = replay.rollups, replay.findings
            warning = warning_of(power_of(model, replay), model)
            words = f"each day judged by the others, since there are fewer than {LEAST_BEFORE} days before them"
    except ValueError as error:
        raise NoHistoryError(f"{error}") from error
    windows = rollups.windows
    first = max(int(np.searchsorted(windows.starts, start)), 0)
    incidents = _lived(model, findings, rollups, first, settings, now)
    with np.errstate(invalid="ignore"):
        best = np.where(np.isnan(findings.score), -np.inf, findings.score).max(axis=0)[first:]
    weeks = (windows.number - first) * windows.seconds / (7 * DAY)
    return Backtest(
        incidents=tuple(sorted(incidents, key=lambda incident: (incident.started_at, incident.id))),
        windows=windows.between(first, windows.number),
        best=np.where(np.isinf(best), np.nan, best),
        states=findings.states[0, first:],
        threshold=model.threshold,
        promised_per_week=settings.incidents.budget_per_week,
        replayed_per_week=len(incidents) / weeks,
        judged_by=words,
        warning=warning,
        left_out=_left_out(judgements, int(teaching.moments.min())),
        raised=model.shifts,
    )


def _judgements(settings: Settings, latest: dt.datetime, now: dt.datetime) -> Judgements:
    """What the store knows of incidents that began by then; nothing where there is no store."""
    try:
        store = open_store(settings, make=False)
    except NoStoreError:
        return Judgements((), {})
    try:
        judged = judged_incidents(store, now)
    finally:
        store.close()
    return judgements_of([one for one in judged if one[0].incident.started_at <= latest], settings, latest)


def _left_out(judgements: Judgements, first: int) -> str | None:
    """In words, what teaches nothing of a history that begins then."""
    number: Counter[str] = Counter(one.reason for one in judgements.left_out if one.stop > first)
    words = {
        "confirmed": f"hours of {plural(number['confirmed'], 'confirmed incident')}",
        "unsaid": f"hours of {plural(number['unsaid'], 'incident')} of which nobody has said anything",
        "new trend": f"what came before {plural(number['new trend'], 'new trend')}",
    }
    return "; ".join(text for reason, text in words.items() if number[reason]) or None


def _by_earlier_days(
    contacts: Contacts, earlier: Contacts, start: int, last: int, settings: Settings, judgements: Judgements
) -> tuple[IncidentModel, Rollups, Findings, str | None]:
    model, replay = fitted(earlier, settings, judgements)
    warning = warning_of(power_of(model, replay), model)
    model = model.for_contacts(contacts)
    seconds = model.window_seconds
    windows = Windows.covering(start - WARM_UP * seconds, last, seconds, model.timezone)
    rollups = model.rollups(contacts, windows)
    return model, rollups, model.test(rollups), warning


def _lived(
    model: IncidentModel, findings: Findings, rollups: Rollups, first: int, settings: Settings, now: dt.datetime
) -> list[Incident]:
    windows = rollups.windows
    position = {key: number for number, key in enumerate(model.tree.keys)}
    tested = findings.states == State.TESTED

    def tested_between(segment: Key, after: int, before: int) -> int:
        inside = (windows.starts > after) & (windows.starts < before)
        return int(tested[position[segment], inside].sum())

    changes = live(
        [],
        calls_of(model, findings, rollups, first, windows.number),
        windows.between(first, windows.number),
        overlap=overlapping(model),
        tested=tested_between,
        resolve_after=settings.incidents.resolve_after,
        describe=Describer(
            model,
            findings,
            rollups,
            critical_severity=settings.alerts.critical_severity,
            model_version="",
            now=now,
        ),
        now=now,
    )
    return [change.after for change in changes]
