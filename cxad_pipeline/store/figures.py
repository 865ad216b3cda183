"""Figures of the store for metrics: messages that wait or were given up, incidents that are open.

Belongs here: reading them, with no more imports than that takes: the service's sidecar does it every few seconds. Does
not belong here: listings (`outbox_status`, `incidents`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from cxad_pipeline.store.incident_tables import incidents
from cxad_pipeline.store.outbox_status import outbox_status


@dataclass(frozen=True)
class Figures:
    """What is told of a store.

    Attributes
    ----------
    pending, dead
        Messages by state, for each channel one.
    failing
        Those that are pending and whose last attempt failed.
    oldest_due_at
        When the one was due that waits longest; None where none is due.
    open_incidents
        Incidents that go on.
    """

    pending: int
    failing: int
    dead: int
    oldest_due_at: dt.datetime | None
    open_incidents: int


def figures(connection: Connection, now: dt.datetime) -> Figures:
    """The figures.

    Parameters
    ----------
    connection
        `Store.reading`.
    now
        The present moment.
    """
    status = outbox_status(connection, now)
    opened = select(func.count()).select_from(incidents).where(incidents.c.status == "open")
    return Figures(
        status.pending, status.failing, status.dead, status.oldest_due_at, connection.execute(opened).scalar_one()
    )
