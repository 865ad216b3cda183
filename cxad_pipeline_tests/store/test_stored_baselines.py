"""Baselines come back as written, a window goes by the calibration that judged it, and what is old is pruned."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import numpy as np
import pytest
from sqlalchemy import func, select
from stored_incident_examples import NASTY, VOICE, moment

from cxad_pipeline.incidents.bands import CountBaseline, MeanBaseline, Reach, SegmentBaselines
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.baselines import baselines_at, record_baselines
from cxad_pipeline.store.calibrations import CalibrationRecord, latest_calibration, record_calibration
from cxad_pipeline.store.database import Store, StoreError
from cxad_pipeline.store.incident_tables import baselines
from cxad_pipeline.store.retention import prune

pytest_plugins = ["store_databases"]

SLOTS = 168
NOTHING = SegmentBaselines(3_600, "UTC", {}, {})


def known_of(seed: int, metrics: int = 2) -> SegmentBaselines:
    """Made-up baselines."""
    random = np.random.default_rng(seed)
    means = {
        name: MeanBaseline(
            logarithmic=random.random() < 0.5,
            value=random.normal(size=SLOTS) * 10.0 ** random.integers(-5, 12),
            variance=random.gamma(1, size=SLOTS),
            within=random.random(),
            reach=Reach(-2.5, 3.25),
            bounds=(0.0, np.inf),
        )
        for name in ["aht", NASTY[2:], *(f"metric {m}" for m in range(2, metrics))][:metrics]
    }
    counts = {
        name: CountBaseline(name, random.gamma(2, size=SLOTS), random.random())
        for name in ("contacts", "complaints", "together")
    }
    return SegmentBaselines(900, "Europe/Berlin", means, counts)


def save(store: Store, hour: float, found: Iterable[tuple[Key, SegmentBaselines]]) -> int:
    with store.writing() as connection:
        number = record_calibration(connection, _calibration(hour))
        record_baselines(connection, number, found)
    return number


def _calibration(hour: float) -> CalibrationRecord:
    return CalibrationRecord(moment(hour), moment(-672), moment(0), 900, 7, ["aht"], 4.5, 5.0, 4.25, 4.0, {})


def read(store: Store, segment: Key, *hours: float) -> list[SegmentBaselines | None]:
    with store.reading() as connection:
        return baselines_at(connection, segment, [moment(hour) for hour in hours])


def same(found: SegmentBaselines | None, written: SegmentBaselines) -> None:
    assert found is not None
    assert (found.seconds, found.timezone) == (written.seconds, written.timezone)
    assert (list(found.means), list(found.counts)) == (list(written.means), list(written.counts))
    for name, mean in written.means.items():
        other = found.means[name]
        assert (other.logarithmic, other.within, other.reach, other.bounds) == (
            mean.logarithmic, mean.within, mean.reach, mean.bounds,
        )  # fmt: skip
        np.testing.assert_allclose(other.value, mean.value, rtol=1e-7)
        np.testing.assert_allclose(other.variance, mean.variance, rtol=1e-7)
    for name, count in written.counts.items():
        assert (found.counts[name].family, found.counts[name].dispersion) == (name, count.dispersion)
        np.testing.assert_allclose(found.counts[name].rate, count.rate, rtol=1e-7)


def test_baselines_come_back_by_segment(store: Store) -> None:
    segments: list[Key] = [(), VOICE, (("queue", NASTY),)]
    written = {segment: known_of(seed) for seed, segment in enumerate(segments)}
    save(store, 0, written.items())
    for segment, known in written.items():
        (found,) = read(store, segment, 1)
        same(found, known)
    assert read(store, (("queue", "nowhere"),), 1) == [None]


def test_a_window_goes_by_the_newest_calibration_of_when_it_was_counted(store: Store) -> None:
    assert read(store, (), 0) == [None]
    everyone = {hour: known_of(hour) for hour in (10, 20, 30)}
    save(store, 20, [((), everyone[20]), (VOICE, known_of(99))])
    save(store, 10, [((), everyone[10])])
    save(store, 30, [((), everyone[30]), (VOICE, NOTHING)])
    for found, hour in zip(read(store, (), 5, 10, 19.9, 20, 25, 30, 99), (10, 10, 10, 20, 20, 30, 30), strict=True):
        same(found, everyone[hour])
    first, second, third = read(store, VOICE, 15, 25, 35)
    assert first is None, "nothing was known then, whatever a later calibration knows"
    same(second, known_of(99))
    same(third, NOTHING)


def test_calibrations_at_the_same_moment_follow_one_another_in_their_order(store: Store) -> None:
    for seed in (1, 2, 3):
        save(store, 7, [((), known_of(seed))])
    (found,) = read(store, (), 7)
    same(found, known_of(3))


def test_a_calibration_whose_baselines_are_not_kept_hides_no_others(store: Store) -> None:
    with store.writing() as connection:
        record_calibration(connection, _calibration(0))  # of an earlier release
    save(store, 10, [((), known_of(10))])
    (found,) = read(store, (), 5)
    same(found, known_of(10))


def test_baselines_go_when_no_window_that_is_kept_can_need_them(store: Store) -> None:
    numbers = {hour: save(store, hour, [((), known_of(hour)), (VOICE, known_of(hour))]) for hour in (0, 10, 20, 30)}
    for before, kept in ((9, {0, 10, 20, 30}), (15, {10, 20, 30}), (20, {20, 30}), (99, {30})):
        with store.writing() as connection:
            prune(connection, moment(before))
        with store.reading() as connection:
            assert set(connection.execute(select(baselines.c.calibration_id)).scalars()) == {numbers[h] for h in kept}
            assert latest_calibration(connection) == _calibration(30), "records stay"
        (found,) = read(store, VOICE, max(before, 25))
        same(found, known_of(30 if before == 99 else 20))


def test_without_its_baselines_there_is_no_calibration(store: Store) -> None:
    save(store, 1, [((), known_of(1))])
    with pytest.raises(StoreError):
        save(store, 2, [((), known_of(2)), ((), known_of(3))])  # a segment twice
    with store.reading() as connection:
        assert latest_calibration(connection) == _calibration(1)


def test_a_thousand_segments_take_twelve_megabytes(store: Store) -> None:
    known = known_of(0, metrics=7)
    save(store, 0, ((() if s == 0 else (("queue", f"q{s}"),), known) for s in range(1_000)))
    with store.reading() as connection:
        query = select(func.count(), func.sum(func.length(baselines.c.slots)))
        rows, size = connection.execute(query).one()
    assert rows == 1_000
    assert size == 1_000 * (2 * 7 + 3) * SLOTS * 4 < 12e6


def test_moments_have_their_own_zone(store: Store) -> None:
    save(store, 10, [((), known_of(10))])
    save(store, 20, [((), known_of(20))])
    east = dt.timezone(dt.timedelta(hours=9))
    with store.reading() as connection:
        (found,) = baselines_at(connection, (), [moment(15).astimezone(east)])
    same(found, known_of(10))
