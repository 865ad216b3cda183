"""What is old goes, but nothing that people said, that happened, or that has not been sent; calibrations are kept."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from anomaly_records import anomaly
from sqlalchemy import Table, select
from stored_incident_examples import METRICS, MONDAY, call, incident, moment, rollups_of, tree_of

from cxad_pipeline.incidents import Windows
from cxad_pipeline.store.anomalies import AnomalyFilter, find_anomalies, record_anomalies
from cxad_pipeline.store.calibrations import CalibrationRecord, latest_calibration, record_calibration
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.feedback import add_feedback, add_incident_feedback
from cxad_pipeline.store.incident_tables import segment_windows
from cxad_pipeline.store.incidents import NOTHING_TOLD, get_incident, save_incident
from cxad_pipeline.store.outbox import Notice, claim, find_deliveries, queue, settle_dead, settle_sent
from cxad_pipeline.store.outbox_tables import messages
from cxad_pipeline.store.retention import prune
from cxad_pipeline.store.segment_windows import replace_rollups
from cxad_pipeline.store.silences import find_silences
from cxad_pipeline.store.tables import feedback

pytest_plugins = ["store_databases"]

CALIBRATION = CalibrationRecord(
    at=moment(5),
    history_start=moment(-672),
    history_end=moment(0),
    contacts=123_456,
    segments=31,
    metrics=["aht", "Größe"],
    threshold=0.1 + 0.2,
    promised_per_week=5.0,
    replayed_per_week=4.75,
    weeks=3.9,
    shifts={'[["queue", "billing"]]': 0.25},
)


def test_rollups_and_anomalies_that_nobody_judged_go_when_they_are_old(store: Store) -> None:
    with store.writing() as connection:
        windows = Windows(MONDAY, 10)
        replace_rollups(connection, tree_of(2), METRICS, rollups_of(tree_of(2), windows, empty=0.0), at=moment(99))
        records = [anomaly(name, at=0) for name in ("old", "old and judged")]
        records += [anomaly(name, at=3_600) for name in ("at the moment", "at the moment and judged")]
        record_anomalies(connection, records)  # of 2 March, long before the windows
        for name in ("old and judged", "at the moment and judged"):
            add_feedback(connection, name, "expected", by="ann")
    before = dt.datetime(2026, 3, 2, 1, tzinfo=dt.UTC)
    assert _prune(store, before) == 1
    with store.reading() as connection:
        found, _ = find_anomalies(connection, AnomalyFilter(), limit=9)
        assert {row["interaction_id"] for row in found} == {
            "old and judged",
            "at the moment",
            "at the moment and judged",
        }
    rows = len(tree_of(2)) * 10
    assert _count(store, segment_windows) == rows
    assert _prune(store, moment(3.5)) == 4 * len(tree_of(2)) + 1
    with store.reading() as connection:
        starts = connection.execute(select(segment_windows.c.start).distinct()).scalars()
        assert min(starts) == MONDAY + 4 * 3_600
        assert len(find_silences(connection)) == 1, "of both, since they are of one segment"
    assert _count(store, feedback) == 2


def test_settled_messages_go_when_they_are_old_and_others_stay(store: Store) -> None:
    lease = dt.timedelta(minutes=1)
    with store.writing() as connection:
        for key, channels in (("sent", "a"), ("dead", "a"), ("waits", "x"), ("half", "ax"), ("none", "")):
            queue(connection, Notice(key, "opened", key, {}, moment(0)), list(channels), at=moment(0))
        queue(connection, Notice("late", "opened", "late", {}, moment(0)), ["a"], at=moment(0))
        queue(connection, Notice("new", "opened", "new", {}, moment(0)), [], at=moment(5))
        for one in claim(connection, ["a"], now=moment(1), lease=lease, limit=9):
            if one.key == "dead":
                settle_dead(connection, one, "gone", moment(1))
            else:
                settle_sent(connection, one, {}, moment(5 if one.key == "late" else 1))
    assert _prune(store, moment(1)) == 1  # of the message for no channel
    assert _prune(store, moment(5)) == 3 + 2
    with store.reading() as connection:
        rows, _ = find_deliveries(connection, limit=50)
    assert {(row["key"], row["channel"]) for row in rows} == {("waits", "x"), ("half", "x"), ("late", "a")}
    with store.reading() as connection:
        assert set(connection.execute(select(messages.c.key)).scalars()) == {"waits", "half", "late", "new"}


def test_incidents_with_what_was_said_of_them_stay(store: Store) -> None:
    with store.writing() as connection:
        save_incident(connection, incident(), (call(),), NOTHING_TOLD)
        add_incident_feedback(connection, incident().id, "expected", by="ann", expected_for=dt.timedelta(1))
        before = get_incident(connection, incident().id)
    assert _prune(store, moment(10_000)) == 0
    with store.reading() as connection:
        assert get_incident(connection, incident().id) == before


def test_the_latest_calibration_is_given_whole(store: Store) -> None:
    with store.writing() as connection:
        assert latest_calibration(connection) is None
        record_calibration(connection, replace(CALIBRATION, at=moment(4), contacts=1))
        record_calibration(connection, CALIBRATION)
        record_calibration(connection, replace(CALIBRATION, at=moment(3), contacts=2))
        assert latest_calibration(connection) == CALIBRATION
        record_calibration(connection, replace(CALIBRATION, threshold=float("inf"), shifts={}))
        assert latest_calibration(connection) == replace(CALIBRATION, threshold=float("inf"), shifts={})


def _prune(store: Store, before: dt.datetime) -> int:
    with store.writing() as connection:
        return prune(connection, before)


def _count(store: Store, table: Table) -> int:
    with store.reading() as connection:
        return len(connection.execute(select(table)).all())
