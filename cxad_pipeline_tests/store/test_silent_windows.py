"""Windows without contacts where there always are some: rows of their own, and which of them are told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from stored_incident_examples import METRICS, MONDAY, answered_of, findings_of, moment, rollups_of, tree_of

from cxad_pipeline.incidents import SegmentTree, State, Windows
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.segment_findings import findings_rows, record_findings
from cxad_pipeline.store.segment_windows import counted_windows, find_windows, read_rollups, replace_rollups
from cxad_pipeline.store.silent_windows import replace_silent_windows, silent_segments

pytest_plugins = ["store_databases"]

HOUR, DAY = 3_600, Windows(MONDAY, 24)
TREE = tree_of(2)
QUEUE_0, QUEUE_1 = (("queue", "queue 0"),), (("queue", "queue 1"),)
CHAT_0: Key = (("queue", "queue 0"), ("channel", "chat"))
VOICE: Key = (("channel", "voice"),)


def judge(store: Store, silent: Mapping[Key, Iterable[int]], *, count: bool = True, tree: SegmentTree = TREE) -> Any:
    """Count a day in which some segments have no contacts in some hours, and record these as missing."""
    rollups = rollups_of(tree, DAY, empty=0.0)
    states = np.full(rollups.contacts.shape, State.TESTED)
    for key, hours in silent.items():
        rollups.contacts[tree.keys.index(key), list(hours)] = 0
        states[tree.keys.index(key), list(hours)] = State.MISSING
    findings = findings_of(tree, DAY, states)
    with store.writing() as connection:
        if count:
            replace_rollups(connection, tree, METRICS, rollups, at=moment())
        record_findings(connection, findings_rows(connection, tree, findings, answered_of(findings), 0, 24))
        replace_silent_windows(connection, tree, findings, 0, recorded(connection))
    return findings


def recorded(connection: Any) -> dict[int, dt.datetime]:
    return {start: at for start, (_, at) in counted_windows(connection, DAY).items()}


def told(store: Store, hours: Iterable[int] = range(24)) -> list[Any]:
    with store.reading() as connection:
        return silent_segments(connection, [MONDAY + hour * HOUR for hour in hours])


def listed(store: Store, key: Key) -> list[tuple[str, int, str | None]]:
    with store.reading() as connection:
        rows = find_windows(connection, since=None, until=None, segment=key, limit=100)
    return [(row["start"], row["contacts"], row["state"]) for row in reversed(rows)]


def test_a_silent_window_is_listed_with_a_zero_and_what_is_usual(store: Store) -> None:
    findings = judge(store, {QUEUE_0: [9, 10]})
    assert [(contacts, state) for _, contacts, state in listed(store, QUEUE_0)][8:12] == [
        (pytest.approx(1, abs=400), "tested"),
        (0, "missing"),
        (0, "missing"),
        (pytest.approx(1, abs=400), "tested"),
    ]
    with store.reading() as connection:
        (row,) = find_windows(connection, since=moment(9), until=moment(10), segment=QUEUE_0, limit=2)
        rollups = read_rollups(connection, TREE, METRICS, DAY)
    s = TREE.keys.index(QUEUE_0)
    assert (row["observed"], row["expected"]) == (0.0, findings.evidence[2].expected[s, 9])
    assert (row["score"], row["leading_metric"], row["metrics"]) == (None, None, {})
    assert row["recorded_at"] == moment().isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert not rollups.contacts[s, [9, 10]].any()
    assert not rollups.count[:, s, [9, 10]].any()


def test_what_is_told_is_how_long_and_how_many_are_usual_the_largest_first(store: Store) -> None:
    findings = judge(store, {QUEUE_0: [9, 10, 12], QUEUE_1: range(4, 20)})
    usual = findings.evidence[2].expected
    larger, smaller = told(store)
    assert (larger.segment, smaller.segment) == (QUEUE_1, QUEUE_0)
    assert (smaller.first, smaller.last, smaller.windows) == (MONDAY + 9 * HOUR, MONDAY + 13 * HOUR, 3)
    assert smaller.expected == pytest.approx(usual[TREE.keys.index(QUEUE_0), [9, 10, 12]].sum())
    assert larger.expected > smaller.expected


def test_only_the_windows_that_are_asked_for_are_told(store: Store) -> None:
    judge(store, {QUEUE_0: [9, 10, 12]})
    (only,) = told(store, [8, 10, 11])
    assert (only.first, only.windows) == (MONDAY + 10 * HOUR, 1)
    assert told(store, []) == told(store, [11, 13]) == []


def test_a_part_of_a_silent_segment_is_not_told_beside_it(store: Store) -> None:
    judge(store, {QUEUE_0: [9, 10], CHAT_0: [9, 10]})
    assert [one.segment for one in told(store)] == [QUEUE_0]


def test_a_part_that_is_silent_for_longer_is_told_too(store: Store) -> None:
    judge(store, {QUEUE_0: [9, 10], CHAT_0: [7, 8, 9, 10]})
    assert {one.segment for one in told(store)} == {QUEUE_0, CHAT_0}


def test_where_nobody_has_contacts_that_is_said_of_all_contacts_alone(store: Store) -> None:
    judge(store, {key: [9] for key in TREE.keys})
    assert listed(store, QUEUE_0)[9][0] != moment(9).isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert listed(store, ())[9][1:] == (0, "missing")
    assert told(store) == []


def test_judged_again_only_what_is_still_missing_stays(store: Store) -> None:
    judge(store, {QUEUE_0: [9, 10], VOICE: [3]})
    for _ in range(2):
        judge(store, {QUEUE_0: [10]}, count=False)
        assert [(one.segment, one.windows) for one in told(store)] == [(QUEUE_0, 1)]
        assert len(listed(store, QUEUE_0)) == 23


def test_counted_again_with_contacts_nothing_is_missing(store: Store) -> None:
    judge(store, {QUEUE_0: [9, 10]})
    judge(store, {})
    assert told(store) == []
    assert all(contacts for _, contacts, _ in listed(store, QUEUE_0))


def test_a_segment_that_the_store_does_not_know_yet_is_written_too(store: Store) -> None:
    """A model learns from files; what a store has counted since may be none of it."""
    judge(store, {QUEUE_1: range(24)})
    assert [one.windows for one in told(store)] == [24]


def test_windows_that_nobody_counted_have_no_rows(store: Store) -> None:
    findings = judge(store, {QUEUE_0: [5, 6]})
    with store.writing() as connection:
        replace_silent_windows(connection, TREE, findings, 0, {MONDAY + 5 * HOUR: moment()})
    (one,) = told(store)
    assert (one.first, one.windows) == (MONDAY + 5 * HOUR, 1)


def test_only_judged_windows_are_touched(store: Store) -> None:
    findings = judge(store, {QUEUE_0: [9, 10]})
    findings.states[:] = State.TESTED
    with store.writing() as connection:
        replace_silent_windows(connection, TREE, findings, 10, recorded(connection))
    (one,) = told(store)
    assert (one.first, one.windows) == (MONDAY + 9 * HOUR, 1)
