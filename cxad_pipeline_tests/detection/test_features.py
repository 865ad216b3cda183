"""Features: scaling by hand, missing and unknown values, the three kinds of table, errors that name the column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.detection import DetectorConfig
from cxad_pipeline.detection.feature_kernel import LARGEST, scaled
from cxad_pipeline.detection.features import MAX_CATEGORIES, FeatureMap
from cxad_pipeline.detection.tables import TableError, columns_of

HOLD = [0.0, 10.0, 20.0, 30.0, 40.0, None]
CHANNEL = ["voice", "chat", "voice", None, "email", ""]
TRAINING = pa.table({"hold": HOLD, "channel": CHANNEL, "flat": [1] * 6, "day": ["mo"] * 6})
CONFIG = DetectorConfig(numeric=["hold", "flat"], categorical=["channel", "day"])


def test_robust_scaling_by_hand():
    feature_map = FeatureMap.fit(TRAINING, CONFIG)
    assert feature_map.names == ["hold", "channel=chat", "channel=email", "channel=voice"]
    assert feature_map.columns_of == ["hold", "channel", "channel", "channel"]
    assert feature_map.columns == ["hold", "channel"]
    assert feature_map.dropped == ("flat", "day")
    # With the missing value filled by the median 20: quartiles 12.5, 20, 27.5.
    rows = {"hold": [20.0, 35.0, None, 20 + 15 * 7.0], "channel": ["chat", "voice", None, "fax"]}
    X = feature_map.transform(pa.table(rows))
    assert X.dtype == np.float32
    np.testing.assert_allclose(X[:, 0], [0, 1, 0, 3 + np.arcsinh(4)], rtol=1e-6)
    np.testing.assert_array_equal(X[:, 1:], [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("imputation", "scaling", "expected"),
    [
        ("mean", "none", [5.0, 20.0]),
        ("zero", "none", [5.0, 0.0]),
        ("median", "standard", [(5 - 20) / np.std([0, 10, 20, 30, 40, 20]), 0.0]),
    ],
)
def test_other_imputations_and_scalings(imputation: str, scaling: str, expected: list[float]):
    config = DetectorConfig(numeric=["hold"], imputation=imputation, scaling=scaling)
    X = FeatureMap.fit(TRAINING, config).transform(pa.table({"hold": [5.0, None]}))
    np.testing.assert_allclose(X[:, 0], expected, rtol=1e-6)


def test_without_an_interquartile_range_the_standard_deviation_scales():
    values = [1.0] * 30 + [101.0]
    feature_map = FeatureMap.fit({"x": np.array(values)}, DetectorConfig(numeric=["x"]))
    assert feature_map.scale[0] == pytest.approx(np.std(values))


def compressed(z: float) -> float:
    return scaled(z, 0.0, 1.0, True)


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30))
def test_compression_keeps_the_order(a: float, b: float):
    assert compressed(min(a, b)) <= compressed(max(a, b))
    assert compressed(-a) == -compressed(a)
    if abs(a) <= 3:
        assert compressed(a) == a
    else:
        assert abs(compressed(a)) == pytest.approx(3 + np.arcsinh(abs(a) - 3))


def test_compression_has_no_step_and_no_kink_at_three():
    below, at, above = compressed(3 - 1e-6), compressed(3.0), compressed(3 + 1e-6)
    assert at - below == pytest.approx(1e-6, rel=1e-3)
    assert above - at == pytest.approx(1e-6, rel=1e-3)


def test_infinite_counts_as_missing_and_huge_stays_finite():
    feature_map = FeatureMap.fit({"x": np.array([0.0, 1, 2, 3, np.inf])}, DetectorConfig(numeric=["x"]))
    encoded = feature_map.encode(columns_of({"x": np.array([np.inf, -np.inf, np.nan, 1e308, -1e308])}))
    assert encoded.missing_counts == {"x": 3}
    np.testing.assert_array_equal(encoded.X[:3, 0], 0)
    assert np.isfinite(encoded.X).all()
    assert encoded.X[3, 0] > 50 > -50 > encoded.X[4, 0]
    plain = FeatureMap.fit({"x": np.array([0.0, 1, 2])}, DetectorConfig(numeric=["x"], scaling="none"))
    X = plain.transform({"x": np.array([1e300, -1e300, 1e308])})
    np.testing.assert_array_equal(X[:, 0], np.array([LARGEST, -LARGEST, LARGEST], dtype=np.float32))


def test_huge_training_values_give_finite_features():
    values = np.array([-1.7e308, -1e300, 0.0, 1e300, 1.7e308, np.nan])
    for scaling in ("robust", "standard", "none"):
        config = DetectorConfig(numeric=["x"], categorical=["c"], scaling=scaling, relative_to=["c"])
        X = FeatureMap.fit({"x": values, "c": list("aaabbb")}, config).transform({"x": values, "c": list("aaabbb")})
        assert np.isfinite(X).all()
        assert (np.diff(X[:5, 0]) >= 0).all()
        assert X[0, 0] < X[4, 0]


def test_unknown_missing_and_absent_are_counted():
    feature_map = FeatureMap.fit(TRAINING, CONFIG)
    encoded = feature_map.encode(columns_of(pa.table({"channel": ["fax", "fax", None, "", "voice"]})))
    assert encoded.unknown_counts == {"channel": 2}
    assert encoded.missing_counts == {"hold": 5, "channel": 2}
    np.testing.assert_array_equal(encoded.X[:, 0], 0)
    with pytest.raises(TableError, match="none of the columns hold, channel; it has other"):
        feature_map.transform(pa.table({"other": [1]}))


def test_arrow_pandas_and_arrays_give_the_same_features():
    frame = TRAINING.to_pandas()
    frame["channel"] = frame["channel"].astype("category")
    arrays = {
        "hold": np.array(HOLD, dtype=object),
        "channel": np.array(CHANNEL, dtype=object),
        "flat": np.ones(6),
        "day": np.array(["mo"] * 6),
    }
    chunked = pa.concat_tables([TRAINING.slice(0, 2), TRAINING.slice(2)])
    coded = TRAINING.set_column(1, "channel", TRAINING["channel"].dictionary_encode())
    expected = FeatureMap.fit(TRAINING, CONFIG).transform(TRAINING)
    for table in (frame, arrays, chunked, coded):
        feature_map = FeatureMap.fit(table, CONFIG)
        np.testing.assert_array_equal(feature_map.transform(table), expected)
        np.testing.assert_array_equal(FeatureMap.from_dict(feature_map.to_dict()).transform(TRAINING), expected)


def test_integers_and_booleans_are_numbers_and_may_be_categories():
    table = pa.table({"n": [1, 2, None, 4], "b": [True, False, None, True], "code": [7, 8, 7, 9]})
    config = DetectorConfig(numeric=["n", "b"], categorical=["code"], scaling="none")
    feature_map = FeatureMap.fit(table, config)
    assert feature_map.names == ["n", "b", "code=7", "code=8", "code=9"]
    np.testing.assert_array_equal(feature_map.transform(table)[:, 1], [1, 0, 1, 1])
    frame = pd.DataFrame({"n": [1, 2, 3, 4], "b": [True, False, True, True], "code": [7, 8, 7, 9]})
    np.testing.assert_array_equal(feature_map.transform(frame)[:, 2], [1, 0, 1, 0])


def test_only_the_most_frequent_categories_get_a_feature():
    values = [f"agent{i:03d}" for i in range(MAX_CATEGORIES + 20)] + [f"agent{i:03d}" for i in range(20, 120)]
    feature_map = FeatureMap.fit({"agent": np.array(values)}, DetectorConfig(numeric=(), categorical=["agent"]))
    assert feature_map.names == [f"agent=agent{i:03d}" for i in range(20, 120)]


def test_errors_name_the_column_and_what_there_is():
    with pytest.raises(TableError, match="lacks 'csat', 'queue'; it has hold, channel, flat, day"):
        FeatureMap.fit(TRAINING, DetectorConfig(numeric=["hold", "csat"], segments=["queue"]))
    with pytest.raises(TableError, match="column 'channel' is to be numeric and holds string"):
        FeatureMap.fit(TRAINING, DetectorConfig(numeric=["channel"]))
    with pytest.raises(TableError, match="column 'channel' is to be numeric and holds text"):
        FeatureMap.fit({"channel": np.array(["a", None], dtype=object)}, DetectorConfig(numeric=["channel"]))
    with pytest.raises(TableError, match="nothing to learn from: constant in training: flat, day"):
        FeatureMap.fit(TRAINING, DetectorConfig(numeric=["flat"], categorical=["day"]))
    with pytest.raises(TableError, match="table of type list"):
        FeatureMap.fit([1, 2], CONFIG)
    with pytest.raises(TableError, match="column 'x' is to be numeric and holds list"):
        columns_of({"x": np.array([[1], None], dtype=object)}).numeric("x")
    with pytest.raises(TableError, match="lacks 'team', 'start'; it has hold, channel, flat, day"):
        FeatureMap.fit(TRAINING, DetectorConfig(numeric=["hold"], relative_to=["team"], timestamp="start"))
    with pytest.raises(TableError, match="one length"):
        columns_of({"a": np.zeros(2), "b": np.zeros(3)})
