"""Numbers relative to their segment: baselines and shrinkage by hand, the way to a segment, its parent, the root."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.detection import DetectorConfig
from cxad_pipeline.detection.baselines import PRIOR_ROWS, SegmentBaselines
from cxad_pipeline.detection.feature_kernel import LARGEST
from cxad_pipeline.detection.features import FeatureMap
from cxad_pipeline.detection.segments import groups_by_depth, quantiles
from cxad_pipeline.detection.tables import columns_of

CONFIG = DetectorConfig(numeric=["hold"], categorical=["channel"], relative_to=["channel", "queue"])
RELATIVE = "hold relative to channel/queue"


def contacts(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    channel = rng.choice(["voice", "chat", "email", ""], n, p=[0.5, 0.3, 0.18, 0.02])
    queue = rng.choice(["billing", "sales", "vip", ""], n, p=[0.6, 0.36, 0.02, 0.02])
    hold = rng.lognormal(3, 1, n) * np.where(channel == "voice", 10, 1)
    hold[channel == "email"] = 0.0
    hold[rng.random(n) < 0.1] = np.nan
    return {"hold": hold, "channel": channel, "queue": queue}


def expected_relative(training: dict, row: dict, scaling: str) -> float:
    """The definition, in plain Python: lists, medians, no arrays."""
    levels = [()]
    for name in ("channel", "queue"):
        levels.append((*levels[-1], row[name]))
    centre = scale = None
    for key in levels:
        if "" in key:
            break
        members = [
            hold
            for hold, *values in zip(training["hold"], training["channel"], training["queue"], strict=True)
            if tuple(values[: len(key)]) == key and hold == hold
        ]
        if not members:
            break
        if scaling == "standard":
            own_centre, own_scale = statistics.fmean(members), statistics.pstdev(members)
        else:
            low, own_centre, high = quartiles(members)
            own_scale = 1.0 if scaling == "none" else (high - low) or statistics.pstdev(members)
        if centre is None:
            centre, scale = own_centre, own_scale
        else:
            weight = len(members) / (len(members) + 50)
            centre = weight * own_centre + (1 - weight) * centre
            scale = weight * own_scale + (1 - weight) * scale
    if row["hold"] != row["hold"]:
        return 0.0
    z = (row["hold"] - centre) / scale
    if scaling == "robust" and abs(z) > 3:
        return float(np.sign(z) * (3 + np.arcsinh(abs(z) - 3)))
    return z


def quartiles(values: list[float]) -> list[float]:
    if len(values) == 1:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


@pytest.mark.parametrize("scaling", ["robust", "standard", "none"])
def test_every_row_is_compared_with_its_shrunken_segment(scaling: str):
    training, rows = contacts(800), contacts(120, seed=1)
    config = DetectorConfig(numeric=["hold"], relative_to=["channel", "queue"], scaling=scaling)
    feature_map = FeatureMap.fit(training, config)
    assert feature_map.names == ["hold", RELATIVE]
    assert feature_map.columns_of == ["hold", "hold"]
    found = feature_map.transform(rows)[:, 1]
    expected = [
        expected_relative(training, dict(zip(rows, row, strict=True)), scaling)
        for row in zip(*(values.tolist() for values in rows.values()), strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(set(np.round(found, 6))) > 60


def test_the_weight_of_a_segment_by_hand():
    # 100 rows in all: 50 of voice, all 10, and 50 of chat, the numbers 0 to 49.
    training = {"hold": np.r_[np.full(50, 10.0), np.arange(50.0)], "channel": ["voice"] * 50 + ["chat"] * 50}
    baselines = SegmentBaselines.fit(columns_of(training), ["hold"], ["channel"], "robust")
    assert baselines.keys[0] == ()
    assert PRIOR_ROWS == 50
    low, centre, high = np.percentile(training["hold"], [25, 50, 75])
    voice, chat = baselines.keys.index(("voice",)), baselines.keys.index(("chat",))
    assert baselines.centre[:, 0][[0, voice, chat]] == pytest.approx([centre, (10 + centre) / 2, (24.5 + centre) / 2])
    root = high - low
    # Voice never varies: half of the scale of all rows is left.
    assert baselines.scale[:, 0][[0, voice, chat]] == pytest.approx([root, root / 2, (24.5 + root) / 2])


def test_the_usual_of_one_segment_is_far_out_in_another():
    training = contacts(2000)
    voice = float(np.nanmedian(training["hold"][training["channel"] == "voice"]))
    rows = {"hold": np.array([voice] * 3), "channel": ["voice", "chat", "email"], "queue": ["billing"] * 3}
    plain, relative = FeatureMap.fit(training, CONFIG).transform(rows)[:, [0, 4]].T
    assert len(set(plain)) == 1
    assert abs(relative[0]) < 0.3
    assert relative[1] > 3
    assert relative[2] > 6  # e-mail is never on hold


def test_an_unknown_segment_has_the_baseline_of_its_parent():
    feature_map = FeatureMap.fit(contacts(2000), CONFIG)
    column = feature_map.names.index(RELATIVE)

    def relative(channel: str | None, queue: str | None) -> float:
        row = {"hold": [77.0], "channel": [channel], "queue": [queue]}
        return float(feature_map.transform(row)[0, column])

    assert relative("voice", "refunds") == relative("voice", None) == relative("voice", "")
    assert relative("fax", "billing") == relative(None, "billing") == relative(None, None)
    assert len({relative("voice", "billing"), relative("voice", None), relative(None, None)}) == 3
    without_queue = feature_map.encode(columns_of({"hold": [77.0], "channel": ["voice"]}))
    assert without_queue.X[0, column] == np.float32(relative("voice", None))
    assert without_queue.missing_counts == {"hold": 0, "channel": 0, "queue": 1}


def test_a_known_queue_that_its_channel_never_had_stands_for_the_channel():
    training = {"hold": np.arange(90.0), "channel": ["voice"] * 60 + ["chat"] * 30, "queue": ["a"] * 60 + ["b"] * 30}
    feature_map = FeatureMap.fit(training, CONFIG)
    new_pair, channel_alone, root, pair = feature_map.transform(
        {"hold": [80.0] * 4, "channel": ["voice", "voice", None, "chat"], "queue": ["b", None, None, "b"]}
    )[:, -1]
    assert new_pair == channel_alone
    assert len({channel_alone, root, pair}) == 3


def test_infinite_training_values_are_missing_for_the_baseline_too():
    training = contacts(500)
    wild = training | {"hold": np.where(np.isnan(training["hold"]), np.inf, training["hold"])}
    found = [FeatureMap.fit(table, CONFIG).transform(training)[:, -1] for table in (training, wild)]
    np.testing.assert_array_equal(*found)


def test_columns_that_only_tell_segments_apart_are_counted_too():
    feature_map = FeatureMap.fit(contacts(500), CONFIG)
    assert feature_map.columns == ["hold", "channel"]
    rows = {"hold": [1.0] * 3, "channel": ["fax", "voice", None], "queue": ["refunds", "refunds", "sales"]}
    encoded = feature_map.encode(columns_of(rows))
    assert encoded.unknown_counts == {"channel": 1, "queue": 2}
    assert encoded.missing_counts == {"hold": 0, "channel": 1, "queue": 0}


def test_a_missing_number_is_typical_of_its_segment():
    feature_map = FeatureMap.fit(contacts(500), CONFIG)
    X = feature_map.transform({"hold": [np.nan, None], "channel": ["voice", "email"], "queue": ["sales", "sales"]})
    np.testing.assert_array_equal(X[:, feature_map.names.index(RELATIVE)], 0)


def test_many_segments_beyond_the_one_hot_limit_have_baselines():
    agents = np.array([f"a{i}" for i in np.arange(6000) % 300])
    training = {"hold": np.arange(6000) % 300 + np.random.default_rng(0).random(6000), "agent": agents}
    feature_map = FeatureMap.fit(
        training, DetectorConfig(numeric=["hold"], categorical=["agent"], relative_to=["agent"])
    )
    encoded = feature_map.encode(columns_of({"hold": [290.0, 290.0, 290.0], "agent": ["a290", "a5", "stranger"]}))
    known, other, stranger = encoded.X[:, -1]
    assert abs(known) < abs(stranger) < abs(other)
    hot = [value.removeprefix("agent=") for value in feature_map.names[1:-1]]
    assert len(hot) == 100
    assert encoded.unknown_counts == {"agent": 3 - len({"a290", "a5"} & set(hot))}


def test_a_saved_map_gives_the_same_bits():
    training = contacts(400)
    feature_map = FeatureMap.fit(training, CONFIG)
    again = FeatureMap.from_dict(json.loads(json.dumps(feature_map.to_dict())))
    rows = contacts(100, seed=2)
    np.testing.assert_array_equal(again.transform(rows), feature_map.transform(rows))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("keys", [[], ["voice", "sales"]], "comes before its parent"),
        ("keys", [["voice"]], "all rows is not the first"),
        ("scale", [[0.0], [1.0]], "not above 0"),
        ("centre", [[1.0]], "reshape"),
    ],
)
def test_damaged_baselines_are_refused(name: str, value: list, message: str):
    content = {"by": ["channel", "queue"], "keys": [[], ["voice"]], "centre": [[0.0], [1.0]], "scale": [[1.0], [1.0]]}
    assert SegmentBaselines.from_dict(content, 1).keys == ((), ("voice",))
    with pytest.raises(ValueError, match=message):
        SegmentBaselines.from_dict(content | {name: value}, 1)


def test_wild_values_stay_finite_and_in_order():
    feature_map = FeatureMap.fit(contacts(400), CONFIG)
    hold = np.array([-1e308, -1e300, 0, 1e300, 1e308])
    column = feature_map.transform({"hold": hold, "channel": ["email"] * 5, "queue": ["sales"] * 5})[:, -1]
    assert np.isfinite(column).all()
    assert (np.diff(column) >= 0).all()
    assert np.abs(column).max() <= 3 + np.arcsinh(LARGEST)


segments = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["x", "y", "z", None])), min_size=1)


@given(segments)
def test_groups_are_those_that_a_dictionary_finds(rows: list[tuple[str | None, str | None]]):
    table = columns_of(
        {"first": np.array([r[0] for r in rows], object), "second": np.array([r[1] for r in rows], object)}
    )
    levels = groups_by_depth([table.categories("first"), table.categories("second")], len(rows))
    values = np.arange(len(rows), dtype=float)
    for depth, level in enumerate(levels):
        expected: dict[tuple, list[float]] = {}
        for number, row in enumerate(rows):
            if None not in row[:depth]:
                expected.setdefault(row[:depth], []).append(float(number))
        found = dict(zip(level.keys, (group.tolist() for group in level.sorted_values(values)), strict=True))
        assert found == expected
        assert dict(zip(level.keys, level.counts().tolist(), strict=True)) == {k: len(v) for k, v in expected.items()}
        assert [level.keys[g] if g >= 0 else None for g in level.of_row] == [
            row[:depth] if None not in row[:depth] else None for row in rows
        ]


def test_segments_too_many_to_mark_are_grouped_the_same(monkeypatch: pytest.MonkeyPatch):
    table = columns_of(contacts(300))
    parts = [table.categories("channel"), table.categories("queue")]
    marked = groups_by_depth(parts, 300)
    monkeypatch.setattr("cxad_pipeline.detection.segments._COUNTED", 0)
    for one, other in zip(marked, groups_by_depth(parts, 300), strict=True):
        assert one.keys == other.keys
        np.testing.assert_array_equal(one.of_row, other.of_row)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: list[float], level: float):
    assert quantiles(np.sort(values), [level])[0] == pytest.approx(np.quantile(values, level), abs=1e-6)


def test_quantiles_of_the_largest_numbers_are_finite():
    assert quantiles(np.array([-1.7e308, 1.7e308]), [0.25, 0.5]) == pytest.approx([-0.85e308, 0.0])
