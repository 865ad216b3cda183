"""Segments that fall silent: from when on it shows, and what must not be taken for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_examples import Centre
from scipy.stats import nbinom

from cxad_pipeline.detection.artifacts import DetectorFormatError, write_artifact
from cxad_pipeline.incidents import IncidentModel, Monitor, Promise, State
from cxad_pipeline.incidents.contacts import joined
from cxad_pipeline.incidents.saved_model import KIND, document_of
from cxad_pipeline.incidents.silence import ordinary_silence, surprise_of_silence

LATER = 336 + 2 * 24 + 10  # a Wednesday, 10 o'clock, two weeks after the history began
IN_A, IN_C = (("queue", "a"),), (("queue", "c"),)


@pytest.fixture(scope="module")
def centre() -> Centre:
    return Centre(weeks=5)


@pytest.fixture(scope="module")
def model(centre: Centre) -> IncidentModel:
    fitted, _ = IncidentModel.fit(
        centre.contacts(0, 336), centre.metrics, window_seconds=3_600, timezone="UTC", promise=Promise(5.0)
    )
    return fitted


def states_of(fitted: Monitor, centre: Centre, gone: np.ndarray) -> np.ndarray:
    """States from the third week on, without some contacts."""
    rollups = centre.without(gone).rollups(centre.tails())
    return fitted.test(rollups.between(336, centre.windows.number)).states


def missing(centre: Centre, states: np.ndarray, segment: tuple[tuple[str, str], ...]) -> list[int]:
    """Windows in which the contacts of a segment are missing, counted from the beginning."""
    return (336 + np.flatnonzero(states[centre.tree.keys.index(segment)] == State.MISSING)).tolist()


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), windows=st.integers(1, 30), quiet=st.floats(0, 1))
def test_the_surprise_is_that_of_all_windows_since_the_last_contact(seed: int, windows: int, quiet: float) -> None:
    random = np.random.default_rng(seed)
    shape = (3, windows)
    contacts = np.where(random.random(shape) < quiet, 0, random.integers(1, 9, shape)).astype(float)
    usual, dispersion = random.gamma(2, 5, shape), random.uniform(0.001, 2, (3, 1))
    unknown = random.random((1, windows)) < 0.2
    found = surprise_of_silence(contacts, usual, dispersion, unknown)
    for s in range(3):
        expected = 0.0
        for t in range(windows):
            size = 1 / dispersion[s, 0]
            none = -nbinom.logpmf(0, size, size / (size + usual[s, t])) / np.log(10)
            expected = 0.0 if contacts[s, t] else expected + (0.0 if unknown[0, t] else none)
            assert found[s, t] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_ordinary_silence_is_the_second_longest_so_that_one_outage_hides_no_other() -> None:
    contacts = np.array([[1, 0, 0, 1, 0, 1, 0, 0, 0.0], [1, 1, 1, 1, 1, 1, 1, 1, 1.0], [1, 0, 1, 1, 1, 1, 1, 1, 1.0]])
    surprise = np.array([[0, 2, 4, 0, 3, 0, 1, 2, 7.0], [0.0] * 9, [0, 5, 0, 0, 0, 0, 0, 0, 0.0]])
    np.testing.assert_array_equal(ordinary_silence(contacts, surprise), [[4.0], [0.0], [0.0]])
    assert ordinary_silence(np.zeros((2, 1)), np.ones((2, 1))).tolist() == [[0.0], [0.0]]


def test_a_large_queue_shows_in_its_first_hours_and_a_small_one_after_some(centre: Centre) -> None:
    monitor = centre.monitor()
    for segment, most in ((IN_A, 2), (IN_C, 6)):
        ((_, queue),) = segment
        states = states_of(monitor, centre, centre.inside(LATER, LATER + 8, queue=queue))
        found = missing(centre, states, segment)
        assert found
        assert LATER <= found[0] < LATER + most
        assert found == list(range(found[0], LATER + 8)), "until there are contacts again, and not after that"
        others = [key for key in centre.tree.keys if ("queue", queue) not in key]
        assert not any(missing(centre, states, key) for key in others)


def test_quiet_weeks_have_none_and_neither_have_closed_hours() -> None:
    for seed in range(3):
        centre = Centre(weeks=5, seed=seed, per_hour=6.0)
        # Queue c is closed at night and on Sundays, while the others are open.
        hour = centre.windows.of_moments(centre.moments)
        closed = ((hour % 24 < 7) | (hour % 168 >= 144)) & centre.inside(0, centre.windows.number, queue="c")
        opened = centre.without(closed)
        states = states_of(opened.monitor(), opened, np.zeros(len(opened.moments), dtype=np.bool_))
        assert not (states == State.MISSING).any()


def test_it_is_a_gap_of_all_where_nobody_has_contacts(centre: Centre) -> None:
    """And the hours after it say nothing of a small segment that has none yet: for it, that is usual."""
    monitor = centre.monitor()
    small = min(centre.tree.keys, key=lambda key: int(centre.inside(0, 900, **dict(key)).sum()))
    day = list(range(LATER, LATER + 8))
    gone = centre.inside(day[0], day[-1] + 1) | centre.inside(day[-1] + 1, day[-1] + 2, **dict(small))
    states = states_of(monitor, centre, gone)
    assert all(missing(centre, states, segment) == day for segment in centre.tree.keys)


def test_late_windows_and_special_days_are_no_silence(centre: Centre) -> None:
    monitor, gone = centre.monitor(), centre.inside(LATER, LATER + 4, queue="a")
    rollups = centre.without(gone).rollups(centre.tails()).between(336, centre.windows.number)
    without = np.zeros(rollups.windows.number, dtype=np.bool_)
    some = without.copy()
    some[LATER - 336 : LATER - 336 + 4] = True
    for late, special in ((some, without), (without, some)):
        assert not (monitor.test(rollups, late, special).states == State.MISSING).any()
    assert (monitor.test(rollups).states == State.MISSING).any()


def test_windows_counted_with_other_segments_are_no_silence(centre: Centre) -> None:
    """Where a queue was counted under another name, its rows are not there; its leaves are."""
    rollups = centre.rollups(centre.tails()).between(336, centre.windows.number)
    for segment in (IN_A, (("queue", "a"), ("channel", "voice"))):
        rows = replace(rollups, contacts=rollups.contacts.copy())
        rows.contacts[centre.tree.keys.index(segment), LATER - 336 : LATER - 336 + 8] = 0
        states = centre.monitor().test(rows).states
        assert not (states == State.MISSING).any()


def test_an_outage_in_the_history_hides_no_later_one(centre: Centre) -> None:
    earlier = centre.inside(7 * 24 + 9, 7 * 24 + 17, queue="a")
    monitor = centre.without(earlier).monitor()
    states = states_of(monitor, centre, earlier | centre.inside(LATER, LATER + 8, queue="a"))
    assert LATER + 2 in missing(centre, states, IN_A)


def test_a_new_segment_is_a_cold_start_and_never_silent(centre: Centre, model: IncidentModel) -> None:
    one = centre.contacts(336, 337).chosen(np.arange(len(centre.contacts(336, 337))) < 3)
    new = replace(one, leaves=[("new", "voice")], leaf=np.zeros(3, dtype=np.int64))
    after = joined([centre.contacts(336, 504), new])
    wider = model.for_contacts(after)
    states = wider.test(wider.rollups(after, centre.windows.between(336, 504))).states
    assert len(states) > len(centre.tree)
    assert not (states == State.MISSING).any()


def test_a_model_keeps_it_and_one_of_an_earlier_release_knows_none(
    centre: Centre, model: IncidentModel, tmp_path: Path
) -> None:
    document, arrays = document_of(model)
    after = centre.without(centre.inside(LATER, LATER + 8, queue="a")).contacts(336, 504)

    def silent_cells(folder: Path, arrays: dict[str, np.ndarray]) -> int:
        write_artifact(folder, KIND, document, arrays)
        read = IncidentModel.load(folder)
        states = read.test(read.rollups(after, centre.windows.between(336, 504))).states
        return int((states == State.MISSING).sum())

    assert silent_cells(tmp_path / "same", arrays) >= 3 * (8 - 2)
    assert silent_cells(tmp_path / "earlier", {name: array for name, array in arrays.items() if name != "silence"}) == 0
    with pytest.raises(DetectorFormatError, match="silence"):
        silent_cells(tmp_path / "wrong", {**arrays, "silence": arrays["silence"][:-1]})
