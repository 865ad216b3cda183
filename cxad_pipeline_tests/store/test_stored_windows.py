"""Rollups come back as they were written, to whichever tree asks; findings stand beside them."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from stored_incident_examples import (
    DIMENSIONS,
    METRICS,
    MONDAY,
    NASTY,
    answered_of,
    findings_of,
    moment,
    rollups_of,
    tree_of,
)

from cxad_pipeline.incidents import MetricRule, Rollups, SegmentTree, Windows
from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.incidents.states import State
from cxad_pipeline.store import segment_findings
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incident_tables import segment_windows
from cxad_pipeline.store.segment_findings import findings_rows, record_findings
from cxad_pipeline.store.segment_windows import (
    SegmentWindow,
    counted_windows,
    find_windows,
    read_rollups,
    replace_rollups,
    windows_of_other_length,
)
from cxad_pipeline.store.window_listing import HIGHEST_SCORE

pytest_plugins = ["store_databases"]

DAY = Windows(MONDAY, 24)
TREE = tree_of(3)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=15, deadline=None
)
@given(seed=st.integers(0, 2**32), queues=st.integers(1, 5), number=st.integers(1, 30), empty=st.floats(0, 1))
def test_what_is_written_comes_back_to_the_bit(store: Store, seed: int, queues: int, number: int, empty: float) -> None:
    tree, windows = tree_of(queues), Windows(MONDAY + 86_400 * (seed % 50), number)
    written = rollups_of(tree, windows, seed, empty=empty)
    rows = _write(store, tree, written)
    assert rows == int((written.contacts[1:] > 0).sum()) + number
    _same(_read(store, tree, METRICS, windows), written)


def test_sums_beyond_all_numbers_come_back_too_and_people_see_none(store: Store) -> None:
    rollups = rollups_of(TREE, DAY, empty=0.0)
    rollups.total[0, 0, 23], rollups.squares[1, 0, 23], rollups.squares[0, 0, 23] = -np.inf, np.inf, -0.0
    _write(store, TREE, rollups)
    found = _read(store, TREE, METRICS, DAY)
    _same(found, rollups)
    assert np.signbit(found.squares[0, 0, 23])
    seen = _find(store, segment=())[0]["metrics"]
    assert seen["aht"]["total"] is None
    assert seen["csat"]["squares"] is None


def test_segments_and_metrics_are_known_by_name_and_not_by_place(store: Store) -> None:
    written = rollups_of(TREE, DAY)
    _write(store, TREE, written)
    leaves = [("queue 2", "chat"), ("new", "voice"), ("queue 0", "voice")]
    other = SegmentTree.of(DIMENSIONS, leaves)
    metrics = (METRICS[1], MetricRule("hold", "high", True))
    found = _read(store, other, metrics, DAY)
    shared = 0
    for s, key in enumerate(other.keys):
        for name, in_found, in_written in _pairs(found, written):
            if key not in TREE.keys:
                assert not in_found[..., s, :].any(), (key, name)
                continue
            before = in_written[..., TREE.keys.index(key), :]
            if name in ("count", "total", "squares", "exceedances"):
                assert not in_found[1, ..., s, :].any()
                np.testing.assert_array_equal(in_found[0, ..., s, :], before[1])
            else:
                np.testing.assert_array_equal(in_found[..., s, :], before)
            shared += 1
    assert shared >= 3 * 8  # of all contacts, a queue and leaves


def test_what_nobody_counted_is_zero_and_all_contacts_have_a_row_all_the_same(store: Store) -> None:
    empty = rollups_of(TREE, DAY, empty=1.0)
    assert _write(store, TREE, empty) == 24
    longer = Windows(MONDAY - 7_200, 30)
    assert not _read(store, TREE, METRICS, longer).contacts.any()
    assert [row["contacts"] for row in _find(store)] == [0] * 24
    assert {row["metrics"]["csat"]["mean"] for row in _find(store)} == {None}


def test_a_period_is_replaced_as_a_whole_with_windows_of_another_length_and_segments_that_are_gone(
    store: Store,
) -> None:
    before, outside = rollups_of(tree_of(5), DAY, 1), rollups_of(TREE, Windows(MONDAY + 86_400, 5), 2)
    _write(store, tree_of(5), before)
    _write(store, TREE, outside)
    coarse = rollups_of(TREE, Windows(MONDAY, 12, 7_200), 3)
    _write(store, TREE, coarse)
    assert not _read(store, tree_of(5), METRICS, DAY).contacts.any()
    _same(_read(store, TREE, METRICS, coarse.windows), coarse)
    _same(_read(store, TREE, METRICS, outside.windows), outside)
    fine = rollups_of(TREE, Windows(MONDAY + 7_200, 2), 4)
    _write(store, TREE, fine)
    _same(_read(store, TREE, METRICS, fine.windows), fine)
    rest = _read(store, TREE, METRICS, coarse.windows).contacts
    assert not rest[:, 1].any()
    np.testing.assert_array_equal(np.delete(rest, 1, axis=1), np.delete(coarse.contacts, 1, axis=1))


def test_windows_of_the_same_length_on_another_grid_are_not_taken_for_ours(store: Store) -> None:
    _write(store, TREE, rollups_of(TREE, DAY))
    assert not _read(store, TREE, METRICS, Windows(MONDAY + 1_800, 20)).contacts.any()


def test_the_same_rollups_again_leave_as_many_rows(store: Store) -> None:
    written = rollups_of(TREE, DAY)
    rows = [_write(store, TREE, written) for _ in range(3)]
    with store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(segment_windows)).scalar() == rows[0]
    assert len(set(rows)) == 1


def test_names_of_any_kind_and_length_are_kept_and_found(store: Store) -> None:
    leaves = [(NASTY, "voice"), (NASTY[:-1], "voice"), ("x", NASTY)]
    tree, metrics = SegmentTree.of(DIMENSIONS, leaves), (MetricRule(NASTY, "high"),)
    written = rollups_of(tree, DAY, metrics=metrics, empty=0.0)
    with store.writing() as connection:
        replace_rollups(connection, tree, metrics, written, at=moment())
    _same(_read(store, tree, metrics, DAY), written)
    s = next(s for s, key in enumerate(tree.keys) if ("queue", NASTY) in key)
    found = _find(store, segment=tree.keys[s])
    assert [row["contacts"] for row in found] == written.contacts[s, ::-1].tolist()
    assert {row["segment"] for row in found} == {tree.keys[s]}


def test_people_see_the_mean_in_the_metrics_own_unit(store: Store) -> None:
    rollups = rollups_of(TREE, DAY, empty=0.0)
    values = np.array([100.0, 300.0])
    rollups.count[:, 0, 23] = 2
    rollups.total[0, 0, 23], rollups.total[1, 0, 23] = METRICS[0].worked(values).sum(), 9.0
    rollups.exceedances[0, :, 0, 23] = [3, 17]
    _write(store, TREE, rollups)
    seen = _find(store, segment=())[0]
    assert seen["metrics"]["csat"]["mean"] == 4.5
    # The mean on a scale of logarithms is the geometric one, of what is above minus one minute.
    assert seen["metrics"]["aht"]["mean"] == pytest.approx(np.sqrt(160.0 * 360.0) - 60)
    assert (seen["metrics"]["aht"]["far"], seen["metrics"]["aht"]["near"]) == (3, 17)


def test_findings_stand_beside_what_was_counted_in_their_windows_alone(store: Store) -> None:
    rollups = rollups_of(TREE, DAY)
    _write(store, TREE, rollups)
    states = np.random.default_rng(5).choice([State.TESTED, State.TESTED, State.TOO_FEW, State.LATE], (len(TREE), 30))
    longer = Windows(MONDAY - 6 * 3_600, 30)  # the findings know windows before those that are written
    findings = findings_of(TREE, longer, states)
    findings.score[0, 20] = np.inf
    states[0, 20] = findings.states[0, 20] = State.TESTED
    _record(store, TREE, findings, 16, 26)
    found = _find(store)
    leading = findings.surprises.argmax(axis=0)
    checked = 0
    for row in found:
        s, t = TREE.keys.index(row["segment"]), round((_seconds(row) - longer.start) / 3_600)
        if not 16 <= t < 26:
            assert row["state"] is row["score"] is row["leading_metric"] is row["observed"] is None
            continue
        assert row["state"] == State(states[s, t]).name.lower()
        if states[s, t] != State.TESTED:
            assert row["score"] is row["leading_metric"] is row["leading_kind"] is row["expected"] is None
            continue
        test = findings.evidence[leading[s, t]]
        assert row["score"] == min(findings.score[s, t], HIGHEST_SCORE)
        assert (row["leading_metric"], row["leading_kind"]) == (test.family, test.kind)
        assert (row["observed"], row["expected"]) == (test.observed[s, t], test.expected[s, t])
        checked += 1
    assert checked > 30
    _same(_read(store, TREE, METRICS, DAY), rollups)


def test_findings_of_another_tree_go_to_the_segments_of_their_name(store: Store) -> None:
    _write(store, TREE, rollups_of(TREE, DAY, empty=0.0))
    other = SegmentTree.of(DIMENSIONS, [("queue 2", "chat"), ("new", "voice")])
    _record(store, other, findings_of(other, DAY, np.zeros((len(other), 24))))
    judged = {row["segment"] for row in _find(store) if row["state"] is not None}
    assert judged == set(other.keys) & set(TREE.keys)
    assert len(judged) >= 2


def test_findings_where_nothing_was_counted_write_nothing(store: Store) -> None:
    _record(store, TREE, findings_of(TREE, DAY, np.zeros((len(TREE), 24))))
    assert _find(store) == []


def test_tested_windows_of_a_segment_are_counted_between_two_moments(store: Store) -> None:
    _write(store, TREE, rollups_of(TREE, DAY, empty=0.0))
    states = np.full((len(TREE), 24), State.TESTED)
    s = TREE.keys.index((("queue", "queue 1"), ("channel", "chat")))
    states[s, [4, 5, 9]] = State.TOO_FEW
    _record(store, TREE, findings_of(TREE, DAY, states))
    longer = Windows(DAY.end, 4, 7_200)
    _write(store, TREE, rollups_of(TREE, longer, empty=0.0))
    _record(store, TREE, findings_of(TREE, longer, np.full((len(TREE), 4), State.TESTED)), 0, 4)

    def number(after: int, before: int, key: Key = TREE.keys[s]) -> int:
        with store.reading() as connection:
            return segment_findings.tested_windows(connection, key, MONDAY + after * 3_600, MONDAY + before * 3_600)

    assert number(0, 12) == sum(t not in (4, 5, 9) for t in range(1, 12))
    assert number(6, 9) == 2
    assert number(-5, 24) == 21
    assert number(-5, 500) == 21 + 4  # those of another length, too
    assert number(0, 12, key=()) == 11
    assert number(0, 12, key=(("queue", "nobody"),)) == 0


def test_a_window_that_is_counted_again_is_counted_later_whatever_the_clock_says(store: Store) -> None:
    with store.reading() as connection:
        assert counted_windows(connection, DAY) == {}
    known: list[dict[int, tuple[str | None, dt.datetime]]] = []
    for clock in (moment(9), moment(9), moment(3), moment(10)):
        _write(store, TREE, rollups_of(TREE, Windows(MONDAY + 3_600, 2)), at=clock)
        with store.reading() as connection:
            known.append(counted_windows(connection, DAY))
    assert all(list(found) == [MONDAY + 3_600, MONDAY + 7_200] for found in known)
    times = [found[MONDAY + 3_600][1] for found in known]
    assert times[0] == moment(9)
    assert times == sorted(set(times))
    assert times[-1] == moment(10)


def test_a_window_is_counted_whether_or_not_there_was_a_contact_and_its_state_is_that_of_all(store: Store) -> None:
    _write(store, TREE, rollups_of(TREE, DAY, empty=1.0))
    states = np.full((len(TREE), 24), State.EMPTY)
    states[0] = State.LATE
    _record(store, TREE, findings_of(TREE, DAY, states), 0, 5)
    with store.reading() as connection:
        found = counted_windows(connection, DAY)
    assert [found[start][0] for start in DAY.starts.tolist()] == ["late"] * 5 + [None] * 19


def test_windows_of_another_length_are_told_from_the_present_ones(store: Store) -> None:
    _write(store, TREE, rollups_of(TREE, DAY))
    shorter = Windows(MONDAY + 6 * 3_600, 4, 1_800)
    _write(store, TREE, rollups_of(TREE, shorter))
    with store.reading() as connection:
        assert windows_of_other_length(connection, 3_600) == set(shorter.starts.tolist())
        assert windows_of_other_length(connection, 1_800) == set(DAY.starts.tolist()) - {
            MONDAY + 6 * 3_600,
            MONDAY + 7 * 3_600,
        }
        assert set(counted_windows(connection, DAY)) == set(DAY.starts.tolist()) - {
            MONDAY + 6 * 3_600,
            MONDAY + 7 * 3_600,
        }


def test_windows_are_listed_the_latest_first_by_period_level_and_segment(store: Store) -> None:
    _write(store, TREE, rollups_of(TREE, DAY, empty=0.0))
    rows = _find(store)
    assert len(rows) == len(TREE) * 24
    order = [(-_seconds(row), row["level"]) for row in rows]
    assert order == sorted(order)
    assert _find(store, limit=7) == rows[:7]
    assert _find(store, level=1) == [row for row in rows if len(row["segment"]) == 1]
    assert _find(store, since=moment(3), until=moment(5)) == [
        row for row in rows if MONDAY + 3 * 3_600 <= _seconds(row) < MONDAY + 5 * 3_600
    ]
    assert {row["seconds"] for row in rows} == {3_600}
    assert {row["recorded_at"] for row in rows} == {"2026-09-07T00:00:00.000000Z"}


def test_two_writers_of_different_periods_make_each_segment_once(store: Store) -> None:
    trees = [tree_of(40), tree_of(40, ("chat", "voice"))]
    written = [rollups_of(tree, Windows(MONDAY + i * 86_400, 3), i) for i, tree in enumerate(trees)]
    threads = [threading.Thread(target=_write, args=(store, trees[i], written[i])) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tree, one in zip(trees, written, strict=True):
        _same(_read(store, tree, METRICS, one.windows), one)


def _write(store: Store, tree: SegmentTree, rollups: Rollups, *, at: dt.datetime | None = None) -> int:
    with store.writing() as connection:
        return replace_rollups(connection, tree, METRICS, rollups, at=at or moment())


def _record(store: Store, tree: SegmentTree, findings: Findings, first: int = 0, stop: int = 24) -> None:
    with store.writing() as connection:
        record_findings(connection, findings_rows(connection, tree, findings, answered_of(findings), first, stop))


def _read(store: Store, tree: SegmentTree, metrics: tuple[MetricRule, ...], windows: Windows) -> Rollups:
    with store.reading() as connection:
        return read_rollups(connection, tree, metrics, windows)


def _find(store: Store, **wanted: object) -> list[SegmentWindow]:
    with store.reading() as connection:
        return find_windows(connection, **{"since": None, "until": None, "limit": 10_000, **wanted})  # type: ignore[arg-type]


def _seconds(row: SegmentWindow) -> int:
    return int(dt.datetime.fromisoformat(row["start"]).timestamp())


def _pairs(found: Rollups, written: Rollups) -> list[tuple[str, np.ndarray, np.ndarray]]:
    return [(field.name, getattr(found, field.name), getattr(written, field.name)) for field in fields(found)[1:]]


def _same(found: Rollups, written: Rollups) -> None:
    assert found.windows == written.windows
    for name, one, other in _pairs(found, written):
        assert one.shape == other.shape, name
        assert one.tobytes() == np.ascontiguousarray(other).tobytes(), name
