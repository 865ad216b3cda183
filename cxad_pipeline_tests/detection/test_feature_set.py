"""The feature set: its map knows the growing rows alone, in every kind of table, and encodes all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.detection import DetectorConfig
from cxad_pipeline.detection.feature_set import FeatureSet
from cxad_pipeline.detection.features import FeatureMap
from cxad_pipeline.detection.tables import ChosenRows, TableError, columns_of

CONFIG = DetectorConfig(
    numeric=["hold", "csat"],
    categorical=["channel"],
    segments=["channel"],
    relative_to=["channel", "queue"],
    timestamp="start",
    timezone="Europe/Berlin",
    missing_indicators=True,
    random_state=5,
)
Columns = dict[str, np.ndarray]


def contacts(n: int = 400) -> Columns:
    random = np.random.default_rng(1)
    csat = random.integers(1, 6, n).astype(float)
    csat[random.random(n) < 0.3] = np.nan
    return {
        "hold": random.lognormal(3, 1, n),
        "csat": csat,
        "channel": random.choice(["voice", "chat", "email", ""], n).astype(object),
        "queue": random.choice(["billing", "sales", "vip"], n).astype(object),
        "start": 1_780_000_000 + random.integers(0, 30_000_000, n),
    }


def in_chunks(columns: Columns) -> pa.Table:
    table = pa.table(columns)
    return pa.concat_tables([table.slice(0, 150), table.slice(150)])


def with_other_index(columns: Columns) -> pd.DataFrame:
    frame = pd.DataFrame(columns).astype({"channel": "category"})
    return frame.set_index(np.arange(len(frame))[::-1] * 7)


KINDS: dict[str, tuple[Callable[[Columns], Any], Callable[[Any, np.ndarray], Any]]] = {
    "arrow": (in_chunks, lambda table, rows: table.filter(pa.array(rows))),
    "pandas": (with_other_index, lambda table, rows: table[rows]),
    "arrays": (lambda columns: columns, lambda table, rows: {name: values[rows] for name, values in table.items()}),
    "lists": (
        lambda columns: {name: values.tolist() for name, values in columns.items()},
        lambda table, rows: {name: np.array(values, dtype=object)[rows] for name, values in table.items()},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_feature_map_is_that_of_a_table_of_the_growing_rows(kind: str):
    make, rows_of = KINDS[kind]
    table = make(contacts())
    feature_set = FeatureSet.fit(table, CONFIG)
    alone = FeatureMap.fit(rows_of(table, ~feature_set.held_out), CONFIG)
    assert feature_set.feature_map.to_dict() == alone.to_dict()
    assert alone.to_dict() != FeatureMap.fit(table, CONFIG).to_dict()
    np.testing.assert_array_equal(feature_set.X, alone.transform(table))
    assert feature_set.held_out.sum() == 100


def test_what_held_out_rows_hold_does_not_change_the_feature_map():
    columns = contacts()
    first = FeatureSet.fit(columns, CONFIG)
    other = {name: values.copy() for name, values in columns.items()}
    held_out = np.flatnonzero(first.held_out)
    other["hold"][held_out] = -1e300
    other["csat"][held_out] = np.nan
    other["channel"][held_out] = "fax"
    other["queue"][held_out] = "refunds"
    other["start"][held_out] = 0
    second = FeatureSet.fit(other, CONFIG)
    np.testing.assert_array_equal(second.held_out, first.held_out)
    assert second.feature_map.to_dict() == first.feature_map.to_dict()
    assert second.feature_map.encode(columns_of(other)).unknown_counts == {"channel": 100, "queue": 100}
    # What is typical, in the reasons, is that of all rows.
    assert second.typical.category_shares["channel"]["fax"] == 0.25
    growing = np.flatnonzero(~first.held_out)
    other["hold"][growing[0]] *= 2
    assert FeatureSet.fit(other, CONFIG).feature_map.to_dict() != first.feature_map.to_dict()


def test_a_column_that_varies_in_held_out_rows_alone_is_dropped():
    columns = contacts() | {"flag": np.zeros(400)}
    config = DetectorConfig(numeric=["hold", "flag"], categorical=["channel"])
    columns["flag"][FeatureSet.fit(columns, config).held_out] = np.arange(100)
    feature_set = FeatureSet.fit(columns, config)
    assert feature_set.feature_map.dropped == ("flag",)
    assert feature_set.typical.columns == ("hold",)
    with pytest.raises(TableError, match="nothing to learn from: constant in training: flag"):
        FeatureSet.fit(columns, DetectorConfig(numeric=["flag"]))


rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "", None]), st.one_of(st.floats(), st.none()), st.booleans()), min_size=1
)


@given(rows)
def test_chosen_rows_are_seen_as_a_table_of_them_would_be(drawn: list[tuple[str | None, float | None, bool]]):
    table = pa.table(
        {
            "c": pa.array([text for text, _, _ in drawn], pa.string()),
            "x": pa.array([number for _, number, _ in drawn], pa.float64()),
            "t": pa.array(range(len(drawn))),
        }
    )
    chosen = np.array([is_chosen for _, _, is_chosen in drawn])
    arrays = {"c": np.array([text for text, _, _ in drawn], dtype=object)}
    arrays |= {"x": table["x"].to_numpy(), "t": table["t"].to_numpy()}
    for whole, part in (
        (table, table.filter(pa.array(chosen))),
        (arrays, {name: values[chosen] for name, values in arrays.items()}),
    ):
        view, alone = ChosenRows(columns_of(whole), chosen), columns_of(part)
        assert (view.names, view.n_rows) == (alone.names, alone.n_rows)
        assert columns_of(view) is view
        np.testing.assert_array_equal(view.numeric("x"), alone.numeric("x"))
        np.testing.assert_array_equal(view.floats("x"), alone.floats("x"))
        np.testing.assert_array_equal(view.seconds("t"), alone.seconds("t"))
        np.testing.assert_array_equal(view.codes("c", {"b": 0, "a": 1}), alone.codes("c", {"b": 0, "a": 1}))
        found, expected = view.categories("c"), alone.categories("c")
        assert [found.text(row) for row in range(view.n_rows)] == [expected.text(row) for row in range(view.n_rows)]
        # An empty string counts as missing; Arrow keeps it among the values nonetheless.
        assert [value for value in expected.values if value] == found.values
        assert found.codes.dtype == expected.codes.dtype
