"""The whole monitor: it finds what is wrong, keeps quiet otherwise, and says what is missing."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from incident_examples import METRICS, Centre

from cxad_pipeline.incidents import Findings, Monitor, Promise, Rollups, SegmentTree, State, incidents_of
from cxad_pipeline.incidents.findings import calibrations_of

BUDGET = Promise(5.0)
FAULT = 336 + 4 * 24 + 10  # a Friday, 10 o'clock, after the calibration


@pytest.fixture(scope="module")
def centre() -> Centre:
    return Centre()


@pytest.fixture(scope="module")
def monitor(centre: Centre) -> Monitor:
    return centre.monitor()


def judged(centre: Centre, monitor: Monitor, history: Centre) -> Findings:
    return monitor.test(centre.rollups(history.tails()))


def changed(centre: Centre, rows: np.ndarray, **columns: object) -> Centre:
    other = replace(centre)
    for name in ("moments", "leaf", "complaints"):
        setattr(other, name, getattr(centre, name).copy())
    other.columns = {name: column.copy() for name, column in centre.columns.items()}
    for name, change in columns.items():
        other.columns[name][rows] = change(other.columns[name][rows])  # type: ignore[operator]
    return other


@pytest.mark.parametrize(
    ("family", "change"),
    [("aht", lambda x: 2 * x), ("csat", lambda x: np.maximum(x - 2, 1))],
)
def test_a_fault_in_the_bad_direction_is_found_where_it_is(
    centre: Centre, monitor: Monitor, family: str, change: object
) -> None:
    rows = centre.inside(FAULT, FAULT + 4, queue="a")
    findings = judged(changed(centre, rows, **{family: change}), monitor, centre)
    found = incidents_of(centre.tree, findings.alerts(monitor.threshold(BUDGET)))
    during = [(s, w) for s, w in found if ((w >= FAULT) & (w < FAULT + 4)).any()]
    assert len(during) == 1
    segments, windows = during[0]
    assert centre.tree.keys.index((("queue", "a"),)) in segments
    best = findings.score[segments, windows].argmax()
    leading = findings.evidence[findings.leading()[segments[best], windows[best]]]
    assert leading.family in (family, "together")


@pytest.mark.parametrize(
    ("family", "change"),
    [("aht", lambda x: x / 3), ("csat", lambda x: np.full_like(x, 5.0))],
)
def test_unusually_good_never_raises_a_score(centre: Centre, monitor: Monitor, family: str, change: object) -> None:
    rows = centre.inside(FAULT, FAULT + 48, queue="a")
    better = judged(changed(centre, rows, **{family: change}), monitor, centre)
    before = judged(centre, monitor, centre)
    for one, usual in zip(better.evidence, before.evidence, strict=True):
        if one.family == family:
            assert np.nanmax(one.statistic[:, FAULT : FAULT + 48] - usual.statistic[:, FAULT : FAULT + 48]) <= 1e-9
    alerts = better.alerts(monitor.threshold(BUDGET)) & ~before.alerts(monitor.threshold(BUDGET))
    assert not alerts[:, FAULT : FAULT + 48].any()


def test_a_drift_is_found_that_single_windows_show_less(centre: Centre, monitor: Monitor) -> None:
    rows = centre.inside(FAULT, FAULT + 60, queue="c")
    # c has few contacts, and three fifths more handle time are within what its hours vary by
    findings = judged(changed(centre, rows, aht=lambda x: 1.45 * x), monitor, centre)
    s = centre.tree.keys.index((("queue", "c"),))
    of = {(one.family, one.kind): surprise for one, surprise in zip(findings.evidence, findings.surprises, strict=True)}
    during = slice(FAULT, FAULT + 60)
    assert np.nanmax(of["aht", "drift"][s, during]) > np.nanmax(of["aht", "shift"][s, during])
    assert findings.alerts(monitor.threshold(BUDGET))[s, during].any()


def test_p_values_are_conservative_where_nothing_happens(centre: Centre, monitor: Monitor) -> None:
    later = judged(centre, monitor, centre)
    p = later.p[:, 336:]
    p = p[~np.isnan(p)]
    assert len(p) > 5_000
    for level in (0.05, 0.01):
        assert (p <= level).mean() <= level
    for one, surprise in zip(later.evidence, later.surprises, strict=True):
        of_test = surprise[:, 336:]
        of_test = of_test[~np.isnan(of_test)]
        assert (of_test >= 2).mean() <= 0.02, (one.family, one.kind)


def test_the_shift_is_close_to_uniform_where_its_model_holds() -> None:
    centre = Centre(per_hour=40.0)
    later = judged(centre, centre.monitor(), centre)
    shift = next(one.statistic for one in later.evidence if (one.family, one.kind) == ("aht", "shift"))
    p = 10 ** -shift[:, 336:]
    p = p[~np.isnan(p)]
    for level in (0.5, 0.1, 0.02):
        assert (p <= level).mean() == pytest.approx(level, rel=0.2, abs=0.005)


def test_each_half_of_the_days_is_judged_by_what_the_statistics_are_worth_in_the_other_half(centre: Centre) -> None:
    history = centre.rollups(centre.tails()).between(0, 336)
    _, replay = Monitor.fit_and_replay(centre.tree, METRICS, history)
    odd, differ = np.arange(336) // 24 % 2 == 1, 0
    for test, surprises in zip(replay.evidence, replay.surprises, strict=True):
        for judged in (odd, ~odd):
            statistic, large = test.statistic[:, judged], test.large[:, judged]
            by_others, by_itself = (
                calibrations[test.family, test.kind].surprise(statistic)
                for calibrations in calibrations_of([test], [~judged, judged])
            )
            worth = np.minimum(by_others, statistic) if test.bounded else by_others
            expected = np.where(large | np.isnan(statistic), worth, 0.0)
            np.testing.assert_array_equal(surprises[:, judged], expected)
            differ += int((by_others != by_itself)[large & ~np.isnan(statistic)].sum())
    assert differ > 1_000


def test_the_budget_is_kept_on_weeks_that_were_not_seen() -> None:
    months = []
    for seed in range(8):
        centre = Centre(seed=seed, per_hour=8.0)
        monitor = centre.monitor()
        later = monitor.test(centre.rollups(centre.tails()).between(336, centre.windows.number))
        months.append(len(incidents_of(centre.tree, later.alerts(monitor.threshold(BUDGET)))))
    assert sum(number <= 20 for number in months) >= 7, months
    assert np.mean(months) > 0.5, months  # a threshold that nothing reaches keeps any promise


def test_a_gap_in_the_data_is_missing_and_a_closed_hour_is_empty(centre: Centre, monitor: Monitor) -> None:
    gap = centre.without(centre.inside(FAULT, FAULT + 3))
    findings = judged(gap, monitor, centre)
    assert (findings.states[:, FAULT : FAULT + 3] == State.MISSING).all()
    assert np.isnan(findings.score[:, FAULT : FAULT + 3]).all()
    s = centre.tree.keys.index((("queue", "c"), ("channel", "chat")))
    closed = centre.without(centre.inside(FAULT, FAULT + 3, queue="c", channel="chat"))
    findings = judged(closed, monitor, centre)
    assert (findings.states[s, FAULT : FAULT + 3] == State.EMPTY).all()
    assert (findings.states[0, FAULT : FAULT + 3] == State.TESTED).all()


def test_a_gap_in_the_history_is_not_learned_as_silence(centre: Centre, monitor: Monitor) -> None:
    gap = centre.without(centre.inside(8 * 24, 10 * 24))
    other = gap.monitor()
    assert other.weeks == pytest.approx(12 / 7, abs=0.05)
    np.testing.assert_allclose(
        other.profiles.volume.baseline.value[0].mean(), monitor.profiles.volume.baseline.value[0].mean(), rtol=0.05
    )


def test_surveys_that_stop_coming_back_are_a_state_of_the_metric_alone(centre: Centre, monitor: Monitor) -> None:
    rows = centre.inside(FAULT, FAULT + 2)
    silent = changed(centre, rows, csat=lambda x: np.full_like(x, np.nan))
    findings = judged(silent, monitor, centre)
    assert findings.metric_states[1, 0, FAULT] == State.NOT_ANSWERED
    assert findings.metric_states[0, 0, FAULT] == State.TESTED
    assert findings.states[0, FAULT] == State.TESTED


def test_a_segment_without_history_is_a_cold_start_and_late_windows_wait(centre: Centre) -> None:
    new = centre.without(centre.inside(0, 300, queue="c"))
    findings = new.monitor().test(new.rollups(new.tails()), late=np.arange(new.windows.number) >= 990)
    s = centre.tree.keys.index((("queue", "c"),))
    assert set(findings.states[s, 336:990].tolist()) == {State.COLD_START}
    assert (findings.states[:, 990:] == State.LATE).all()
    assert np.isnan(findings.score[s]).all()
    assert np.isnan(findings.score[:, 990:]).all()


def test_one_single_contact_never_calls(centre: Centre, monitor: Monitor) -> None:
    rows = np.zeros(len(centre.leaf), dtype=bool)
    rows[np.flatnonzero(centre.inside(FAULT, FAULT + 1, queue="c"))[0]] = True
    extreme = changed(centre, rows, aht=lambda x: x * 0 + 28_800.0)
    threshold = monitor.threshold(BUDGET)
    more = judged(extreme, monitor, centre).alerts(threshold) & ~judged(centre, monitor, centre).alerts(threshold)
    assert not more.any()


def test_windows_are_judged_the_same_whatever_follows_them_and_with_warm_up_alone(
    centre: Centre, monitor: Monitor
) -> None:
    rollups = centre.rollups(centre.tails())
    whole = monitor.test(rollups)
    part = monitor.test(rollups.between(0, 600))
    np.testing.assert_array_equal(part.score, whole.score[:, :600])


def test_the_order_of_segments_does_not_matter(centre: Centre, monitor: Monitor) -> None:
    order = np.random.default_rng(0).permutation(len(centre.leaves))
    tree = SegmentTree.of(("queue", "channel"), [centre.leaves[i] for i in order])
    other = replace(centre)
    other.tree, other.leaf = tree, np.argsort(order)[centre.leaf]
    for name in ("moments", "complaints", "columns", "leaves"):
        setattr(other, name, getattr(centre, name))
    rollups = centre.rollups(centre.tails())
    moved = other.rollups(other.tails())
    place = [tree.keys.index(key) for key in centre.tree.keys]
    np.testing.assert_allclose(moved.total[:, place], rollups.total)
    np.testing.assert_allclose(
        other.monitor().test(moved).score[place], monitor.test(rollups).score, rtol=1e-6, atol=1e-6
    )


def test_rollups_are_not_changed_by_fitting_and_testing(centre: Centre) -> None:
    rollups = centre.rollups(centre.tails())
    before = {field.name: np.copy(getattr(rollups, field.name)) for field in fields(Rollups)[1:]}
    Monitor.fit(centre.tree, METRICS, rollups.between(0, 336)).test(rollups)
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(rollups, name), array)


def test_a_history_without_contacts_is_refused(centre: Centre) -> None:
    empty = centre.without(centre.inside(0, 2_000))
    with pytest.raises(ValueError, match="calibration period with contacts"):
        Monitor.fit(centre.tree, METRICS, empty.rollups(centre.tails()))
