"""Old rows of the store, deleted by the way of a run.

Belongs here: that this fails no run. Does not belong here: which rows are old (`operations.retention`).
"""

import datetime as dt
from collections.abc import Callable

import dagster as dg

from cxad_pipeline.operations.retention import prune_store
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, StoreError


def rows_pruned(
    context: dg.AssetExecutionContext, store_of: Callable[[], Store], settings: Settings, now: dt.datetime
) -> int:
    """Delete what is older than `store.retention_days`; gives the number of rows, none where the store refuses."""
    try:
        return prune_store(store_of(), settings, now)
    except StoreError as error:
        context.log.warning(f"old rows of the store stay until the next time: {error}")
        return 0
