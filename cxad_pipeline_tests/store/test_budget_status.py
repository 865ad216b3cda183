"""The budget of incidents: one count, on the clock of the data, whenever they are judged."""

from __future__ import annotations

import datetime as dt
from typing import Any

from stored_incident_examples import METRICS, incident, moment, rollups_of, tree_of

from cxad_pipeline.incidents import Windows
from cxad_pipeline.store.budget import budget_status
from cxad_pipeline.store.calibrations import CalibrationRecord, record_calibration
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import NOTHING_TOLD, save_incident
from cxad_pipeline.store.segment_windows import replace_rollups

pytest_plugins = ["store_databases"]

DAY = 24


def count_windows(store: Store, first: int, number: int) -> None:
    """Windows of an hour, so many hours after the Monday of the examples, are in the store."""
    tree = tree_of(1)
    windows = Windows(int(moment(first).timestamp()), number)
    with store.writing() as connection:
        replace_rollups(connection, tree, METRICS, rollups_of(tree, windows), at=moment())


def save(store: Store, *hours: float, **changes: Any) -> None:
    """Incidents that began then."""
    with store.writing() as connection:
        for number, hour in enumerate(hours):
            name = f"{changes.get('status', 'open')} {number} {hour}"
            save_incident(connection, incident(name, started_at=moment(hour), **changes), [], NOTHING_TOLD)


def used(store: Store, configured: float = 5.0) -> tuple[float, dt.datetime | None, int, int]:
    with store.reading() as connection:
        found = budget_status(connection, configured)
    return found.promised_per_week, found.until, found.used, found.used_in_month


def test_without_data_nothing_is_used(store: Store) -> None:
    assert used(store) == (5.0, None, 0, 0)


def test_a_month_that_is_long_over_is_counted_by_its_last_week_however_late_it_is_judged(store: Store) -> None:
    """All incidents are found today, of data that end on a day in the past."""
    count_windows(store, 0, 28 * DAY)
    today = dt.datetime.now(dt.UTC)
    save(store, 0, 5 * DAY, 21 * DAY - 1, 21 * DAY, 28 * DAY - 1, opened_at=today, updated_at=today)
    assert used(store) == (5.0, moment(28 * DAY), 2, 5)


def test_the_week_moves_on_with_the_data(store: Store) -> None:
    count_windows(store, 0, DAY)
    save(store, 10)
    assert used(store)[1:] == (moment(DAY), 1, 1)
    count_windows(store, 7 * DAY, 11)
    assert used(store)[1:] == (moment(7 * DAY + 11), 0, 1)
    count_windows(store, 3 * DAY, 5)
    assert used(store)[1:] == (moment(7 * DAY + 11), 0, 1), "windows that are filled in are not the newest"


def test_merged_and_withdrawn_incidents_use_nothing(store: Store) -> None:
    count_windows(store, 0, DAY)
    save(store, 1, 2, status="resolved", critical=False)
    save(store, 3, status="merged", merged_into="x")
    save(store, 4, status="withdrawn")
    assert used(store)[2:] == (2, 2)


def test_the_promise_is_that_of_the_threshold_in_force(store: Store) -> None:
    record = CalibrationRecord(moment(0), moment(-24), moment(0), 900, 7, ["aht"], 4.5, 3.0, 2.25, 4.0, {})
    with store.writing() as connection:
        record_calibration(connection, record)
    assert used(store, configured=9.0)[0] == 3.0
