"""Counting the contacts of scored windows by segment and hour, into the store.

Belongs here: from a table of scores to stored rollups. Does not belong here: what is unusual about them (`judging`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa

from cxad_pipeline.incidents import Rollups, Windows
from cxad_pipeline.incidents.contacts import contacts_of
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import lock_incidents
from cxad_pipeline.store.segment_windows import replace_rollups


@dataclass(frozen=True)
class Statistics:
    """The rollups of a period, and the model that knows all of its segments."""

    model: IncidentModel
    rollups: Rollups
    rows: int


def windows_within(model: IncidentModel, start: dt.datetime, end: dt.datetime) -> Windows:
    """The incident windows of a period.

    Raises
    ------
    ValueError
        If the period is not made of whole windows: the configuration has changed since the model was fitted.
    """
    seconds, first, stop = model.window_seconds, int(start.timestamp()), int(end.timestamp())
    if first % seconds or stop % seconds or stop <= first:
        raise ValueError(
            f"{start.isoformat()} to {end.isoformat()} is not made of windows of {seconds // 60} minutes, which the "
            "incident model was calibrated with: calibrate again (`cxad calibrate`)"
        )
    return Windows(first, (stop - first) // seconds, seconds, model.timezone)


def record_statistics(
    store: Store, model: IncidentModel, scored: pa.Table, start: dt.datetime, end: dt.datetime, now: dt.datetime
) -> Statistics:
    """Count the contacts of a scoring window and replace what the store has of it.

    Parameters
    ----------
    store
        Where to.
    model
        Says which segments, metrics and tails.
    scored
        Scored interactions of the window, (n, columns); no row is a window without data.
    start, end
        The window, UTC.
    now
        The present time.

    Raises
    ------
    ValueError
        If the window is not made of whole incident windows.
    StoreError
        If the store can't be written.
    """
    windows = windows_within(model, start, end)
    contacts = contacts_of(scored, model.tree.dimensions, model.metrics)
    wider = model.for_contacts(contacts)
    rollups = wider.rollups(contacts, windows)
    with store.writing() as connection:
        lock_incidents(connection)  # two runs may count the same window at once
        rows = replace_rollups(connection, wider.tree, wider.metrics, rollups, at=now)
    return Statistics(wider, rollups, rows)
