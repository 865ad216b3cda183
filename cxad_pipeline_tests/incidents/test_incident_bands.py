"""Bands hold as many quiet windows as promised, are quantiles where counts are, and say what the tests say."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from incident_examples import MONDAY, Centre
from scipy import stats

from cxad_pipeline.incidents import IncidentModel, MetricRule, Promise, Replay, Rollups
from cxad_pipeline.incidents.bands import (
    COVERAGE,
    LEAST_TO_LEARN,
    NORMAL,
    CountBaseline,
    MeanBaseline,
    Reach,
    SegmentBaselines,
    baselines_of,
    reaches,
)

HISTORY = 4 * 168
OUTSIDE = 1 - COVERAGE


@cache
def learned(seed: int, per_hour: float) -> tuple[IncidentModel, Replay, Rollups]:
    """A model of four quiet weeks, and the rollups of four quiet weeks after them."""
    centre = Centre(weeks=8, seed=seed, per_hour=per_hour)
    model, replay = fitted(centre)
    rollups = model.rollups(centre.contacts(HISTORY, 2 * HISTORY), centre.windows.between(HISTORY, 2 * HISTORY))
    return model, replay, rollups


def fitted(centre: Centre, **more: Any) -> tuple[IncidentModel, Replay]:
    return IncidentModel.fit(
        centre.contacts(0, HISTORY), centre.metrics, window_seconds=3_600, timezone="UTC", promise=Promise(5.0), **more
    )


def number_behind(family: str, model: IncidentModel, rollups: Rollups) -> np.ndarray:
    names = [metric.name for metric in model.metrics]
    return rollups.count[names.index(family)] if family in names else rollups.contacts


def seen(family: str, model: IncidentModel, rollups: Rollups) -> np.ndarray:
    names = [metric.name for metric in model.metrics]
    if family in names:
        return rollups.means(model.metrics)[names.index(family)]
    return np.asarray(getattr(rollups, family))


def outside(family: str, seed: int, least: int, per_hour: float = 12.0) -> tuple[int, int, int]:
    """Windows below the band, above it, and all of them, counted one by one."""
    model, replay, rollups = learned(seed, per_hour)
    below = above = every = 0
    for s, (_, known) in enumerate(baselines_of(model, replay)):
        number = number_behind(family, model, rollups)[s]
        band = known.band(family, rollups.windows.starts, number)
        assert band is not None
        observed = seen(family, model, rollups)[s]
        for value, many, low, high in zip(observed.tolist(), number.tolist(), band.low, band.high, strict=True):
            if many >= least:
                below, above, every = below + (value < low), above + (value > high), every + 1
    return below, above, every


@pytest.mark.parametrize("family", ["aht", "csat"])
def test_one_in_a_hundred_quiet_means_is_outside_at_either_end_as_many(family: str) -> None:
    below, above, every = np.sum([outside(family, seed, least=5) for seed in (1, 2, 3)], axis=0)
    assert every > 9_000
    assert (below + above) / every == pytest.approx(OUTSIDE, rel=0.4)
    assert 0.2 < below / (below + above) < 0.8


def test_hardly_more_than_one_in_a_hundred_quiet_volumes_is_outside() -> None:
    below, above, every = np.sum([outside("contacts", seed, least=0, per_hour=60.0) for seed in (1, 2, 3)], axis=0)
    assert every > 20_000
    assert 0.2 * OUTSIDE < (below + above) / every < 1.3 * OUTSIDE
    assert min(below, above) > 0


@pytest.mark.parametrize("family", ["complaints", "together"])
def test_of_rare_counts_no_more_than_one_in_a_hundred_is_outside(family: str) -> None:
    below, above, every = np.sum([outside(family, seed, least=1) for seed in (1, 2)], axis=0)
    assert every > 10_000
    assert 0 < (below + above) / every < 1.3 * OUTSIDE


def test_counts_drawn_from_a_negative_binomial_are_in_their_band_as_often_as_promised() -> None:
    random = np.random.default_rng(7)
    mean, dispersion = np.array([40.0, 300.0]), 0.05
    slot = np.repeat([0, 1], 20_000)
    drawn = random.negative_binomial(1 / dispersion, 1 / (1 + dispersion * mean[slot]))
    band = CountBaseline("contacts", mean, dispersion).band(slot, np.zeros(len(slot)))
    for end in (drawn < band.low, drawn > band.high):
        assert 0.003 < end.mean() < 0.006


@given(st.floats(0.01, 3_000), st.floats(1e-3, 2), st.integers(1, 400))
def test_bands_of_counts_are_quantiles_of_the_negative_binomial(rate: float, dispersion: float, contacts: int) -> None:
    for family, exposure in (("contacts", 1), ("complaints", contacts)):
        mean = rate * exposure
        band = CountBaseline(family, np.array([rate]), dispersion).band(np.array([0]), np.array([float(contacts)]))
        expected = stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean)).ppf([OUTSIDE / 2, 1 - OUTSIDE / 2])
        assert band.expected[0] == pytest.approx(mean)
        np.testing.assert_allclose([band.low[0], band.high[0]], expected)


@given(st.floats(0.001, 0.9), st.floats(1e-3, 0.5), st.integers(0, 300))
def test_the_band_of_what_is_bad_together_is_of_the_beta_binomial(share: float, rho: float, contacts: int) -> None:
    band = CountBaseline("together", np.array([share]), rho).band(np.array([0]), np.array([float(contacts)]))
    strength = (1 - rho) / rho
    expected = stats.betabinom(contacts, share * strength, (1 - share) * strength)
    np.testing.assert_allclose([band.low[0], band.high[0]], expected.ppf([OUTSIDE / 2, 1 - OUTSIDE / 2]))
    assert band.high[0] <= contacts


def test_what_is_expected_is_what_the_tests_expect_and_what_is_observed_is_what_they_saw() -> None:
    model, replay, rollups = learned(1, 12.0)
    findings = model.test(rollups)
    compared = 0
    for one in findings.evidence:
        if one.kind not in ("shift", "volume", "complaints", "together"):
            continue
        for s, (_, known) in enumerate(baselines_of(model, replay)):
            number = number_behind(one.family, model, rollups)[s]
            band = known.band(one.family, rollups.windows.starts, number)
            assert band is not None
            np.testing.assert_allclose(band.expected, one.expected[s])
            there = number > 0
            np.testing.assert_allclose(seen(one.family, model, rollups)[s][there], one.observed[s][there])
            assert (band.low[there] <= band.expected[there]).all()
            assert (band.high[there] >= np.floor(band.expected[there])).all()
            compared += 1
    assert compared == 5 * len(model.tree)


def test_a_band_is_wider_where_it_is_of_fewer_values_and_none_where_there_is_no_value() -> None:
    model, replay, _ = learned(1, 12.0)
    _, known = next(baselines_of(model, replay))
    starts = MONDAY + 168 * 3_600 * np.arange(5)  # the same hour of five weeks
    band = known.band("aht", starts, np.array([0.0, 1.0, 5.0, 50.0, 5_000.0]))
    assert band is not None
    assert len(set(band.expected.tolist())) == 1
    assert np.isnan([band.low[0], band.high[0]]).all()
    width = (band.high - band.low)[1:]
    assert (np.diff(width) < 0).all()
    assert width[0] > 3 * width[-1] > 0, "hours differ however many contacts they have"


def test_a_band_ends_where_the_values_of_a_metric_do() -> None:
    flat = np.full(168, 4.0)
    known = MeanBaseline(False, flat, flat * 0, 1.0, NORMAL, (1.0, 5.0)).band(np.zeros(1, np.int64), np.ones(1))
    assert (known.low[0], known.expected[0], known.high[0]) == (pytest.approx(4 - 2.5758, abs=1e-3), 4.0, 5.0)
    wait = MeanBaseline(True, flat * 0.1, flat * 0, 1.0, NORMAL).band(np.zeros(1, np.int64), np.ones(1))
    assert wait.low[0] == 0.0, "no wait is shorter"


def test_a_cold_start_and_a_metric_without_values_have_no_band() -> None:
    centre = Centre(weeks=4)
    centre.columns["csat"][:] = np.nan
    model, replay = fitted(centre)
    last = len(model.tree) - 1
    cold = model.monitor.cold.copy()
    cold[last] = True
    model = replace(model, monitor=replace(model.monitor, cold=cold))
    found = list(baselines_of(model, replay))
    assert [key for key, _ in found] == model.tree.keys
    assert {tuple(known.means) for _, known in found[:last]} == {("aht",)}
    nothing = found[last][1]
    assert (nothing.means, nothing.counts) == ({}, {})
    assert nothing.band("contacts", np.array([MONDAY]), np.ones(1)) is None


@pytest.mark.parametrize("bad", ["high", "low"])
def test_a_band_reaches_as_far_as_the_deviations_of_quiet_windows_did(bad: Any) -> None:
    random = np.random.default_rng(3)
    deviations = random.gamma(2, 1, size=(40, 500)) - 2  # a long upper tail
    called = np.arange(500) < 50
    deviations[:, called] += 20
    sign = 1 if bad == "high" else -1
    shift = SimpleNamespace(family="wait", kind="shift", statistic=-stats.norm.logsf(sign * deviations) / np.log(10))
    shift.statistic[:5] = np.nan
    (reach,) = reaches(SimpleNamespace(evidence=[shift]), (MetricRule("wait", bad),), called)  # type: ignore[arg-type]
    expected = np.quantile(deviations[5:, ~called], [OUTSIDE / 2, 1 - OUTSIDE / 2])
    np.testing.assert_allclose(reach, np.minimum(expected, 6), rtol=1e-6)
    shift.statistic[: 40 - LEAST_TO_LEARN // 500] = np.nan
    (reach,) = reaches(SimpleNamespace(evidence=[shift]), (MetricRule("wait", bad),), called)  # type: ignore[arg-type]
    assert reach == NORMAL, "of so few nothing is learned"


def test_windows_go_by_the_clock_of_their_time_zone() -> None:
    zone, rate = ZoneInfo("Europe/Berlin"), np.arange(168.0)
    known = SegmentBaselines(3_600, "Europe/Berlin", {}, {"contacts": CountBaseline("contacts", rate, 0.01)})
    first = int(dt.datetime(2026, 10, 20, tzinfo=dt.UTC).timestamp())
    starts = first + 3_600 * np.flatnonzero(np.arange(400) % 7)  # over the end of summer time, with gaps
    band = known.band("contacts", starts, np.zeros(len(starts)))
    assert band is not None
    local = [dt.datetime.fromtimestamp(start, zone) for start in starts.tolist()]
    assert band.expected.tolist() == [float(24 * moment.weekday() + moment.hour) for moment in local]


def test_far_reaches_are_those_that_are_given() -> None:
    flat = np.zeros(168)
    band = MeanBaseline(False, flat, flat + 4.0, 0.0, Reach(-1.0, 3.0)).band(np.zeros(1, np.int64), np.ones(1))
    assert (band.low[0], band.high[0]) == (-2.0, 6.0)
