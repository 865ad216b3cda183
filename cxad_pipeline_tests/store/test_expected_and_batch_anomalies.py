"""Who asks for it does not see what is known to be expected; batch scoring replaces what it found before."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest
from anomaly_records import anomaly, moment
from stored_incident_examples import NASTY

from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.anomalies import (
    AnomalyFilter,
    StoredAnomaly,
    find_anomalies,
    record_anomalies,
    replace_batch_anomalies,
)
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.feedback import add_feedback
from cxad_pipeline.store.records import AnomalyRecord
from cxad_pipeline.store.silences import add_silence

pytest_plugins = ["store_databases"]

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
"""Longer than it takes from the import of this module, which `NOW` is of, to the last test of a slow run."""
VOICE: Key = (("channel", "voice"),)


def test_what_was_judged_expected_or_a_false_alarm_is_left_out_by_its_latest_verdict(store: Store) -> None:
    said = {
        "none": [],
        "confirmed": ["confirmed"],
        "new": ["new_trend"],
        "false": ["confirmed", "false_alarm"],
        "no more": ["false_alarm", "confirmed"],
    }
    _record(store, *[anomaly(name) for name in said])
    with store.writing() as connection:
        for name, verdicts in said.items():
            for verdict in verdicts:
                add_feedback(connection, name, verdict, by="ann")
    assert _shown(store) == {"none", "confirmed", "new", "no more"}
    assert _shown(store, hide_expected=False) == said.keys()


def test_expected_leaves_out_its_like_while_its_silence_holds(store: Store) -> None:
    other_reason = [{**anomaly("")["reasons"][0], "column": "csat"}]
    _record(
        store,
        anomaly("judged"),
        anomaly("alike", at=500),
        anomaly("other reason", reasons=other_reason),
        anomaly("no reason", reasons=[]),
        anomaly("other queue", interaction={"queue": "sales"}),
        anomaly("no queue", interaction={"queue": None}),
    )
    others = {"other reason", "no reason", "other queue", "no queue"}
    with store.writing() as connection:
        add_feedback(connection, "judged", "expected", by="ann", at=NOW - DAY, until=NOW + DAY)
    assert _shown(store) == others
    with store.writing() as connection:
        add_feedback(connection, "no queue", "expected", by="ann", at=NOW - 2 * DAY, until=NOW - DAY)
    assert _shown(store) == others - {"no queue"}  # itself, though its silence has ended


@pytest.mark.parametrize(
    ("segment", "metric", "scope", "starts", "ends", "hidden"),
    [
        ((), None, "anomalies", -1, 1, {"a", "b", "c", "d"}),
        (VOICE, None, "anomalies", -1, 1, {"a", "b"}),
        (VOICE, "aht_seconds", "anomalies", -1, 1, {"a", "b"}),
        (VOICE, "csat", "anomalies", -1, 1, set()),
        (VOICE, None, "incidents", -1, 1, set()),
        (VOICE, None, "anomalies", -2, -1, set()),
        (VOICE, None, "anomalies", 1, 2, set()),
        ((("team", "7"),), None, "anomalies", -1, 1, {"b"}),
        ((("team", "unknown"),), None, "anomalies", -1, 1, {"a", "c", "d"}),
        ((("team", "7"), *VOICE), None, "anomalies", -1, 1, {"b"}),
        ((("queue", NASTY),), None, "anomalies", -1, 1, {"d"}),
        ((("queue", "unknown"),), None, "anomalies", -1, 1, {"c"}),
    ],
)
def test_a_silence_of_anomalies_leaves_out_what_it_covers_while_it_holds(
    store: Store, segment: Key, metric: str | None, scope: Any, starts: int, ends: int, hidden: set[str]
) -> None:
    _record(
        store,
        anomaly("a"),
        anomaly("b", interaction={"team": 7}),
        anomaly("c", interaction={"channel": "chat", "queue": None}),
        anomaly("d", interaction={"channel": "chat", "queue": NASTY}),
    )
    with store.writing() as connection:
        add_silence(
            connection,
            scope=scope,
            segment=segment,
            metric=metric,
            owner="ann",
            starts_at=NOW + starts * DAY,
            ends_at=NOW + ends * DAY,
        )
    assert _shown(store) == {"a", "b", "c", "d"} - hidden
    assert _shown(store, hide_expected=False) == {"a", "b", "c", "d"}


@pytest.mark.parametrize("limit", [1, 7, 500])
@pytest.mark.parametrize("some", [False, True])
def test_pages_are_full_and_hold_each_anomaly_that_is_not_left_out_once(store: Store, limit: int, some: bool) -> None:
    """Most of more rows than are read at once are left out, and a page ends where it is full."""
    source = random.Random(limit)
    shown = {f"I-{number}" for number in range(0, 1_300, 430)} if some else set()
    _record(
        store,
        *[
            anomaly(
                f"I-{number}",
                at=source.randrange(0, 9_000, 30),
                interaction={"channel": "chat" if f"I-{number}" in shown else "voice"},
            )
            for number in range(1_300)
        ],
    )
    with store.writing() as connection:
        add_silence(
            connection, scope="anomalies", segment=VOICE, metric=None, owner="ann", starts_at=NOW, ends_at=NOW + DAY
        )
    pages = _pages(store, limit=limit)
    assert all(len(page) == limit for page in pages[:-1])
    found = [row for page in pages for row in page]
    assert len(found) == len(shown)
    assert {row["interaction_id"] for row in found} == shown
    times = [row["timestamp"] for row in found]
    assert times == sorted(times, reverse=True)


def test_batch_scoring_again_replaces_what_it_found_in_the_period(store: Store) -> None:
    records = [anomaly(f"I-{number}", at=number * 100) for number in range(10)]
    assert _replace(store, 0, 1_000, *records) == 10
    assert _replace(store, 0, 1_000, *records) == 0
    assert {row["source"] for row in _all(store)} == {"batch"}
    again = [anomaly(f"I-{number}", at=number * 100, scored=99, severity=1.0) for number in (3, 5)]
    assert _replace(store, 200, 600, *again) == 2
    assert {row["interaction_id"]: row["severity"] for row in _all(store)} == {
        "I-0": 71.2, "I-1": 71.2, "I-3": 1.0, "I-5": 1.0, "I-6": 71.2, "I-7": 71.2, "I-8": 71.2, "I-9": 71.2,
    }  # fmt: skip
    assert _replace(store, 0, 1_000) == 0
    assert _all(store) == []


def test_what_another_model_version_found_goes_and_its_feedback_stays(store: Store) -> None:
    _replace(store, 0, 1_000, anomaly("I-1", model_version="v1"), anomaly("I-2", model_version="v1"))
    with store.writing() as connection:
        for name in ("I-1", "I-2"):
            add_feedback(connection, name, "confirmed", by="ann")
    _replace(store, 0, 1_000, anomaly("I-1", model_version="v2"))
    (row,) = _all(store)
    assert (row["model_version"], row["interaction_id"]) == ("v2", "I-1")
    assert row["verdict"] is not None
    _replace(store, 0, 1_000, anomaly("I-2", model_version="v1"))
    (row,) = _all(store)
    assert row["verdict"] is not None


def test_what_the_service_found_stays(store: Store) -> None:
    _record(store, anomaly("I-1", model_version="v1"), anomaly("I-2", scored=99))
    _replace(store, 0, 1_000, anomaly("I-2", scored=10), anomaly("I-3"))
    assert {row["interaction_id"]: row["source"] for row in _all(store)} == {
        "I-1": "api", "I-2": "api", "I-3": "batch",
    }  # fmt: skip
    _replace(store, 0, 1_000)
    assert _shown(store) == {"I-1", "I-2"}


def _replace(store: Store, since: float, until: float, *records: AnomalyRecord) -> int:
    bounds = [dt.datetime.fromisoformat(moment(seconds)) for seconds in (since, until)]
    with store.writing() as connection:
        return replace_batch_anomalies(connection, *bounds, records)


def _record(store: Store, *records: AnomalyRecord) -> None:
    with store.writing() as connection:
        record_anomalies(connection, records)


def _pages(store: Store, *, limit: int = 500, hide_expected: bool = True) -> list[list[StoredAnomaly]]:
    pages, cursor = [], None
    while True:
        with store.reading() as connection:
            page, cursor = find_anomalies(
                connection, AnomalyFilter(hide_expected=hide_expected), limit=limit, cursor=cursor
            )
        pages.append(page)
        if cursor is None:
            return pages


def _all(store: Store) -> list[StoredAnomaly]:
    return [row for page in _pages(store, hide_expected=False) for row in page]


def _shown(store: Store, *, hide_expected: bool = True) -> set[str]:
    return {row["interaction_id"] for page in _pages(store, hide_expected=hide_expected) for row in page}
