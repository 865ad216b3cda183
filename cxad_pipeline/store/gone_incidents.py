"""Incidents that take no verdict: another one has taken them in, or nothing is left of them.

Belongs here: which these are, and the errors that say so. Does not belong here: adding verdicts (`feedback`), which one
counts (`counted_verdicts`).
"""

from __future__ import annotations

from sqlalchemy import Connection

from cxad_pipeline.store.counted_verdicts import taker_of


class GoneIncidentError(ValueError):
    """An incident that takes no verdict.

    Attributes
    ----------
    taker
        Id of the one that does in its place; None where there is none.
    """

    taker: str | None = None


class MergedIncidentError(GoneIncidentError):
    """An incident that was taken in by another one."""

    def __init__(self, incident_id: str, taker: str) -> None:
        super().__init__(f"incident {incident_id} was taken in by {taker}: say it of that one")
        self.taker = taker


class WithdrawnIncidentError(GoneIncidentError):
    """An incident of which nothing is left."""

    def __init__(self, incident_id: str) -> None:
        super().__init__(f"incident {incident_id} was withdrawn, since its contacts have changed: it takes no verdict")


def require_standing(connection: Connection, incident_id: str, status: str) -> None:
    """Refuse an incident that takes no verdict.

    Parameters
    ----------
    connection
        `Store.writing`.
    incident_id, status
        Of a stored incident.

    Raises
    ------
    MergedIncidentError
        If another incident has taken it in; it names that one.
    WithdrawnIncidentError
        If nothing is left of it.
    """
    taker = taker_of(connection, incident_id)
    if taker is not None:
        raise MergedIncidentError(incident_id, taker)
    if status == "withdrawn":
        raise WithdrawnIncidentError(incident_id)
