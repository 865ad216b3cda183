"""Which interactions become events: the rate holds, anomalies go first, the others are spread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cxad_pipeline.serving.sampling import Sampler


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


_BATCHES = st.lists(
    st.tuples(st.floats(0, 5), st.lists(st.booleans(), max_size=60).map(lambda flags: np.array(flags, dtype=bool))),
    max_size=20,
)


@given(rate=st.floats(0.1, 40), batches=_BATCHES)
def test_the_rate_holds_and_every_row_is_chosen_or_counted(
    rate: float, batches: list[tuple[float, np.ndarray]]
) -> None:
    clock = _Clock()
    sampler = Sampler(rate, clock)
    n_rows = n_chosen = 0
    for wait, decisive in batches:
        clock.now += wait
        chosen = sampler.choose(decisive)
        assert chosen == sorted(set(chosen))
        assert set(chosen) <= set(range(len(decisive)))
        n_rows, n_chosen = n_rows + len(decisive), n_chosen + len(chosen)
        assert n_chosen <= rate * clock.now + 2 * max(1.0, rate) + 1e-6
        assert n_chosen + sampler.sampled_out == n_rows


@given(rate=st.floats(0.1, 40), batches=_BATCHES)
def test_no_ordinary_row_goes_before_an_anomaly_of_its_batch(
    rate: float, batches: list[tuple[float, np.ndarray]]
) -> None:
    clock = _Clock()
    sampler = Sampler(rate, clock)
    for wait, decisive in batches:
        clock.now += wait
        chosen = sampler.choose(decisive)
        if not all(decisive[chosen]):
            assert set(np.flatnonzero(decisive)) <= set(chosen)


@given(rate=st.integers(1, 200), n_rows=st.integers(1, 10_000))
def test_ordinary_rows_are_spread_evenly_over_the_batch(rate: int, n_rows: int) -> None:
    chosen = Sampler(rate, _Clock()).choose(np.zeros(n_rows, dtype=bool))
    assert len(chosen) == min(rate, n_rows)
    steps = np.diff(chosen)
    assume(len(steps) > 0)
    assert steps.max() - steps.min() <= 1
    assert abs(chosen[0] - (n_rows - 1 - chosen[-1])) <= 1


def test_an_anomaly_finds_room_after_a_flood_of_ordinary_interactions() -> None:
    sampler = Sampler(10, _Clock())
    for _ in range(100):
        sampler.choose(np.zeros(1, dtype=bool))
    assert sampler.choose(np.array([False, True])) == [1]


def test_below_the_rate_everything_is_chosen() -> None:
    clock = _Clock()
    sampler = Sampler(20, clock)
    for _ in range(50):
        clock.now += 0.5
        assert sampler.choose(np.zeros(10, dtype=bool)) == list(range(10))
    assert sampler.sampled_out == 0


def test_events_of_other_workers_use_up_the_same_rate() -> None:
    clock = _Clock()
    sampler = Sampler(10, clock)
    sampler.spend(30)
    assert sampler.choose(np.ones(1, dtype=bool)) == []
    clock.now += 1.5
    assert sampler.choose(np.ones(9, dtype=bool)) == pytest.approx([0, 2, 4, 6, 8], abs=1)
