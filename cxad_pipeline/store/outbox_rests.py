"""Channels that asked to be left alone, and until when.

Belongs here: writing that down, and putting off what waits for them. Does not belong here: who gets a delivery
(`outbox_claims`, which gives none of a channel that rests), what such an answer looks like (`alerting.channels`).
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cxad_pipeline.store.outbox_tables import deliveries, resting_channels


def put_off(connection: Connection, channel: str, until: dt.datetime) -> int:
    """Have nothing claimed of a channel before a moment, also what is queued after this.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    channel
        The channel that asked to be left alone.
    until
        For how long; where it asked for longer before, that counts.

    Returns
    -------
    int
        How many deliveries are due later now. What somebody is sending is left to them.
    """
    insertion = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(resting_channels)
    longer = insertion.on_conflict_do_update(
        index_elements=["channel"],
        set_={"until": insertion.excluded.until},
        where=insertion.excluded.until > resting_channels.c.until,
    )
    connection.execute(longer, {"channel": channel, "until": until})
    columns = deliveries.c
    waits = (columns.state == "pending", columns.leased_until.is_(None), columns.due_at < until)
    # Not those that another transaction is changing: each could wait for a row that the other holds.
    found = select(columns.id).where(columns.channel == channel, *waits).with_for_update(skip_locked=True)
    return connection.execute(update(deliveries).where(columns.id.in_(found)).values(due_at=until)).rowcount


def rests(connection: Connection) -> dict[str, dt.datetime]:
    """Until when each channel rests, or rested last."""
    return {row.channel: row.until for row in connection.execute(select(resting_channels))}
