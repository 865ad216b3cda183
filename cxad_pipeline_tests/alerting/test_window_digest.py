"""The figures of a digest against an independent count."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from alerting_examples import DIMENSIONS, END, METRICS, START, digest_of, flagged, morning, row
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, nbinom

from cxad_pipeline.alerting import as_text, build_digest
from cxad_pipeline.alerting.rates import smallest_high_count, wilson_lower

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "queue": st.sampled_from(["billing", "support", None]),
            "channel": st.sampled_from(["voice", "chat"]),
            "ensemble_anomaly": st.sampled_from([0, 0, 1]),
            "severity": st.sampled_from([50.0, 60.0, 99.0]),
            "ensemble_score": st.floats(0, 1),
        }
    ),
    min_size=1,
    max_size=80,
)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_counts_agree_with_counting_row_by_row(drawn: list[dict[str, Any]]) -> None:
    rows = [row(number, **changes) for number, changes in enumerate(drawn)]
    digest = digest_of(rows, dimensions=["queue", "channel"])

    anomalies = [one for one in rows if one["ensemble_anomaly"] == 1]
    assert (digest.scored, digest.anomalies) == (len(rows), len(anomalies))

    def segment(one: dict[str, Any]) -> str:
        return f"{one['queue'] or '(none)'} / {one['channel']}"

    sizes, hits = Counter(map(segment, rows)), Counter(map(segment, anomalies))
    bounds = {
        name: binomtest(hits[name], sizes[name]).proportion_ci(0.95, method="wilson").low
        for name in sizes
        if hits[name] >= 5
    }
    highest = sorted((bound for bound in bounds.values() if bound > 0.01), reverse=True)[:3]
    assert [bounds[count.label] for count in digest.segments] == pytest.approx(highest, abs=1e-4)
    for count in digest.segments:
        assert (count.scored, count.anomalies) == (sizes[count.label], hits[count.label])
        assert count.rate == pytest.approx(hits[count.label] / sizes[count.label])
        assert count.ratio == pytest.approx(100 * count.rate)

    ranked = sorted(anomalies, key=lambda one: (-one["severity"], -one["ensemble_score"], one["timestamp"]))
    assert [found.interaction_id for found in digest.interactions] == [one["interaction_id"] for one in ranked[:5]]


def test_the_digest_does_not_depend_on_the_order_of_rows() -> None:
    assert digest_of(morning()) == digest_of(morning()[::-1])


def test_a_tiny_segment_does_not_come_before_a_large_one() -> None:
    tiny = [flagged(number, 70.0, queue="tiny") for number in range(5)] + [row(5, queue="tiny") for _ in range(5)]
    large = [flagged(number, 70.0, queue="large") for number in range(100, 220)] + [
        row(number, queue="large") for number in range(220, 400)
    ]
    digest = digest_of(tiny + large, dimensions=["queue"])
    assert [count.label for count in digest.segments] == ["large", "tiny"]
    assert digest.segments[0].rate < digest.segments[1].rate


def test_four_anomalies_never_make_a_segment() -> None:
    assert digest_of([flagged(number, 70.0) for number in range(4)]).segments == ()
    assert len(digest_of([flagged(number, 70.0) for number in range(5)]).segments) == 1


def test_a_segment_at_the_expected_rate_does_not_stand_out() -> None:
    rows = [flagged(number, 70.0) for number in range(10)] + [row(number) for number in range(10, 1000)]
    assert digest_of(rows).segments == ()


def test_values_carry_units_and_missing_ones_are_left_out() -> None:
    rows = [flagged(1, 80.0, csat=None, ies=float("nan"), hold_time_seconds=1622.4)]
    (found,) = digest_of(rows).interactions
    assert [(value.label, value.value, value.unit) for value in found.values] == [
        ("complaints", 0, ""),
        ("handle time", 300.0, "s"),
        ("hold time", 1622.4, "s"),
        ("transfers", 0, ""),
    ]
    assert found.timestamp == START + timedelta(seconds=1)


def test_only_the_columns_asked_for_are_told() -> None:
    digest = digest_of([flagged(number, 80.0) for number in range(9)])
    assert "Mustermann" not in repr(digest)


def test_columns_that_a_source_lacks_are_left_out() -> None:
    rows = [flagged(number, 80.0) for number in range(9)]
    for one in rows:
        del one["queue"], one["csat"]
    digest = digest_of(rows)
    assert digest.segments[0].label == "voice / en"
    assert "satisfaction" not in [value.label for value in digest.interactions[0].values]


@pytest.mark.parametrize("table", [pa.table({}), pa.Table.from_pylist([row(0)]).slice(0, 0)])
def test_an_empty_window_is_no_data_and_keeps_its_rejected_rows(table: pa.Table) -> None:
    digest = build_digest(
        table,
        window=(START, END),
        expected_rate=0.01,
        dimensions=DIMENSIONS,
        metrics=METRICS,
        links={},
        model_version=None,
        rejected=14,
    )
    assert (digest.status, digest.rejected, digest.is_high) == ("no_data", 14, False)


def test_windows_in_any_zone_are_the_same_window() -> None:
    berlin = timezone(timedelta(hours=2))
    moved = digest_of(morning(), window=(START.astimezone(berlin), END.astimezone(berlin)))
    assert moved == digest_of(morning())
    assert moved.window_key == "2026-10-12T06:00:00+00:00/2026-10-12T12:00:00+00:00"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"window": (datetime(2026, 1, 1), datetime(2026, 1, 2))}, "no time zone"),
        ({"window": (END, START)}, "does not end after its start"),
        ({"expected_rate": 1.0}, "between 0 and 1"),
        ({"rejected": -1}, "cannot be negative"),
        ({"links": {"UI": "javascript:alert(1)"}}, "must begin with http"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        digest_of([row(0)], **changes)


def test_a_table_without_scores_is_refused_by_the_names_of_its_columns() -> None:
    rows = [row(0)]
    del rows[0]["severity"], rows[0]["ensemble_anomaly"]
    with pytest.raises(ValueError, match="lack the columns ensemble_anomaly, severity"):
        digest_of(rows)


@given(st.floats(0, 5000))
def test_high_begins_at_the_quantile_of_the_negative_binomial(expected: float) -> None:
    # Mean m and variance m + (0.6 m)^2 are, in scipy's terms, n = 1 / 0.36 and p = n / (n + m).
    size = 1 / 0.36
    first = smallest_high_count(expected)
    assert first >= 5
    assert nbinom.sf(first - 1, size, size / (size + expected)) <= 0.005 + 1e-9
    if first > 5:
        assert nbinom.sf(first - 2, size, size / (size + expected)) > 0.005 - 1e-9


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_bound_agrees_with_scipy(counts: tuple[int, int]) -> None:
    anomalies, scored = counts
    oracle = binomtest(anomalies, scored).proportion_ci(0.95, method="wilson").low
    assert wilson_lower(anomalies, scored) == pytest.approx(oracle, abs=1e-5)


def test_a_window_is_high_exactly_from_its_bound() -> None:
    bound = smallest_high_count(4.0)
    for anomalies, high in ((bound - 1, False), (bound, True)):
        rows = [flagged(n, 70.0) if n < anomalies else row(n) for n in range(400)]
        digest = digest_of(rows)
        assert digest.is_high is high
        assert ("HIGH" in as_text(digest).splitlines()[0]) is high
        assert digest.start.tzinfo is UTC
