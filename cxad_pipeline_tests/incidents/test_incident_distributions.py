"""Tail probabilities against scipy.stats, and dispersions against counts drawn with a known one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cxad_pipeline.incidents.distributions import (
    beta_binomial_dispersion,
    beta_binomial_tail,
    negative_binomial_dispersion,
    negative_binomial_tail,
    variance_between,
)


def one(value: float) -> np.ndarray:
    return np.array([float(value)])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.001, 0.97), st.floats(1e-3, 0.8))
def test_beta_binomial_tail_is_that_of_scipy(k: int, more: int, share: float, dispersion: float) -> None:
    n = k + more
    strength = (1 - dispersion) / dispersion
    wanted = stats.betabinom.sf(k - 1, n, share * strength, (1 - share) * strength)
    got = beta_binomial_tail(one(k), one(n), one(share), dispersion)[0]
    assert got == pytest.approx(wanted, rel=1e-6, abs=1e-11)


def test_beta_binomial_tail_is_accurate_far_out_where_scipy_subtracts() -> None:
    k, n, share, dispersion = 60, 80, 0.05, 0.01
    strength = (1 - dispersion) / dispersion
    wanted = sum(stats.betabinom.pmf(j, n, share * strength, (1 - share) * strength) for j in range(k, n + 1))
    assert wanted < 1e-17
    assert beta_binomial_tail(one(k), one(n), one(share), dispersion)[0] == pytest.approx(wanted, rel=1e-6)


def test_without_dispersion_it_is_the_binomial() -> None:
    got = beta_binomial_tail(one(9), one(40), one(0.1), 0.0)[0]
    assert got == pytest.approx(stats.binom.sf(8, 40, 0.1), rel=1e-3)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 500), st.floats(0.01, 300), st.floats(1e-3, 5))
def test_negative_binomial_tail_is_that_of_scipy(k: int, mean: float, dispersion: float) -> None:
    size = 1 / dispersion
    wanted = stats.nbinom.sf(k - 1, size, size / (size + mean))
    got = negative_binomial_tail(one(k), one(mean), dispersion)[0]
    assert got == pytest.approx(wanted, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("rho", [0.005, 0.05, 0.2])
def test_dispersion_of_shares_is_found_again(rho: float) -> None:
    random = np.random.default_rng(3)
    n = random.integers(5, 120, size=6_000).astype(float)
    share = random.uniform(0.05, 0.4, size=6_000)
    strength = (1 - rho) / rho
    k = random.binomial(n.astype(int), random.beta(share * strength, (1 - share) * strength)).astype(float)
    assert beta_binomial_dispersion(k, n, share) == pytest.approx(rho, rel=0.12)


def test_a_plain_binomial_has_hardly_any_dispersion() -> None:
    random = np.random.default_rng(4)
    n = np.full(6_000, 50.0)
    assert beta_binomial_dispersion(random.binomial(50, 0.1, 6_000).astype(float), n, np.full(6_000, 0.1)) < 2e-3


@pytest.mark.parametrize("dispersion", [0.02, 0.3, 1.0])
def test_dispersion_of_counts_is_found_again(dispersion: float) -> None:
    random = np.random.default_rng(5)
    mean = random.uniform(2, 60, size=20_000)
    k = random.poisson(mean * random.gamma(1 / dispersion, dispersion, size=20_000)).astype(float)
    assert negative_binomial_dispersion(k, mean) == pytest.approx(dispersion, rel=0.1)


def test_variance_between_windows_is_found_again() -> None:
    random = np.random.default_rng(6)
    known = random.uniform(0.01, 1.0, size=20_000)
    squared = random.normal(0, np.sqrt(known + 0.09)) ** 2
    assert variance_between(squared, known) == pytest.approx(0.09, rel=0.1)
    assert variance_between(random.normal(0, np.sqrt(known)) ** 2 * 0.5, known) == 0
    assert variance_between(np.zeros(0), np.zeros(0)) == 0
