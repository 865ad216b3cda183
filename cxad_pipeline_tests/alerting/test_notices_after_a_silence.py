"""What a silence keeps back is not lost; which message waits; and what ends too long ago to be told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from told_incidents import FOUND, HOUR, incident

from cxad_pipeline.alerting.decisions import Decision, waiting_keys
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.alerting.notices import MATERIALLY_WORSE, notices_of, repeats
from cxad_pipeline.incidents.incident import Incident, Status
from cxad_pipeline.settings.operations import AlertSettings
from cxad_pipeline.store.incidents import NOTHING_TOLD, Told
from cxad_pipeline.store.outbox import Notice

ID = "incident:20261013-3f9a2c"
MINUTE = dt.timedelta(minutes=1)
POLICY = AlertSettings(wait_minutes=5, update_minutes=60, repeat_hours=24)
OPEN = incident(severity=50.0)
VOICE = (("channel", "voice"),)


def make(incident: Incident, kind: str) -> Message:
    said = f"{incident.status} {incident.severity:.0f} {len(incident.segment)}"
    return Message(f"{kind} {said}", said)


class Line:
    """One incident, what is remembered of it, and what has left the outbox; minutes count from when it was found."""

    def __init__(self, policy: AlertSettings = POLICY) -> None:
        self.policy = policy
        self.known: Incident | None = None
        self.told = NOTHING_TOLD
        self.waiting: dict[str, Notice] = {}
        self.left: list[Notice] = []
        self.now = FOUND

    def change(self, minute: float, after: Incident, *, silenced: bool = False) -> None:
        self._reach(minute)
        after = replace(after, updated_at=self.now)
        self._take(
            notices_of(self.known, after, self.told, silenced=silenced, policy=self.policy, now=self.now, make=make)
        )
        self.known = after

    def round(self, minute: float, *, silenced: bool = False) -> None:
        self._reach(minute)
        if self.known is not None:
            known = [(self.known, self.told)]
            for _, decision in repeats(known, silenced=lambda _: silenced, policy=self.policy, now=self.now, make=make):
                self._take(decision)
        self._leave()

    def said(self) -> list[tuple[float, str, str]]:
        """When, as what and what: all but edits."""
        return [
            ((notice.due_at - FOUND) / MINUTE, notice.key.removeprefix(f"{ID}:"), notice.content["headline"])
            for notice in self.left
            if notice.kind != "edit"
        ]

    def _reach(self, minute: float) -> None:
        self.now = FOUND + minute * MINUTE
        self._leave()

    def _take(self, decision: Decision) -> None:
        for key in decision.withdrawn:
            self.waiting.pop(key, None)
        self.waiting |= {notice.key: notice for notice in decision.notices}
        self.told = decision.told

    def _leave(self) -> None:
        due = sorted((notice for notice in self.waiting.values() if notice.due_at <= self.now), key=lambda n: n.due_at)
        self.left += due
        for notice in due:
            del self.waiting[notice.key]


def test_what_a_silence_takes_back_is_told_when_it_has_ended_no_later_than_it_would_have_been() -> None:
    line = Line()
    line.change(0, OPEN)
    line.round(6)
    line.change(20, replace(OPEN, segment=VOICE, severity=95.0))
    line.round(30, silenced=True)
    for minute in range(36, 24 * 60, 10):
        line.round(minute)
    assert line.said() == [(5, "opened", "opened open 50 2"), (66, "update:3", "changed open 95 1")]


def test_what_a_silence_takes_back_is_told_with_the_next_change_too() -> None:
    line = Line()
    line.change(0, OPEN)
    line.change(20, replace(OPEN, segment=VOICE, severity=55.0))
    line.round(30, silenced=True)
    line.change(70, replace(OPEN, segment=VOICE, severity=56.0))
    line.round(71)
    assert line.said() == [(5, "opened", "opened open 50 2"), (70, "update:3", "changed open 56 1")]


def test_a_message_in_a_silence_that_outlasts_its_time_waits_for_its_end() -> None:
    line = Line()
    line.change(0, OPEN)
    line.change(20, replace(OPEN, segment=VOICE))
    for minute in range(30, 600, 10):
        line.round(minute, silenced=True)
    line.round(601)
    assert line.said() == [(5, "opened", "opened open 50 2"), (601, "update:3", "changed open 50 1")]


@pytest.mark.parametrize("status", ["resolved", "withdrawn"])
def test_an_end_that_was_reached_before_a_silence_goes_out_in_it_as_it_is_then(status: Status) -> None:
    line = Line()
    line.change(0, OPEN)
    line.change(20, replace(OPEN, status="resolved"))
    line.round(21, silenced=True)
    line.change(22, replace(OPEN, status=status, severity=60.0), silenced=True)
    line.round(65, silenced=True)
    assert line.said() == [(5, "opened", "opened open 50 2"), (65, "resolved:2", f"resolved {status} 60 2")]


def test_an_end_that_is_none_any_more_is_taken_back_in_a_silence() -> None:
    line = Line()
    line.change(0, OPEN)
    line.change(20, replace(OPEN, status="resolved"))
    line.change(22, OPEN, silenced=True)
    assert line.waiting == {}
    for minute in range(30, 300, 10):
        line.round(minute, silenced=minute < 100)
    assert line.said() == [(5, "opened", "opened open 50 2"), (100, "update:3", "changed open 50 2")]


def test_an_end_within_a_silence_is_not_told() -> None:
    line = Line()
    line.change(0, OPEN)
    line.change(20, replace(OPEN, status="resolved"), silenced=True)
    for minute in range(30, 300, 10):
        line.round(minute)
    assert line.said() == [(5, "opened", "opened open 50 2")]


@pytest.mark.parametrize(
    ("number", "minutes", "keys"),
    [
        (1, 1, ["opened"]),
        (2, 1, ["update:2", "resolved:2"]),
        (7, 1, ["update:7", "resolved:7"]),
        (1, 0, []),
        (2, -1, []),
    ],
)
def test_only_the_message_that_waits_is_taken_back(number: int, minutes: int, keys: list[str]) -> None:
    told = Told(FOUND + minutes * MINUTE, 50.0, True, number)
    assert waiting_keys(OPEN.id, told, FOUND) == tuple(f"{ID}:{key}" for key in keys)
    assert waiting_keys(OPEN.id, NOTHING_TOLD, FOUND) == ()


def test_what_is_merged_while_its_message_waits_has_none_that_waits_and_may_come_back() -> None:
    line = Line()
    line.change(0, OPEN)
    line.change(20, replace(OPEN, segment=VOICE))
    line.change(30, replace(OPEN, segment=VOICE, status="merged", merged_into="20261013-000000"))
    assert line.told.at == FOUND + 5 * MINUTE, "when people heard of it"
    line.change(40, OPEN)
    line.round(65)
    assert [key for _, key, _ in line.said()] == ["opened", "update:4"]


def test_an_old_incident_that_has_just_ended_is_told() -> None:
    """A day long, and over for an hour: that is no old news."""
    over = incident(status="resolved", started_at=FOUND - 24 * HOUR, ended_at=FOUND - HOUR)
    policy = AlertSettings(max_age_hours=2)
    for ended_at, number in ((FOUND - HOUR, 1), (FOUND - 3 * HOUR, 0)):
        after = replace(over, ended_at=ended_at)
        decision = notices_of(None, after, NOTHING_TOLD, silenced=False, policy=policy, now=FOUND, make=make)
        assert len(decision.notices) == number


STEPS = st.lists(
    st.tuples(
        st.sampled_from([45.0, 50.0, 70.0, 99.0, None]),  # a change to this severity, or a round
        st.booleans(),  # in a silence
        st.sampled_from([1, 7, 30, 61, 90]),
        st.sampled_from([OPEN.segment, VOICE]),
    ),
    max_size=20,
)


@given(STEPS, st.sampled_from([0.0, 10.0, 100.0]), st.sampled_from([0.0, 30.0, 60.0]))
def test_whatever_was_silenced_people_know_in_the_end_how_bad_it_is(
    steps: Sequence[tuple[float | None, bool, int, tuple[tuple[str, str], ...]]], wait: float, update: float
) -> None:
    line = Line(AlertSettings(wait_minutes=wait, update_minutes=update, repeat_hours=10_000))
    minute = 0
    for severity, silenced, minutes, segment in steps:
        minute += minutes
        if severity is None:
            line.round(minute, silenced=silenced)
        else:
            line.change(minute, replace(OPEN, severity=severity, segment=segment), silenced=silenced)
    for later in (0, 60, 160, 260):
        line.round(minute + later)
    if line.known is None:
        assert line.said() == []
        return
    *_, (_, _, headline) = line.said()
    assert line.known.severity < float(headline.split()[2]) + MATERIALLY_WORSE
    assert line.waiting == {}
