"""Silences that verdicts make, and what becomes of one when somebody changes their mind.

Belongs here: which verdicts a silence rests on. Does not belong here: silences as such (`silences`), verdicts
(`feedback`, `counted_verdicts`).

A silence rests on everybody who asked for it: those who made or extended it by hand, and each incident and interaction
of which the verdict that counts is `expected`. When one of them changes their mind, or an incident is withdrawn, it
ends when the others want it to.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from sqlalchemy import Connection, exists, select

from cxad_pipeline.store.counted_verdicts import counted_verdicts, silences_made
from cxad_pipeline.store.silences import Silence, lock_silences, shorten_silence
from cxad_pipeline.store.tables import feedback


def release_of_incident(connection: Connection, incident_id: str, at: dt.datetime, by: str) -> tuple[Silence, ...]:
    """Give up the silences that verdicts on an incident, or on those that it took in, have made.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`, in which the verdict that takes back the earlier ones was added, or the
        incident was withdrawn.
    incident_id
        Of the incident.
    at, by
        When, and who has changed their mind, or what has ended it.

    Returns
    -------
    tuple of Silence
        Those that held, or were still to come, as they are now: ended, or going on as long as others asked for.
    """
    return _released(connection, lambda: silences_made(connection, incident_id), at, by)


def release_of_interaction(
    connection: Connection, interaction_digest: str, at: dt.datetime, by: str
) -> tuple[Silence, ...]:
    """Give up the silences that verdicts on an interaction have made; as `release_of_incident`."""
    made = select(feedback.c.silence).where(
        feedback.c.interaction_digest == interaction_digest, feedback.c.silence.is_not(None)
    )
    return _released(connection, lambda: set(connection.scalars(made)), at, by)


def _released(connection: Connection, made: Callable[[], set[int]], at: dt.datetime, by: str) -> tuple[Silence, ...]:
    lock_silences(connection)  # before all questions: others may be adding verdicts on which a silence rests
    released = (shorten_silence(connection, each, at, by, _wanted_until(connection, each)) for each in sorted(made()))
    return tuple(each for each in released if each is not None)


def _wanted_until(connection: Connection, silence_id: int) -> dt.datetime | None:
    """The latest end that verdicts which count still want of a silence; None where there is none."""
    later = feedback.alias("later")
    is_latest = ~exists().where(later.c.interaction_digest == feedback.c.interaction_digest, later.c.id > feedback.c.id)
    of_interactions = select(feedback.c.until).where(feedback.c.silence == silence_id, is_latest)
    ends = [*connection.scalars(of_interactions)]
    ends += [each.until for each in counted_verdicts(connection).values() if each.silence == silence_id]
    return max((end for end in ends if end is not None), default=None)
