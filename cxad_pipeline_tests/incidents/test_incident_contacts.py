"""Contacts out of tables, against reading them row by row; leaves that come later."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_examples import METRICS

from cxad_pipeline.incidents import Contacts, SegmentTree, Windows, contacts_of
from cxad_pipeline.incidents.contacts import joined

DIMENSIONS = ("queue", "channel")
START = dt.datetime(2026, 9, 7, tzinfo=dt.UTC)


def table(number: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)

    def gaps(values: np.ndarray) -> list[object]:
        return [None if random.random() < 0.2 else value for value in values.tolist()]

    moments = [START + dt.timedelta(microseconds=int(us)) for us in random.integers(0, 10**12, number)]
    return pa.table(
        {
            "timestamp": pa.array(moments, pa.timestamp("us", "UTC")),
            "queue": pa.array(gaps(random.choice(["b", "a", "unknown"], number)), pa.string()),
            "channel": pa.array(gaps(random.choice(["voice", "chat"], number)), pa.string()).dictionary_encode(),
            "aht": pa.array(gaps(random.gamma(2, 100, number)), pa.float64()),
            "csat": pa.array(gaps(random.integers(1, 6, number)), pa.int64()),
            "complaints": pa.array(gaps(random.integers(0, 2, number)), pa.int64()),
            "ensemble_anomaly": pa.array(random.integers(0, 2, number), pa.int8()),
        }
    )


def chunked(whole: pa.Table, length: int) -> pa.Table:
    return pa.concat_tables([whole.slice(first, length) for first in range(0, whole.num_rows, length)])


def leaves_by_row(contacts: Contacts) -> list[tuple[str, ...]]:
    return [contacts.leaves[leaf] for leaf in contacts.leaf.tolist()]


def same(first: Contacts, second: Contacts) -> None:
    assert leaves_by_row(first) == leaves_by_row(second)
    np.testing.assert_array_equal(first.moments, second.moments)
    for name in first.values:
        np.testing.assert_array_equal(first.values[name], second.values[name])
    np.testing.assert_array_equal(first.complaints, second.complaints)
    np.testing.assert_array_equal(first.flagged, second.flagged)


@pytest.mark.parametrize("length", [1, 7, 500])
def test_contacts_are_those_of_reading_row_by_row_however_the_table_is_cut(length: int) -> None:
    whole = table(200)
    rows = whole.to_pylist()
    contacts = contacts_of(chunked(whole, length), DIMENSIONS, METRICS)
    assert leaves_by_row(contacts) == [(row["queue"] or "unknown", row["channel"] or "unknown") for row in rows]
    assert contacts.leaves == sorted(set(leaves_by_row(contacts)))
    assert contacts.moments.tolist() == [int(row["timestamp"].timestamp()) for row in rows]
    for name in ("aht", "csat"):
        wanted = [np.nan if row[name] is None else row[name] for row in rows]
        np.testing.assert_array_equal(contacts.values[name], wanted)
    assert contacts.complaints is not None
    assert contacts.flagged is not None
    assert np.nansum(contacts.complaints) == sum(row["complaints"] or 0 for row in rows)
    assert contacts.flagged.tolist() == [bool(row["ensemble_anomaly"]) for row in rows]


def test_columns_that_are_absent_have_no_value_and_make_one_unknown_segment() -> None:
    contacts = contacts_of(table(50).select(["timestamp", "queue", "aht"]), DIMENSIONS, METRICS)
    assert {leaf[1] for leaf in contacts.leaves} == {"unknown"}
    assert np.isnan(contacts.values["csat"]).all()
    assert not np.isnan(contacts.values["aht"]).all()
    assert contacts.complaints is None
    assert contacts.flagged is None


@pytest.mark.parametrize("empty", [table(5).slice(0, 0), pa.table({})])
def test_a_window_without_rows_has_no_contact(empty: pa.Table) -> None:
    contacts = contacts_of(empty, DIMENSIONS, METRICS)
    assert len(contacts) == 0
    assert contacts.leaves == []
    assert sorted(contacts.values) == ["aht", "csat"]


def test_a_contact_without_a_timestamp_is_refused() -> None:
    whole = table(4)
    for broken in (
        whole.drop_columns("timestamp"),
        whole.set_column(0, "timestamp", pa.array([None] * 4, pa.timestamp("us", "UTC"))),
    ):
        with pytest.raises(ValueError, match="'timestamp': 4 of 4 contacts have none"):
            contacts_of(broken, DIMENSIONS, METRICS)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.lists(st.integers(0, 60), max_size=4), st.integers(0, 100))
def test_parts_that_are_joined_are_the_whole(number: int, cuts: list[int], seed: int) -> None:
    whole = table(number, seed)
    bounds = sorted({0, number, *(cut for cut in cuts if cut < number)})
    parts = [contacts_of(whole.slice(low, high - low), DIMENSIONS, METRICS) for low, high in pairwise(bounds)]
    same(joined(parts), contacts_of(whole, DIMENSIONS, METRICS))


def test_where_one_part_knows_flags_the_contacts_of_the_others_have_none() -> None:
    scored, trained = table(20), table(20, 1).drop_columns(["ensemble_anomaly", "complaints"])
    contacts = joined([contacts_of(part, DIMENSIONS, METRICS) for part in (scored, trained)])
    assert contacts.flagged is not None
    assert contacts.complaints is not None
    assert contacts.flagged[:20].any()
    assert not contacts.flagged[20:].any()
    assert np.isnan(contacts.complaints[20:]).all()


def test_contacts_of_different_dimensions_are_not_joined() -> None:
    with pytest.raises(ValueError, match="one set of dimensions and metrics"):
        joined([contacts_of(table(5), DIMENSIONS, METRICS), contacts_of(table(5), ("queue",), METRICS)])
    with pytest.raises(ValueError, match="no part"):
        joined([])


def test_the_contacts_of_some_windows_keep_their_leaves() -> None:
    contacts = contacts_of(table(200), DIMENSIONS, METRICS)
    windows = Windows(int(START.timestamp()) + 36_000, 24)
    part = contacts.within(windows)
    inside = windows.of_moments(contacts.moments) >= 0
    assert 0 < len(part) == inside.sum() < 200
    assert leaves_by_row(part) == [leaf for leaf, there in zip(leaves_by_row(contacts), inside, strict=True) if there]


def test_a_contact_of_a_leaf_that_a_tree_does_not_have_is_named() -> None:
    contacts = contacts_of(table(50), DIMENSIONS, METRICS)
    with pytest.raises(ValueError, match="'queue': 'a', 'channel': 'chat'"):
        contacts.leaf_in(SegmentTree.of(DIMENSIONS, contacts.leaves[1:]))


LEAVES = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"), st.sampled_from("mn")),
    min_size=1,
    max_size=12,
    unique=True,
)


@settings(max_examples=200, deadline=None)
@given(LEAVES, st.integers(1, 12))
def test_a_tree_that_grows_keeps_its_segments_and_names_every_new_value_pair_and_leaf(
    leaves: list[tuple[str, ...]], number: int
) -> None:
    names = ("queue", "channel", "language")
    old, new = leaves[:number], leaves[number:]
    tree = SegmentTree.of(names, old)
    grown = tree.extended(new)
    assert grown.leaves == leaves
    assert grown.keys[: len(tree)] == tree.keys
    np.testing.assert_array_equal(grown.members[: len(tree), : len(old)], tree.members)
    # New segments hold new leaves alone, and every leaf is in those that its values name, and in no others.
    assert not grown.members[len(tree) :, : len(old)].any()
    for s, key in enumerate(grown.keys):
        for i in range(len(old), len(leaves)):
            assert grown.members[s, i] == (set(key) <= set(zip(names, leaves[i], strict=True)))
    assert len({inside.tobytes() for inside in grown.members}) == len(grown)
    for i in range(len(old), len(leaves)):
        assert (grown.members[:, i] & (grown.members.sum(axis=1) == 1)).any()
        for of in [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]:
            inside = [all(leaf[d] == leaves[i][d] for d in of) for leaf in leaves]
            if not any(inside[: len(old)]):
                assert (grown.members == inside).all(axis=1).any(), of
    for s in range(len(grown)):
        assert 0 not in grown.above(s)
        for parent in grown.above(s):
            assert grown.level[parent] < grown.level[s]
            assert (grown.members[parent] | ~grown.members[s]).all()
