"""The Random Cut Forest: exact against rrcf's own insertions and against DESIGN's text in plain Python."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cxad_pipeline.detection import RandomCutForest
from cxad_pipeline.detection.estimator import NotFittedError
from cxad_pipeline.detection.forests import RandomCutTrees
from cxad_pipeline.detection.random_cut_growth import freeze_forest, freeze_tree
from cxad_pipeline.detection.random_cut_trees import centre_and_scale, scaled
from cxad_pipeline.detection.tree_arrays import float32_at_most

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")
    import rrcf


def grown(points: np.ndarray, seed: int) -> rrcf.RCTree:
    return rrcf.RCTree(points, index_labels=np.arange(len(points)), random_state=seed)


def lattice(numbers: np.ndarray) -> np.ndarray:
    """The nearest multiples of 1/64, which float32 and rrcf's nine decimals hold exactly."""
    return np.round(numbers * 64) / 64


def frozen(trees: list[rrcf.RCTree], points: np.ndarray, scoring: str = "depth") -> RandomCutTrees:
    """The forest of trees that all grew on `points`, which float32 holds exactly."""
    own = points.astype(np.float32)
    assert (own == points).all()
    return freeze_forest([freeze_tree(tree, own) for tree in trees], np.zeros(points.shape[1]), 1.0, scoring)


def by_the_book(tree: rrcf.RCTree, x: np.ndarray, ancestors: bool = True) -> tuple[float, float]:
    """Depth form and collusive displacement as DESIGN.md words them, by recursion over rrcf's own nodes.

    Without `ancestors` the displacement forgets n(sibling)/(n(node)+1): the wrong formula that tests must catch.
    """
    total = tree.root.n

    def go(node: object, depth: int, largest: float) -> tuple[float, float]:
        leaf = isinstance(node, rrcf.rrcf.Leaf)
        lower, upper = (node.x, node.x) if leaf else tree.get_bbox(node)
        outside = float(np.maximum(lower - x, 0).sum() + np.maximum(x - upper, 0).sum())
        if leaf and outside == 0:
            seen = (1 - node.n / (2 * total)) / (depth + math.log2(node.n + 1))
            return seen, largest
        parts = 1.0 if leaf else outside / (outside + float((upper - lower).sum()))
        here = np.array([1 / (depth + 1), max(node.n, largest)])
        if parts == 1:
            return tuple(here)
        child, sibling = (node.l, node.r) if x[node.q] <= node.p else (node.r, node.l)
        beside = sibling.n / (child.n + 1) if ancestors else 0.0
        return tuple(parts * here + (1 - parts) * np.array(go(child, depth + 1, max(largest, beside))))

    depth_form, displacement = go(tree.root, 0, 0.0)
    return depth_form * math.log2(total + 1), displacement


def test_codisp_is_the_mean_of_many_rrcf_insertions():
    random = np.random.default_rng(7)
    repeats, worst_wrong = 1500, 0.0
    for seed in range(3):
        points = lattice(random.normal(size=(40, 3)))
        points[30:] = points[:10]  # duplicates, so that leaves carry counts
        tree = grown(points, seed)
        forest = frozen([tree], points, "codisp")
        strangers = lattice(np.array([[1], [1], [3], [3]]) * random.normal(size=(4, 3)))
        queries = np.vstack([strangers, points[[2, 20]]])
        expected = forest.anomaly_score(queries)
        for query, expectation in zip(queries, expected, strict=True):
            seen = np.empty(repeats)
            for i in range(repeats):
                tree.insert_point(query, index="new")
                seen[i] = tree.codisp("new")
                tree.forget_point("new")
            error = seen.std(ddof=1) / math.sqrt(repeats)
            assert abs(seen.mean() - expectation) <= 4.5 * error + 1e-9
            wrong = by_the_book(tree, query, ancestors=False)[1]
            worst_wrong = max(worst_wrong, abs(seen.mean() - wrong) / (error + 1e-9))
        for name, array in frozen([tree], points).to_arrays().items():
            np.testing.assert_array_equal(array, frozen([grown(points, seed)], points).to_arrays()[name])
    assert worst_wrong > 9, "the bound must be narrow enough to refuse a wrong formula"


@st.composite
def points_and_queries(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    d = draw(st.integers(1, 4))
    # A coarse lattice makes duplicates, flat boxes and queries on the very edge of a box.
    number = st.integers(-6, 6).map(lambda step: step / 2)
    row = st.lists(number, min_size=d, max_size=d)
    points = np.array(draw(st.lists(row, min_size=2, max_size=30)))
    assume(len(np.unique(points, axis=0)) > 1)
    # Finer, and still such that float32 holds every difference exactly.
    off_lattice = st.lists(st.integers(-20 * 2**14, 20 * 2**14).map(lambda step: step / 2**14), min_size=d, max_size=d)
    return points, np.array(draw(st.lists(row | off_lattice, min_size=1, max_size=8)))


@settings(max_examples=150, deadline=None)
@given(points_and_queries(), st.integers(0, 2**31 - 1))
def test_both_scores_equal_the_text_of_the_design(case: tuple[np.ndarray, np.ndarray], seed: int):
    points, queries = case
    trees = [grown(points, seed), grown(points, seed // 2)]
    forest = frozen(trees, points)
    both = forest.both_scores(np.vstack([queries, points]))
    for i, x in enumerate(np.vstack([queries, points])):
        depth, displacement = np.mean([by_the_book(tree, x) for tree in trees], axis=0)
        assert both["depth"][i] == pytest.approx(depth, rel=1e-9, abs=1e-12)
        assert both["codisp"][i] == pytest.approx(displacement, rel=1e-9, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(points_and_queries(), st.sampled_from(["depth", "codisp"]))
def test_contributions_add_up_to_the_score(case: tuple[np.ndarray, np.ndarray], scoring: str):
    points, queries = case
    forest = frozen([grown(points, 0), grown(points, 1)], points, scoring)
    rows = np.vstack([queries, points])
    contributions = forest.attribution(rows)
    assert (contributions >= 0).all()
    np.testing.assert_allclose(contributions.sum(axis=1), forest.anomaly_score(rows), rtol=1e-12, atol=0)


def test_float32_moves_no_score_by_more_than_a_millionth():
    random = np.random.default_rng(3)
    points = np.round(random.lognormal(0, 2, size=(256, 18)) + 1e5, 9)
    centre, scale = centre_and_scale(points)
    trees, frozen_trees = [grown(points, seed) for seed in range(2)], []
    for tree in trees:
        arrays = freeze_tree(tree, scaled(points, centre, scale))
        q = arrays["cut_dimension"]
        arrays["cut_value"] = np.where(q >= 0, (arrays["cut_value"] - centre[q]) * scale, 0.0)
        frozen_trees.append(arrays)
    forest = freeze_forest(frozen_trees, centre, scale, "depth")
    rows = np.vstack([np.round(random.lognormal(0, 2, size=(30, 18)) + 1e5, 9), 1e5 * random.normal(size=(5, 18))])
    both = forest.both_scores(rows)
    exact = np.array([np.mean([by_the_book(tree, x) for tree in trees], axis=0) for x in rows])
    np.testing.assert_allclose(both["depth"], exact[:, 0], rtol=1e-6)
    np.testing.assert_allclose(both["codisp"], exact[:, 1], rtol=1e-6)
    # Against trees of the same points that were cut otherwise, the comparison must not be trivial.
    other = np.array([np.mean([by_the_book(grown(points, 99), x)], axis=0) for x in rows])
    assert np.abs(other[:, 0] / exact[:, 0] - 1).max() > 0.01


def test_contributions_of_a_grown_forest_add_up_to_its_scores():
    X = np.random.default_rng(0).lognormal(size=(3000, 11)) * np.arange(1, 12)
    for scoring in ("depth", "codisp"):
        forest = RandomCutForest(n_estimators=20, scoring=scoring, random_state=0).fit(X)
        np.testing.assert_allclose(forest.attribution(X).sum(axis=1), forest.anomaly_score(X), rtol=1e-12)


def test_the_column_that_a_point_sticks_out_in_gets_the_contribution():
    X = np.random.default_rng(0).normal(size=(500, 5))
    forest = RandomCutForest(n_estimators=30, random_state=0).fit(X)
    wild = np.zeros((1, 5))
    wild[0, 3] = 50.0
    contributions = forest.attribution(wild)[0]
    assert contributions[3] > 0.9 * contributions.sum()


@pytest.mark.parametrize("scoring", ["depth", "codisp"])
def test_an_outlier_scores_higher_and_the_signs_are_opposite(scoring: str):
    X = np.random.default_rng(0).normal(size=(400, 3))
    forest = RandomCutForest(n_estimators=30, scoring=scoring, random_state=0).fit(X)
    rows = np.array([[0.0, 0.0, 0.0], [8.0, 8.0, 8.0]])
    score = forest.anomaly_score(rows)
    assert score[1] > 2 * score[0]
    np.testing.assert_array_equal(forest.score_samples(rows), -score)


def test_same_seed_same_bits_whatever_the_processes_threads_and_blocks():
    X = np.random.default_rng(1).normal(size=(5000, 4))
    one = RandomCutForest(n_estimators=8, tree_size=64, random_state=3, n_jobs=1).fit(X)
    two = RandomCutForest(n_estimators=8, tree_size=64, random_state=3, n_jobs=2).fit(X)
    score = one.forest_.anomaly_score(X, threads=1)
    np.testing.assert_array_equal(score, two.forest_.anomaly_score(X, threads=3))
    np.testing.assert_array_equal(score[4321:4330], one.anomaly_score(X[4321:4330]))
    np.testing.assert_array_equal(one.forest_.attribution(X, threads=1), one.forest_.attribution(X, threads=3))
    other = RandomCutForest(n_estimators=8, tree_size=64, random_state=4).fit(X)
    assert not np.array_equal(score, other.anomaly_score(X))


def test_a_common_scale_changes_nothing_although_rrcf_rounds_to_nine_decimals():
    X = np.random.default_rng(2).normal(size=(300, 3))
    scores = [
        RandomCutForest(n_estimators=5, random_state=0).fit(X * factor).anomaly_score(X * factor)
        for factor in (1.0, 2.0**-60, 2.0**60)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_a_large_offset_costs_no_resolution():
    X = lattice(np.random.default_rng(2).normal(size=(400, 3)))
    rows = lattice(3 * np.random.default_rng(3).normal(size=(50, 3)))
    near = RandomCutForest(n_estimators=10, random_state=0).fit(X)
    far = RandomCutForest(n_estimators=10, random_state=0).fit(X + 2.0**40)  # as timestamps have it
    np.testing.assert_array_equal(near.anomaly_score(rows), far.anomaly_score(rows + 2.0**40))


def test_every_training_point_finds_its_own_leaf():
    sample = np.random.default_rng(5).lognormal(0, 8, size=(256, 2)) + 1e6
    forest = RandomCutForest(n_estimators=1, tree_size=256, scoring="codisp", random_state=0).fit(sample).forest_
    points = scaled(sample, forest.centre, forest.scale)
    score = forest.anomaly_score(sample)
    leaves = set()
    for x, displacement in zip(points, score, strict=True):
        node, largest = 0, 0.0
        while forest.cut_dimension[node] >= 0:
            goes_left = x[forest.cut_dimension[node]] <= forest.cut_value[node]
            pair = (node + 1, int(forest.right[node]))
            child, sibling = pair if goes_left else pair[::-1]
            largest = max(largest, forest.count[sibling] / (forest.count[child] + 1))
            node = child
        assert (forest.boxes[node, 0] <= x).all()
        assert (x <= forest.boxes[node, 1]).all()
        assert displacement == pytest.approx(largest, rel=1e-9)
        leaves.add(node)
    assert len(leaves) > 200


def test_far_out_points_score_as_high_as_they_can_and_still_by_their_column():
    X = np.random.default_rng(0).normal(size=(500, 3))
    forest = RandomCutForest(n_estimators=20, random_state=0).fit(X)
    rows = np.array([[0.0, 0.0, 1e6], [0.0, 0.0, 1e300], [1e300, 0.0, 1e300], [0.0, 0.0, -1.7e308]])
    np.testing.assert_allclose(forest.anomaly_score(rows), math.log2(257), rtol=1e-4)
    contributions = forest.attribution(rows)
    assert (contributions[[0, 1, 3], 2] > 0.99 * math.log2(257)).all()
    np.testing.assert_allclose(contributions[2, [0, 2]], math.log2(257) / 2, rtol=1e-4)


def test_fit_rounds_points_and_cuts_alike():
    # Far from their centre, float32 joins neighbours; those that it joins must share a leaf, and no tree may fail.
    X = np.repeat([[0.0], [1.0]], [300, 200], axis=0) + np.arange(500.0)[:, None] * 1e-9
    forest = RandomCutForest(n_estimators=10, random_state=0).fit(X).forest_
    assert (forest.count[forest.right < 0] > 1).any()
    assert forest.anomaly_score([[0.5]])[0] > 2 * forest.anomaly_score(X).max()
    cuts = np.array([0.1, 1e-60, 16777217.0, -3.3])
    assert (float32_at_most(cuts).astype(float) <= cuts).all()
    assert (np.nextafter(float32_at_most(cuts), np.float32(np.inf)).astype(float) > cuts).all()


def test_a_constant_table_tells_equal_from_different():
    forest = RandomCutForest(n_estimators=3, random_state=0).fit(np.full((50, 2), 7.0))
    same, different = forest.anomaly_score([[7.0, 7.0], [7.0, 7.1]])
    assert same == pytest.approx(0.5)
    assert different == pytest.approx(math.log2(51))
    np.testing.assert_allclose(forest.attribution([[7.0, 7.0]]), [[0.25, 0.25]])


@pytest.mark.parametrize("X", [[[1.0, 2.0]], [[1.0], [2.0], [2.0]], np.repeat(np.eye(3), 30, axis=0)])
def test_small_and_duplicated_tables_are_scored(X: list):
    score = RandomCutForest(n_estimators=4, random_state=0).fit(X).anomaly_score(X)
    assert np.isfinite(score).all()
    assert (score > 0).all()


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("n_estimators", 0, r"n_estimators is 0; an integer >= 1"),
        ("tree_size", 2.5, r"tree_size is 2.5; an integer >= 1"),
        ("scoring", "height", r"scoring is 'height'; allowed: depth, codisp"),
        ("random_state", -1, r"random_state is -1"),
        ("n_jobs", 0, r"n_jobs is 0"),
        ("contamination", 0.6, r"contamination is 0.6; 'auto' or a share in \(0, 0.5\]"),
    ],
)
def test_bad_arguments_are_named_in_fit_and_not_before(argument: str, value: object, message: str):
    forest = RandomCutForest(**{argument: value})
    assert forest.get_params()[argument] == value
    with pytest.raises(ValueError, match=message):
        forest.fit(np.eye(4))


def test_bad_points_are_named():
    forest = RandomCutForest(n_estimators=2, random_state=0)
    with pytest.raises(NotFittedError, match="call fit first"):
        forest.anomaly_score([[1.0]])
    with pytest.raises(ValueError, match="NaN in row 1, column 0"):
        forest.fit([[1.0], [np.nan]])
    with pytest.raises(ValueError, match="no rows"):
        forest.fit(np.empty((0, 2)))
    forest.fit([[1.0, 2.0], [3.0, 4.0]])
    assert forest.n_features_in_ == 2
    with pytest.raises(ValueError, match="X has 3 features, but RandomCutForest is expecting 2 features"):
        forest.anomaly_score([[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="inf in row 0, column 1"):
        forest.score_samples([[1.0, np.inf]])
