"""Both estimators keep scikit-learn's manners, and give a right answer or one clear error to any table."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn.exceptions
from sklearn.base import clone, is_outlier_detector
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler
from sklearn.utils.estimator_checks import check_estimator

from cxad_pipeline.detection import IsolationForest, RandomCutForest
from cxad_pipeline.detection.estimator import ForestEstimator, NotFittedError

BOTH = pytest.mark.parametrize("kind", [IsolationForest, RandomCutForest])


def normal(n: int = 400, d: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


@BOTH
@pytest.mark.filterwarnings("ignore:Estimator .* does not inherit:UserWarning")  # scoring must not import scikit-learn
def test_scikit_learns_own_checks_pass_with_default_arguments(kind: type[ForestEstimator]):
    results = check_estimator(kind(), on_skip=None)
    assert len(results) > 40
    assert {result["check_name"] for result in results if result["status"] != "passed"} <= {"check_array_api_input"}


@BOTH
def test_they_work_with_scikit_learns_tools(kind: type[ForestEstimator]):
    X = normal()
    forest = kind(n_estimators=8, random_state=0)
    assert is_outlier_detector(forest)
    copy = clone(forest.set_params(n_estimators=9))
    assert copy.get_params() == forest.get_params()
    assert not hasattr(copy, "forest_")
    pipeline = make_pipeline(RobustScaler(), copy).fit(X)
    assert pipeline.predict([[0.0] * 4, [30.0] * 4]).tolist() == [1, -1]
    search = GridSearchCV(
        forest, {"n_estimators": [2, 4]}, scoring=lambda model, rows: model.score_samples(rows).mean()
    )
    assert search.fit(X).best_params_["n_estimators"] in (2, 4)
    again = pickle.loads(pickle.dumps(copy.fit(X)))  # noqa: S301
    np.testing.assert_array_equal(again.score_samples(X), copy.score_samples(X))


@BOTH
def test_decision_and_prediction_follow_the_offset(kind: type[ForestEstimator]):
    X = normal(1000)
    forest = kind(n_estimators=30, random_state=0).fit(X)
    decision = forest.decision_function(X)
    np.testing.assert_array_equal(decision, forest.score_samples(X) - forest.offset_)
    np.testing.assert_array_equal(forest.predict(X), np.where(decision < 0, -1, 1))
    np.testing.assert_array_equal(kind(n_estimators=30, random_state=0).fit_predict(X), forest.predict(X))
    for share in (0.01, 0.1, 0.5):
        strict = kind(n_estimators=30, random_state=0, contamination=share).fit(X)
        assert (strict.predict(X) == -1).mean() == pytest.approx(share, abs=1e-3)
        np.testing.assert_array_equal(strict.score_samples(X), forest.score_samples(X))


@pytest.mark.parametrize("scoring", ["depth", "codisp"])
def test_the_automatic_offset_takes_strangers_for_outliers_and_few_others(scoring: str):
    X = normal(2000, 6)
    forest = RandomCutForest(scoring=scoring, random_state=0).fit(X)
    assert (forest.predict(normal(500, 6, seed=1)) == 1).mean() > 0.75
    assert (forest.predict(12 + normal(50, 6, seed=2)) == -1).all()
    if scoring == "depth":
        assert forest.offset_ == -1.0
    else:
        lower, upper = np.percentile(forest.anomaly_score(X), [25, 75])
        assert -forest.offset_ == pytest.approx(upper + 3 * (upper - lower), rel=0.05)


@BOTH
def test_before_fit_both_our_error_and_scikit_learns_is_raised(kind: type[ForestEstimator]):
    for error in (NotFittedError, sklearn.exceptions.NotFittedError):
        with pytest.raises(error, match="call fit first"):
            kind().predict(np.eye(2))


def test_without_scikit_learn_imported_the_error_is_ours_and_it_stays_so():
    program = """
import sys
from cxad_pipeline.detection import RandomCutForest
from cxad_pipeline.detection.estimator import NotFittedError
try:
    RandomCutForest().predict([[1.0]])
except NotFittedError as error:
    print(type(error) is NotFittedError, "sklearn" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert ran.stdout.split() == ["True", "False"], ran.stderr


@BOTH
def test_names_of_columns_are_kept_and_compared(kind: type[ForestEstimator]):
    X = pd.DataFrame(normal(50, 2), columns=["hold", "handle"])
    forest = kind(n_estimators=3, random_state=0).fit(X)
    assert forest.feature_names_in_.tolist() == ["hold", "handle"]
    np.testing.assert_array_equal(forest.score_samples(X), forest.score_samples(X.to_numpy()))
    with pytest.raises(ValueError, match="fitted with hold, handle, in this order; X has handle, hold"):
        forest.score_samples(X[["handle", "hold"]])
    assert not hasattr(forest.fit(X.to_numpy()), "feature_names_in_")
    with pytest.raises(TypeError, match="strings and others that are not"):
        forest.fit(pd.DataFrame(np.eye(2), columns=["hold", 1]))


@BOTH
@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1.0, np.nan]], "X holds NaN in row 0, column 1; fill or drop it first"),
        ([[1.0], [-np.inf]], "X holds -inf in row 1, column 0; fill or drop it first"),
        (np.array([1.0, 2.0]), r"X has shape \(2,\); a table \(n, d\) is expected. Reshape your data"),
        (np.zeros((2, 2, 2)), r"X has shape \(2, 2, 2\)"),
        (np.empty((0, 3)), "X has no rows to fit on"),
        (np.empty((3, 0)), "X has no columns"),
        (np.eye(2) * 1j, "Complex data not supported"),
        (scipy.sparse.eye(3).tocsr(), "X is sparse; dense data is required"),
        (scipy.sparse.coo_array(np.eye(3)), "X is sparse; dense data is required"),
        ([["a", "b"]], "X holds str.*, not numbers; convert it first"),
        (np.array([["1", "2"]], dtype=object) + "x", "could not convert string to float"),
        (np.array([["2026-01-01"]], dtype="datetime64[s]"), "X holds datetime64.*, not numbers"),
        ([[1.0, 2.0], [3.0]], "inhomogeneous"),
        (None, r"X has shape \(\)"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_table_that_is_none_gets_one_clear_error(kind: type[ForestEstimator], X: Any, message: str):
    with pytest.raises((ValueError, TypeError), match=message):
        kind(n_estimators=2, random_state=0).fit(X)


@BOTH
def test_a_nan_far_down_is_found_where_it_is(kind: type[ForestEstimator]):
    X = np.zeros((70_000, 2))
    X[69_999, 1] = np.nan
    with pytest.raises(ValueError, match="NaN in row 69999, column 1"):
        kind(n_estimators=2).fit(X)


@BOTH
@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda X: X.astype(np.float32), id="float32"),
        pytest.param(lambda X: X.astype(np.int64), id="int64"),
        pytest.param(lambda X: X.astype(np.int8), id="int8"),
        pytest.param(np.asfortranarray, id="fortran"),
        pytest.param(lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3], id="strided"),
        pytest.param(lambda X: X[::-1][::-1], id="reversed"),
        pytest.param(lambda X: X.tolist(), id="list"),
        pytest.param(lambda X: X.astype(">f8"), id="other byte order"),
        pytest.param(lambda X: X.astype(object), id="object"),
        pytest.param(pd.DataFrame, id="frame"),
    ],
)
def test_the_form_of_a_table_changes_no_bit(kind: type[ForestEstimator], convert: Any):
    X = np.round(20 * normal(300, 3))
    expected = kind(n_estimators=5, random_state=0).fit(X)
    forest = kind(n_estimators=5, random_state=0).fit(convert(X))
    np.testing.assert_array_equal(forest.anomaly_score(convert(X)), expected.anomaly_score(X))
    np.testing.assert_array_equal(forest.attribution(convert(X)), expected.attribution(X))


@BOTH
def test_tables_that_must_not_be_written_to_are_not(kind: type[ForestEstimator]):
    X = normal(3000, 3)
    before = X.copy()
    X.setflags(write=False)
    forest = kind(n_estimators=5, random_state=0).fit(X)
    np.testing.assert_array_equal(forest.anomaly_score(X), forest.anomaly_score(before))
    np.testing.assert_array_equal(X, before)


@BOTH
def test_yes_and_no_are_numbers(kind: type[ForestEstimator]):
    X = np.zeros((200, 3), dtype=bool)
    X[:100, 0] = True
    score = (
        kind(n_estimators=20, random_state=0).fit(X).anomaly_score(np.array([[True, False, False], [True, True, True]]))
    )
    assert score[1] >= score[0]


@BOTH
def test_constant_columns_change_nothing_but_the_draws(kind: type[ForestEstimator]):
    X = np.column_stack([normal(500, 2), np.full(500, 7.0), np.full(500, -1e9)])
    forest = kind(n_estimators=50, random_state=0).fit(X)
    score = forest.anomaly_score([[0.0, 0.0, 7.0, -1e9], [9.0, 9.0, 7.0, -1e9]])
    assert score[1] > 1.3 * score[0]
    np.testing.assert_allclose(forest.attribution(X[:20])[:, 2:], 0.0, atol=0.03)


@BOTH
def test_equal_points_score_alike_and_duplicates_are_no_anomaly(kind: type[ForestEstimator]):
    same = kind(n_estimators=10, random_state=0).fit(np.full((300, 3), 5.0))
    assert np.ptp(same.anomaly_score(np.full((4, 3), 5.0))) == 0
    assert same.predict(np.full((4, 3), 5.0)).tolist() == [1, 1, 1, 1]
    X = normal(1000, 3)
    X[100:] = X[0]  # 90 in 100 are one point
    forest = kind(random_state=0).fit(X)
    score = forest.anomaly_score(X)
    assert score[0] < np.percentile(score[1:100], 5)
    assert forest.anomaly_score([[8.0, 8.0, 8.0]])[0] > score.max()


@BOTH
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 1), (50, 1), (60, 200), (300, 200)])
def test_few_rows_one_column_and_many_columns(kind: type[ForestEstimator], shape: tuple[int, int]):
    X = normal(*shape)
    forest = kind(n_estimators=20, random_state=0).fit(X)
    score, far = forest.anomaly_score(X), forest.anomaly_score(np.full((1, shape[1]), 40.0))
    assert score.shape == (shape[0],)
    assert np.isfinite(score).all()
    assert forest.attribution(X).shape == shape
    if shape[0] >= 50:
        assert far[0] > np.percentile(score, 90)


def test_the_random_cut_forest_sees_the_same_at_every_scale():
    X = np.round(normal(400, 3) * 64) / 64
    rows = np.vstack([X, 3 * X[:20]])
    expected = RandomCutForest(n_estimators=10, random_state=0).fit(X).anomaly_score(rows)
    # 2.0**-996 is about 1e-300; 2.0**1020 takes 3.5 standard deviations to 1e308 and nine to 1e308 still.
    for factor in (2.0**-996, 2.0**-300, 2.0**300, 2.0**996, 2.0**1018):
        score = RandomCutForest(n_estimators=10, random_state=0).fit(X * factor).anomaly_score(rows * factor)
        np.testing.assert_array_equal(score, expected)


def test_the_random_cut_forest_takes_the_ends_of_the_range():
    largest = np.finfo(np.float64).max
    X = np.array([[-largest], [largest]] * 50)
    forest = RandomCutForest(n_estimators=10, random_state=0).fit(X)
    near, between = forest.anomaly_score([[largest], [0.0]])
    assert near == pytest.approx(forest.anomaly_score([[-largest]])[0])
    assert between > 1.5 * near
    mixed = np.column_stack([normal(100, 1) * 1e300, normal(100, 1) * 1e-300])
    forest = RandomCutForest(n_estimators=10, random_state=0).fit(mixed)
    assert forest.anomaly_score([[1e302, 0.0]])[0] > 2 * forest.anomaly_score(mixed).mean()


@pytest.mark.parametrize("value", [1e300, -1e300, 1e39])
def test_the_isolation_forest_refuses_what_float32_cannot_hold(value: float):
    X = normal(100, 2)
    forest = IsolationForest(n_estimators=3, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"up to 3\.40282e\+38 is allowed: scale it"):
        forest.anomaly_score([[0.0, value]])
    with pytest.raises(ValueError, match=r"up to 3\.40282e\+38 is allowed: scale it"):
        forest.fit(np.vstack([X, [[value, 0.0]]]))


def test_the_isolation_forest_takes_the_smallest_numbers_for_nothing():
    # float32, in which scikit-learn compares, has no 1e-300.
    forest = IsolationForest(n_estimators=10, random_state=0).fit(normal(100, 2) * 1e-300)
    np.testing.assert_allclose(forest.anomaly_score([[0.0, 0.0], [1e-300, -1e-300]]), 0.5)


@BOTH
def test_a_seed_may_be_a_generator_which_moves_on(kind: type[ForestEstimator]):
    X = normal()
    generator = np.random.RandomState(0)
    first = kind(n_estimators=3, random_state=generator).fit(X).anomaly_score(X)
    second = kind(n_estimators=3, random_state=generator).fit(X).anomaly_score(X)
    again = kind(n_estimators=3, random_state=np.random.RandomState(0)).fit(X).anomaly_score(X)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("kind", [RandomCutForest, IsolationForest])
def test_a_number_beyond_all_floats_is_refused(kind: type):
    with pytest.raises(ValueError, match="X holds a number beyond all floats"):
        kind(n_estimators=2).fit([[10**400], [1]])
