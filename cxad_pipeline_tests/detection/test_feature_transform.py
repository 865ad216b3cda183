"""One transform for batch and one row: the same bits in any table; missing indicators; what a saved map must hold."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.detection import DetectorConfig
from cxad_pipeline.detection.feature_kernel import write_features
from cxad_pipeline.detection.feature_set import FeatureSet
from cxad_pipeline.detection.features import MOSTLY_MISSING, FeatureMap
from cxad_pipeline.detection.tables import columns_of

EVERYTHING = DetectorConfig(
    numeric=["hold", "csat", "flat"],
    categorical=["channel"],
    segments=["channel"],
    relative_to=["channel", "queue"],
    timestamp="start",
    timezone="Europe/Berlin",
    missing_indicators=True,
)


def training(n: int = 300) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    csat = rng.integers(1, 6, n).astype(float)
    csat[rng.random(n) < 0.7] = np.nan
    return {
        "hold": rng.lognormal(3, 1, n),
        "csat": csat,
        "flat": np.ones(n),
        "channel": rng.choice(["voice", "chat"], n),
        "queue": rng.choice(["billing", "sales"], n),
        "start": 1_780_000_000 + rng.integers(0, 30_000_000, n),
    }


MAP = FeatureMap.fit(training(), EVERYTHING)

row = st.tuples(
    st.one_of(st.floats(), st.none()),
    st.one_of(st.sampled_from([1.0, 5.0, 1e300, -1e300]), st.none()),
    st.sampled_from(["voice", "chat", "fax", "", None]),
    st.sampled_from(["billing", "sales", "vip", "", None]),
    st.one_of(st.integers(0, 4_000_000_000), st.none()),
)


def test_all_kinds_of_features_in_their_order():
    assert MAP.names == [
        *("hold", "csat", "channel=chat", "channel=voice"),
        *("hold relative to channel/queue", "csat relative to channel/queue", "csat missing"),
        *("start hour sine", "start hour cosine", "start weekday sine", "start weekday cosine"),
    ]
    assert MAP.columns_of == ["hold", "csat", "channel", "channel", "hold", "csat", "csat", *["start"] * 4]
    assert MAP.columns == ["hold", "csat", "channel", "start"]


@given(st.lists(row, min_size=1, max_size=20))
def test_one_row_has_the_bits_that_it_has_in_a_batch(rows: list[tuple]):
    names = ("hold", "csat", "channel", "queue", "start")
    columns = {name: [entry[j] for entry in rows] for j, name in enumerate(names)}
    batch = MAP.encode(columns_of(columns))
    assert batch.X.dtype == np.float32
    assert batch.X.flags.c_contiguous
    assert np.isfinite(batch.X).all()
    missing = dict.fromkeys(batch.missing_counts, 0)
    for i, entry in enumerate(rows):
        forms = [
            {name: [value] for name, value in zip(names, entry, strict=True)},
            {name: np.array([value], dtype=object) for name, value in zip(names, entry, strict=True)},
            {name: values[: i + 1][-1:] for name, values in columns.items()},
        ]
        for form in forms:
            alone = MAP.encode(columns_of(form))
            np.testing.assert_array_equal(alone.X[0].view(np.int32), batch.X[i].view(np.int32))
        missing = {name: count + alone.missing_counts[name] for name, count in missing.items()}
    assert missing == batch.missing_counts
    table = pa.table(
        {
            "hold": pa.array(columns["hold"], pa.float64()),
            "csat": pa.array(columns["csat"], pa.float64()),
            "channel": pa.array(columns["channel"], pa.string()),
            "queue": pa.array(columns["queue"], pa.string()).dictionary_encode(),
            "start": pa.array(columns["start"], pa.int64()),
        }
    )
    arrow = MAP.encode(columns_of(table))
    np.testing.assert_array_equal(arrow.X.view(np.int32), batch.X.view(np.int32))
    assert (arrow.missing_counts, arrow.unknown_counts) == (batch.missing_counts, batch.unknown_counts)
    again = FeatureMap.from_dict(json.loads(json.dumps(MAP.to_dict())))
    np.testing.assert_array_equal(again.transform(table).view(np.int32), batch.X.view(np.int32))


def test_a_large_batch_and_its_pieces_have_the_same_bits():
    rows = training(20_000)
    whole = MAP.transform(rows)
    pieces = [MAP.transform({name: v[a : a + 777] for name, v in rows.items()}) for a in range(0, 20_000, 777)]
    np.testing.assert_array_equal(np.vstack(pieces), whole)
    np.testing.assert_array_equal(MAP.transform(pd.DataFrame(rows)), whole)


def test_the_transform_is_compiled_for_one_set_of_types():
    rows = training(10)
    table = pa.table(rows)
    plain = FeatureMap.fit(rows, DetectorConfig(numeric=["hold"]))
    loaded = FeatureMap.from_dict(json.loads(json.dumps(MAP.to_dict())))
    for feature_map in (MAP, loaded, plain):
        for form in (rows, table, table.slice(3, 1), pd.DataFrame(rows), {"hold": [1.0]}):
            feature_map.transform(form)
    assert len(write_features.signatures) == 1


def test_no_rows_give_no_features():
    empty = {name: values[:0] for name, values in training().items()}
    assert MAP.transform(empty).shape == (0, len(MAP.names))
    assert MAP.encode(columns_of(empty)).missing_counts == {"hold": 0, "csat": 0, "channel": 0, "queue": 0, "start": 0}


@pytest.mark.parametrize(
    ("missing", "has_indicator"), [(0, False), (1, True), (500, True), (950, True), (951, False), (998, False)]
)
def test_a_number_has_an_indicator_where_it_is_sometimes_missing(missing: int, has_indicator: bool):
    values = np.arange(1000.0)
    values[:missing] = np.nan
    assert MOSTLY_MISSING == 0.95
    feature_map = FeatureMap.fit({"x": values}, DetectorConfig(numeric=["x"], missing_indicators=True))
    assert feature_map.names == (["x", "x missing"] if has_indicator else ["x"])
    X = feature_map.transform({"x": [np.nan, np.inf, 7.0, None]})
    if has_indicator:
        np.testing.assert_array_equal(X[:, 1], [1, 1, 0, 1])


def test_optional_features_are_off_unless_asked_for():
    config = DetectorConfig(numeric=["hold", "csat"], categorical=["channel"])
    assert FeatureMap.fit(training(), config).names == ["hold", "csat", "channel=chat", "channel=voice"]


def test_what_is_off_needs_no_column():
    plain = FeatureMap.fit(training(), DetectorConfig(numeric=["hold"]))
    encoded = plain.encode(columns_of({"hold": [1.0], "start": ["never read"], "queue": [object()]}))
    assert encoded.missing_counts == {"hold": 0}
    assert encoded.unknown_counts == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fill": [1.0]}, "fill has shape"),
        ({"indicators": ["channel"]}, "missing indicators of columns that are no numbers here: channel"),
    ],
)
def test_a_damaged_map_is_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        FeatureMap.from_dict(MAP.to_dict() | change)


def test_a_feature_set_keeps_everything_when_saved(tmp_path):
    features = FeatureSet.fit(training(), EVERYTHING)
    assert features.X.dtype == np.float32
    features.save(tmp_path)
    again = FeatureSet.load(tmp_path)
    np.testing.assert_array_equal(again.X, features.X)
    assert again.X.dtype == np.float32
    np.testing.assert_array_equal(again.feature_map.transform(training()), features.X)
    assert again.typical.to_dict() == features.typical.to_dict()
    assert again.typical.starts is not None
    assert again.typical.starts.timezone == "Europe/Berlin"
