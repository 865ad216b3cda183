"""Metrics that could not be tested: their states beside the counts, and which of them a digest tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from stored_incident_examples import METRICS, MONDAY, answered_of, findings_of, moment, rollups_of, tree_of

import cxad_pipeline.store.migrations
from cxad_pipeline.incidents import Rollups, State, Windows
from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, _engine, _immediate, _url, open_store
from cxad_pipeline.store.segment_findings import findings_rows, record_findings
from cxad_pipeline.store.segment_windows import SegmentWindow, find_windows, read_rollups, replace_rollups
from cxad_pipeline.store.unanswered_metrics import LEAST_WINDOWS, UnansweredMetric, unanswered_metrics

pytest_plugins = ["store_databases"]

HOUR, DAY = 3_600, Windows(MONDAY, 24)
TREE = tree_of(2)
ALL: Key = ()
QUEUE_0: Key = (("queue", "queue 0"),)
QUEUE_1: Key = (("queue", "queue 1"),)
VOICE: Key = (("channel", "voice"),)
CHAT_0: Key = (("queue", "queue 0"), ("channel", "chat"))
AHT, CSAT = range(2)

ROLLUPS = rollups_of(TREE, DAY, empty=0.0)
Given = Mapping[tuple[int, Key], Iterable[int]]


def all_tested() -> Findings:
    """All of a day tested."""
    return findings_of(TREE, DAY, np.full(ROLLUPS.contacts.shape, State.TESTED))


def with_states(given: Given, state: State = State.NOT_ANSWERED) -> Findings:
    """Some metrics of some segments in another state, in some hours."""
    findings = all_tested()
    for (metric, key), hours in given.items():
        findings.metric_states[metric, TREE.keys.index(key), list(hours)] = state
    return findings


def record(store: Store, findings: Findings) -> None:
    with store.writing() as connection:
        record_findings(connection, findings_rows(connection, TREE, findings, answered_of(findings), 0, 24))


def count(store: Store) -> Rollups:
    with store.writing() as connection:
        replace_rollups(connection, TREE, METRICS, ROLLUPS, at=moment())
    return ROLLUPS


def listed(store: Store, key: Key) -> list[SegmentWindow]:
    with store.reading() as connection:
        return find_windows(connection, since=None, until=None, segment=key, limit=100)[::-1]


def told(store: Store, hours: Iterable[int] = range(24)) -> list[UnansweredMetric]:
    with store.reading() as connection:
        return unanswered_metrics(connection, [MONDAY + hour * HOUR for hour in hours])


def names(found: Iterable[UnansweredMetric]) -> set[tuple[str, Key]]:
    return {(one.metric, one.segment) for one in found}


def test_a_metric_that_was_not_tested_is_listed_with_its_state_and_what_was_counted_stays(store: Store) -> None:
    rollups = count(store)
    findings = with_states({(CSAT, QUEUE_0): [3, 4]})
    findings.metric_states[AHT, TREE.keys.index(QUEUE_0), 4] = State.NO_METRIC
    record(store, findings)
    rows = listed(store, QUEUE_0)
    assert [row["metrics_not_tested"] for row in rows[2:6]] == [
        {},
        {"csat": "not_answered"},
        {"aht": "no_metric", "csat": "not_answered"},
        {},
    ]
    assert {row["state"] for row in rows} == {"tested"}
    assert not any(row["metrics_not_tested"] for row in listed(store, CHAT_0))
    with store.reading() as connection:
        again = read_rollups(connection, TREE, METRICS, DAY)
    np.testing.assert_array_equal(again.count, rollups.count)
    np.testing.assert_array_equal(again.total, rollups.total)


def test_where_the_segment_was_not_tested_its_state_alone_is_said(store: Store) -> None:
    count(store)
    findings = with_states({(CSAT, QUEUE_0): [3]}, State.LATE)
    findings.states[TREE.keys.index(QUEUE_0), 3] = State.LATE
    record(store, findings)
    row = listed(store, QUEUE_0)[3]
    assert (row["state"], row["metrics_not_tested"]) == ("late", {})


def test_judged_or_counted_again_the_states_are_those_of_the_last_time(store: Store) -> None:
    count(store)
    assert [row["metrics_not_tested"] for row in listed(store, QUEUE_0)] == [{}] * 24, "nobody has looked yet"
    record(store, with_states({(CSAT, QUEUE_0): range(24)}))
    record(store, with_states({(CSAT, QUEUE_0): [5]}))
    assert [bool(row["metrics_not_tested"]) for row in listed(store, QUEUE_0)] == [hour == 5 for hour in range(24)]
    record(store, all_tested())
    with store.reading() as connection:
        kept = connection.execute(text("SELECT count(metric_states) FROM segment_windows")).scalar_one()
    assert kept == 0, "not even a JSON null"
    record(store, with_states({(CSAT, QUEUE_0): [5]}))
    count(store)
    assert not any(row["metrics_not_tested"] for row in listed(store, QUEUE_0))


def test_what_is_told_is_how_many_values_there_are_and_how_many_are_usual(store: Store) -> None:
    rollups = count(store)
    record(store, with_states({(CSAT, ALL): [9, 10, 12]}))
    (one,) = told(store)
    cells = (TREE.keys.index(ALL), [9, 10, 12])
    assert (one.metric, one.segment, one.windows) == ("csat", ALL, 3)
    assert (one.first, one.last) == (MONDAY + 9 * HOUR, MONDAY + 13 * HOUR)
    assert one.values == rollups.count[CSAT][cells].sum()
    assert one.usual == pytest.approx(0.5 * rollups.contacts[cells].sum())


def test_only_the_windows_that_are_asked_for_are_told(store: Store) -> None:
    count(store)
    record(store, with_states({(CSAT, ALL): [9, 10, 12]}))
    (one,) = told(store, [8, 10, 11])
    assert (one.first, one.windows) == (MONDAY + 10 * HOUR, 1)
    assert told(store, []) == told(store, [11, 13]) == []


# Contacts, of which half usually have a value, and how many of those have none.
LACKS = {
    "one queue": ({ALL: 100, QUEUE_0: 100, CHAT_0: 50, VOICE: 50}, [QUEUE_0]),
    "both queues": ({ALL: 400, QUEUE_0: 100, QUEUE_1: 300, CHAT_0: 50, VOICE: 200}, [ALL]),
    "half of either": ({ALL: 200, QUEUE_0: 50, QUEUE_1: 150, CHAT_0: 0, VOICE: 200}, [VOICE]),
    "a pair": ({ALL: 50, QUEUE_0: 50, CHAT_0: 50, VOICE: 0}, [CHAT_0]),
}


@pytest.mark.parametrize("case", LACKS)
def test_of_segments_that_share_contacts_the_one_is_told_that_lacks_most_for_its_size(store: Store, case: str) -> None:
    lacks, expected = LACKS[case]
    contacts, values = ROLLUPS.contacts.copy(), ROLLUPS.count.copy()
    for key, number in {ALL: 400, QUEUE_0: 100, QUEUE_1: 300, CHAT_0: 50, VOICE: 200}.items():
        contacts[TREE.keys.index(key)] = number
        values[CSAT, TREE.keys.index(key)] = (number - lacks.get(key, 0)) / 2
    with store.writing() as connection:
        replace_rollups(connection, TREE, METRICS, replace(ROLLUPS, contacts=contacts, count=values), at=moment())
    record(store, with_states({(CSAT, key): range(4, 9) for key, number in lacks.items() if number}))
    assert [one.segment for one in told(store)] == expected


def test_other_metrics_other_contacts_and_other_windows_are_told_beside_each_other(store: Store) -> None:
    count(store)
    apart = {
        (CSAT, QUEUE_0): range(5),
        (CSAT, QUEUE_1): range(5),
        (AHT, QUEUE_0): range(5),
        (CSAT, VOICE): range(9, 13),
    }
    record(store, with_states(apart))
    assert names(told(store)) == {("csat", QUEUE_0), ("csat", QUEUE_1), ("aht", QUEUE_0), ("csat", VOICE)}


def test_of_all_contacts_one_window_is_told_and_of_a_segment_what_is_no_chance_any_more(store: Store) -> None:
    count(store)
    record(store, with_states({(AHT, ALL): [7], (CSAT, QUEUE_0): range(LEAST_WINDOWS - 1)}))
    assert names(told(store)) == {("aht", ALL)}
    record(store, with_states({(CSAT, QUEUE_0): range(LEAST_WINDOWS)}))
    assert names(told(store)) == {("csat", QUEUE_0)}


def test_a_metric_that_never_had_a_value_is_not_told(store: Store) -> None:
    count(store)
    record(store, with_states({(CSAT, key): range(24) for key in TREE.keys}, State.NO_METRIC))
    assert told(store) == []


def test_windows_of_the_fourth_release_are_read_as_they_were(store_url: str, settings: Settings) -> None:
    old = _engine(_url(store_url))
    with _immediate(old).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(cxad_pipeline.store.migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.execute(text("INSERT INTO segments (id, digest, segment, level) VALUES (1, 'd', '[]', 0)"))
        row: dict[str, Any] = {"start": MONDAY, "at": "2026-09-07 01:00:00.000000"}
        connection.execute(
            text(
                "INSERT INTO segment_windows (segment_id, start, seconds, contacts, anomalies, complaints, together, "
                "metrics, recorded_at, state) VALUES (1, :start, 3600, 9, 0, 0, 0, '{}', :at, 'tested')"
            ),
            row,
        )
    old.dispose()
    store = open_store(settings)
    with store.reading() as connection:
        (found,) = find_windows(connection, since=None, until=None, limit=9)
    store.close()
    assert (found["contacts"], found["state"], found["metrics_not_tested"]) == (9, "tested", {})
