"""Reasons against a known truth: contributions add up to the score, and a column made extreme is named first."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from cxad_pipeline.detection import Detector, DetectorConfig, EnsembleConfig, ModelConfig
from cxad_pipeline.interactions.simulated_stream import SimulationConfig, simulate_table

NUMERIC = ["csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers"]
TRAINING, FRESH = 6000, 500


@pytest.fixture(scope="module")
def interactions() -> pa.Table:
    start = dt.datetime(2026, 9, 7, tzinfo=dt.UTC)
    return simulate_table(SimulationConfig(start, interactions=TRAINING + FRESH, seed=4)).interactions


@pytest.fixture(scope="module")
def detector(interactions: pa.Table) -> Detector:
    return Detector.fit(
        interactions.slice(0, TRAINING), DetectorConfig(NUMERIC, ["channel", "language", "queue"], random_state=5)
    )


def with_strategy(detector: Detector, strategy: str, **weights: float) -> Detector:
    """The same members under another ensemble; only its reasons are asked for, so its threshold does not matter."""
    config = dataclasses.replace(detector.config, ensemble=EnsembleConfig(strategy, weights))
    return dataclasses.replace(detector, config=config)


def test_the_contributions_of_columns_add_up_to_the_score(detector: Detector, interactions: pa.Table):
    rows = interactions.slice(TRAINING)
    scores, explained = detector.score(rows), detector.explain(rows)
    sums = {name: contributions.sum(axis=1) for name, contributions in explained.contributions.items()}
    np.testing.assert_allclose(sums["rcf"], scores.raw["rcf"], rtol=0, atol=1e-9)
    base = scores.raw["iforest"] - sums["iforest"]
    np.testing.assert_allclose(base, base[0], rtol=0, atol=1e-9)
    # The base is one number, the score of a point at the depth that the roots expect, and rows lie far around it.
    assert base[0] == pytest.approx(0.5, abs=0.06)
    assert np.ptp(scores.raw["iforest"]) > 0.1
    assert explained.contributions["rcf"].shape == (FRESH, 9)


def test_scoring_one_forest_of_codisp_adds_up_as_well(interactions: pa.Table):
    model = ModelConfig("codisp", "random_cut_forest", {"n_estimators": 20, "scoring": "codisp"})
    detector = Detector.fit(interactions.slice(0, 2000), DetectorConfig(NUMERIC, ["channel"], models=[model]))
    rows = interactions.slice(TRAINING)
    sums = detector.explain(rows).contributions["codisp"].sum(axis=1)
    np.testing.assert_allclose(sums, detector.score(rows).raw["codisp"], rtol=1e-9)


def made_extreme(rows: pa.Table, training: pa.Table, name: str) -> pa.Table:
    """The rows with one column twice as far from its median as its outermost half percent, on the longer side."""
    values = training[name].to_numpy(zero_copy_only=False).astype(float)
    low, median, high = np.nanpercentile(values, [0.5, 50, 99.5])
    reach = high - median if high - median >= median - low else low - median
    whole = pa.types.is_integer(rows.schema.field(name).type)
    extreme = median + (max(np.ceil(2 * reach), 4.0) if whole else 2 * reach)
    position = rows.column_names.index(name)
    return rows.set_column(position, name, pa.array(np.full(rows.num_rows, extreme)).cast(rows[name].type))


@pytest.mark.parametrize("column", NUMERIC)
def test_a_column_made_extreme_is_the_first_reason(detector: Detector, interactions: pa.Table, column: str):
    plain = interactions.slice(TRAINING)
    rows = made_extreme(plain, interactions.slice(0, TRAINING), column)

    def named_first(shares: np.ndarray) -> float:
        return float(np.mean(shares.argmax(axis=1) == explained.columns.index(column)))

    explained = detector.explain(plain)
    assert named_first(explained.shares["ensemble"]) < 0.6  # of itself the column is not the reason
    for strategy in ("average", "max", "voting"):
        explained = with_strategy(detector, strategy).explain(rows)
        assert named_first(explained.shares["ensemble"]) > 0.95, strategy
    assert named_first(explained.shares["rcf"]) > 0.98
    # An Isolation Forest with its few cuts per column cannot tell a value far outside from one at the edge.
    assert named_first(explained.shares["iforest"]) > 0.5


def test_the_member_that_decides_gives_the_reasons(detector: Detector, interactions: pa.Table):
    rows = interactions.slice(TRAINING)
    surprises = {
        name: member.calibration.surprise(detector.score(rows).raw[name]) for name, member in detector.members.items()
    }
    by_iforest = surprises["iforest"] > surprises["rcf"]
    assert 0.2 < by_iforest.mean() < 0.8
    explained = with_strategy(detector, "max").explain(rows)
    shares = explained.shares
    decided = np.where(by_iforest[:, None], shares["iforest"], shares["rcf"])
    np.testing.assert_array_equal(shares["ensemble"], decided)

    flags = detector.score(rows).flags
    only_rcf = flags["rcf"] & ~flags["iforest"]
    assert only_rcf.any()
    shares = with_strategy(detector, "voting").explain(rows).shares
    np.testing.assert_array_equal(shares["ensemble"][only_rcf], shares["rcf"][only_rcf])  # a tie flags
    agreed = flags["rcf"] == flags["iforest"]
    both = shares["rcf"] + shares["iforest"]
    giving = shares["rcf"].any(axis=1).astype(int) + shares["iforest"].any(axis=1)
    assert {1, 2} <= set(giving[agreed].tolist())  # a forest may have no reason to give: then the other gives them all
    np.testing.assert_allclose(shares["ensemble"][agreed], (both / giving[:, None])[agreed], rtol=1e-12)

    shares = with_strategy(detector, "average", rcf=3.0).explain(rows).shares
    part = 3 * surprises["rcf"] / (3 * surprises["rcf"] + surprises["iforest"])
    expected = part[:, None] * shares["rcf"] + (1 - part)[:, None] * shares["iforest"]
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares["ensemble"], expected, rtol=0, atol=1e-12)
