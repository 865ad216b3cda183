"""The budget of incidents: how many a week are promised, and how many of them are used.

Belongs here: the one count that messages, the digest and the API tell. Does not belong here: the threshold that keeps
the promise (`incidents.budget`), how the count is worded (`alerting`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Connection, select

from cxad_pipeline.store.calibrations import CalibrationRecord, latest_calibration
from cxad_pipeline.store.incident_tables import segment_windows
from cxad_pipeline.store.incidents import opened_between

WEEK = dt.timedelta(days=7)
MONTH = 4 * WEEK


@dataclass(frozen=True)
class BudgetStatus:
    """The promise, and what became of it.

    The promise is about weeks of data, so the data's clock counts: used are the incidents that began within seven days
    of data, up to the end of the newest window that was counted. In production that is the present but for the lag of
    the data, or the moment from which on none are counted any more. Where a month that is long over is judged today, it
    is the last week of that month: neither none, because nothing began this week, nor all of it, because all was found
    today. Incidents that were merged or withdrawn do not count. Those that a silence kept quiet do, and those that the
    digest tells.

    Attributes
    ----------
    promised_per_week
        By the calibration whose threshold is in force; by the configuration where there is none.
    until
        End of the newest window, UTC, where week and month end; None while none was counted.
    used, used_in_month
        Incidents that began in the last 7 and the last 28 days before it.
    calibration
        The latest; None where there is none.
    """

    promised_per_week: float
    until: dt.datetime | None
    used: int
    used_in_month: int
    calibration: CalibrationRecord | None


def budget_status(connection: Connection, configured_per_week: float) -> BudgetStatus:
    """The budget as it stands.

    Parameters
    ----------
    connection
        `Store.reading`, or in the transaction that writes incidents.
    configured_per_week
        What the configuration promises.
    """
    calibration = latest_calibration(connection)
    promised = configured_per_week if calibration is None else calibration.promised_per_week
    newest = select(segment_windows.c.start, segment_windows.c.seconds).order_by(segment_windows.c.start.desc())
    window = connection.execute(newest.limit(1)).one_or_none()
    if window is None:
        return BudgetStatus(promised, None, 0, 0, calibration)
    until = dt.datetime.fromtimestamp(window.start + window.seconds, dt.UTC)
    used, used_in_month = (opened_between(connection, until - length, until) for length in (WEEK, MONTH))
    return BudgetStatus(promised, until, used, used_in_month, calibration)
