"""Calibrations of the incident threshold: what each learned from, promised, and found when it replayed history.

Belongs here: writing and reading them. Does not belong here: calibrating (`incidents`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, fields

from sqlalchemy import Connection, insert, select

from cxad_pipeline.store.incident_tables import calibrations


@dataclass(frozen=True)
class CalibrationRecord:
    """One calibration.

    Attributes
    ----------
    at
        When.
    history_start, history_end
        The period that it learned from.
    contacts, segments
        How many it held.
    metrics
        Names of those that are watched.
    threshold
        Score from which on people are called.
    promised_per_week, replayed_per_week
        The budget, and what the threshold would have raised in history, each day judged by the others.
    weeks
        Length of the history without gaps.
    shifts
        What false alarms have added to the threshold of a segment, by `segment_text`.
    """

    at: dt.datetime
    history_start: dt.datetime
    history_end: dt.datetime
    contacts: int
    segments: int
    metrics: list[str]
    threshold: float
    promised_per_week: float
    replayed_per_week: float
    weeks: float
    shifts: dict[str, float]


def record_calibration(connection: Connection, record: CalibrationRecord) -> int:
    """Add a calibration; earlier ones stay.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    record
        What is added.

    Returns
    -------
    int
        Its number, by which its baselines are kept.
    """
    addition = insert(calibrations).values(**asdict(record)).returning(calibrations.c.id)
    number: int = connection.execute(addition).scalar_one()
    return number


def latest_calibration(connection: Connection) -> CalibrationRecord | None:
    """The calibration with the latest `at`; None where there is none."""
    query = select(calibrations).order_by(calibrations.c.at.desc(), calibrations.c.id.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return CalibrationRecord(**{field.name: getattr(row, field.name) for field in fields(CalibrationRecord)})
