"""The Isolation Forest: equal to scikit-learn's, and its contributions to a walk along scikit-learn's own trees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest as Reference

from cxad_pipeline.detection import IsolationForest
from cxad_pipeline.detection.estimator import NotFittedError
from cxad_pipeline.detection.forests import average_path_length


def table(n: int = 700, d: int = 6) -> np.ndarray:
    random = np.random.default_rng(0)
    X = random.lognormal(size=(n, d))
    X[: n // 3] = np.round(X[: n // 3])
    return X


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"max_samples": 31, "n_estimators": 20}, {"max_samples": 31, "n_estimators": 20}),
        ({"max_samples": 0.5, "max_features": 0.5}, {"max_samples": 350, "max_features": 3}),
        ({"max_samples": 10_000}, {"max_samples": 700}),
        ({"max_samples": 1, "n_estimators": 3}, {"max_samples": 1, "n_estimators": 3}),
        ({"max_samples": 2, "n_estimators": 3}, {"max_samples": 2, "n_estimators": 3}),
    ],
)
def test_scores_equal_those_of_scikit_learn(ours: dict, theirs: dict):
    X = table()
    # Between two float32 numbers: only a comparison in scikit-learn's precision agrees.
    rows = np.vstack([X, 3 * X[:50], np.nextafter(X, np.inf), -X[:50]])
    forest = IsolationForest(random_state=5, **ours).fit(X)
    reference = Reference(random_state=5, **theirs).fit(X)
    np.testing.assert_allclose(forest.score_samples(rows), reference.score_samples(rows), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(forest.anomaly_score(rows), -forest.score_samples(rows))


def test_cuts_on_an_asinh_scale_are_those_of_a_forest_grown_on_arcsinh():
    X = 40 * table()
    rows = np.vstack([X, -3 * X[:50], 1e6 * X[:20]])
    forest = IsolationForest(random_state=5, cut_scale="asinh").fit(X)
    reference = Reference(random_state=5).fit(np.arcsinh(X))
    np.testing.assert_allclose(forest.score_samples(rows), reference.score_samples(np.arcsinh(rows)), rtol=0, atol=1e-9)
    linear = IsolationForest(random_state=5).fit(X)
    assert np.abs(forest.score_samples(rows) - linear.score_samples(rows)).max() > 0.01
    np.testing.assert_allclose(
        forest.attribution(rows).sum(axis=1), forest.anomaly_score(rows) - forest.forest_.base_score, atol=1e-9
    )


def test_thresholds_are_compared_in_float32():
    X = table()
    forest = IsolationForest(n_estimators=20, random_state=0).fit(X)
    reference = Reference(n_estimators=20, random_state=0).fit(X)
    cuts = np.concatenate([tree.tree_.threshold[tree.tree_.feature == 0] for tree in reference.estimators_])
    rows = np.full((len(cuts), 6), 1.0)
    rows[:, 0] = np.nextafter(cuts, np.inf)
    np.testing.assert_allclose(forest.score_samples(rows), reference.score_samples(rows), rtol=0, atol=1e-9)
    assert len(np.unique(np.round(forest.score_samples(rows), 9))) > 10
    above_base = forest.anomaly_score(rows) - forest.forest_.base_score
    np.testing.assert_allclose(forest.attribution(rows).sum(axis=1), above_base, rtol=0, atol=1e-12)


def test_contributions_follow_the_change_of_the_mean_depth_of_training_points():
    X = table(700, 4)
    forest = IsolationForest(n_estimators=12, max_features=3, random_state=1).fit(X)
    reference = Reference(n_estimators=12, max_features=3, random_state=1).fit(X)
    rows = np.vstack([X[:30], 10 * X[:5]])
    shortening, roots = np.zeros(rows.shape), []
    for tree, columns, sample in zip(
        reference.estimators_, reference.estimators_features_, reference.estimators_samples_, strict=True
    ):
        inner = tree.tree_
        # What the tree's own training points show, each sent down it by scikit-learn.
        visits = tree.decision_path(X[sample][:, columns].astype(np.float32)).toarray()
        isolated = visits.sum(axis=1) - 1 + average_path_length(visits.sum(axis=0)[tree.apply(X[sample][:, columns])])
        expected = (visits * isolated[:, None]).sum(axis=0) / visits.sum(axis=0)
        roots.append(expected[0])
        for i, path in enumerate(tree.decision_path(rows[:, columns].astype(np.float32))):
            nodes = path.indices  # in preorder, hence from the root down
            for parent, child in pairwise(nodes):
                shortening[i, columns[inner.feature[parent]]] += expected[parent] - expected[child]
    contributions = forest.attribution(rows)
    score = forest.anomaly_score(rows)
    base = 2 ** (-np.mean(roots) / average_path_length(256))
    assert forest.forest_.base_score == pytest.approx(base, abs=1e-12)
    assert base < 0.49  # other than the score of the normal depth
    scale = (score - base) / shortening.sum(axis=1)
    assert (scale > 0).all()
    np.testing.assert_allclose(contributions, shortening * scale[:, None], rtol=0, atol=1e-12)
    np.testing.assert_allclose(contributions.sum(axis=1), score - base, rtol=0, atol=1e-12)


def test_the_wild_column_gets_the_contribution():
    X = np.random.default_rng(0).normal(size=(600, 5))
    forest = IsolationForest(random_state=0).fit(X)
    wild = np.zeros((1, 5))
    wild[0, 2] = 20.0
    contributions = forest.attribution(wild)[0]
    assert contributions.argmax() == 2
    assert contributions[2] > 0


def test_a_constant_table_scores_one_half():
    forest = IsolationForest(n_estimators=5, random_state=0).fit(np.full((30, 2), 3.0))
    np.testing.assert_allclose(forest.anomaly_score([[3.0, 3.0], [9.0, 9.0]]), 0.5)
    np.testing.assert_array_equal(forest.attribution([[3.0, 3.0]]), 0.0)
    assert forest.forest_.base_score == 0.5


@pytest.mark.parametrize("contamination", ["auto", 0.05, 0.5])
def test_predictions_equal_those_of_scikit_learn(contamination: str | float):
    X = table()
    forest = IsolationForest(n_estimators=20, random_state=5, contamination=contamination).fit(X)
    reference = Reference(n_estimators=20, random_state=5, contamination=contamination).fit(X)
    rows = np.vstack([X, 3 * X[:50]])
    assert forest.offset_ == pytest.approx(reference.offset_, abs=1e-9)
    np.testing.assert_allclose(forest.decision_function(rows), reference.decision_function(rows), rtol=0, atol=1e-9)
    clear = np.abs(reference.decision_function(rows)) > 1e-9
    np.testing.assert_array_equal(forest.predict(rows)[clear], reference.predict(rows)[clear])
    assert (forest.predict(rows) == -1).any()


def test_a_generator_is_drawn_from_as_scikit_learn_does():
    X = table()
    forest = IsolationForest(n_estimators=5, random_state=np.random.RandomState(3)).fit(X)
    reference = Reference(n_estimators=5, random_state=np.random.RandomState(3)).fit(X)
    np.testing.assert_allclose(forest.score_samples(X), reference.score_samples(X), rtol=0, atol=1e-9)


def test_threads_and_blocks_change_no_bit():
    X = np.random.default_rng(1).normal(size=(5000, 4))
    forest = IsolationForest(n_estimators=10, random_state=0).fit(X).forest_
    score = forest.anomaly_score(X, threads=1)
    np.testing.assert_array_equal(score, forest.anomaly_score(X, threads=3))
    np.testing.assert_array_equal(score[99:105], forest.anomaly_score(X[99:105]))


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("n_estimators", -1, r"n_estimators is -1; an integer >= 1"),
        ("max_samples", "all", r"max_samples is 'all'; 'auto', an integer >= 1 or a share"),
        ("max_samples", 1.5, r"max_samples is 1.5"),
        ("cut_scale", "log", r"cut_scale is 'log'; allowed: linear, asinh"),
        ("max_features", 0, r"max_features is 0; an integer >= 1 or a share in \(0, 1\]"),
        ("contamination", "a lot", r"contamination is 'a lot'; 'auto' or a share in \(0, 0.5\]"),
    ],
)
def test_bad_arguments_are_named_in_fit(argument: str, value: object, message: str):
    with pytest.raises(ValueError, match=message):
        IsolationForest(**{argument: value}).fit(np.eye(4))


def test_bad_points_are_named():
    forest = IsolationForest(n_estimators=3, random_state=0)
    with pytest.raises(NotFittedError, match="call fit first"):
        forest.score_samples([[1.0]])
    with pytest.raises(ValueError, match=r"X holds a value of size 1e\+300; up to 3.40282e\+38 is allowed"):
        forest.fit([[1.0], [1e300]])
