"""The tests of single cells: how large an effect calls, what there is to test, and what each test weighs."""

from __future__ import annotations

import numpy as np
import pytest
from incident_examples import MONDAY

from cxad_pipeline.incidents import SegmentTree, State, Windows
from cxad_pipeline.incidents.baselines import Baseline
from cxad_pipeline.incidents.evidence import Evidence, count_evidence, exceedance_evidence, mean_evidence
from cxad_pipeline.incidents.findings import findings_of
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.metrics import MetricRule
from cxad_pipeline.incidents.profiles import Expectation, Folds, MeanProfile, RateProfile
from cxad_pipeline.incidents.states import metric_states

HOUR = 3_600
NO_BASELINE = Baseline(np.zeros((1, 168)), np.zeros((1, 168)))
STEADY = RateProfile(NO_BASELINE, np.full((1, 1), 1e-3))
AHT = MetricRule("aht", "high")


def row(*cells: float) -> np.ndarray:
    """Cells of one segment."""
    return np.array([cells], dtype=float)


def test_three_complaints_are_enough_and_two_are_not() -> None:
    k, usual = row(2, 3, 4), row(0.1, 0.1, 0.1)
    found = count_evidence("complaints", "complaints", k > 0, k, usual, STEADY, extra=False)
    assert found.large.tolist() == [[False, True, True]]


def test_five_contacts_more_than_usual_are_enough_and_fewer_are_not() -> None:
    k, usual = row(8, 9, 6), row(4, 4, 1.5)
    found = count_evidence("contacts", "volume", k > 0, k, usual, STEADY, extra=True)
    assert found.large.tolist() == [[False, True, False]]


def test_three_contacts_beyond_the_threshold_are_enough_and_two_are_not() -> None:
    k, n, rare = row(2, 3), row(6, 6), row(1e-3, 1e-3)
    found = exceedance_evidence("aht", "near tail", n > 0, k, n, rare, STEADY)
    assert found.large.tolist() == [[False, True]]
    usual = Expectation(row(300, 300), row(1, 1))
    profile = MeanProfile(NO_BASELINE, row(100), row(10))
    shift = mean_evidence(AHT, n > 0, n, 600 * n, k, usual, profile, {})[0]
    assert (shift.statistic > 3).all()
    assert shift.large.tolist() == [[False, True]]


def states_of(count: np.ndarray, contacts: np.ndarray, answered: np.ndarray) -> list[State]:
    tested = np.full(count.shape, State.TESTED, dtype=np.int8)
    return [State(state) for state in metric_states(tested, count, contacts, answered, row(1e-6))[0].tolist()]


def test_a_metric_is_silent_where_a_fifth_of_its_values_stays_away_and_not_for_a_few_of_many() -> None:
    """Of 10,000 contacts a drop by a tenth is no chance, and the values that came still speak for nearly all."""
    contacts, usually = row(10_000, 10_000, 10_000), row(0.5, 0.5, 0.5)
    assert states_of(row(5_000, 4_500, 3_900), contacts, usually) == [State.TESTED, State.TESTED, State.NOT_ANSWERED]
    # That few are missing may be chance where there are few.
    assert states_of(row(7), row(20), row(0.5)) == [State.TESTED]


def test_a_metric_without_history_is_no_metric_however_many_values_come() -> None:
    found = states_of(row(0, 40, 40), row(50, 50, 50), row(0, 0, 0.8))
    assert found == [State.NO_METRIC, State.NO_METRIC, State.TESTED]


def test_complaints_weigh_as_much_as_a_metric_and_more_contacts_or_a_drift_a_tenth_of_it() -> None:
    kinds: list[tuple[str, Kind]] = [
        ("aht", "far tail"),
        ("aht", "near tail"),
        ("aht", "shift"),
        ("complaints", "complaints"),
        ("contacts", "volume"),
        ("aht", "drift"),
    ]
    sure = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0]])  # test by cell: one thing each
    evidence = [
        Evidence(
            family, kind, row(*np.where(sure[:, i] > 0, 8.0, 0.3)), True, row(0, 0, 0), row(0, 0, 0), row(1, 1, 1) > 0
        )
        for i, (family, kind) in enumerate(kinds)
    ]
    states = np.full((1, 3), State.TESTED, dtype=np.int8)
    found = findings_of(Windows(MONDAY, 3), evidence, [({}, np.ones(3, dtype=bool))], 1, states, states[None])
    metric, complaints, volume = found.p[0].tolist()
    assert complaints == pytest.approx(metric, rel=1e-3)
    assert volume == pytest.approx(10 * metric, rel=1e-3)


TREE = SegmentTree.of(("queue",), [("a",), ("b",), ("new",)])


def counts_of_two_queues(random: np.random.Generator) -> tuple[Windows, np.ndarray]:
    """Four weeks of contacts by Poisson's law, day and night; nobody is there at night but by mistake."""
    windows = Windows(MONDAY, 672)
    by_day = (np.arange(672) % 24 >= 8) & (np.arange(672) % 24 < 20)
    counts = np.zeros((4, 672))
    counts[1:3] = random.poisson(np.where(by_day, [[40.0], [20.0]], 0.0))
    return windows, counts


@pytest.mark.parametrize("what", ["an hour of a new queue", "a day of a new queue", "contacts by night"])
def test_what_is_all_but_impossible_in_history_does_not_make_counts_look_wild(what: str) -> None:
    """One cell of four contacts where the other days expect a thousandth of one would say that nothing is known."""
    windows, counts = counts_of_two_queues(np.random.default_rng(0))
    if what == "an hour of a new queue":
        counts[3, 490] = 30.0
    elif what == "a day of a new queue":
        counts[3, 488:500] = 30.0
    else:
        counts[1, [50, 243]] = 4.0
    counts[0] = counts[1:].sum(axis=0)
    cold = np.array([False, False, False, True])
    folds = Folds.of(windows, np.ones(windows.number, dtype=bool))
    profile, _ = RateProfile.fit(TREE, folds, np.ones_like(counts), counts, False, cold)
    assert profile.dispersion.max() < 0.05
