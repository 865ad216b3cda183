"""Calls become incidents that open, go on, merge, fall apart, are resolved and withdrawn; never twice, in any order."""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxad_pipeline.incidents import SegmentTree, Windows, incidents_of
from cxad_pipeline.incidents.incident import Call, Incident, highest
from cxad_pipeline.incidents.life import Change, Known, live
from cxad_pipeline.incidents.segments import Key

HOUR = 3_600
START = 1_788_739_200  # 7 September 2026, 00:00 UTC
TREE = SegmentTree.of(("queue", "channel"), [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")])
POSITION = {key: s for s, key in enumerate(TREE.keys)}
ALL: Key = ()
A, B, X = (("queue", "a"),), (("queue", "b"),), (("channel", "x"),)
AX, AY, BX = (*A, *X), (*A, ("channel", "y")), (*B, *X)


def at(hour: int) -> int:
    return START + HOUR * hour


def moment(hour: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at(hour), dt.UTC)


def call(segment: Key, hour: int, score: float = 4.0) -> Call:
    return Call(segment, at(hour), score, 3.0, "aht", "shift", 500.0, 300.0, 12, 4.0, 30)


def described(calls: Sequence[Call], before: Incident | None) -> Incident:
    """As little as an incident can say of itself; the rest is nonsense that `live` has to replace."""
    lead, windows = highest(calls), [one.window for one in calls]
    assert list(calls) == sorted(calls, key=lambda one: (one.window, one.segment))
    return Incident(
        id="?",
        status="merged",
        segment=lead.segment,
        metric=lead.family,
        direction="high",
        kind=lead.kind,
        started_at=dt.datetime.fromtimestamp(min(windows), dt.UTC),
        ended_at=dt.datetime.fromtimestamp(max(windows) + HOUR, dt.UTC),
        score=lead.score,
        severity=10 * lead.score,
        alert_score=-1.0,
        alert_severity=-1.0,
        critical=False,
        observed=lead.observed,
        expected=lead.expected,
        affected=sum(one.affected for one in calls),
        expected_affected=4.0,
        contacts=30,
        causes=(),
        reasons=(),
        examples=(),
        model_version="",
        threshold=lead.threshold,
        opened_at=dt.datetime.min.replace(tzinfo=dt.UTC),
        updated_at=dt.datetime.min.replace(tzinfo=dt.UTC),
        merged_into="?",
    )


@dataclass
class Centre:
    """A store of incidents and of tested windows, judged in any order."""

    open_hours: np.ndarray = field(default_factory=lambda: np.ones((len(TREE), 72), dtype=bool))
    resolve_after: int = 3
    known: dict[str, Known] = field(default_factory=dict)
    judged: set[int] = field(default_factory=set)
    clock: int = 1_000

    def tested(self, segment: Key, after: int, before: int) -> int:
        row = self.open_hours[POSITION[segment]]
        return sum(bool(row[hour]) for hour in self.judged if after < at(hour) < before)

    def judge(self, calls: Iterable[Call], first: int, stop: int) -> list[Change]:
        """Judge the hours `first` to `stop`, in which these are the calls, an hour after the time before."""
        self.judged |= set(range(first, stop))
        self.clock += 1
        changes = live(
            list(self.known.values()),
            list(calls),
            Windows(at(first), stop - first),
            overlap=lambda one, other: bool(TREE.overlap[POSITION[one], POSITION[other]]),
            tested=self.tested,
            resolve_after=self.resolve_after,
            describe=described,
            now=moment(self.clock),
        )
        for change in changes:
            assert change.before == (known.incident if (known := self.known.get(change.after.id)) else None)
            assert change.after.updated_at == moment(self.clock)
            self.known[change.after.id] = Known(change.after, change.calls)
        return changes

    def alive(self) -> list[Known]:
        found = [one for one in self.known.values() if one.incident.status in ("open", "resolved")]
        return sorted(found, key=lambda one: (one.incident.started_at, one.incident.id))

    def partition(self) -> set[tuple[str, frozenset[Call]]]:
        """The calls of each incident and whether it is resolved."""
        return {(one.incident.status, frozenset(one.calls)) for one in self.alive()}

    def the_incident(self) -> Incident:
        (one,) = self.alive()
        return one.incident


NIGHT = np.ones((len(TREE), 72), dtype=bool)
NIGHT[:, [hour for hour in range(72) if hour % 24 < 8 or hour % 24 >= 18]] = False


def test_a_call_opens_an_incident_and_later_ones_update_it() -> None:
    centre = Centre()
    (opened,) = centre.judge([call(A, 10, 4.0)], 10, 11)
    assert opened.before is None
    assert re.fullmatch(r"20260907-[0-9a-f]{6}", opened.after.id)
    assert (opened.after.status, opened.after.alert_score, opened.after.alert_severity) == ("open", 4.0, 40.0)
    assert opened.after.opened_at == opened.after.updated_at == moment(centre.clock)
    assert opened.after.merged_into is None
    (updated,) = centre.judge([call(AX, 11, 6.0)], 11, 12)
    assert updated.after.id == opened.after.id
    assert (updated.after.score, updated.after.alert_score, updated.after.alert_severity) == (6.0, 4.0, 40.0)
    assert updated.after.opened_at == opened.after.opened_at
    assert updated.calls == (call(A, 10, 4.0), call(AX, 11, 6.0))


def test_calls_of_segments_without_a_contact_in_common_are_two_incidents() -> None:
    centre = Centre()
    centre.judge([call(A, 10), call(B, 10)], 10, 11)
    assert len(centre.alive()) == 2
    # until one that overlaps both joins them: the oldest goes on, by its id where both began together
    (gone, kept) = centre.judge([call(X, 11)], 11, 12)
    assert (gone.after.status, gone.after.merged_into, gone.calls) == ("merged", kept.after.id, ())
    assert kept.after.id < gone.after.id
    assert set(kept.calls) == {call(A, 10), call(B, 10), call(X, 11)}


def test_it_is_resolved_after_so_many_tested_windows_without_a_call() -> None:
    centre = Centre()
    centre.judge([call(A, 10)], 10, 11)
    assert centre.judge([], 11, 12) == centre.judge([], 12, 13) == []
    (resolved,) = centre.judge([], 13, 14)
    assert (resolved.after.status, resolved.after.resolved_at) == ("resolved", moment(centre.clock))
    assert resolved.calls == (call(A, 10),)
    assert centre.judge([], 14, 20) == []
    # the next one is another
    (other,) = centre.judge([call(A, 20)], 20, 21)
    assert other.before is None
    assert len(centre.alive()) == 2


def test_a_fault_that_pauses_while_the_queue_is_closed_is_one_incident() -> None:
    centre = Centre(open_hours=NIGHT)
    for hour in range(16, 34):
        centre.judge([call(A, hour)] if hour in (17, 33) else [], hour, hour + 1)
    incident = centre.the_incident()
    assert (incident.status, incident.started_at, incident.ended_at) == ("open", moment(17), moment(34))
    # with the same pause in opening hours there are two
    day = Centre()
    day.judge([call(A, 17), call(A, 33)], 16, 34)
    assert [one.incident.status for one in day.alive()] == ["resolved", "open"]


def test_what_has_paused_goes_on_only_in_the_segment_that_it_is_known_by() -> None:
    centre = Centre(open_hours=NIGHT)
    centre.judge([call(AX, 17, 5.0), call(ALL, 17, 4.0)], 8, 24)
    centre.judge([call(B, 33)], 24, 34)
    assert len(centre.alive()) == 2
    centre.judge([call(A, 33)], 24, 34)
    assert len(centre.alive()) == 1


def test_what_goes_on_takes_in_whatever_overlaps_a_part_of_it_up_to_two_windows_later() -> None:
    for hour, number in ((12, 1), (13, 2)):
        centre = Centre()
        centre.judge([call(AX, 10, 5.0), call(ALL, 10, 4.0), call(B, hour)], 10, 14)
        assert len(centre.alive()) == number


def test_what_is_over_is_not_drawn_in_when_another_incident_spreads_later() -> None:
    centre = Centre()
    for hour in range(31, 36):
        found = [call(A, 31), call(A, 33), call(BX, 31), call(ALL, 35)]
        centre.judge(in_hours(found, hour, hour + 1), hour, hour + 1)
    assert centre.partition() == {
        ("open", frozenset({call(A, 31), call(A, 33), call(ALL, 35)})),
        ("resolved", frozenset({call(BX, 31)})),
    }


def test_two_faults_side_by_side_are_one_incident_once_either_reaches_what_the_other_has_reached() -> None:
    centre = Centre()
    centre.judge([call(AY, 10), call(AY, 12), call(AY, 14), call(X, 11), call(BX, 13), call(BX, 15)], 8, 16)
    assert len(centre.alive()) == 2
    centre.judge([call(BX, 15), call(A, 15)], 15, 16)
    assert len(centre.alive()) == 1


def test_an_incident_whose_first_part_an_older_one_takes_goes_on_with_the_rest() -> None:
    centre = Centre()
    centre.judge([call(B, 8), *(call(A, hour) for hour in (10, 12, 14, 16))], 8, 20)
    older, younger = (one.incident.id for one in centre.alive())
    centre.judge([call(X, 9), call(A, 10)], 9, 16)
    assert {one.incident.id: len(one.calls) for one in centre.known.values()} == {older: 3, younger: 1}
    assert centre.known[younger].calls == (call(A, 16),)


def test_a_resolved_incident_is_open_again_when_a_late_call_fills_the_pause() -> None:
    centre = Centre()
    centre.judge([call(A, 10)], 10, 14)
    assert centre.the_incident().resolved_at == moment(centre.clock)
    (change,) = centre.judge([call(A, 13)], 13, 14)
    assert (change.after.status, change.after.resolved_at) == ("open", None)


def test_judging_again_with_other_calls_updates_and_never_doubles() -> None:
    centre = Centre()
    (opened,) = centre.judge([call(A, 10, 4.0)], 10, 11)
    (higher,) = centre.judge([call(A, 10, 5.0)], 10, 11)
    assert (higher.after.id, higher.after.score, higher.after.alert_score) == (opened.after.id, 5.0, 4.0)
    # also where another segment calls instead, in the next window
    (moved,) = centre.judge([call(AX, 11, 5.0)], 10, 12)
    assert (moved.after.id, moved.calls) == (opened.after.id, (call(AX, 11, 5.0),))
    (lost,) = centre.judge([], 10, 12)
    assert (lost.after.status, lost.calls) == ("withdrawn", ())
    assert centre.judge([], 10, 12) == []
    (back,) = centre.judge([call(A, 10, 6.0)], 10, 12)
    assert (back.after.id, back.after.status) == (opened.after.id, "open")


def test_a_withdrawn_incident_is_open_again_under_its_id_when_its_call_comes_back() -> None:
    centre = Centre()
    (opened,) = centre.judge([call(A, 10, 4.0)], 10, 11)
    centre.judge([], 10, 11)
    (back,) = centre.judge([call(A, 10, 7.0)], 10, 11)
    assert (back.after.id, back.after.status) == (opened.after.id, "open")
    assert (back.after.alert_score, back.after.opened_at) == (4.0, opened.after.opened_at)


def test_a_call_that_replaces_another_in_a_segment_apart_is_another_incident() -> None:
    centre = Centre()
    centre.judge([call(A, 10)], 10, 11)
    lost, new = centre.judge([call(B, 10)], 10, 11)
    assert (lost.after.status, new.before) == ("withdrawn", None)


def test_an_incident_falls_apart_when_the_windows_between_are_scored_again_and_grows_together_again() -> None:
    centre = Centre()
    centre.judge([call(A, hour) for hour in (10, 12, 14, 16)], 8, 20)
    (name,) = centre.known
    kept, apart = centre.judge([], 12, 15)
    assert (kept.after.id, kept.calls) == (name, (call(A, 10),))
    assert (apart.before, apart.calls) == (None, (call(A, 16),))
    gone, whole = centre.judge([call(A, 12), call(A, 14)], 12, 15)
    assert (gone.after.id, gone.after.merged_into) == (apart.after.id, name)
    assert (whole.after.id, len(whole.calls)) == (name, 4)
    # apart once more, it is known again
    _, again = centre.judge([], 12, 15)
    assert (again.after.id, again.after.merged_into) == (apart.after.id, None)
    assert again.after.opened_at == apart.after.opened_at


def test_windows_filled_in_between_two_incidents_part_what_nothing_was_known_of() -> None:
    centre = Centre()
    centre.judge([call(A, 40)], 40, 41)
    centre.judge([call(A, 10)], 10, 11)
    assert centre.the_incident().started_at == moment(10)
    centre.judge([], 11, 40)
    assert [one.incident.started_at for one in centre.alive()] == [moment(10), moment(40)]


def test_a_resolved_incident_that_is_scored_again_keeps_when_it_was_resolved() -> None:
    centre = Centre()
    centre.judge([call(A, 10)], 10, 14)
    resolved_at = centre.the_incident().resolved_at
    assert resolved_at == moment(centre.clock)
    (changed,) = centre.judge([call(A, 10, 5.0)], 10, 11)
    assert (changed.after.status, changed.after.score) == ("resolved", 5.0)
    assert changed.after.resolved_at == resolved_at < moment(centre.clock)


def known(name: str, *calls: Call) -> Known:
    """An open incident that other rules, such as those of segments named otherwise, have made of these calls."""
    stored = replace(described(calls, None), id=name, status="open", merged_into=None)
    return Known(replace(stored, opened_at=moment(0), updated_at=moment(0)), calls)


def after_other_rules(*incidents: Known) -> Centre:
    return Centre(known={one.incident.id: one for one in incidents})


def test_an_incident_without_a_part_of_its_own_is_merged_into_the_one_that_has_its_oldest_call() -> None:
    first, second = known("first", call(A, 10)), known("second", call(B, 11))
    between = known("between", call(A, 12), call(B, 13))
    centre = after_other_rules(first, second, between)
    (gone, *_) = centre.judge([], 30, 31)
    assert (gone.after.id, gone.after.status, gone.after.merged_into) == ("between", "merged", "first")
    between = known("between", call(B, 12), call(A, 13))
    (gone, *_) = after_other_rules(first, second, between).judge([], 30, 31)
    assert gone.after.merged_into == "second"


def test_only_a_new_call_takes_over_an_incident_whose_calls_are_gone() -> None:
    apart = known("apart", call(B, 10), call(A, 20))
    gone = known("gone", call(A, 21))
    centre = after_other_rules(apart, gone)
    changes = {change.after.id: change for change in centre.judge([], 21, 22)}
    assert changes["gone"].after.status == "withdrawn"
    (rest,) = [change for change in changes.values() if change.before is None]
    assert rest.calls == (call(A, 20),)
    # with a new call beside it the incident goes on
    centre = after_other_rules(apart, gone)
    changes = {change.after.id: change for change in centre.judge([call(AX, 21)], 21, 22)}
    assert changes["gone"].after.status == "open"
    assert changes["gone"].calls == (call(A, 20), call(AX, 21))


def test_an_id_that_belongs_to_another_part_gets_longer() -> None:
    centre = Centre()
    (opened,) = centre.judge([call(A, 10)], 10, 11)
    centre.judge([call(A, 8), call(A, 6)], 6, 9)
    kept, apart = centre.judge([call(A, 6)], 6, 10)
    assert kept.after.id == opened.after.id
    assert re.fullmatch(re.escape(opened.after.id) + "[0-9a-f]", apart.after.id)
    assert apart.calls == (call(A, 10),)


def test_a_call_outside_the_judged_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the judged windows"):
        Centre().judge([call(A, 12)], 10, 12)
    with pytest.raises(ValueError, match="two calls"):
        Centre().judge([call(A, 10), call(A, 10, 5.0)], 10, 12)


HOURS = 40
CELLS = st.lists(
    st.tuples(st.integers(0, len(TREE) - 1), st.integers(0, HOURS - 1), st.integers(3, 9)),
    max_size=25,
    unique_by=lambda cell: cell[:2],
)
OPEN = st.builds(
    lambda seed, share: np.random.default_rng(seed).random((len(TREE), 72)) < share,
    st.integers(0, 1_000),
    st.sampled_from([0.1, 0.4, 0.8, 1.0]),
)


def in_hours(calls: Iterable[Call], first: int, stop: int) -> list[Call]:
    return [one for one in calls if at(first) <= one.window < at(stop)]


def made(cells: Iterable[tuple[int, int, int]]) -> list[Call]:
    return [call(TREE.keys[segment], hour, float(score)) for segment, hour, score in cells]


def judged_at_once(open_hours: np.ndarray, calls: Sequence[Call]) -> Centre:
    centre = Centre(open_hours=open_hours)
    centre.judge(calls, 0, HOURS)
    return centre


@settings(max_examples=300, deadline=None)
@given(CELLS, OPEN)
def test_one_window_after_the_other_gives_the_same_as_all_at_once(cells: list, open_hours: np.ndarray) -> None:
    calls = made(cells)
    centre = Centre(open_hours=open_hours)
    for hour in range(HOURS):
        before = {one.incident.id: one for one in centre.alive()}
        for change in centre.judge(in_hours(calls, hour, hour + 1), hour, hour + 1):
            # Forward in time nothing falls apart, is withdrawn or, once resolved, goes on.
            assert change.after.status != "withdrawn"
            if change.before is not None:
                assert change.before.status == "open"
                if change.after.status != "merged":
                    assert set(before[change.after.id].calls) <= set(change.calls)
    assert centre.partition() == judged_at_once(open_hours, calls).partition()


PIECES = st.lists(st.tuples(st.integers(0, HOURS - 1), st.integers(1, 9), CELLS), max_size=6)


@settings(max_examples=300, deadline=None)
@given(CELLS, OPEN, PIECES, st.randoms(use_true_random=False))
def test_windows_in_any_order_scored_again_and_again_give_the_same_as_all_at_once(
    cells: list, open_hours: np.ndarray, pieces: list, random: np.random.Generator
) -> None:
    calls = made(cells)
    centre = Centre(open_hours=open_hours)
    # Whatever was found at first ...
    for first, length, others in pieces:
        stop = min(first + length, HOURS)
        centre.judge(in_hours(made(others), first, stop), first, stop)
        check(centre)
    # ... in the end every window is judged with these calls.
    starts = list(range(0, HOURS, 4))
    random.shuffle(starts)
    for first in starts:
        centre.judge(in_hours(calls, first, first + 4), first, first + 4)
        check(centre)
    found = {group for _, group in centre.partition()}
    assert found == {group for _, group in judged_at_once(open_hours, calls).partition()}
    for first in starts:
        assert centre.judge(in_hours(calls, first, first + 4), first, first + 4) == []


@settings(max_examples=200, deadline=None)
@given(CELLS, OPEN, st.integers(0, HOURS - 1), st.integers(1, 12), CELLS)
def test_a_middle_window_scored_again_and_back_gives_back_the_same(
    cells: list, open_hours: np.ndarray, first: int, length: int, others: list
) -> None:
    calls = made(cells)
    stop = min(first + length, HOURS)
    centre = judged_at_once(open_hours, calls)
    before = centre.partition()
    centre.judge(in_hours(made(others), first, stop), first, stop)
    check(centre)
    centre.judge(in_hours(calls, first, stop), first, stop)
    assert {group for _, group in centre.partition()} == {group for _, group in before}


def check(centre: Centre) -> None:
    """What always holds: each call is in one incident, and those that are no more have none."""
    calls = [one for known in centre.alive() for one in known.calls]
    assert len(calls) == len({(one.segment, one.window) for one in calls})
    for known in centre.known.values():
        status = known.incident.status
        assert (status in ("open", "resolved")) == bool(known.calls)
        assert (known.incident.merged_into is not None) == (status == "merged")
        assert (known.incident.merged_into or known.incident.id) in centre.known
        if known.calls:
            assert known.incident.started_at == dt.datetime.fromtimestamp(known.calls[0].window, dt.UTC)
            assert (known.incident.resolved_at is not None) == (status == "resolved")


@settings(max_examples=200, deadline=None)
@given(CELLS)
def test_incidents_are_never_more_than_the_promise_counts(cells: list) -> None:
    """`incidents_of` counts them where the budget is replayed; here no pause is bridged, so each is one or several."""
    calls = made(cells)
    alerts = np.zeros((len(TREE), HOURS), dtype=bool)
    alerts[[cell[0] for cell in cells], [cell[1] for cell in cells]] = True
    counted = [
        {(TREE.keys[s], at(t)) for s, t in zip(segments, hours, strict=True)}
        for segments, hours in incidents_of(TREE, alerts)
    ]
    centre = judged_at_once(np.ones((len(TREE), 72), dtype=bool), calls)
    groups = [{(one.segment, one.window) for one in known.calls} for known in centre.alive()]
    assert all(sum(part <= group for group in groups) == 1 for part in counted)
    assert len(groups) <= len(counted)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, HOURS - 1), min_size=1))
def test_in_one_segment_a_gap_of_as_many_tested_windows_as_resolve_parts_incidents(hours: set[int]) -> None:
    ordered = sorted(hours)
    parts = 1 + sum(later - earlier > 3 for earlier, later in pairwise(ordered))
    centre = judged_at_once(np.ones((len(TREE), 72), dtype=bool), [call(A, hour) for hour in ordered])
    assert len(centre.alive()) == parts
    assert sum(one.incident.status == "open" for one in centre.alive()) == (ordered[-1] > HOURS - 4)


def test_the_work_grows_with_the_number_of_incidents_and_calls_and_not_with_its_square() -> None:
    """Counted in lines of Python, which do not depend on the machine: no step compares everything with everything."""
    random = np.random.default_rng(0)
    leaves = [(f"q{q}", f"c{c}", f"l{n}") for q in range(20) for c in range(3) for n in range(4)]
    tree = SegmentTree.of(("queue", "channel", "language"), leaves)
    position = {key: s for s, key in enumerate(tree.keys)}
    parts = [s for s in range(len(tree)) if tree.level[s] == 2]

    def lines(number: int) -> int:
        hours = range(0, 4 * number, 4)
        first = [call(tree.keys[random.choice(parts)], hour) for hour in hours]
        known = [
            Known(replace(described([one], None), id=str(n), status="open"), (one,)) for n, one in enumerate(first)
        ]
        cells = {(int(random.integers(len(tree))), int(random.integers(4 * number))) for _ in range(4 * number)}
        calls = [call(tree.keys[s], 4 * number + hour, float(random.random())) for s, hour in cells]
        with counted_lines() as count:
            live(
                known,
                calls,
                Windows(at(4 * number), 4 * number),
                overlap=lambda one, other: bool(tree.overlap[position[one], position[other]]),
                tested=lambda _, after, before: (before - after) // HOUR - 1,
                resolve_after=3,
                describe=described,
                now=moment(0),
            )
        return count[0]

    assert lines(2_000) < 12 * lines(200)


@contextmanager
def counted_lines() -> Iterator[list[int]]:
    """How many lines of Python are run inside, as the only item."""
    count, before = [0], sys.gettrace()

    def traced(_: object, event: str, __: object) -> Callable[..., Any]:
        count[0] += event == "line"
        return traced

    sys.settrace(traced)
    try:
        yield count
    finally:
        sys.settrace(before)
