"""Combined p-values are valid under dependence; the adjustment of Benjamini and Yekutieli against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cxad_pipeline.incidents.combination import benjamini_yekutieli, cauchy

EQUAL = np.ones(6)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_combined_p_values_keep_their_level_under_dependence(correlation: float) -> None:
    random = np.random.default_rng(1)
    common = random.normal(size=400_000) * np.sqrt(correlation)
    p = stats.norm.sf(common + random.normal(size=(6, 400_000)) * np.sqrt(1 - correlation))
    for combined in (cauchy(p, EQUAL), cauchy(p, np.array([1, 1, 1, 0.1, 0.1, 3.0]))):
        for level in (0.01, 0.001):
            assert (combined <= level).mean() <= 1.2 * level
    assert (cauchy(p, EQUAL) <= 0.01).mean() >= 0.004  # and is not empty


def test_cauchy_combination_is_that_of_its_definition_for_small_p_values() -> None:
    p = np.array([[1e-6], [0.03], [0.2]])
    wanted = 2 * stats.cauchy.sf(np.mean(np.tan((0.5 - p) * np.pi)))
    assert cauchy(p, np.ones(3))[0] == pytest.approx(wanted, rel=1e-9)


def test_agreeing_tests_say_more_together_and_one_that_says_nothing_does_no_harm_beyond_its_weight() -> None:
    single = np.array([[1e-4], [1.0], [1.0]])
    several = np.array([[1e-4], [1e-4], [1e-4]])
    assert cauchy(several, np.ones(3))[0] < cauchy(single, np.ones(3))[0]
    weights = np.array([1.0, 0.1, 0.1])
    assert cauchy(single, weights)[0] < cauchy(single, np.ones(3))[0]
    assert cauchy(single, np.ones(3))[0] == pytest.approx(6e-4, rel=1e-3)


def test_what_was_not_tested_counts_for_nothing() -> None:
    p = np.array([[1e-5, np.nan], [np.nan, np.nan]])
    assert cauchy(p, np.ones(2))[0] == pytest.approx(cauchy(p[:1], np.ones(1))[0])
    assert np.isnan(cauchy(p, np.ones(2))[1])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.5))
def test_adjusted_p_values_reject_what_the_step_up_procedure_rejects(p: list[float], level: float) -> None:
    m = len(p)
    harmonic = sum(1 / i for i in range(1, m + 1))
    ordered = sorted(p)
    passing = [i for i in range(1, m + 1) if ordered[i - 1] * m * harmonic / i <= level]
    wanted = sum(value <= ordered[max(passing) - 1] for value in p) if passing else 0
    assert (benjamini_yekutieli(np.array(p)[:, None])[:, 0] <= level).sum() == wanted


def test_each_window_is_adjusted_for_the_segments_that_were_tested_in_it() -> None:
    p = np.array([[0.001, 0.001], [0.5, np.nan], [0.9, np.nan]])
    adjusted = benjamini_yekutieli(p)
    assert adjusted[0, 1] == pytest.approx(0.001)
    assert adjusted[0, 0] == pytest.approx(0.001 * 3 * (1 + 1 / 2 + 1 / 3))
    assert np.isnan(adjusted[1:, 1]).all()
