"""Segments, windows and sums against counting by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations, pairwise, product
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_examples import METRICS, MONDAY, Centre

from cxad_pipeline.incidents import MetricRule, Rollups, SegmentTree, Tails, Windows, leaves_of


@pytest.fixture(scope="module")
def centre() -> Centre:
    return Centre(weeks=1)


def test_segments_are_all_contacts_single_values_pairs_and_combinations_of_all_dimensions() -> None:
    values = ["ab", "xyz", "mn", "pq"]
    names = ("queue", "channel", "language", "team")
    tree = SegmentTree.of(names, list(product(*values)))
    one, two = sum(map(len, values)), sum(len(first) * len(second) for first, second in combinations(values, 2))
    assert [int((tree.level == level).sum()) for level in range(5)] == [1, one, two, 0, 2 * 3 * 2 * 2]
    assert tree.keys[0] == ()
    for s, key in enumerate(tree.keys):
        held = [all(leaf[names.index(name)] == value for name, value in key) for leaf in tree.leaves]
        assert tree.members[s].tolist() == held
        parts = [other for other in tree.keys if other and set(other) < set(key)]
        assert sorted(tree.keys[above] for above in tree.above(s)) == sorted(parts)


def test_segments_with_the_same_contacts_are_one() -> None:
    tree = SegmentTree.of(("queue", "channel"), [("a", "voice"), ("b", "voice")])
    assert tree.keys == [(), (("queue", "a"),), (("queue", "b"),)]
    assert not tree.overlap[1, 2]
    assert tree.overlap[0].all()


def test_a_pair_that_is_one_leaf_has_the_leafs_name_and_each_segment_knows_what_its_contacts_share() -> None:
    tree = SegmentTree.of(
        ("queue", "channel", "language"), [("a", "voice", "de"), ("b", "voice", "de"), ("b", "fax", "de")]
    )
    billing, fax = (("queue", "a"),), (("channel", "fax"),)
    assert (("queue", "b"), ("channel", "voice"), ("language", "de")) in tree.keys
    assert not any(len(key) == 2 for key in tree.keys)
    closures = {key: tree.closure(s) for s, key in enumerate(tree.keys)}
    assert closures[()] == (("language", "de"),)
    assert closures[billing] == (("queue", "a"), ("channel", "voice"), ("language", "de"))
    assert closures[fax] == (("queue", "b"), ("channel", "fax"), ("language", "de"))
    assert tree.named((("queue", "b"), ("channel", "fax"))) == fax
    assert tree.named((("language", "de"),)) == ()
    unknown = (("queue", "c"),)
    assert tree.named(unknown) == unknown


def test_a_missing_value_of_a_dimension_makes_a_segment_of_its_own() -> None:
    leaves, leaf = leaves_of({"queue": ["a", None, "a"], "channel": ["x", "x", None]})
    assert leaves == [("a", "unknown"), ("a", "x"), ("unknown", "x")]
    assert leaf.tolist() == [1, 2, 0]


@pytest.mark.parametrize("dimensions", [(), ("queue", "queue")])
def test_dimensions_that_make_no_segments_are_refused(dimensions: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="dimensions"):
        SegmentTree.of(dimensions, [("a",)])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 20_000), st.sampled_from(["UTC", "Asia/Jerusalem", "Asia/Kolkata", "America/New_York"]))
def test_slots_are_hours_of_the_week_on_the_zones_clock(hour: int, timezone: str) -> None:
    windows = Windows(MONDAY + hour * 3_600, 200, 3_600, timezone)
    local = [datetime.fromtimestamp(start, UTC).astimezone(ZoneInfo(timezone)) for start in windows.starts.tolist()]
    assert windows.slot.tolist() == [moment.weekday() * 24 + moment.hour for moment in local]
    assert (np.diff(windows.day) > 0).tolist() == [later.date() > sooner.date() for sooner, later in pairwise(local)]


def test_windows_must_divide_a_day() -> None:
    assert Windows.covering(MONDAY + 10, MONDAY + 21_700, 21_600).number == 2
    with pytest.raises(ValueError, match="divides a day"):
        Windows(MONDAY, 3, 50_000)


def test_sums_are_those_of_a_count_by_hand(centre: Centre) -> None:
    tails = centre.tails()
    rollups = centre.rollups(tails)
    for segment, window in (({}, 30), ({"queue": "b"}, 40), ({"queue": "c", "channel": "chat"}, 100)):
        s = centre.tree.keys.index(tuple(segment.items()))
        rows = centre.inside(window, window + 1, **segment)
        aht, csat, leaf = centre.columns["aht"][rows], centre.columns["csat"][rows], centre.leaf[rows]
        bounded = np.minimum(aht, tails.quantiles[0, -1, leaf])
        assert rollups.contacts[s, window] == rows.sum() > 0
        assert rollups.count[:, s, window].tolist() == [len(aht), (~np.isnan(csat)).sum()]
        assert rollups.total[0, s, window] == pytest.approx(np.log1p(bounded / 60).sum())
        assert rollups.squares[0, s, window] == pytest.approx((np.log1p(bounded / 60) ** 2).sum())
        assert rollups.exceedances[0, 1, s, window] == (aht > tails.quantiles[0, 1, leaf]).sum()
        assert rollups.exceedances[1, 1, s, window] == (csat < -tails.quantiles[1, 1, leaf]).sum()
        assert rollups.complaints[s, window] == centre.complaints[rows].sum()


def test_thresholds_leave_their_share_of_the_history_beyond(centre: Centre) -> None:
    rollups = centre.rollups(centre.tails())
    share = rollups.exceedances[0].sum(axis=(1, 2)) / rollups.count[0].sum()
    np.testing.assert_allclose(share, [0.03, 0.2], atol=0.003)
    assert 0 < rollups.together.sum() / rollups.contacts.sum() <= 0.0075


def test_a_leaf_with_few_values_takes_the_thresholds_of_the_smallest_segment_with_enough() -> None:
    random = np.random.default_rng(0)
    tree = SegmentTree.of(("queue", "channel"), [("a", "x"), ("a", "y"), ("b", "x")])
    leaf = np.repeat([0, 1, 2], [3_000, 50, 2_000])
    values = {"aht": random.gamma(2, 100, size=len(leaf)) * np.array([1, 1, 5])[leaf]}
    tails = Tails.fit(tree, METRICS[:1], leaf, values)
    assert tails.quantiles[0, 1, 0] == pytest.approx(np.quantile(values["aht"][leaf == 0], 0.8))
    assert tails.quantiles[0, 1, 1] == pytest.approx(np.quantile(values["aht"][leaf <= 1], 0.8))
    assert tails.quantiles[0, 1, 2] == pytest.approx(np.quantile(values["aht"][leaf == 2], 0.8))


def test_halves_of_a_period_add_up_and_the_order_of_contacts_does_not_matter(centre: Centre) -> None:
    tails = centre.tails()
    whole = centre.rollups(tails)
    order = np.random.default_rng(0).permutation(len(centre.leaf))
    shuffled = Rollups.of_contacts(
        centre.tree,
        METRICS,
        tails,
        centre.windows,
        centre.moments[order],
        centre.leaf[order],
        {name: column[order] for name, column in centre.columns.items()},
    )
    np.testing.assert_allclose(shuffled.total, whole.total)
    np.testing.assert_array_equal(shuffled.exceedances, whole.exceedances)
    half = centre.without(centre.inside(0, 80))
    other = centre.without(~centre.inside(0, 80))
    np.testing.assert_allclose(half.rollups(tails).squares + other.rollups(tails).squares, whole.squares)
    np.testing.assert_array_equal(whole.between(10, 20).contacts, whole.contacts[:, 10:20])


def test_badness_grows_with_each_metric_towards_its_bad_end_and_ends_at_one_in_a_hundred(centre: Centre) -> None:
    tails = centre.tails()
    leaf = np.zeros(4, dtype=np.int64)
    values = {"aht": np.array([1.0, 900.0, 900.0, 1e7]), "csat": np.array([5.0, 5.0, 1.0, np.nan])}
    badness = sum(tails.badness(m, metric, leaf, values[metric.name]) for m, metric in enumerate(METRICS))
    assert badness[0] == 0
    assert 0 < badness[1] < badness[2]
    assert badness[3] == pytest.approx(np.log(50))


def test_metrics_that_are_bad_together_every_day_do_not_hide_two_that_never_are() -> None:
    random = np.random.default_rng(0)
    common, leaf = random.normal(size=20_000), np.zeros(20_000, dtype=np.int64)
    rules = [MetricRule(name, "high") for name in ("transfers", "effort", "aht")]
    values = {"transfers": common, "effort": common, "aht": random.normal(size=20_000)}
    tails = Tails.fit(SegmentTree.of(("queue",), [("a",)]), rules, leaf, values)
    # Both pairs of one in a hundred and forty, in which the first are no rarer than each of them alone.
    contacts = {"transfers": [1.9, 1.9], "effort": [1.9, 0.0], "aht": [0.0, 1.9]}
    beyond = tails.together(rules, leaf[:2], {name: np.array(column) for name, column in contacts.items()})
    assert beyond.tolist() == [0.0, 1.0]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_the_working_scale_can_be_gone_back_from(values: list[float]) -> None:
    rule = MetricRule("aht", "high", True)
    np.testing.assert_allclose(rule.unworked(rule.worked(np.array(values))), values, rtol=1e-9, atol=1e-9)
