"""What incidents say of themselves: from a fault that was put in to the sentence that people read."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from incident_examples import METRICS, MONDAY, Centre

from cxad_pipeline.incidents import Contacts, Findings, IncidentModel, Promise, Rollups, Windows
from cxad_pipeline.incidents.contacts import joined
from cxad_pipeline.incidents.description import Describer, _of_leaves, severity_of_score
from cxad_pipeline.incidents.impact import impact_of
from cxad_pipeline.incidents.incident import Call, Cause, Example, Incident, Reason, highest
from cxad_pipeline.incidents.incident_words import (
    affected_words,
    cause_words,
    count_words,
    figure_words,
    further_reasons,
    reason_words,
    segment_words,
    what,
)
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.life import calls_of

HOUR = 3_600
NOW = dt.datetime(2026, 10, 20, tzinfo=dt.UTC)
FAULT = 4 * 168 + 34  # Tuesday of the fifth week, 10 o'clock
FIRST = FAULT - 60
A_VOICE = (("queue", "a"), ("channel", "voice"))
WORDS = {"aht": "handle time", "csat": "satisfaction"}.__getitem__
UNITS = {"aht": "s", "csat": ""}.__getitem__


@dataclass(frozen=True, eq=False)
class Case:
    """Contacts judged by what four quiet weeks taught."""

    model: IncidentModel
    contacts: Contacts
    findings: Findings
    rollups: Rollups

    @classmethod
    def of(cls, model: IncidentModel, contacts: Contacts, first: int = FIRST, stop: int = FAULT + 12) -> Case:
        model = model.for_contacts(contacts)
        rollups = model.rollups(contacts, Windows(MONDAY + HOUR * first, stop - first))
        return cls(model, contacts, model.test(rollups), rollups)

    def calls(self, first: int = FAULT, stop: int = FAULT + 6) -> list[Call]:
        begin = (self.rollups.windows.start - MONDAY) // HOUR
        return calls_of(self.model, self.findings, self.rollups, first - begin, stop - begin)

    def describe(self, calls: list[Call], before: Incident | None = None, version: str = "") -> Incident:
        describer = Describer(
            self.model, self.findings, self.rollups, critical_severity=60.0, model_version=version, now=NOW
        )
        return describer(sorted(calls, key=lambda one: (one.window, one.segment)), before)


@pytest.fixture(scope="module")
def centre() -> Centre:
    return Centre(weeks=5)


@pytest.fixture(scope="module")
def model(centre: Centre) -> IncidentModel:
    model, _ = IncidentModel.fit(
        centre.contacts(0, 672), METRICS, window_seconds=HOUR, timezone="UTC", promise=Promise(5.0)
    )
    return model


@pytest.fixture(scope="module")
def slow(centre: Centre, model: IncidentModel) -> Case:
    """Handle times in queue a, channel voice, are three times as long for three hours."""
    contacts = centre.contacts()
    slowed = centre.inside(FAULT, FAULT + 3, queue="a", channel="voice")
    aht = np.where(slowed, 3 * contacts.values["aht"], contacts.values["aht"])
    return Case.of(model, replace(contacts, values={**contacts.values, "aht": aht}))


@pytest.fixture(scope="module")
def crowded(centre: Centre, model: IncidentModel) -> Case:
    """Four times the contacts in queue b, channel chat, for two hours."""
    contacts = centre.contacts()
    rows = np.flatnonzero(centre.inside(FAULT, FAULT + 2, queue="b", channel="chat"))
    return Case.of(model, contacts.chosen(np.concatenate([np.arange(len(contacts)), *[rows] * 3])))


def test_calls_are_the_cells_whose_score_reaches_the_threshold_of_their_segment(slow: Case) -> None:
    calls = slow.calls()
    reached = slow.findings.score >= slow.model.thresholds()[:, None]
    reached[:, : FAULT - FIRST] = reached[:, FAULT + 6 - FIRST :] = False
    assert len(calls) == reached.sum() > 3
    for call in calls:
        s, t = slow.model.tree.keys.index(call.segment), (call.window - MONDAY) // HOUR - FIRST
        assert reached[s, t]
        assert call.score == slow.findings.score[s, t] >= call.threshold
    shifted = replace(slow.model, shifts={A_VOICE: 1_000.0})
    fewer = replace(slow, model=shifted).calls()
    assert [call for call in calls if call.segment != A_VOICE] == fewer != calls


def test_the_affected_contacts_are_those_that_the_leading_test_counts(slow: Case, crowded: Case) -> None:
    windows = slow.rollups.windows
    for case in (slow, crowded):
        for call in case.calls():
            inside = case.model.tree.members[case.model.tree.keys.index(call.segment)][
                case.contacts.leaf_in(case.model.tree)
            ]
            rows = inside & (case.contacts.moments // HOUR * HOUR == call.window)
            if call.kind == "volume":
                assert (call.affected, call.contacts) == (rows.sum(), rows.sum())
            elif call.family == "aht":
                leaf, aht = case.contacts.leaf_in(case.model.tree)[rows], case.contacts.values["aht"][rows]
                share = 0.03 if call.kind == "far tail" else 0.2
                beyond = case.model.tails.beyond(0, METRICS[0], leaf, aht, share).sum()
                assert (call.affected, call.contacts) == (beyond, rows.sum())
                assert 0 < call.expected_affected < 2 * share * rows.sum()
            if call.kind in ("far tail", "near tail", "volume"):
                assert (call.observed, call.expected) == (call.affected, call.expected_affected)
    kinds = {call.kind for case in (slow, crowded) for call in case.calls()}
    assert "volume" in kinds
    assert kinds & {"shift", "near tail", "far tail"}
    assert windows.seconds == HOUR


@pytest.mark.parametrize(("family", "kind"), [("complaints", "complaints"), ("together", "together")])
def test_counts_of_all_contacts(slow: Case, family: str, kind: str) -> None:
    shown = impact_of(METRICS, slow.findings.evidence, slow.rollups, family, kind)
    assert shown.affected is getattr(slow.rollups, family)
    assert shown.contacts is slow.rollups.contacts
    assert impact_of(METRICS, slow.findings.evidence, slow.rollups, "transfers", "shift") is None
    assert impact_of(METRICS, [], slow.rollups, family, kind) is None


def test_an_incident_says_where_what_how_many_since_when_and_why(slow: Case) -> None:
    calls = slow.calls()
    incident = slow.describe(calls, version="v7")
    lead = highest(calls)
    assert lead.score == max(call.score for call in calls)
    assert set(incident.segment) <= set(A_VOICE)
    assert (incident.metric, incident.direction, incident.critical) == ("aht", "high", True)
    assert (incident.observed, incident.expected, incident.kind) == (lead.observed, lead.expected, lead.kind)
    assert incident.started_at == dt.datetime.fromtimestamp(MONDAY + HOUR * FAULT, dt.UTC)
    assert incident.ended_at - incident.started_at >= dt.timedelta(hours=3)
    own = [call for call in calls if call.segment == incident.segment and call.family == "aht"]
    assert len(own) >= 2
    assert 0.4 * incident.contacts < incident.affected <= sum(call.affected for call in own)
    assert incident.expected_affected < incident.affected / 2
    cause = incident.causes[0]
    assert cause.segment == A_VOICE[::-1] or cause.segment == A_VOICE
    assert cause.low > 2
    assert cause.share > 0.5
    assert incident.reasons[0].family == "aht"
    assert len({reason.family for reason in incident.reasons}) == len(incident.reasons) <= 3
    assert incident.model_version == "v7"
    assert incident.examples == ()
    stale = replace(incident, causes=(), reasons=(Reason("aht", "shift", 1.0, 1.0, 99.0),))
    assert slow.describe(calls, stale) == incident
    again = slow.describe(calls, replace(incident, examples=(Example("i", NOW, 3.0, 2.0, ""),)))
    assert again == replace(incident, examples=(Example("i", NOW, 3.0, 2.0, ""),))


def test_reasons_are_the_strongest_tests_in_the_segment_with_an_effect_that_matters(slow: Case) -> None:
    incident = slow.describe(slow.calls())
    s = slow.model.tree.keys.index(incident.segment)
    hours = {(call.window - MONDAY) // HOUR - FIRST for call in slow.calls() if call.segment == incident.segment}
    for reason in incident.reasons:
        of_family = [e for e, one in enumerate(slow.findings.evidence) if one.family == reason.family]
        best = np.nanmax(slow.findings.surprises[of_family][:, s, sorted(hours)])
        assert reason.surprise == best > 0
    assert [reason.surprise for reason in incident.reasons] == sorted(
        (reason.surprise for reason in incident.reasons), reverse=True
    )


def test_where_a_tail_leads_the_mean_at_its_highest_call_is_among_the_reasons(slow: Case, model: IncidentModel) -> None:
    calls = [replace(call, kind="far tail") for call in slow.calls() if call.family == "aht"]
    # The metric's strongest test is another, so that the shift does not stand there anyway.
    shift = next(e for e, one in enumerate(slow.findings.evidence) if (one.family, one.kind) == ("aht", "shift"))
    surprises = slow.findings.surprises.copy()
    surprises[shift] = 0.0
    case = replace(slow, findings=replace(slow.findings, surprises=surprises))
    incident, lead = case.describe(calls), highest(calls)
    *others, mean = incident.reasons
    assert (mean.family, mean.kind) == ("aht", "shift")
    assert "shift" not in {reason.kind for reason in others if reason.family == "aht"}
    rows = slow.contacts.moments // HOUR * HOUR == lead.window
    members = slow.model.tree.members[slow.model.tree.keys.index(lead.segment)]
    handled = slow.contacts.values["aht"][rows & members[slow.contacts.leaf_in(slow.model.tree)]]
    # The test's mean is one of the logarithmic scale, and none of its values is worse than one in a hundred.
    log_mean = 60 * np.expm1(np.log1p(handled / 60).mean())
    assert 0.7 * log_mean < mean.observed < 1.01 * log_mean
    assert mean.expected < 0.7 * mean.observed
    assert "aht averages" in what(incident, str, lambda _: "")
    # Windows that are not at hand any more keep it.
    later = Case.of(model, slow.contacts, FAULT + 6, FAULT + 60)
    again = later.describe([*calls, replace(lead, window=MONDAY + HOUR * (FAULT + 40), score=0.1)], incident)
    assert (again.reasons[0], again.reasons[-1]) == (others[0], mean)
    # Nor is it told twice, where the shift is a reason by itself.
    plain = slow.describe(calls)
    assert [r.kind for r in plain.reasons if r.family == "aht"].count("shift") == 1


def test_a_new_queue_whose_contacts_nobody_expected_is_the_cause_of_the_more_contacts(
    centre: Centre, model: IncidentModel
) -> None:
    """What history expects of all contacts is not expected of the new queue a second time."""
    contacts = centre.contacts()
    rows = np.flatnonzero(centre.inside(FAULT, FAULT + 2, queue="a", channel="voice"))
    more = contacts.chosen(np.concatenate([rows] * 4))
    new = replace(more, leaves=[("new", "voice")], leaf=np.zeros(len(more), dtype=np.int64))
    case = Case.of(model, joined([contacts, new]))
    calls = [call for call in case.calls() if call.kind == "volume" and call.segment == (("channel", "voice"),)]
    incident = case.describe(calls)
    cause = incident.causes[0]
    assert cause.segment == (("queue", "new"),)
    assert cause.affected == 4 * len(rows)
    assert cause.contacts == 0
    # What the known queues usually have is as much as without the new one.
    usual = _of_leaves(case.model.tree, case.findings.evidence[-2].expected.sum(axis=1))
    without = Case.of(model, contacts)
    np.testing.assert_allclose(
        usual[: len(model.tree.leaves)],
        _of_leaves(without.model.tree, without.findings.evidence[-2].expected.sum(axis=1)),
    )


def test_volume_is_traced_to_the_segment_with_more_contacts_than_usual(crowded: Case) -> None:
    calls = [call for call in crowded.calls() if call.kind == "volume"]
    incident = crowded.describe(calls)
    assert (incident.metric, incident.direction, incident.affected) == ("contacts", "high", incident.contacts)
    cause = incident.causes[0]
    assert dict(cause.segment) == {"queue": "b", "channel": "chat"} or set(cause.segment) <= {
        ("queue", "b"),
        ("channel", "chat"),
    }
    assert cause.affected > 1.5 * cause.contacts


@pytest.mark.parametrize("elsewhere", [0.0, 0.3])
@pytest.mark.parametrize("fault", [{"queue": "c"}, {"queue": "c", "channel": "voice"}])
def test_the_smallest_queue_is_the_cause_though_more_contacts_are_as_bad_elsewhere(
    centre: Centre, model: IncidentModel, fault: dict[str, str], elsewhere: float
) -> None:
    """As on any day; and when, beside its own incident, contacts of the other queues are worse than usual as well."""
    contacts, hours = centre.contacts(), centre.inside(FAULT, FAULT + 3)
    some = np.random.default_rng(0).random(len(contacts)) < elsewhere
    slowed = centre.inside(FAULT, FAULT + 3, **fault) | (hours & some & ~centre.inside(FAULT, FAULT + 3, queue="c"))
    aht = np.where(slowed, 3 * contacts.values["aht"], contacts.values["aht"])
    case = Case.of(model, replace(contacts, values={**contacts.values, "aht": aht}))
    calls = [call for call in case.calls() if dict(call.segment).get("queue") == "c"]
    cause = case.describe(calls).causes[0]
    assert dict(cause.segment) == fault
    assert cause.share < 0.5, "elsewhere are more"
    if not elsewhere:
        of_all = case.describe([replace(call, segment=()) for call in calls])
        assert ("queue", "c") in of_all.causes[0].segment


def test_windows_older_than_what_is_at_hand_keep_their_causes_and_reasons(slow: Case, model: IncidentModel) -> None:
    calls = slow.calls()
    before = slow.describe(calls)
    later = Case.of(model, slow.contacts, FAULT + 2, FAULT + 60)
    worse = [*calls, replace(highest(calls), window=MONDAY + HOUR * (FAULT + 40), score=30.0)]
    after = later.describe(worse, before)
    assert after.causes == before.causes
    assert {reason.family for reason in after.reasons} >= {before.reasons[0].family}
    assert after.reasons[0].surprise >= before.reasons[0].surprise
    assert (after.score, after.severity, after.alert_score) == (30.0, 100.0, before.alert_score)
    assert after.ended_at == dt.datetime.fromtimestamp(MONDAY + HOUR * (FAULT + 41), dt.UTC)
    # a segment that is known no more is described by its calls alone
    strange = replace(highest(calls), segment=(("queue", "closed"),), family="transfers", score=99.0)
    alone = slow.describe([strange])
    assert (alone.segment, alone.causes, alone.reasons) == ((("queue", "closed"),), (), ())


def test_an_incident_in_a_segment_that_is_known_no_more_keeps_its_causes_and_reasons(slow: Case) -> None:
    closed = (("queue", "closed"),)
    calls = [replace(call, segment=closed) for call in slow.calls() if call.segment == A_VOICE]
    before = replace(slow.describe(slow.calls()), segment=closed)
    after = slow.describe(calls, before)
    assert (after.segment, after.metric) == (before.segment, before.metric)
    assert after.causes == before.causes != ()
    assert after.reasons == before.reasons != ()


def test_once_critical_always_critical(slow: Case) -> None:
    calls = slow.calls()
    before = slow.describe(calls)
    mild = [replace(call, score=1.23) for call in calls]
    assert not slow.describe(mild).critical
    after = slow.describe(mild, before)
    assert after.critical
    assert (after.severity, after.alert_severity) == (20.5, before.severity)


def test_windows_in_which_another_test_leads_are_not_added_to_the_impact(slow: Case) -> None:
    one = Call(A_VOICE, MONDAY + HOUR * FAULT, 9.0, 4.0, "aht", "shift", 600.0, 300.0, 30, 8.0, 40)
    same = replace(one, window=one.window + HOUR, score=5.0, kind="near tail", observed=20.0, expected=7.0, affected=20)
    other = replace(one, window=one.window + 2 * HOUR, score=5.0, family="contacts", kind="volume", affected=90)
    far = replace(one, window=one.window + 3 * HOUR, score=5.0, kind="far tail", affected=6)
    third = replace(same, window=one.window + 4 * HOUR, family="csat", affected=11)
    around = replace(one, segment=(), score=5.0, affected=300)
    incident = slow.describe([one, same, other, far, third, around])
    assert (incident.affected, incident.expected_affected, incident.contacts) == (50, 16.0, 80)
    assert incident.ended_at == dt.datetime.fromtimestamp(third.window + HOUR, dt.UTC)


def test_causes_are_found_in_leaves_that_have_no_segment_of_their_own() -> None:
    """Queue c had one channel, so it was the same as its leaf; then another channel came."""
    centre = Centre(weeks=5)
    only = ~centre.inside(0, 9_999, queue="c", channel="chat")
    contacts = centre.contacts()
    known = contacts.chosen(only & centre.inside(0, 672))
    model, _ = IncidentModel.fit(known, METRICS, window_seconds=HOUR, timezone="UTC", promise=Promise(5.0))
    slowed = centre.inside(FAULT, FAULT + 3, queue="c", channel="voice")
    aht = np.where(slowed, 5 * contacts.values["aht"], contacts.values["aht"])
    case = Case.of(model, replace(contacts, values={**contacts.values, "aht": aht}))
    voice = (("queue", "c"), ("channel", "voice"))
    assert voice not in case.model.tree.keys
    calls = [call for call in case.calls() if call.family == "aht"]
    incident = case.describe(calls)
    assert dict(incident.causes[0].segment) == dict(voice)
    leaf = case.contacts.leaf_in(case.model.tree) == case.model.tree.leaves.index(("c", "voice"))
    hours = [call.window for call in calls if call.segment == incident.segment]
    rows = leaf & np.isin(case.contacts.moments // HOUR * HOUR, hours)
    assert incident.causes[0].contacts == rows.sum()


@pytest.mark.parametrize(("score", "severity"), [(-1.0, 0.0), (0.0, 0.0), (2.0, 33.3), (6.0, 100.0), (50.0, 100.0)])
def test_ten_times_rarer_is_a_sixth_of_the_scale(score: float, severity: float) -> None:
    assert severity_of_score(score) == severity


@pytest.mark.parametrize(
    ("kind", "metric", "direction", "sentence"),
    [
        ("far tail", "aht", "high", "handle time very high in 9 of 1,015 contacts, usually 0.4"),
        ("near tail", "csat", "low", "satisfaction low in 9 of 1,015 contacts, usually 0.4"),
        (
            "shift",
            "aht",
            "high",
            "handle time around 214 s, usually 62.1 s; high in 9 of 1,015 contacts, usually 0.4",
        ),
        (
            "slow drift",
            "csat",
            "low",
            "satisfaction has lately averaged 214, usually 62.1; low in 9 of 1,015 contacts, usually 0.4",
        ),
        ("volume", "contacts", "high", "1,015 contacts, usually 0.4"),
        ("complaints", "complaints", "high", "complaints in 9 of 1,015 contacts, usually 0.4"),
        ("together", "together", "high", "several metrics bad at once in 9 of 1,015 contacts, usually 0.4"),
    ],
)
def test_what_is_wrong_in_a_sentence(slow: Case, kind: str, metric: str, direction: str, sentence: str) -> None:
    incident = replace(
        slow.describe(slow.calls()),
        kind=kind,
        metric=metric,
        direction=direction,
        affected=9,
        contacts=1_015,
        expected_affected=0.4,
        observed=214.0,
        expected=62.1,
        reasons=(),
    )
    assert what(incident, WORDS, UNITS) == sentence


def test_where_a_tail_leads_the_sentence_says_how_the_mean_moved() -> None:
    tail = incident(
        kind="far tail", reasons=(Reason("aht", "far tail", 8.0, 0.6, 9.0), Reason("aht", "shift", 451.6, 300.2, 4.0))
    )
    sentence = "handle time around 452 s, usually 300 s; very high in 8 of 20 contacts, usually 0.6"
    assert what(tail, WORDS, UNITS) == sentence
    unknown = replace(tail, reasons=(Reason("csat", "shift", 2.0, 4.0, 9.0), Reason("aht", "drift", 2.0, 4.0, 9.0)))
    assert what(unknown, WORDS, UNITS) == "handle time very high in 8 of 20 contacts, usually 0.6"


@pytest.mark.parametrize(
    ("metric", "kind", "left"),
    [
        ("aht", "far tail", ["near tail", "drift", "volume"]),
        ("aht", "near tail", ["far tail", "drift", "volume"]),
        ("aht", "shift", ["far tail", "drift", "volume"]),
        ("aht", "drift", ["far tail", "shift", "volume"]),
        ("contacts", "volume", ["far tail", "near tail", "shift", "drift"]),
        ("csat", "shift", ["far tail", "near tail", "shift", "drift", "volume"]),
    ],
)
def test_reasons_that_the_sentence_says_are_not_said_again(metric: str, kind: Kind, left: list[str]) -> None:
    kinds: tuple[Kind, ...] = ("far tail", "near tail", "shift", "drift", "volume")
    reasons = tuple(Reason("contacts" if one == "volume" else "aht", one, 8.0, 1.0, 9.0) for one in kinds)
    assert [reason.kind for reason in further_reasons(incident(metric=metric, kind=kind, reasons=reasons))] == left


def test_reasons_that_say_little_are_left_out_but_never_the_mean_of_the_sentence() -> None:
    said = (
        Reason("aht", "far tail", 8.0, 0.6, 9.0),
        Reason("csat", "shift", 2.0, 4.0, 2.0),
        Reason("contacts", "volume", 9.0, 7.0, 1.99),
        Reason("aht", "shift", 451.6, 300.2, 0.3),
    )
    tail = incident(kind="far tail", reasons=said)
    assert [reason.family for reason in further_reasons(tail)] == ["csat"]
    assert what(tail, WORDS, UNITS).startswith("handle time around 452 s, usually 300 s; ")


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ("transfers", "shift", "transfers average 0.14, usually 0.05"),
        ("transfers", "slow drift", "transfers have lately averaged 0.14, usually 0.05"),
        ("satisfaction", "shift", "satisfaction averages 0.14, usually 0.05"),
        ("ease of access", "shift", "ease of access averages 0.14, usually 0.05"),
    ],
)
def test_the_verb_agrees_with_the_metric(words: str, kind: Kind, said: str) -> None:
    assert reason_words(Reason("x", kind, 0.14, 0.05, 8.0), lambda _: words, lambda _: "") == said


def test_a_mean_of_durations_is_not_called_an_average() -> None:
    """It is one on a logarithmic scale: of these contacts it is 195 s, while they average 336 s."""
    values = np.array([40.0, 60.0, 150.0, 300.0, 1_130.0])
    assert values.mean() == 336
    assert round(METRICS[0].unworked(METRICS[0].worked(values).mean())) == 195
    for kind, verb in (("shift", "waits around"), ("drift", "waits have lately been around")):
        reason = Reason("aht", kind, 195.0, 62.0, 8.0)  # type: ignore[arg-type]
        assert reason_words(reason, lambda _: "waits", UNITS) == f"{verb} 195 s, usually 62 s"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "8 of 20 contacts at worst, usually 0.6"),
        ({"ended_at": NOW + dt.timedelta(hours=1)}, "8 of 20 contacts, usually 0.6"),
        ({"observed": 5.0}, "8 of 20 contacts, usually 0.6"),
        ({"kind": "shift"}, "8 of 20 contacts, usually 0.6"),
        ({"kind": "volume", "contacts": 8}, "8 contacts at worst, usually 0.6"),
    ],
    ids=["one window of two hours", "one hour", "a sum over windows", "a mean", "volume"],
)
def test_a_count_of_one_window_does_not_stand_for_the_whole_period(changes: dict[str, Any], said: str) -> None:
    one = incident(**{"kind": "far tail", "ended_at": NOW + dt.timedelta(hours=2), **changes})
    assert affected_words(one) == said


@pytest.mark.parametrize(
    ("ratio", "low", "high", "said"),
    [
        (119.0, 7.2, 1_978.0, "at least 7.2 times as likely as elsewhere, "),
        (119.0, 60.0, 236.0, "119 times as likely as elsewhere (60-236), "),
        (np.inf, 5.0, np.inf, "at least 5 times as likely as elsewhere, "),
        (5.2, 1.1, 20.0, "5.2 times as likely as elsewhere (1.1-20), "),
        (5.2, 1.0, 20.1, "at least 1 times as likely as elsewhere, "),
    ],
)
def test_of_a_ratio_with_bounds_far_apart_the_lower_one_is_said(
    ratio: float, low: float, high: float, said: str
) -> None:
    cause = Cause((("queue", "billing"),), ratio, low, high, 38, 41, 0.93)
    assert cause_words(cause, "shift") == f"queue billing: 38 of 41 affected, {said}93% of all affected"


def test_one_contact_is_a_contact() -> None:
    one = incident(affected=1, contacts=1, expected_affected=1.0)
    assert affected_words(one) == "1 of 1 contact, usually 1"
    assert affected_words(replace(one, kind="volume")) == "1 contact, usually 1"
    assert affected_words(replace(one, contacts=1_055)) == "1 of 1,055 contacts, usually 1"


def test_figures_have_no_more_decimals_than_they_need() -> None:
    values = (0, 3.25, 70.54, 300.0, 99.97, 4210.4, 1e6, -5)
    assert [figure_words(value) for value in values] == [
        "0", "3.25", "70.5", "300", "100", "4,210", "1,000,000", "-5"
    ]  # fmt: skip
    assert [count_words(value) for value in (0, 0.02, 0.05, 1, 1.24, 9.96, 28.4, 1_015)] == [
        "0", "under 0.1", "0.1", "1", "1.2", "10", "28", "1,015"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (Reason("aht", "far tail", 9.0, 0.02, 8.0), "handle time among its worst 3% in 9 contacts, usually under 0.1"),
        (Reason("csat", "near tail", 1.0, 1.0, 8.0), "satisfaction among its worst 20% in 1 contact, usually 1"),
        (Reason("aht", "drift", 1_214.4, 3.456, 8.0), "handle time has lately been around 1,214 s, usually 3.46 s"),
        (Reason("contacts", "volume", 109.0, 28.4, 8.0), "more contacts than usual: 109, usually 28"),
        (Reason("contacts", "volume", 1.0, 0.0, 8.0), "more contacts than usual: 1, usually 0"),
        (Reason("complaints", "complaints", 9.0, 1.2, 8.0), "complaints in 9 contacts, usually 1.2"),
        (Reason("together", "together", 12.0, 1.2, 8.0), "several metrics bad at once in 12 contacts, usually 1.2"),
    ],
)
def test_reasons_in_words(reason: Reason, sentence: str) -> None:
    assert reason_words(reason, WORDS, UNITS) == sentence


def incident(**changes: Any) -> Incident:
    """Handle times in queue a, far too long in 8 of 20 contacts."""
    made = Incident(
        id="20261013-3f9a2c", status="open", segment=A_VOICE, metric="aht", direction="high", kind="shift",
        started_at=NOW, ended_at=NOW, score=5.0, severity=83.3, alert_score=5.0, alert_severity=83.3, critical=True,
        observed=8.0, expected=0.6, affected=8, expected_affected=0.6, contacts=20, causes=(), reasons=(), examples=(),
        model_version="", threshold=4.0, opened_at=NOW, updated_at=NOW,
    )  # fmt: skip
    return replace(made, **changes)


def test_causes_and_segments_in_words() -> None:
    cause = Cause((("queue", "billing"), ("channel", "voice")), 5.2, 3.1, 8.7, 38, 41, 0.93)
    assert cause_words(cause, "shift") == (
        "queue billing, channel voice: 38 of 41 affected, 5.2 times as likely as elsewhere (3.1-8.7), "
        "93% of all affected"
    )
    assert cause_words(cause, "volume").startswith("queue billing, channel voice: 38 contacts, usually 41, 5.2 times")
    assert segment_words(()) == "all contacts"
    assert segment_words((("queue", "billing"), ("channel", "voice"), ("language", "de"))) == "billing / voice / de"
    assert segment_words((("queue", "unknown"), ("team_name", "unknown"))) == "unknown queue / unknown team name"
    assert segment_words((("queue", "a\x1b[2J\nb"),)) == "a [2J b"
