"""What the store does not keep for ever.

Belongs here: deleting what is old. Does not belong here: how long things are kept (`store.retention_days`), and when
this is done (`operations`).

Incidents with their calls, everything that people said, silences, records of calibrations, messages that wait to be
sent, and the last digest with its record stay.
"""

from __future__ import annotations

import datetime as dt
import math

from sqlalchemy import Connection, delete, exists

from cxad_pipeline.store.baselines import outdated
from cxad_pipeline.store.incident_tables import baselines, segment_windows
from cxad_pipeline.store.outbox_tables import deliveries, messages
from cxad_pipeline.store.tables import anomalies, feedback


def prune(connection: Connection, before: dt.datetime) -> int:
    """Delete what is older than a moment.

    Deliveries that were sent or given up before it, and their messages when no delivery is left, but for the last
    digest and its record; rollups of windows that began before it; baselines of calibrations that had been followed by
    another one by then; anomalies of contacts that began before it, unless somebody has said something of them.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    before
        The moment.

    Returns
    -------
    int
        Rows that were deleted.
    """
    has_deliveries = exists().where(deliveries.c.message_id == messages.c.id)
    # By these the next digest knows what has been told, and that it is not the first.
    later = messages.alias("later")
    is_last = ~exists().where(later.c.kind == messages.c.kind, later.c.id > messages.c.id)
    is_memory = messages.c.kind.in_(["digest", "digest_record"]) & is_last
    is_judged = exists().where(feedback.c.interaction_digest == anomalies.c.interaction_digest)
    old = (
        delete(deliveries).where(deliveries.c.state != "pending", deliveries.c.settled_at < before),
        delete(messages).where(messages.c.queued_at < before, ~has_deliveries, ~is_memory),
        delete(segment_windows).where(segment_windows.c.start < math.ceil(before.timestamp())),
        delete(baselines).where(baselines.c.calibration_id.in_(outdated(before))),
        delete(anomalies).where(anomalies.c.timestamp < before, ~is_judged),
    )
    return sum(connection.execute(statement).rowcount for statement in old)
