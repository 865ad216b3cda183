"""Which change of an incident is told, when and under which key; and that people are never told twice or too often."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from told_incidents import FOUND, HOUR, incident

from cxad_pipeline.alerting.channels import ConsoleChannel, SlackChannel
from cxad_pipeline.alerting.decisions import Decision, receivers
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.alerting.notices import MATERIALLY_WORSE, notices_of, repeats, told_in_digest
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.settings.operations import AlertSettings
from cxad_pipeline.store.incidents import NOTHING_TOLD, Told
from cxad_pipeline.store.outbox import Notice

ID = "incident:20261013-3f9a2c"
NOTHING = NOTHING_TOLD
MINUTE = dt.timedelta(minutes=1)
NOW = FOUND + 10 * HOUR

OPEN = incident(severity=50.0)
CHANGED = replace(OPEN, updated_at=NOW - 10 * MINUTE)
ELSEWHERE = replace(OPEN, segment=(("channel", "voice"),))
CALM = incident(severity=30.0, critical=False)
RESOLVED = replace(OPEN, status="resolved", resolved_at=NOW)
MERGED = replace(OPEN, status="merged", merged_into="20261013-000000")
WITHDRAWN = replace(OPEN, status="withdrawn")
LONG_TOLD = Told(at=NOW - 3 * HOUR, severity=50.0, critical=True, number=1)
JUST_TOLD = replace(LONG_TOLD, at=NOW - 20 * MINUTE)
WAITING = replace(LONG_TOLD, at=NOW + 5 * MINUTE)
END_WAITS = replace(WAITING, number=2)
LONG_IN_DIGEST = Told(at=NOW - 60 * MINUTE, severity=30.0, critical=False, number=1)
IN_DIGEST = Told(at=NOW - 20 * MINUTE, severity=30.0, critical=False, number=1)


def make(incident: Incident, kind: str) -> Message:
    said = f"{incident.status} {incident.severity:.0f} {len(incident.segment)}"
    return Message(f"{kind} {said}", said)


def decide(before: Incident | None, after: Incident, told: Told, *, silenced: bool = False, **policy: Any) -> Decision:
    return notices_of(before, after, told, silenced=silenced, policy=AlertSettings(**policy), now=NOW, make=make)


def shown(decision: Decision) -> list[tuple[str, str, float]]:
    """Key without the incident, kind, minutes from now."""
    assert all(notice.topic == ID and notice.key.startswith(f"{ID}:") for notice in decision.notices)
    return [
        (notice.key.removeprefix(f"{ID}:"), notice.kind, round((notice.due_at - NOW) / MINUTE, 6))
        for notice in decision.notices
    ]


def far(worse: float) -> Incident:
    return replace(OPEN, severity=50.0 + worse)


TABLE: list[tuple[str, Incident | None, Incident, Told, list[tuple[str, str, float]]]] = [
    ("found", None, OPEN, NOTHING, [("opened", "opened", 5)]),
    ("found, not critical", None, CALM, NOTHING, []),
    ("found when it was over", None, RESOLVED, NOTHING, [("opened", "resolved", 0)]),
    ("found and withdrawn", None, WITHDRAWN, NOTHING, []),
    ("critical before anybody was told", CALM, OPEN, NOTHING, [("opened", "opened", 5)]),
    ("over, and nobody was told in a silence", RESOLVED, replace(RESOLVED, severity=60), NOTHING, []),
    ("open again, and nobody was told before", MERGED, OPEN, NOTHING, [("opened", "opened", 5)]),
    ("critical when it was over", replace(RESOLVED, critical=False), RESOLVED, NOTHING, [("opened", "resolved", 0)]),
    ("critical after the digest", CALM, OPEN, LONG_IN_DIGEST, [("update:2", "update", 0)]),
    ("critical soon after the digest", CALM, OPEN, IN_DIGEST, []),
    ("not critical after the digest", CALM, replace(CALM, severity=35.0), IN_DIGEST, []),
    ("over after the digest", CALM, replace(CALM, status="resolved"), IN_DIGEST, []),
    ("worse while it waits", OPEN, far(20), WAITING, [("opened", "opened", 5)]),
    ("over while it waits", OPEN, RESOLVED, WAITING, [("resolved:2", "resolved", 5)]),
    ("merged while it waits", OPEN, MERGED, WAITING, []),
    ("withdrawn while it waits", OPEN, WITHDRAWN, WAITING, []),
    ("back, and withdrawn unheard before", WITHDRAWN, OPEN, NOTHING, [("opened", "opened", 5)]),
    ("over, and withdrawn unheard before", WITHDRAWN, RESOLVED, NOTHING, [("opened", "resolved", 0)]),
    ("merged while another message waits", OPEN, MERGED, END_WAITS, [("edit:3", "edit", 0)]),
    ("a little worse", OPEN, far(16.6), LONG_TOLD, [("edit:2", "edit", 0)]),
    ("materially worse", OPEN, far(16.7), LONG_TOLD, [("update:2", "update", 0)]),
    ("just materially worse", OPEN, far(MATERIALLY_WORSE), LONG_TOLD, [("update:2", "update", 0)]),
    ("another segment", OPEN, ELSEWHERE, LONG_TOLD, [("update:2", "update", 0)]),
    ("another metric", OPEN, replace(OPEN, metric="wait"), LONG_TOLD, [("update:2", "update", 0)]),
    ("another end of the metric", OPEN, replace(OPEN, direction="low"), LONG_TOLD, [("update:2", "update", 0)]),
    ("another test of the same", OPEN, replace(OPEN, kind="shift"), LONG_TOLD, []),
    ("another segment, too soon", OPEN, ELSEWHERE, JUST_TOLD, [("update:2", "update", 40)]),
    ("another segment while it waits", OPEN, ELSEWHERE, WAITING, [("opened", "opened", 5)]),
    ("worse while its other name waits", ELSEWHERE, replace(ELSEWHERE, severity=60), END_WAITS,
     [("update:2", "update", 5)]),
    ("over, with another segment", OPEN, replace(RESOLVED, segment=()), LONG_TOLD, [("resolved:2", "resolved", 0)]),
    ("materially worse, too soon", OPEN, far(16.7), JUST_TOLD, [("edit:2", "edit", 0)]),
    ("the same again", OPEN, replace(OPEN, updated_at=NOW), LONG_TOLD, []),
    ("over", OPEN, RESOLVED, LONG_TOLD, [("resolved:2", "resolved", 0)]),
    ("over, too soon", OPEN, RESOLVED, JUST_TOLD, [("resolved:2", "resolved", 40)]),
    ("open again", RESOLVED, OPEN, replace(LONG_TOLD, number=4), [("update:5", "update", 0)]),
    ("over again", OPEN, RESOLVED, replace(LONG_TOLD, number=5), [("resolved:6", "resolved", 0)]),
    ("open again while its end waits", RESOLVED, OPEN, END_WAITS, [("update:3", "update", 5)]),
    ("over, and its end that waits changes", RESOLVED, replace(RESOLVED, severity=60), END_WAITS,
     [("resolved:2", "resolved", 5)]),
    ("over, and scored again", RESOLVED, replace(RESOLVED, severity=90), LONG_TOLD, [("edit:2", "edit", 0)]),
    ("merged", OPEN, MERGED, LONG_TOLD, [("edit:2", "edit", 0)]),
    ("withdrawn", OPEN, WITHDRAWN, LONG_TOLD, [("resolved:2", "resolved", 0)]),
    ("withdrawn after its end", RESOLVED, WITHDRAWN, LONG_TOLD, [("edit:2", "edit", 0)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "told", "expected"), [case[1:] for case in TABLE], ids=[c[0] for c in TABLE]
)
def test_what_is_told(before: Incident | None, after: Incident, told: Told, expected: list[Any]) -> None:
    decision = decide(before, after, told, wait_minutes=5, update_minutes=60)
    assert shown(decision) == expected
    assert decision == decide(before, after, told, wait_minutes=5, update_minutes=60), "the same each time"


@pytest.mark.parametrize(("before", "after", "told"), [case[1:4] for case in TABLE], ids=[c[0] for c in TABLE])
def test_a_silence_is_silent(before: Incident | None, after: Incident, told: Told) -> None:
    decision = decide(before, after, told, silenced=True, wait_minutes=5, update_minutes=60)
    end_waits = told == END_WAITS and before is not None and before.status == "resolved" == after.status
    assert shown(decision) == ([("resolved:2", "resolved", 5)] if end_waits else [])
    if end_waits:
        assert decision.withdrawn == ()
    elif told.at is not None and told.at > NOW:
        assert decision.withdrawn == tuple(
            f"{ID}:{key}" for key in (["opened"] if told.number == 1 else ["update:2", "resolved:2"])
        )
        heard = Told(at=NOW - 55 * MINUTE, severity=0.0, critical=True, number=2)
        assert decision.told == (NOTHING if told.number == 1 else heard)
    else:
        assert decision == Decision((), (), told)


def test_a_message_says_the_latest_and_remembers_what_it_said() -> None:
    decision = decide(None, OPEN, NOTHING, wait_minutes=5)
    assert decision.told == Told(at=NOW + 5 * MINUTE, severity=50.0, critical=True, number=1)
    assert decision.notices[0].content["headline"] == "opened open 50 2"

    replaced = decide(OPEN, far(20), decision.told, wait_minutes=5)
    assert replaced.withdrawn == ()
    assert replaced.notices[0].content["headline"] == "opened open 70 2"
    assert replaced.told == replace(decision.told, severity=70.0)


def test_an_end_takes_the_place_of_the_message_that_waits() -> None:
    decision = decide(OPEN, RESOLVED, WAITING)
    assert f"{ID}:opened" in decision.withdrawn
    assert f"{ID}:resolved:2" not in decision.withdrawn
    assert decision.told == Told(at=WAITING.at, severity=50.0, critical=True, number=2)


def test_what_waits_unheard_and_is_withdrawn_is_as_if_it_had_never_been() -> None:
    decision = decide(OPEN, WITHDRAWN, WAITING)
    assert f"{ID}:opened" in decision.withdrawn
    assert decision.told == NOTHING


@pytest.mark.parametrize(
    ("before", "after", "told", "headline"),
    [
        (OPEN, ELSEWHERE, LONG_TOLD, "changed open 50 1"),
        (OPEN, replace(ELSEWHERE, severity=90.0), LONG_TOLD, "changed open 90 1"),
        (ELSEWHERE, replace(ELSEWHERE, severity=60.0), END_WAITS, "changed open 60 1"),
        (RESOLVED, OPEN, END_WAITS, "changed open 50 2"),
        (RESOLVED, OPEN, LONG_TOLD, "update open 50 2"),
        (OPEN, far(20), LONG_TOLD, "update open 70 2"),
    ],
)
def test_only_those_who_heard_the_end_are_told_that_it_is_open_again(
    before: Incident, after: Incident, told: Told, headline: str
) -> None:
    assert decide(before, after, told).notices[0].content["headline"] == headline


def test_an_edit_is_not_a_telling() -> None:
    decision = decide(OPEN, far(5), JUST_TOLD)
    assert decision.told == replace(JUST_TOLD, number=2)


@pytest.mark.parametrize(("hours", "told"), [(None, 1), (24, 1), (3, 0)])
def test_what_ended_long_ago_is_recorded_and_not_told(hours: float | None, told: int) -> None:
    old = replace(RESOLVED, ended_at=NOW - 4 * HOUR)
    assert len(decide(None, old, NOTHING, max_age_hours=hours).notices) == told


def test_the_end_of_what_was_told_is_told_however_old() -> None:
    old = replace(RESOLVED, ended_at=NOW - 400 * HOUR)
    assert len(decide(OPEN, old, LONG_TOLD, max_age_hours=3).notices) == 1


def test_edits_go_only_to_channels_that_edit() -> None:
    channels = [SlackChannel("xoxb-1", "C0ALERTS01"), ConsoleChannel()]
    edit, update = (Notice("k", kind, "t", {}, NOW) for kind in ("edit", "update"))
    assert receivers(edit, channels) == ["slack"]
    assert receivers(update, channels) == ["slack", "console"]


def again(known: Incident, told: Told, *, silenced: bool = False, **policy: Any) -> list[Decision]:
    found = repeats([(known, told)], silenced=lambda _: silenced, policy=AlertSettings(**policy), now=NOW, make=make)
    return [decision for _, decision in found]


def test_what_goes_on_is_told_again_after_the_interval() -> None:
    assert again(CHANGED, LONG_TOLD, repeat_hours=3.1) == []
    assert again(replace(CHANGED, updated_at=LONG_TOLD.at), LONG_TOLD, repeat_hours=3) == [], "nothing new of it"
    (decision,) = again(replace(CHANGED, severity=55.0), LONG_TOLD, repeat_hours=3)
    assert shown(decision) == [("repeat:2", "repeat", 0)]
    assert decision.told == Told(at=NOW, severity=55.0, critical=True, number=2)


def test_repeats_keep_the_distance_of_updates() -> None:
    assert again(CHANGED, LONG_TOLD, repeat_hours=1, update_minutes=200) == []
    assert len(again(CHANGED, LONG_TOLD, repeat_hours=1, update_minutes=180)) == 1


@pytest.mark.parametrize("known", [RESOLVED, CALM, MERGED])
def test_only_what_is_open_and_critical_is_repeated(known: Incident) -> None:
    assert again(known, LONG_TOLD, repeat_hours=1) == []


def test_what_the_digest_told_is_told_when_it_is_critical_and_not_too_soon() -> None:
    assert again(replace(CALM, updated_at=NOW), LONG_IN_DIGEST) == []
    assert again(CHANGED, IN_DIGEST) == []
    assert again(OPEN, LONG_IN_DIGEST) == [], "nothing new of it"
    (decision,) = again(CHANGED, LONG_IN_DIGEST)
    assert shown(decision) == [("update:2", "update", 0)]


def test_what_became_worse_too_soon_is_told_when_the_time_has_come() -> None:
    assert again(far(20), JUST_TOLD) == []
    (decision,) = again(far(20), replace(JUST_TOLD, at=NOW - 60 * MINUTE))
    assert shown(decision) == [("update:2", "update", 0)]
    assert decision.told == Told(at=NOW, severity=70.0, critical=True, number=2)
    assert again(far(20), decision.told) == []


def test_what_a_silence_kept_back_is_told_when_it_has_ended() -> None:
    assert again(OPEN, NOTHING, silenced=True) == []
    (decision,) = again(OPEN, NOTHING)
    assert shown(decision) == [("opened", "opened", 0)]
    assert again(OPEN, NOTHING, max_age_hours=1) == []


@pytest.mark.parametrize("known", [OPEN, CALM], ids=["critical", "critical no more"])
def test_a_silence_takes_back_what_waits(known: Incident) -> None:
    (decision,) = again(known, WAITING, silenced=True)
    assert f"{ID}:opened" in decision.withdrawn
    assert decision.told == NOTHING
    assert again(known, WAITING) == []


def test_the_digest_tells_only_what_nobody_knows() -> None:
    assert told_in_digest(CALM, NOTHING, NOW) == Told(at=NOW, severity=30.0, critical=False, number=1)
    assert told_in_digest(OPEN, LONG_TOLD, NOW) == LONG_TOLD


@dataclass
class Outbox:
    """What `store.outbox` does with keys, in short; `sent` is what people were told, and when."""

    waiting: dict[str, Notice] = field(default_factory=dict)
    sent: dict[str, tuple[Notice, dt.datetime]] = field(default_factory=dict)

    def take(self, decision: Decision) -> None:
        for key in decision.withdrawn:
            self.waiting.pop(key, None)
        for notice in decision.notices:
            before = self.sent.get(notice.key)
            assert before is None, f"{notice.key} was sent already: {before} {notice}"
            replaced = self.waiting.pop(notice.key, None)
            assert replaced is None or replaced.kind == notice.kind, "one key, one meaning"
            self.waiting[notice.key] = notice

    def pass_time(self, now: dt.datetime) -> None:
        for key, notice in list(self.waiting.items()):
            if notice.due_at <= now:
                self.sent[key] = (self.waiting.pop(key), notice.due_at)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "open", "resolved", "withdrawn", "merged", "digest", "pass"]),
        st.sampled_from([25.0, 45.0, 50.0, 70.0, 99.0]),
        st.booleans() | st.just(False),
        st.sampled_from([1, 7, 30, 61, 90, 1500]),
        st.sampled_from([OPEN.segment, OPEN.segment, ELSEWHERE.segment]),
    ),
    max_size=25,
)


@settings(max_examples=400, deadline=None)
@given(STEPS, st.sampled_from([0.0, 10.0, 100.0]), st.sampled_from([0.0, 30.0, 60.0]), st.sampled_from([0.4, 24.0]))
def test_any_life_is_told_once_and_not_too_often(
    steps: list[tuple[str, float, bool, int, Key]], wait: float, update: float, repeat: float
) -> None:
    policy = AlertSettings(wait_minutes=wait, update_minutes=update, repeat_hours=repeat)
    outbox, now, known, told = Outbox(), FOUND, None, NOTHING
    for status, severity, silenced, minutes, segment in steps:
        now += minutes * MINUTE
        outbox.pass_time(now)
        in_silence = set(outbox.sent)
        if status == "digest" and known is not None:
            told = told_in_digest(known, told, now)
        elif status in ("digest", "pass"):
            if known is not None:
                for _, decision in repeats(
                    [(known, told)], silenced=lambda _, it=silenced: it, policy=policy, now=now, make=make
                ):
                    outbox.take(decision)
                    told = decision.told
        else:
            critical = severity >= 40
            after = incident(status=status, severity=severity, critical=critical, ended_at=now, segment=segment)
            decision = notices_of(known, after, told, silenced=silenced, policy=policy, now=now, make=make)
            outbox.take(decision)
            known, told = after, decision.told
        if silenced and status != "digest" and known is not None:
            ends = [notice for notice in outbox.waiting.values() if notice.kind == "resolved"]
            assert len(outbox.waiting) == len(ends), "a silence leaves nothing but an end"
            assert not ends or known.status != "open"
        assert told.at is None or told.at <= now or len([n for n in outbox.waiting.values() if n.kind != "edit"]) == 1
        outbox.pass_time(now)
        if silenced and status not in ("digest", "pass"):
            assert set(outbox.sent) == in_silence, "nothing after a silence"
    outbox.pass_time(now + 1000 * HOUR)
    heard = sorted(at for notice, at in outbox.sent.values() if notice.kind != "edit")
    assert all(later - earlier >= update * MINUTE for earlier, later in pairwise(heard))
    if known is not None and told.critical and not any(step[2] for step in steps):
        last, _ = list(outbox.sent.values())[-1]
        assert last.content["text"] == make(known, "").text, "the latest message tells how it is"
