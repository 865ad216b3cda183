"""The feature that our Isolation Forest names first is mostly the one that SHAP's TreeExplainer names first.

Both explain one forest, and expect the same depth at each of its nodes, but answer not the same question: SHAP spreads
the score over all orders in which features could be told, ours follows the one order of the path. So they agree mostly,
not always, and the bounds here lie some way below what was measured; a permutation of the columns or a turned sign
brings the agreement down to chance or below.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pytest
import sklearn.datasets
from sklearn.ensemble import IsolationForest as ScikitIsolationForest

from cxad_pipeline.detection import DetectorConfig, IsolationForest
from cxad_pipeline.detection.detector import FeatureSet
from cxad_pipeline.interactions.simulated_stream import SimulationConfig, simulate_table

# shap's own import calls what matplotlib is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:shap")

MOST_ROWS = 250


def contact_centre() -> np.ndarray:
    start = dt.datetime(2026, 9, 7, tzinfo=dt.UTC)
    table = simulate_table(SimulationConfig(start, interactions=2000, seed=1)).interactions
    numeric = ["csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers"]
    return np.asarray(FeatureSet.fit(table, DetectorConfig(numeric, ["channel", "language", "queue"])).X)


DATA_SETS = {
    "breast cancer": lambda: sklearn.datasets.load_breast_cancer().data,
    "wine": lambda: sklearn.datasets.load_wine().data,
    "diabetes": lambda: sklearn.datasets.load_diabetes().data,
    "iris": lambda: sklearn.datasets.load_iris().data,
    "digits": lambda: sklearn.datasets.load_digits().data,
    "contact centre": contact_centre,
}


@dataclass(frozen=True)
class Explained:
    """Contributions to the anomaly score by both, and which test rows are the most anomalous 5% (at least ten)."""

    ours: np.ndarray
    shap: np.ndarray
    anomalous: np.ndarray


@pytest.fixture(scope="module")
def explained() -> dict[str, Explained]:
    import shap

    found = {}
    for name, load in DATA_SETS.items():
        X = load()
        X = X[np.random.default_rng(0).permutation(len(X))]
        train, test = X[: len(X) // 2], X[len(X) // 2 :][:MOST_ROWS]
        forest = IsolationForest(n_estimators=100, random_state=3).fit(train)
        same = ScikitIsolationForest(n_estimators=100, random_state=3).fit(train)
        np.testing.assert_allclose(forest.score_samples(test), same.score_samples(test), atol=1e-9)
        # SHAP explains the length of the path, and a short one is anomalous.
        values = -shap.TreeExplainer(same).shap_values(test)
        anomalous = np.argsort(-forest.anomaly_score(test))[: max(round(0.05 * len(test)), 10)]
        found[name] = Explained(forest.attribution(test), values, anomalous)
    return found


def agreement(ours: np.ndarray, shap: np.ndarray) -> float:
    return float(np.mean(ours.argmax(axis=1) == shap.argmax(axis=1)))


def test_the_top_feature_is_mostly_that_of_shap(explained: dict[str, Explained]):
    everywhere = {name: agreement(one.ours, one.shap) for name, one in explained.items()}
    anomalous = {name: agreement(one.ours[one.anomalous], one.shap[one.anomalous]) for name, one in explained.items()}
    assert np.mean(list(everywhere.values())) > 0.8, everywhere
    assert np.mean(list(anomalous.values())) > 0.75, anomalous
    assert min(everywhere.values()) > 0.65, everywhere
    assert min(anomalous.values()) > 0.35, anomalous


def test_the_top_feature_of_the_most_anomalous_rows_is_nearly_always_among_the_first_three_of_shap(
    explained: dict[str, Explained],
):
    shares = {}
    for name, one in explained.items():
        first_three = np.argsort(-one.shap[one.anomalous], axis=1)[:, :3]
        shares[name] = np.mean((first_three == one.ours[one.anomalous].argmax(axis=1)[:, None]).any(axis=1))
    assert np.mean(list(shares.values())) > 0.9, shares


def test_the_contributions_of_a_row_go_with_those_of_shap(explained: dict[str, Explained]):
    for name, one in explained.items():
        rows = [np.corrcoef(ours, shap)[0, 1] for ours, shap in zip(one.ours, one.shap, strict=True)]
        assert np.mean(rows) > 0.9, name


def test_contributions_of_other_columns_or_of_the_other_sign_would_not_agree(explained: dict[str, Explained]):
    for name, one in explained.items():
        chance = 1 / one.ours.shape[1]
        assert agreement(np.roll(one.ours, 1, axis=1), one.shap) < 0.1 + chance, name
        assert agreement(-one.ours, one.shap) < chance, name
