"""The incident model: what does not teach, what is new, what is kept on disk, and what it refuses."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from incident_examples import METRICS, MONDAY, Centre

from cxad_pipeline.detection.artifacts import DetectorFormatError, read_artifact, write_artifact
from cxad_pipeline.incidents import (
    WARM_UP,
    Contacts,
    Findings,
    IncidentModel,
    LeftOut,
    Promise,
    Replay,
    SegmentTree,
    State,
    Windows,
    incidents_of,
    threshold_for,
)
from cxad_pipeline.incidents.budget import Unsaid
from cxad_pipeline.incidents.contacts import joined
from cxad_pipeline.incidents.saved_model import KIND, document_of

HOUR, DAY = 3_600, 86_400
BUDGET = Promise(5.0)
FAULT = 4 * 24 + 10  # a Friday, 10 o'clock
IN_A = (("queue", "a"),)


def fit(contacts: Contacts, **chosen: Any) -> tuple[IncidentModel, Replay]:
    given = {"window_seconds": HOUR, "timezone": "UTC", "promise": BUDGET, **chosen}
    return IncidentModel.fit(contacts, METRICS, **given)


def position(model: IncidentModel, **segment: str) -> int:
    return model.tree.keys.index(tuple(segment.items()))


def judged(model: IncidentModel, contacts: Contacts, windows: Windows) -> Findings:
    return model.test(model.rollups(contacts, windows))


@pytest.fixture(scope="module")
def centre() -> Centre:
    return Centre()


@pytest.fixture(scope="module")
def fitted(centre: Centre) -> tuple[IncidentModel, Replay]:
    return fit(centre.contacts(0, 336))


@pytest.fixture(scope="module")
def model(fitted: tuple[IncidentModel, Replay]) -> IncidentModel:
    return fitted[0]


def of_queue(queue: str, number: int, window: int, channel: str = "voice") -> Contacts:
    """Ordinary contacts of one leaf in one window."""
    moments = MONDAY + HOUR * window + np.arange(number)
    values = {"aht": np.full(number, 300.0), "csat": np.full(number, np.nan)}
    return Contacts(("queue", "channel"), [(queue, channel)], np.zeros(number, dtype=np.int64), moments, values)


def faulty(centre: Centre, first: int, stop: int, queue: str = "a") -> Contacts:
    """History in which everything of a queue goes wrong for some windows: twice the contacts, all of them long."""
    contacts = centre.contacts(0, 336)
    rows = contacts.leaf_in(centre.tree)
    inside = np.isin(rows, [i for i, leaf in enumerate(centre.leaves) if leaf[0] == queue])
    window = centre.windows.of_moments(contacts.moments)
    hit = inside & (window >= first) & (window < stop)
    values = {
        "aht": np.where(hit, 4 * contacts.values["aht"], contacts.values["aht"]),
        "csat": np.where(hit, 1.0, contacts.values["csat"]),
    }
    assert contacts.complaints is not None
    broken = replace(contacts, values=values, complaints=np.where(hit, 1.0, contacts.complaints))
    return joined([broken, broken.chosen(hit)])


def lessons(model: IncidentModel) -> dict[str, Any]:
    """All that was learned, without the replay."""
    document, arrays = document_of(model)
    calibrations = {"calibrations": document["calibrations"], "weeks": document["weeks"]}
    return calibrations | {name: array for name, array in arrays.items() if not name.startswith("peaks")}


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert sorted(first) == sorted(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


# What is kept on disk


def test_a_saved_model_tests_a_thousand_windows_the_same_to_the_bit(
    centre: Centre, model: IncidentModel, tmp_path: Path
) -> None:
    before = replace(model, shifts={IN_A: 0.75}, special_days=(dt.date(2026, 10, 1),))
    before.save(tmp_path)
    after = IncidentModel.load(tmp_path)
    assert (after.metrics, after.promise, after.threshold) == (before.metrics, before.promise, before.threshold)
    assert (after.shifts, after.special_days, after.history) == (before.shifts, before.special_days, before.history)
    assert (after.replayed_per_week, after.monitor.weeks) == (before.replayed_per_week, before.monitor.weeks)
    assert (after.tree.keys, after.tree.leaves) == (before.tree.keys, before.tree.leaves)
    windows = centre.windows.between(0, 1_000)
    first, second = (judged(one, centre.contacts(), windows) for one in (before, after))
    assert np.nanmax(first.score) > 1
    for name in ("score", "p", "surprises", "states", "metric_states"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(after.thresholds(), before.thresholds())
    assert after.monitor.threshold(BUDGET) == before.monitor.threshold(BUDGET)
    wider = before.for_contacts(of_queue("new", 5, 900))
    wider.save(tmp_path / "wider")
    assert IncidentModel.load(tmp_path / "wider").tree.keys == wider.tree.keys


def test_what_nobody_spoke_of_is_kept_and_an_older_model_has_none(model: IncidentModel, tmp_path: Path) -> None:
    spent = replace(model, monitor=replace(model.monitor, unsaid=Unsaid(3, 0.5)))
    spent.save(tmp_path / "new")
    loaded = IncidentModel.load(tmp_path / "new").monitor
    assert loaded.threshold(BUDGET) == spent.monitor.threshold(BUDGET) > model.monitor.threshold(BUDGET)
    document, arrays = document_of(spent)
    del document["unsaid"]
    write_artifact(tmp_path / "old", KIND, document, arrays)
    assert IncidentModel.load(tmp_path / "old").monitor.threshold(BUDGET) == model.monitor.threshold(BUDGET)


def test_nothing_in_the_folder_is_pickled(model: IncidentModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "incident_model.json"]
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "fib" for name in arrays.files)


def changed_document(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[Path], None]:
    """Write the folder again with another content, as a whole that fits together."""

    def write(folder: Path) -> None:
        document, arrays = read_artifact(folder, KIND, lambda content, arrays: (dict(content), dict(arrays)))
        change(document, arrays)
        write_artifact(folder, KIND, document, arrays)

    return write


def other_version(folder: Path) -> None:
    path = folder / "incident_model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 1}))


def flipped(folder: Path) -> None:
    path = folder / "arrays.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "arrays.npz").unlink(), "cannot be read"),
        (lambda folder: (folder / "incident_model.json").write_text("{"), "no valid JSON"),
        (lambda folder: (folder / "arrays.npz").write_bytes(b"PK\x03\x04"), "damaged"),
        (flipped, "damaged"),
        (other_version, "version 1"),
        (changed_document(lambda content, _: content.update(layout=99)), "layout 99; this release reads 1"),
        (changed_document(lambda content, _: content.pop("promise")), "'promise' is missing"),
        (changed_document(lambda content, _: content["leaves"].pop()), "members"),
        (changed_document(lambda content, _: content["metrics"].pop()), "tails are not those of 1 metrics"),
        (changed_document(lambda content, _: content.update(timezone="Nowhere/Town")), "Nowhere/Town"),
        (changed_document(lambda _, arrays: arrays.update(cold=arrays["cold"][1:])), "cold"),
        (changed_document(lambda _, arrays: arrays["means/value"].fill(np.nan)), "means/value: not all finite"),
        (changed_document(lambda _, arrays: arrays.pop("rates/dispersion")), "rates/dispersion"),
    ],
)
def test_a_damaged_folder_or_one_of_another_version_gives_one_clear_error(
    model: IncidentModel, tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    model.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(DetectorFormatError, match=words) as caught:
        IncidentModel.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


# What is new


def test_contacts_of_an_unknown_queue_are_counted_and_not_tested(centre: Centre, model: IncidentModel) -> None:
    window = 336 + FAULT
    before, windows = centre.contacts(336, 504), centre.windows.between(336, 504)
    late = joined([before, of_queue("new", 30, window), of_queue("a", 4, window, "fax")])
    with pytest.raises(ValueError, match=r"\{'queue': 'new', 'channel': 'voice'\}"):
        model.rollups(late, windows)
    wider = model.for_contacts(late)
    added = [
        (("queue", "new"),),
        (("channel", "fax"),),
    ]
    assert wider.tree.keys == [*model.tree.keys, *added]
    was, now = model.rollups(before, windows), wider.rollups(late, windows)
    more = now.contacts[:, FAULT].copy()
    more[: len(model.tree)] -= was.contacts[:, FAULT]
    expected = {(): 34, IN_A: 4, (("channel", "voice"),): 30, added[0]: 30, added[1]: 4}
    assert {key: number for key, number in zip(wider.tree.keys, more.tolist(), strict=True) if number} == expected
    findings = wider.test(now)
    assert set(findings.states[-2:].ravel().tolist()) == {State.COLD_START}
    assert np.isnan(findings.score[-2:]).all()
    # Those it does not meet are judged as before; the adjustment over the segments of a window counts none that is new.
    untouched = np.ones(windows.number, dtype=bool)
    untouched[FAULT:] = False
    np.testing.assert_array_equal(findings.score[:-2, untouched], model.test(was).score[:, untouched])
    assert len(wider.thresholds()) == len(model.tree) + 2


def test_a_model_that_knows_all_leaves_stays_itself(centre: Centre, model: IncidentModel) -> None:
    assert model.for_contacts(centre.contacts(400, 500)) is model
    nobody = replace(centre.contacts(0, 0), leaves=[])
    assert model.for_contacts(nobody) is model
    assert not model.rollups(nobody, centre.windows.between(0, 5)).contacts.any()


def test_an_unknown_leaf_has_the_tails_of_all_contacts(centre: Centre, model: IncidentModel) -> None:
    contacts = centre.contacts(0, 336)
    wider = model.for_contacts(of_queue("new", 1, 400))
    aht = contacts.values["aht"]
    assert wider.tails.quantiles[0, 1, -2] == pytest.approx(np.quantile(aht, 0.8))
    np.testing.assert_array_equal(wider.tails.quantiles[:, :, :-2], model.tails.quantiles[:, :, :-1])
    for leaf in range(len(model.tree.leaves)):
        assert wider.tails.quantiles[0, 1, leaf] != wider.tails.quantiles[0, 1, -2]


# What does not teach


def test_what_an_incident_did_in_other_segments_that_called_teaches_nothing_either(centre: Centre) -> None:
    usual, of_b = centre.contacts(0, 336), faulty(centre, FAULT, FAULT + 5, "b")
    begin, called = MONDAY + FAULT * HOUR, tuple(key for key in centre.tree.keys if dict(key).get("queue") == "b")
    assert len(called) == 3
    told = [LeftOut(IN_A, begin, begin + 5 * HOUR, "confirmed", called)]
    (broken, _), (clean, _) = fit(of_b, left_out=told), fit(usual, left_out=told)
    assert_same(lessons(broken), lessons(clean))
    assert broken.threshold == clean.threshold
    named_alone = [replace(told[0], called=())]
    mixed, _ = fit(of_b, left_out=named_alone)
    assert not np.array_equal(lessons(mixed)["means/value"], lessons(clean)["means/value"])


def test_a_confirmed_incident_teaches_nothing_and_changes_no_threshold(centre: Centre) -> None:
    fault, usual = faulty(centre, FAULT, FAULT + 5), centre.contacts(0, 336)
    begin = MONDAY + FAULT * HOUR
    told = [LeftOut(IN_A, begin, begin + 5 * HOUR, "confirmed")]
    (left_out, replay), (clean, _) = fit(fault, left_out=told), fit(usual, left_out=told)
    assert_same(lessons(left_out), lessons(clean))
    plain = lessons(fit(fault)[0])
    for name in ("means/value", "means/between", "rates/dispersion", "tails/quantiles"):
        assert not np.array_equal(plain[name], lessons(clean)[name]), name
    shares_contacts = left_out.tree.overlap[position(left_out, queue="a")]
    during = replay.findings.score[:, FAULT : FAULT + 5]
    assert np.isnan(during[shares_contacts]).all()
    assert not np.isnan(during[~shares_contacts]).all()
    # However long and high it was, neither its cells nor what it leaves in sums over windows are peaks.
    np.testing.assert_array_equal(left_out.monitor.replayed.score, clean.monitor.replayed.score)
    assert (left_out.threshold, left_out.replayed_per_week) == (clean.threshold, clean.replayed_per_week)
    assert left_out.threshold < fit(fault)[0].threshold
    assert left_out.threshold == left_out.monitor.threshold(BUDGET)


def test_what_nobody_spoke_of_costs_as_many_calls_as_quiet_weeks_have(centre: Centre) -> None:
    usual, begin = centre.contacts(0, 336), MONDAY + FAULT * HOUR

    def told(reason: Any, number: int) -> IncidentModel:
        hours = [begin + 24 * HOUR * i for i in range(number)]
        return fit(usual, left_out=[LeftOut(IN_A, hour, hour + HOUR, reason) for hour in hours])[0]

    for number in (1, 5):
        confirmed, unsaid = told("confirmed", number), told("unsaid", number)
        assert_same(lessons(confirmed), lessons(unsaid))
        allowed = BUDGET.allowed(unsaid.monitor.weeks)
        spent = min(number, allowed * (336 - FAULT) / 336)
        assert (spent == number) == (number == 1)
        assert confirmed.threshold == threshold_for(confirmed.monitor.replayed.score, allowed)
        expected = threshold_for(confirmed.monitor.replayed.score, allowed - spent)
        assert unsaid.threshold == pytest.approx(expected, rel=1e-9)
        assert unsaid.threshold > confirmed.threshold


@pytest.mark.parametrize("reason", ["confirmed", "unsaid"])
def test_a_shift_that_goes_on_still_calls_after_a_calibration_in_the_midst_of_it(centre: Centre, reason: Any) -> None:
    begin, now, later = 10 * 24, 336, 336 + 48
    contacts = centre.contacts(0, later)
    in_a = np.array([centre.leaves[i][0] == "a" for i in contacts.leaf_in(centre.tree)])
    hit = in_a & (contacts.moments >= MONDAY + begin * HOUR)
    longer = np.where(hit, 2 * contacts.values["aht"], contacts.values["aht"])
    contacts = replace(contacts, values={**contacts.values, "aht": longer})
    told = [LeftOut(IN_A, MONDAY + begin * HOUR, MONDAY + now * HOUR, reason)]
    model, _ = fit(contacts.chosen(contacts.moments < MONDAY + now * HOUR), left_out=told)
    alerts = judged(model, contacts, centre.windows.between(now - WARM_UP, later)).alerts(model.thresholds())
    by_day = alerts[position(model, queue="a"), WARM_UP:].reshape(2, 24)
    assert by_day.any(axis=1).all()


def test_a_history_is_as_long_as_what_of_it_is_judged(centre: Centre) -> None:
    usual = centre.contacts(0, 336)
    for reason in ("confirmed", "unsaid", "new trend"):
        model, _ = fit(usual, left_out=[LeftOut((), MONDAY, MONDAY + 3 * DAY, reason)])
        assert model.monitor.weeks == pytest.approx(11 / 7)
        assert model.replayed_per_week * model.monitor.weeks == pytest.approx(round(model.replayed_per_week * 11 / 7))
    of_one, _ = fit(
        usual, left_out=[LeftOut((("queue", "c"), ("channel", "chat")), MONDAY, MONDAY + 3 * DAY, "new trend")]
    )
    assert 2 - 3 / 7 / 6 < of_one.monitor.weeks < 2, "a small one of twelve segments, and three days of it"


@pytest.mark.parametrize("reason", ["confirmed", "unsaid"])
def test_an_incident_that_would_leave_too_little_history_teaches_like_all_else(centre: Centre, reason: Any) -> None:
    usual = centre.contacts(0, 336)
    plain, _ = fit(usual)
    everywhere, _ = fit(usual, left_out=[LeftOut((), MONDAY, MONDAY + 8 * DAY, reason)])
    assert_same(lessons(everywhere), lessons(plain))
    assert everywhere.threshold == plain.threshold, "what teaches is no call that the replay lacks"
    shorter, _ = fit(usual, left_out=[LeftOut((), MONDAY, MONDAY + 7 * DAY, reason)])
    assert shorter.monitor.weeks == pytest.approx(1.0)
    assert not shorter.monitor.cold.any()


def test_only_segments_that_would_be_a_cold_start_learn_from_a_long_incident(centre: Centre) -> None:
    # Of queue a only the last ten days are there; an incident of the last four leaves it six, all contacts ten.
    contacts = centre.contacts(0, 336)
    in_a = contacts.leaf_in(centre.tree)
    in_a = np.array([centre.leaves[i][0] == "a" for i in in_a])
    contacts = contacts.chosen(~in_a | (contacts.moments >= MONDAY + 4 * DAY))
    model, replay = fit(contacts, left_out=[LeftOut(IN_A, MONDAY + 10 * DAY, MONDAY + 14 * DAY, "confirmed")])
    assert not model.monitor.cold.any()
    judged_then = np.asarray((~np.isnan(replay.findings.score[:, 10 * 24 :])).any(axis=1))
    assert judged_then[position(model, queue="a")]
    assert not judged_then[position(model)]
    after_trend, _ = fit(contacts, left_out=[LeftOut(IN_A, 0, MONDAY + 8 * DAY, "new trend")])
    assert after_trend.monitor.cold[position(after_trend, queue="a")], "a new trend is a cold start"


def test_of_two_names_of_one_segment_the_larger_shift_counts(centre: Centre) -> None:
    contacts = centre.contacts(0, 336)
    fax = replace(of_queue("fax", 200, 0, "fax"), moments=MONDAY + HOUR * np.arange(200))
    shifts = {(("queue", "fax"),): 0.75, (("channel", "fax"),): 0.25}
    for given in (shifts, dict(reversed(shifts.items()))):
        model, _ = fit(joined([contacts, fax]), shifts=given)
        assert list(model.shifts.values()) == [0.75]
        assert model.thresholds().max() == model.threshold + 0.75


def test_a_window_that_a_left_out_period_touches_is_left_out(centre: Centre) -> None:
    begin = MONDAY + FAULT * HOUR
    touched = [LeftOut(IN_A, begin + 10, begin + HOUR + 10, "confirmed")]
    whole = [LeftOut(IN_A, begin, begin + 2 * HOUR, "confirmed")]
    usual = centre.contacts(0, 336)
    assert_same(lessons(fit(usual, left_out=touched)[0]), lessons(fit(usual, left_out=whole)[0]))


def test_before_a_new_trend_nothing_is_learned_of_its_segment_nor_counted(centre: Centre) -> None:
    stop, fault = 200, slice(100, 110)
    broken = faulty(centre, fault.start, fault.stop)
    trend = [LeftOut(IN_A, 0, MONDAY + stop * HOUR, "new trend")]
    model, replay = fit(broken, left_out=trend)
    inside = [s for s, key in enumerate(model.tree.keys) if dict(key).get("queue") == "a"]
    outside = [position(model), position(model, queue="b"), position(model, channel="chat")]
    assert len(inside) == 3
    # What is left, 136 hours on six days, is no history.
    assert model.monitor.cold[inside].all()
    assert not model.monitor.cold[outside].any()
    assert (replay.findings.states[inside, :stop] == State.COLD_START).all()
    assert (replay.findings.states[outside, fault] == State.TESTED).all()
    assert not np.isin(model.monitor.replayed.segment, inside).any()
    counted, whole = fit(broken)
    peaks = counted.monitor.replayed
    assert fault.start <= peaks.window[0] < fault.stop
    assert np.nanmax(whole.findings.score[inside, fault]) == peaks.score[0] > 4 * peaks.score[1]


def test_a_segment_with_enough_after_a_new_trend_follows_that_alone(centre: Centre) -> None:
    stop = 336
    contacts = centre.contacts(0, 672)
    early = contacts.moments < MONDAY + stop * HOUR
    in_a = centre.inside(0, 672, queue="a")[centre.inside(0, 672)]
    values = {**contacts.values, "aht": np.where(early & in_a, contacts.values["aht"] / 5, contacts.values["aht"])}
    trend = [LeftOut(IN_A, 0, MONDAY + stop * HOUR, "new trend")]
    model, _ = fit(replace(contacts, values=values), left_out=trend)
    s = position(model, queue="a")
    assert not model.monitor.cold[s]
    # The queue's calls take 300 s in the median, a fifth of it before.
    usual = METRICS[0].unworked(model.monitor.profiles.means[0].baseline.value[s]).mean()
    assert usual == pytest.approx(300, rel=0.15)
    mixed = fit(replace(contacts, values=values))[0].monitor.profiles.means[0].baseline.value[s]
    assert METRICS[0].unworked(mixed).mean() < 220


def test_when_everything_is_new_all_is_a_cold_start(centre: Centre) -> None:
    model, replay = fit(centre.contacts(0, 336), left_out=[LeftOut((), 0, MONDAY + 330 * HOUR, "new trend")])
    assert model.monitor.cold.all()
    assert np.isnan(replay.findings.score).all()
    assert model.replayed_per_week == 0


def test_what_is_left_out_of_a_segment_that_is_gone_changes_nothing(centre: Centre) -> None:
    usual = centre.contacts(0, 336)
    gone = [
        LeftOut((("queue", "gone"),), 0, MONDAY * 2, "confirmed"),
        LeftOut((("team", "x"),), 0, MONDAY * 2, "confirmed"),
    ]
    assert_same(lessons(fit(usual, left_out=gone)[0]), lessons(fit(usual)[0]))


def test_special_days_are_neither_learned_from_nor_tested(centre: Centre) -> None:
    day = dt.date(2026, 9, 11)
    (model, replay), (other, _) = (
        fit(contacts, special_days=[day]) for contacts in (centre.contacts(0, 336), faulty(centre, 96, 120))
    )
    assert_same(lessons(model), lessons(other))
    assert (replay.findings.states[:, 96:120] == State.SPECIAL_DAY).all()
    assert (replay.findings.states[:, 120:] != State.SPECIAL_DAY).all()
    assert model.monitor.weeks == pytest.approx(13 / 7)
    # On the clock of the time zone: in New York the day begins at four o'clock UTC.
    far, _ = fit(centre.contacts(0, 400), special_days=[day], timezone="America/New_York")
    windows = Windows(MONDAY, 336, HOUR, "America/New_York")
    states = judged(far, centre.contacts(0, 336), windows).states[0]
    assert np.flatnonzero(states == State.SPECIAL_DAY).tolist() == list(range(100, 124))


def test_a_pause_of_weeks_teaches_nothing_and_is_no_time(centre: Centre) -> None:
    usual, after = centre.contacts(0, 336), centre.contacts(336, 504)
    pause = 5 * 7 * DAY
    later = replace(after, moments=after.moments + pause)
    (whole, _), (gap, replay) = fit(joined([usual, after])), fit(joined([usual, later]))
    assert gap.monitor.weeks == whole.monitor.weeks == 3
    for name in ("value", "variance"):
        np.testing.assert_allclose(
            getattr(gap.monitor.profiles.volume.baseline, name), getattr(whole.monitor.profiles.volume.baseline, name)
        )
    np.testing.assert_allclose(gap.monitor.profiles.means[0].between, whole.monitor.profiles.means[0].between)
    paused = replay.findings.states[0, 336 : 336 + 35 * 24]
    assert set(paused.tolist()) == {State.MISSING, State.EMPTY}


def test_a_quiet_centre_too_does_not_learn_silence_from_a_pause() -> None:
    quiet = Centre(per_hour=0.8, weeks=3)
    after = quiet.contacts(336, 504)
    gap = joined([quiet.contacts(0, 336), replace(after, moments=after.moments + 14 * DAY)])
    (whole, _), (model, _) = fit(quiet.contacts()), fit(gap)
    assert whole.monitor.usual_contacts.max() < 10
    assert model.monitor.weeks == whole.monitor.weeks
    np.testing.assert_allclose(
        model.monitor.profiles.volume.baseline.value, whole.monitor.profiles.volume.baseline.value
    )


def test_a_day_of_the_week_that_never_has_contacts_is_closed(centre: Centre) -> None:
    closed = centre.without(np.isin(centre.windows.of_moments(centre.moments) // 24 % 7, [6]))
    model, _ = fit(closed.contacts(0, 336))
    assert model.monitor.weeks == 2
    findings = judged(model, closed.contacts(336, 504), centre.windows.between(336, 504))
    assert set(findings.states[0, 144:].tolist()) == {State.EMPTY}


# What is asked for


@pytest.mark.parametrize(
    ("hours", "special", "cold"), [(336, 0, False), (336, 7, False), (336, 8, True), (13 * 24, 0, True), (24, 0, True)]
)
def test_with_less_than_two_weeks_of_history_everything_is_a_cold_start(
    centre: Centre, hours: int, special: int, cold: bool
) -> None:
    days = [dt.date(2026, 9, 7) + dt.timedelta(days=number) for number in range(special)]
    model, replay = fit(centre.contacts(0, hours), special_days=days)
    assert model.monitor.cold.all() == cold
    assert np.isnan(replay.findings.score).all() == cold
    findings = judged(model, centre.contacts(336, 504), centre.windows.between(336, 504))
    assert (State.TESTED in findings.states) != cold
    assert (State.COLD_START in findings.states) == cold
    assert np.isfinite(model.replayed_per_week)


def test_four_weeks_are_a_history_of_daily_windows_and_a_day_gone_wrong_is_found(centre: Centre) -> None:
    contacts = centre.contacts(0, 1_008)
    bad = contacts.moments // DAY - MONDAY // DAY == 32
    slow = replace(contacts, values={**contacts.values, "aht": contacts.values["aht"] * np.where(bad, 2.0, 1.0)})
    model, _ = fit(contacts.within(centre.windows.between(0, 672)), window_seconds=DAY)
    assert not model.monitor.cold.any()
    windows = Windows(MONDAY, 42, DAY)
    findings = judged(model, slow, windows)
    assert (findings.states == State.TESTED).all()
    called = findings.alerts(model.thresholds())[:, 28:].any(axis=0)
    assert called[4]
    assert called.sum() <= 4
    # Six days say nothing of the seventh.
    short = centre.without(centre.inside(0, 672 - 6 * 24, queue="c")).contacts(0, 672)
    few, _ = fit(short, window_seconds=DAY)
    assert few.monitor.cold[position(few, queue="c")]
    assert not few.monitor.cold[0]


def test_what_can_not_be_learned_from_is_refused(centre: Centre) -> None:
    with pytest.raises(ValueError, match="there is no contact"):
        fit(centre.contacts(0, 0))
    with pytest.raises(ValueError, match=r"contacts without a column for \['hold'\]"):
        IncidentModel.fit(
            centre.contacts(0, 336),
            [replace(METRICS[0], name="hold")],
            window_seconds=HOUR,
            timezone="UTC",
            promise=BUDGET,
        )


def test_windows_and_dimensions_of_another_configuration_are_refused(centre: Centre, model: IncidentModel) -> None:
    contacts = centre.contacts(336, 400)
    with pytest.raises(ValueError, match="windows of 1800 s in UTC, the incident model has 3600 s"):
        model.rollups(contacts, Windows(MONDAY, 4, 1_800))
    with pytest.raises(ValueError, match="contacts by \\['queue', 'team'\\]"):
        model.for_contacts(replace(contacts, dimensions=("queue", "team")))
    wider = model.for_contacts(of_queue("new", 1, 400))
    with pytest.raises(ValueError, match="`for_contacts` gave"):
        model.test(wider.rollups(contacts, centre.windows.between(336, 400)))


def test_a_shift_raises_the_threshold_of_its_exact_segment(centre: Centre, model: IncidentModel) -> None:
    shifted = replace(model, shifts={IN_A: 1.0, (("queue", "gone"),): 3.0})
    raised = shifted.thresholds() - model.thresholds()
    assert raised[position(model, queue="a")] == pytest.approx(1)
    assert np.count_nonzero(raised) == 1
    wider = shifted.for_contacts(of_queue("gone", 1, 400)).thresholds()
    assert wider[-1] == model.threshold + 3


def test_the_replay_shows_what_the_thresholds_would_have_called(
    centre: Centre, fitted: tuple[IncidentModel, Replay]
) -> None:
    model, replay = fitted
    weeks = model.monitor.weeks
    alerts = np.nan_to_num(replay.findings.score, nan=-np.inf) >= model.threshold
    assert model.replayed_per_week == len(incidents_of(replay.tree, alerts)) / weeks <= BUDGET.per_week
    loose, _ = fit(centre.contacts(0, 336), promise=Promise(40.0, confidence=0))
    assert model.replayed_per_week < loose.replayed_per_week <= 40
    assert loose.threshold < model.threshold
    assert model.history == (MONDAY, MONDAY + 336 * HOUR, len(centre.contacts(0, 336)))
    every, _ = fit(
        centre.contacts(0, 336),
        promise=Promise(40.0, confidence=0),
        shifts=dict.fromkeys(model.tree.keys, 50.0),
    )
    assert every.replayed_per_week == 0


def test_fewer_contacts_than_asked_for_are_not_tested_and_smaller_effects_do_not_call(centre: Centre) -> None:
    strict, replay = fit(centre.contacts(0, 336), min_contacts=20, min_effect=3.0)
    states, contacts = replay.findings.states, replay.rollups.contacts
    assert ((states == State.TESTED) == (contacts >= 20)).all()
    assert (states == State.TOO_FEW).any()
    window = 336 + FAULT
    wrong = centre.contacts(336, 504)
    hit = centre.windows.of_moments(wrong.moments) == window
    wrong = replace(wrong, values={**wrong.values, "aht": np.where(hit, 2 * wrong.values["aht"], wrong.values["aht"])})
    windows = centre.windows.between(336, 504)
    usual, _ = fit(centre.contacts(0, 336))
    large = [
        max(one.large[0, FAULT] for one in judged(model, wrong, windows).evidence if one.kind == "shift")
        for model in (usual, strict)
    ]
    assert large == [True, False]


def test_a_metric_without_any_value_does_no_harm(centre: Centre, tmp_path: Path) -> None:
    contacts = centre.contacts(0, 504)
    nothing = replace(contacts, values={**contacts.values, "csat": np.full(len(contacts), np.nan)}, complaints=None)
    model, _ = fit(nothing.within(centre.windows.between(0, 336)))
    model.save(tmp_path)
    findings = judged(IncidentModel.load(tmp_path), nothing, centre.windows.between(336, 504))
    np.testing.assert_array_equal(np.isfinite(findings.score), findings.states == State.TESTED)
    assert (findings.states[0] == State.TESTED).mean() > 0.9
    expected = np.where(findings.states == State.TESTED, State.NO_METRIC, findings.states)
    np.testing.assert_array_equal(findings.metric_states[1], expected)


def test_a_metric_that_nobody_had_before_is_not_judged_by_what_was_never_learned(centre: Centre) -> None:
    contacts = centre.contacts(0, 504)
    csat = contacts.values["csat"]
    later = centre.windows.of_moments(contacts.moments) >= 336
    there = replace(contacts, values={**contacts.values, "csat": np.where(later, 1.0 + 0 * csat, np.nan)})
    model, _ = fit(there.within(centre.windows.between(0, 336)))
    findings = judged(model, there, centre.windows.between(336, 504))
    assert not (findings.metric_states[1] == State.TESTED).any()
    assert (findings.metric_states[1] == State.NO_METRIC).mean() > 0.5
    for one in findings.evidence:
        if one.family == "csat":
            assert np.isnan(one.statistic).all()


def test_the_mean_of_a_window_is_what_people_read(centre: Centre, model: IncidentModel) -> None:
    rollups = model.rollups(centre.contacts(336, 504), centre.windows.between(336, 504))
    means = rollups.means(METRICS)
    rows = centre.inside(336 + FAULT, 337 + FAULT, queue="b")
    csat, aht = centre.columns["csat"][rows], centre.columns["aht"][rows]
    s = position(model, queue="b")
    assert means[1, s, FAULT] == pytest.approx(np.nanmean(csat))
    assert np.exp(np.log(aht).mean()) * 0.9 < means[0, s, FAULT] < aht.mean()
    assert np.isnan(model.rollups(centre.contacts(0, 0), rollups.windows).means(METRICS)).all()


def test_a_history_of_one_segment_is_enough(centre: Centre) -> None:
    contacts = centre.contacts(0, 336)
    alone = contacts.chosen(contacts.leaf == 0)
    model, _ = fit(alone)
    assert model.tree.keys == SegmentTree.of(("queue", "channel"), [centre.leaves[0]]).keys == [()]
    wider = model.for_contacts(contacts)
    assert wider.tree.leaves == centre.leaves
    assert wider.rollups(contacts, centre.windows.between(0, 336)).contacts[0].sum() == len(contacts)
