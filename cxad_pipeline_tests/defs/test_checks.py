"""The measures behind the asset checks."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from landing_world import make_settings
from scipy.stats import ks_2samp

from cxad_pipeline.defs.checks import (
    anomaly_band,
    contract_check,
    rejected_share,
    score_distance,
    share_rejected_check,
)
from cxad_pipeline.interactions.landing import LandedRows
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.interactions.sources import REJECTED_SCHEMA

NOW = dt.datetime(2026, 10, 5, tzinfo=dt.UTC)


def interactions(csat: list[float]) -> pa.Table:
    n = len(csat)
    return pa.table(
        {
            "interaction_id": [f"i{row}" for row in range(n)],
            "timestamp": pa.array([NOW] * n, pa.timestamp("us", tz="UTC")),
            "csat": pa.array(csat, pa.float64()),
        }
    )


def landed(accepted: int, **kinds: int) -> LandedRows:
    rows = [
        {"kind": kind, "reason": "r", "source_file": "f.csv", "source_line": 1, "record": "{}", "filed_under": NOW}
        for kind, count in kinds.items()
        for _ in range(count)
    ]
    return LandedRows(interactions([3.0] * accepted), pa.Table.from_pylist(rows, REJECTED_SCHEMA))


def test_the_contract_check_names_window_row_column_and_value():
    schema = InteractionSchema()
    assert contract_check({"w": interactions([1.0, 5.0])}, "raw_interactions", schema).passed
    result = contract_check({"w": interactions([1.0, 7.0])}, "raw_interactions", schema)
    assert not result.passed
    assert result.description == "w: row 1, csat = 7.0: less_than_or_equal_to(5)"


def test_dropped_rows_and_duplicates_are_no_fault_of_the_data():
    assert rejected_share(landed(8, contract=1, malformed=1, dropped=50, duplicate=50)) == pytest.approx(0.2)
    assert rejected_share(landed(0)) == 0


@pytest.mark.parametrize(("contract", "passes"), [(5, True), (6, False)])
def test_the_share_of_rejected_rows_is_allowed_up_to_the_limit(tmp_path, contract, passes):
    settings = make_settings(tmp_path)
    result = share_rejected_check({"w": landed(100 - contract, contract=contract)}, "rejected_interactions", settings)
    assert result.passed is passes


def test_a_file_that_cannot_be_read_is_named_however_many_rows_are_good(tmp_path):
    settings = make_settings(tmp_path)
    result = share_rejected_check({"w": landed(10_000, unreadable=1)}, "rejected_interactions", settings)
    assert not result.passed
    assert "f.csv can't be read" in result.description


@given(rows=st.integers(0, 100_000), rate=st.floats(0.001, 0.2), ratio=st.floats(1.1, 10))
def test_the_expected_number_of_anomalies_is_inside_its_band(rows, rate, ratio):
    low, high = anomaly_band(rows, rate, ratio)
    assert 0 <= low <= rows * rate <= high


def test_the_band_of_a_small_window_allows_chance_and_that_of_a_large_one_little_more_than_the_ratio():
    assert anomaly_band(20, 0.01, 5)[1] > 2
    low, high = anomaly_band(1_000_000, 0.01, 5)
    assert high / 10_000 == pytest.approx(5, rel=0.01)
    assert low / 10_000 == pytest.approx(1 / 5, rel=0.2)


@given(shift=st.floats(-2, 2), seed=st.integers(0, 100))
def test_the_distance_is_that_of_kolmogorov_and_smirnov(shift, seed):
    """SciPy's two-sample statistic is the oracle, for a reference that is its own fine quantiles."""
    rng = np.random.default_rng(seed)
    reference, scores = rng.normal(size=5000), rng.normal(shift, size=300)
    quantiles = np.quantile(reference, np.linspace(0, 1, 1001))
    assert score_distance(scores, quantiles) == pytest.approx(ks_2samp(scores, reference).statistic, abs=0.004)
