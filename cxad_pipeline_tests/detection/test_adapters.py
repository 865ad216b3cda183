"""Algorithms that PyOD and isotree fit: they score as their libraries do, each row for itself, and without them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyod.models.cblof import CBLOF
from pyod.models.copod import COPOD
from pyod.models.ecod import ECOD
from pyod.models.hbos import HBOS
from pyod.models.knn import KNN
from pyod.models.lof import LOF
from pyod.models.pca import PCA
from sklearn.metrics import roc_auc_score

from cxad_pipeline.detection.algorithms import ALGORITHMS
from cxad_pipeline.detection.extras import MissingExtraError
from cxad_pipeline.detection.frozen import FrozenModel, attribution_from

SEED = 7
BY_PYOD = ("ecod", "copod", "hbos", "knn", "lof", "cblof", "pca")


@pytest.fixture(scope="session")
def training() -> np.ndarray:
    """600 rows: two clusters, skewed to both sides, counts with ties, and a flag."""
    random = np.random.default_rng(1)
    X = np.column_stack(
        [
            random.normal(size=600),
            np.exp(random.normal(size=600)),
            -np.exp(random.normal(size=600)),
            random.poisson(2.0, 600),
            random.random(600) < 0.2,
        ]
    ).astype(float)
    X[:200, 0] += 8.0
    return X


@pytest.fixture(scope="session")
def fresh(training: np.ndarray) -> np.ndarray:
    """2,500 rows: like those of the training, equal to some of them, and far outside."""
    random = np.random.default_rng(2)
    like = training[random.integers(0, 600, 2000)] + random.normal(scale=0.1, size=(2000, 5))
    return np.concatenate([training[:250], like, random.normal(scale=10.0, size=(250, 5))])


@pytest.fixture(scope="session")
def fitted(training: np.ndarray) -> Callable[[str], FrozenModel]:
    """Each algorithm with its defaults, fitted once."""
    found: dict[str, FrozenModel] = {}

    def model(algorithm: str) -> FrozenModel:
        if algorithm == "fcf":
            pytest.importorskip("isotree", reason="isotree is not installed here: it needs a C++ compiler")
        if algorithm not in found:
            found[algorithm] = ALGORITHMS[algorithm].fit(training, SEED)
        return found[algorithm]

    return model


every_algorithm = pytest.mark.parametrize("algorithm", [*BY_PYOD, "fcf"])


@pytest.mark.parametrize(("algorithm", "kind"), [("ecod", ECOD), ("copod", COPOD)])
def test_ecod_and_copod_score_as_pyod_scores_one_row_alone(
    fitted: Callable[[str], FrozenModel], training: np.ndarray, fresh: np.ndarray, algorithm: str, kind: type[Any]
) -> None:
    oracle = kind().fit(training)
    # Far rows could turn the sign of a column's skewness, which PyOD takes anew with each row.
    rows = np.vstack([fresh[:20], fresh[1000:1030], training.max(axis=0) + 0.1, training.min(axis=0) - 0.1])
    alone = np.array([oracle.decision_function(row[None, :])[0] for row in rows])
    np.testing.assert_allclose(fitted(algorithm).anomaly_score(rows), alone, rtol=1e-12)
    # In PyOD itself the rows of one call change each other's scores, which is why it does not score here.
    assert np.abs(oracle.decision_function(rows) - alone).max() > 0.1


@pytest.mark.parametrize(
    ("algorithm", "parameters", "oracle"),
    [
        ("hbos", {}, HBOS()),
        ("hbos", {"n_bins": 25, "alpha": 0.3, "tol": 0.9}, HBOS(n_bins=25, alpha=0.3, tol=0.9)),
        ("hbos", {"n_bins": "auto"}, HBOS(n_bins="auto")),
        ("knn", {}, KNN()),
        ("knn", {"n_neighbors": 9, "method": "mean"}, KNN(n_neighbors=9, method="mean")),
        ("knn", {"n_neighbors": 4, "method": "median"}, KNN(n_neighbors=4, method="median")),
        ("cblof", {}, CBLOF(random_state=SEED)),
        ("cblof", {"n_clusters": 4, "alpha": 0.6, "beta": 2.0}, CBLOF(4, alpha=0.6, beta=2.0, random_state=SEED)),
        ("pca", {}, PCA()),
    ],
    ids=lambda part: str(part)[:30],
)
def test_the_others_score_as_pyod_does(
    training: np.ndarray, fresh: np.ndarray, algorithm: str, parameters: dict[str, Any], oracle: Any
) -> None:
    model = ALGORITHMS[algorithm].fit(training, SEED, **parameters)
    expected = oracle.fit(training).decision_function(fresh)
    np.testing.assert_allclose(model.anomaly_score(fresh), expected, rtol=1e-9, atol=1e-12)
    assert np.unique(expected).size > 100


def test_hbos_counts_a_value_on_the_border_of_two_bins_to_the_lower_one_as_pyod_does() -> None:
    counts = np.repeat(np.arange(11.0), np.arange(1, 12) ** 2)[:, None]  # ten bins with borders at 0, 1, ..., 10
    rows = np.arange(-3.0, 14.0, 0.25)[:, None]
    expected = HBOS().fit(counts).decision_function(rows)
    np.testing.assert_allclose(ALGORITHMS["hbos"].fit(counts, SEED).anomaly_score(rows), expected, rtol=1e-12)
    assert np.unique(expected).size == 10


@pytest.mark.parametrize("n_neighbors", [1, 20])
def test_lof_scores_as_pyod_does_where_no_two_rows_are_equally_near(n_neighbors: int) -> None:
    random = np.random.default_rng(3)
    X, rows = random.normal(size=(400, 4)), random.normal(scale=2.0, size=(500, 4))
    model = ALGORITHMS["lof"].fit(X, SEED, n_neighbors=n_neighbors)
    expected = LOF(n_neighbors=n_neighbors, novelty=True).fit(X).decision_function(rows)
    np.testing.assert_allclose(model.anomaly_score(rows), expected, rtol=1e-9)


def test_pca_leaves_out_axes_without_variance_that_pyod_divides_by(training: np.ndarray) -> None:
    one_hot = np.column_stack([training, 1.0 - training[:, 4]])
    score = ALGORITHMS["pca"].fit(one_hot, SEED).anomaly_score(one_hot)
    assert score.max() < 1e4
    assert not PCA().fit(one_hot).decision_scores_.max() < 1e10


def test_the_fair_cut_forest_scores_as_isotree_does(training: np.ndarray, fresh: np.ndarray) -> None:
    isotree = pytest.importorskip("isotree", reason="isotree is not installed here: it needs a C++ compiler")
    model = ALGORITHMS["fcf"].fit(training * [1e-9, 1.0, 1e6, 1.0, 1.0], SEED, n_estimators=50, max_samples=128)
    forest = isotree.IsolationForest(
        ntrees=50,
        sample_size=128,
        ndim=2,
        ntry=1,
        prob_pick_pooled_gain=1.0,
        max_depth=None,
        coefs="normal",
        missing_action="fail",
        nthreads=1,
        random_seed=SEED,
    )
    mean, spread = training.mean(axis=0), training.std(axis=0)
    expected = forest.fit((training - mean) / spread).predict((fresh - mean) / spread)
    found = model.anomaly_score(fresh * [1e-9, 1.0, 1e6, 1.0, 1.0])
    assert np.mean(np.abs(found - expected) < 1e-9) > 0.99
    assert np.abs(found - expected).max() < 0.01
    assert np.ptp(expected) > 0.2


@every_algorithm
def test_a_row_has_the_same_score_whatever_batch_it_is_in(
    fitted: Callable[[str], FrozenModel], fresh: np.ndarray, algorithm: str
) -> None:
    model = fitted(algorithm)
    together = model.anomaly_score(fresh)
    alone = np.concatenate([model.anomaly_score(row[None, :]) for row in fresh[::25]])
    np.testing.assert_array_equal(together[::25], alone)
    np.testing.assert_array_equal(together[::-1], model.anomaly_score(fresh[::-1]))
    np.testing.assert_array_equal(together, model.anomaly_score(np.asfortranarray(fresh), threads=1))
    np.testing.assert_array_equal(together, model.anomaly_score(fresh, threads=3))
    contributions = model.attribution(fresh[:40])
    each = np.concatenate([model.attribution(row[None, :]) for row in fresh[:40]])
    np.testing.assert_array_equal(contributions, each)


@every_algorithm
def test_rows_far_out_score_high_and_every_finite_row_scores_finitely(
    fitted: Callable[[str], FrozenModel], training: np.ndarray, algorithm: str
) -> None:
    model = fitted(algorithm)
    random = np.random.default_rng(4)
    normal, far = training[:300], training[:300] + random.choice([-1.0, 1.0], (300, 5)) * 30.0
    far[:, 3:] = normal[:, 3:]
    truth = np.repeat([0, 1], 300)
    assert roc_auc_score(truth, model.anomaly_score(np.concatenate([normal, far]))) > 0.85
    extreme = np.array([[1e30] * 5, [-1e30] * 5, [1e30, -1e30, 0.0, 1e-300, -1e30], [0.0] * 5])
    for rows in (extreme, extreme.astype(np.float32)):
        assert np.isfinite(model.anomaly_score(rows)).all()
        assert np.isfinite(model.attribution(rows)).all()


@every_algorithm
def test_contributions_add_up_to_the_score_above_that_of_the_median_row(
    fitted: Callable[[str], FrozenModel], training: np.ndarray, fresh: np.ndarray, algorithm: str
) -> None:
    model, rows = fitted(algorithm), fresh[::20]
    above = model.anomaly_score(rows) - model.anomaly_score(np.median(training, axis=0)[None, :])
    np.testing.assert_allclose(model.attribution(rows).sum(axis=1), above, rtol=1e-9, atol=1e-9)
    far = np.median(training, axis=0)[None, :] + np.array([[0.0, 40.0, 0.0, 0.0, 0.0]])
    contribution = model.attribution(far)[0]
    assert contribution.argmax() == 1
    assert np.flatnonzero(contribution).tolist() == [1]


numbers = st.floats(-100, 100, allow_nan=False, width=32)


@settings(max_examples=50)
@given(arrays(float, (4, 3), elements=numbers), arrays(float, 3, elements=numbers))
def test_replaced_features_are_given_the_shapley_value_of_a_sum_and_of_a_product(
    points: np.ndarray, typical: np.ndarray
) -> None:
    """A sum goes to its columns; what a product of two columns adds beyond that goes to both in equal parts."""

    def score(rows: np.ndarray) -> np.ndarray:
        return np.asarray(3.0 * rows[:, 0] + rows[:, 1] * rows[:, 2])

    step = points - typical
    both = step[:, 1] * step[:, 2] / 2.0
    expected = np.column_stack([3.0 * step[:, 0], typical[2] * step[:, 1] + both, typical[1] * step[:, 2] + both])
    np.testing.assert_allclose(attribution_from(typical, points, score), expected, atol=1e-8)


@every_algorithm
def test_a_model_comes_back_from_its_arrays_to_the_bit(
    fitted: Callable[[str], FrozenModel], fresh: np.ndarray, algorithm: str
) -> None:
    model = fitted(algorithm)
    saved = model.to_arrays()
    assert all(array.dtype.kind in "fi" for array in saved.values())
    loaded = ALGORITHMS[algorithm].load(saved)
    assert loaded.n_features == 5
    np.testing.assert_array_equal(loaded.anomaly_score(fresh), model.anomaly_score(fresh))
    np.testing.assert_array_equal(loaded.attribution(fresh[:20]), model.attribution(fresh[:20]))


@pytest.mark.parametrize(
    ("algorithm", "name", "damage"),
    [
        ("ecod", "offsets", lambda array: array + 1),
        ("ecod", "breakpoints", lambda array: array[::-1].copy()),
        ("hbos", "values", lambda array: array[1:]),
        ("hbos", "typical", lambda array: array * np.nan),
        ("knn", "n_neighbors", lambda array: array + 10_000),
        ("knn", "distance", lambda array: array + 3),
        ("knn", "sample", lambda array: array.astype(np.float32)),
        ("lof", "density", lambda array: -array),
        ("lof", "reach", lambda array: array[1:]),
        ("cblof", "centres", lambda array: array[:0]),
        ("pca", "shares", lambda array: array * 0),
        ("pca", "axes", lambda array: array[:, 1:].copy()),
        ("fcf", "right", lambda array: np.where(array > 0, 0, array).astype(np.int32)),
        ("fcf", "columns", lambda array: array + np.int32(5)),
        ("fcf", "offsets", lambda array: array[:-1]),
        ("fcf", "weights", lambda array: array[1:]),
        ("fcf", "normal_depth", lambda array: array * 0),
    ],
)
def test_damaged_arrays_are_refused(
    fitted: Callable[[str], FrozenModel], algorithm: str, name: str, damage: Callable[[np.ndarray], np.ndarray]
) -> None:
    saved = fitted(algorithm).to_arrays()
    with pytest.raises(ValueError):
        ALGORITHMS[algorithm].load(saved | {name: damage(saved[name])})


@pytest.mark.parametrize("algorithm", BY_PYOD)
def test_of_more_rows_a_sample_is_learned_from_that_the_seed_draws(training: np.ndarray, algorithm: str) -> None:
    def score(seed: int, size: int) -> np.ndarray:
        return ALGORITHMS[algorithm].fit(training, seed, sample_size=size).anomaly_score(training)

    np.testing.assert_array_equal(score(1, 100), score(1, 100))
    assert not np.array_equal(score(1, 100), score(2, 100))
    np.testing.assert_array_equal(score(1, 600), score(1, 100_000))


@pytest.mark.parametrize(
    ("algorithm", "parameters", "words"),
    [
        ("ecod", {"sample_size": 1}, "sample_size is 1; an integer >= 2 is allowed"),
        ("hbos", {"n_bins": 1}, "n_bins is 1; auto or an integer >= 2 is allowed"),
        ("hbos", {"n_bins": "many"}, "n_bins is 'many'; auto or an integer >= 2"),
        ("hbos", {"n_bins": 2.5}, "n_bins is 2.5; auto or an integer >= 2"),
        ("hbos", {"alpha": 0}, "alpha is 0; a number between 0 and 1 is allowed"),
        ("hbos", {"alpha": None}, "alpha is None; a number between 0 and 1 is allowed"),
        ("hbos", {"n_bins": None}, "n_bins is None; auto or an integer >= 2"),
        ("hbos", {"tol": "half"}, "tol is 'half'; a number between 0 and 1 is allowed"),
        ("knn", {"n_neighbors": 0}, "n_neighbors is 0; an integer >= 1"),
        ("knn", {"method": "least"}, "method is 'least'; allowed: largest, mean, median"),
        ("lof", {"n_neighbors": 2.0}, "n_neighbors is 2.0; an integer >= 1"),
        ("cblof", {"n_clusters": 1}, "n_clusters is 1; an integer >= 2"),
        ("cblof", {"n_clusters": 601}, "n_samples=600 should be >= n_clusters=601"),
        ("cblof", {"beta": 1}, "beta is 1; a number above 1 is allowed"),
        ("fcf", {"n_estimators": 0}, "n_estimators is 0; an integer >= 1"),
        ("fcf", {"max_samples": True}, "max_samples is True; an integer >= 2"),
    ],
)
def test_a_bad_parameter_is_named(training: np.ndarray, algorithm: str, parameters: dict[str, Any], words: str) -> None:
    if algorithm == "fcf":
        pytest.importorskip("isotree", reason="isotree is not installed here: it needs a C++ compiler")
    with pytest.raises(ValueError, match=words):
        ALGORITHMS[algorithm].fit(training, SEED, **parameters)


@every_algorithm
def test_a_single_row_to_learn_from_is_refused_and_few_are_enough(training: np.ndarray, algorithm: str) -> None:
    if algorithm == "fcf":
        pytest.importorskip("isotree", reason="isotree is not installed here: it needs a C++ compiler")
    with pytest.raises(ValueError, match="1 training rows; at least 2 are needed"):
        ALGORITHMS[algorithm].fit(training[:1], SEED)
    few = ALGORITHMS[algorithm].fit(training[:15], SEED)
    assert np.isfinite(few.anomaly_score(training)).all()


@every_algorithm
def test_rows_of_another_width_are_refused(fitted: Callable[[str], FrozenModel], algorithm: str) -> None:
    model = fitted(algorithm)
    for act in (model.anomaly_score, model.attribution):
        with pytest.raises(ValueError, match=r"X has shape \(3, 4\); the model was fitted on \(n, 5\)"):
            act(np.zeros((3, 4)))


@every_algorithm
def test_without_the_library_the_error_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, training: np.ndarray, algorithm: str
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("pyod", "isotree")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "pyod", None)
    monkeypatch.setitem(sys.modules, "isotree", None)
    library = "isotree" if algorithm == "fcf" else "PyOD"
    with pytest.raises(MissingExtraError) as caught:
        ALGORITHMS[algorithm].fit(training, SEED)
    assert str(caught.value).startswith(f"algorithm {algorithm} is fitted with {library}, which can't be imported")
    assert str(caught.value).endswith("install it: pip install 'cxad-pipeline[algorithms]'")
