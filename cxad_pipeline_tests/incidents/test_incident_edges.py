"""Where one incident ends and another begins, and what it is called: at the edges of the rules."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from cxad_pipeline.incidents import Windows
from cxad_pipeline.incidents.grouping import MOST_PAUSE, Group, Grouping
from cxad_pipeline.incidents.incident import Call, Incident, highest
from cxad_pipeline.incidents.life import Known, live
from cxad_pipeline.incidents.segments import Key

HOUR = 3_600
START = 1_788_739_200  # 7 September 2026, 00:00 UTC
NOW = dt.datetime(2026, 9, 21, tzinfo=dt.UTC)
A: Key = (("queue", "a"),)
PAUSE = MOST_PAUSE // HOUR


def at(hour: int) -> int:
    return START + HOUR * hour


def call(hour: int, score: float = 4.0, segment: Key = A) -> Call:
    return Call(segment, at(hour), score, 3.0, "aht", "shift", 500.0, 300.0, 12, 4.0, 30)


def described(calls: Sequence[Call], before: Incident | None) -> Incident:
    """As little as an incident can say of itself."""
    lead, windows = highest(calls), [one.window for one in calls]
    start, end = (dt.datetime.fromtimestamp(moment, dt.UTC) for moment in (min(windows), max(windows) + HOUR))
    return Incident(
        id="",
        status="open",
        segment=lead.segment,
        metric=lead.family,
        direction="high",
        kind=lead.kind,
        started_at=start,
        ended_at=end,
        score=lead.score,
        severity=50.0,
        alert_score=lead.score,
        alert_severity=50.0,
        critical=False,
        observed=lead.observed,
        expected=lead.expected,
        affected=12,
        expected_affected=4.0,
        contacts=30,
        causes=(),
        reasons=(),
        examples=(),
        model_version="",
        threshold=lead.threshold,
        opened_at=NOW,
        updated_at=NOW,
    )


@dataclass
class Book:
    """Incidents of segments that all overlap, where nothing is known of windows in between."""

    known: dict[str, Known] = field(default_factory=dict)

    def judge(self, calls: Sequence[Call], first: int, stop: int) -> None:
        changes = live(
            list(self.known.values()),
            calls,
            Windows(at(first), stop - first),
            overlap=lambda _one, _other: True,
            tested=lambda _segment, _after, _before: 0,
            resolve_after=3,
            describe=described,
            now=NOW,
        )
        for change in changes:
            self.known[change.after.id] = Known(change.after, change.calls)

    def statuses(self) -> dict[int, str]:
        """By the hour in which each incident began."""
        hours = {one.incident.id: int(one.incident.started_at.timestamp() - START) // HOUR for one in self.all()}
        return {hours[one.incident.id]: one.incident.status for one in self.all()}

    def all(self) -> list[Known]:
        return list(self.known.values())


def test_a_call_that_comes_far_from_all_that_an_incident_has_lost_is_another_incident() -> None:
    book = Book()
    book.judge([call(10)], 10, 11)
    book.judge([call(30)], 10, 31)
    assert book.statuses() == {10: "withdrawn", 30: "open"}


def test_a_call_that_comes_next_to_all_that_an_incident_has_lost_goes_on_with_it() -> None:
    book = Book()
    book.judge([call(10)], 10, 11)
    (before,) = book.known
    book.judge([call(12)], 10, 13)
    assert list(book.known) == [before]
    assert book.statuses() == {12: "open"}


def test_an_incident_is_named_by_its_first_window_however_high_it_rises_later() -> None:
    """So that it has the same name whether its windows are judged together or one by one."""
    together, one_by_one = Book(), Book()
    together.judge([call(10, 4.0), call(11, 9.0)], 10, 12)
    one_by_one.judge([call(10, 4.0)], 10, 11)
    one_by_one.judge([call(11, 9.0)], 11, 12)
    assert list(together.known) == list(one_by_one.known)


def rule() -> Grouping:
    """Of hours in which nothing was tested."""
    return Grouping(HOUR, lambda _one, _other: True, lambda _segment, _after, _before: 0, 3)


def test_a_pause_of_the_greatest_length_is_still_one_incident_and_a_longer_one_is_not() -> None:
    assert not rule().is_over(A, at(0), at(PAUSE))
    assert rule().is_over(A, at(0), at(PAUSE + 1))
    assert len(rule().groups([call(0), call(PAUSE)])) == 1
    assert len(rule().groups([call(0), call(PAUSE + 1)])) == 2


def test_what_nothing_was_tested_after_has_ended_once_the_greatest_pause_is_over() -> None:
    group = Group((call(0),), ((A, at(0)),))
    assert not rule().has_ended(group, at(PAUSE))
    assert rule().has_ended(group, at(PAUSE + 1))
