"""What the store forgets, and when.

Belongs here: the moment before which it forgets. Does not belong here: which rows that means (`store.retention`).
"""

from __future__ import annotations

import datetime as dt

from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.retention import prune


def prune_store(store: Store, settings: Settings, now: dt.datetime) -> int:
    """Delete what is older than `store.retention_days`; incidents and feedback stay. Gives the number of rows."""
    days = settings.store.retention_days
    if days is None:
        return 0
    with store.writing() as connection:
        return prune(connection, now - dt.timedelta(days=days))
