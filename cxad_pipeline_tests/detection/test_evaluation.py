"""Figures of merit: injected faults are fair and repeatable, labels are counted as a person would count them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.detection import Detector, DetectorConfig, ModelConfig
from cxad_pipeline.detection.detector import Scores
from cxad_pipeline.detection.evaluation import (
    FAULTS,
    correlations,
    evaluate_labels,
    inject_faults,
    injected_roc_auc,
    summarize,
)

METRICS = ["hold", "csat", "complaints", "transfers"]


def calls(n: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "interaction_id": [f"c{index}" for index in range(n)],
            "hold": random.lognormal(3, 0.7, n),
            "csat": pa.array(random.choice([1.0, 3, 4, 5], n, p=[0.1, 0.2, 0.4, 0.3]), mask=random.random(n) < 0.2),
            "complaints": pa.array(random.choice([0, 1, 2], n, p=[0.97, 0.02, 0.01]), pa.int64()),
            "transfers": pa.array(random.poisson(0.5, n), pa.int32(), mask=random.random(n) < 0.1),
            "queue": random.choice(["billing", "sales"], n),
        },
        schema=pa.schema(
            [
                pa.field("interaction_id", pa.string(), nullable=False),
                pa.field("hold", pa.float64(), metadata={"unit": "s"}),
                ("csat", pa.float64()),
                ("complaints", pa.int64()),
                ("transfers", pa.int32()),
                ("queue", pa.string()),
            ]
        ),
    )


def scores_of(values: dict[str, Any], thresholds: float = 0.5) -> Scores:
    arrays = {name: np.asarray(column, float) for name, column in values.items()}
    return Scores(
        raw={name: column for name, column in arrays.items() if name != "ensemble"},
        thresholds=dict.fromkeys(arrays, thresholds),
        ensemble=arrays["ensemble"],
        severity=arrays["ensemble"],
        severities=arrays,
        flags={name: column >= thresholds for name, column in arrays.items()},
        unknown_counts={},
        missing_counts={},
    )


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(40, 300))
def test_each_copy_differs_from_its_row_in_exactly_one_metric(seed: int, n: int):
    table = calls(n, seed % 1000)
    faulty, kinds = inject_faults(table, METRICS, seed)
    assert faulty.schema.equals(table.schema, check_metadata=True)
    changed = np.zeros(n, int)
    for name in table.column_names:
        changed += [one != two for one, two in zip(table[name].to_pylist(), faulty[name].to_pylist(), strict=True)]
    np.testing.assert_array_equal(changed, np.ones(n, int))
    assert faulty["interaction_id"].equals(table["interaction_id"])
    assert faulty["queue"].equals(table["queue"])
    np.testing.assert_array_equal(kinds, np.arange(n) % 2)


def test_the_same_rows_and_seed_give_the_same_faults_and_another_seed_others():
    table = calls(500, 0)
    one, two, other = (inject_faults(table, METRICS, seed)[0] for seed in (7, 7, 8))
    assert one.equals(two)
    assert not one.equals(other)


def test_extreme_faults_lie_outside_and_contextual_ones_are_values_that_occur():
    table = calls(4000, 0)
    faulty, kinds = inject_faults(table, METRICS, 1)
    assert FAULTS == ("extreme", "contextual")
    for name, outward in (("hold", 1), ("csat", -1), ("complaints", 1), ("transfers", 1)):
        before, after = (np.array(rows[name].to_pylist(), float) for rows in (table, faulty))
        changed = ~((before == after) | (np.isnan(before) & np.isnan(after)))
        known = before[~np.isnan(before)]
        assert 800 < changed.sum() < 1200
        reached = after[changed & (kinds == 0)] * outward
        assert (reached > np.percentile(known * outward, 99)).all(), name
        assert set(after[changed & (kinds == 1)]) <= set(known), name


def test_no_more_than_5000_rows_are_copied_and_they_are_spread_evenly():
    table = pa.table({"at": np.arange(20_000), "x": np.random.default_rng(0).random(20_000)})
    faulty, _ = inject_faults(table, ["x"], 0)
    assert faulty.num_rows == 5_000
    assert (faulty["at"][0].as_py(), faulty["at"][-1].as_py()) == (0, 19_999)
    assert set(np.diff(faulty["at"].to_numpy())) <= {3, 4, 5}


@pytest.mark.parametrize(
    ("table", "numeric", "message"),
    [
        (pa.table({"x": pa.array([], pa.float64())}), ["x"], "no rows"),
        (pa.table({"x": [1.0, 1.0, 2.0]}), ["x"], "none of x has more than two distinct values"),
        (pa.table({"x": [1.0, 2.0, 3.0]}), ["y"], "none of y has"),
        (pa.table({"x": [1.0, 2.0, 3.0]}), [], "categories alone"),
    ],
)
def test_what_can_not_be_made_faulty_is_an_error(table: pa.Table, numeric: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        inject_faults(table, numeric, 0)


def test_a_good_detector_ranks_faults_above_rows_and_a_random_one_does_not():
    config = DetectorConfig(
        numeric=METRICS,
        categorical=["queue"],
        models=(
            ModelConfig("iforest", "isolation_forest"),
            ModelConfig("rcf", "random_cut_forest", {"n_estimators": 30}),
        ),
    )
    good = Detector.fit(calls(2000, 0), config)
    normal = calls(3000, 1)
    found = injected_roc_auc(good, normal, 4)
    assert list(found) == ["ensemble", "iforest", "rcf"]
    assert min(found.values()) > 0.7
    random = np.random.default_rng(0)

    def at_random(table: pa.Table) -> Scores:
        return scores_of({"ensemble": random.random(table.num_rows), "rcf": random.random(table.num_rows)})

    by_chance = injected_roc_auc(SimpleNamespace(config=config, score=at_random), normal, 4)  # type: ignore[arg-type]
    assert by_chance == pytest.approx({"ensemble": 0.5, "rcf": 0.5}, abs=0.03)


@given(data=st.data())
def test_labels_are_counted_as_a_person_counts_them(data: st.DataObject):
    n = data.draw(st.integers(2, 40))
    values = data.draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75]), min_size=n, max_size=n))
    kinds = data.draw(st.lists(st.sampled_from(["", "hold", "fault"]), min_size=n, max_size=n))
    labels = {f"c{row}": kind for row, kind in enumerate(kinds)} | {"of another file": "hold"}
    ids = [f"c{row}" for row in range(n)]
    scores = scores_of({"ensemble": values, "rcf": values[::-1]})
    labelled = [row for row in range(n) if kinds[row]]
    if len(labelled) in (0, n):
        if labelled:
            with pytest.raises(ValueError, match=f"all {n} rows carry a label"):
                evaluate_labels(scores, ids, labels)
        else:
            assert evaluate_labels(scores, ids, labels) == []
        return
    reports = evaluate_labels(scores, ids, labels)
    wanted = ["any", *sorted({kind for kind in kinds if kind})]
    assert [(report.model, report.kind) for report in reports] == [(m, k) for m in ("ensemble", "rcf") for k in wanted]
    for report in reports:
        score = values if report.model == "ensemble" else values[::-1]
        rows = [row for row in labelled if report.kind in ("any", kinds[row])]
        flagged = [row for row in range(n) if score[row] >= 0.5]
        found = [row for row in rows if row in flagged]
        assert (report.labelled, report.found) == (len(rows), len(found))
        assert report.recall == pytest.approx(len(found) / len(rows))
        if report.kind == "any" and flagged:
            assert report.precision == pytest.approx(len([row for row in flagged if row in labelled]) / len(flagged))
        else:
            assert report.precision is None
        others = [row for row in range(n) if not kinds[row]]
        pairs = [(score[row] > score[other]) + 0.5 * (score[row] == score[other]) for row in rows for other in others]
        assert report.roc_auc == pytest.approx(sum(pairs) / len(pairs))
        assert 0 < report.average_precision <= 1


def test_the_summary_is_of_the_scores():
    values = np.random.default_rng(0).random(1000)
    rcf = np.zeros(1000)
    overall, member = summarize(scores_of({"ensemble": values, "rcf": rcf}, 0.9))
    assert (overall.name, overall.rows, overall.flagged) == ("ensemble", 1000, int((values >= 0.9).sum()))
    assert (overall.mean, overall.maximum, overall.p99) == (values.mean(), values.max(), np.quantile(values, 0.99))
    assert overall.metrics()["flagged_share"] == (values >= 0.9).mean()
    assert member.metrics() == {
        "threshold": 0.9,
        "flagged_share": 0,
        "score_mean": 0,
        "score_std": 0,
        "score_p50": 0,
        "score_p95": 0,
        "score_p99": 0,
        "score_max": 0,
    }
    with pytest.raises(ValueError, match="no rows to summarize"):
        summarize(scores_of({"ensemble": []}))


def test_correlations_are_spearmans_and_a_constant_score_has_none():
    from scipy.stats import spearmanr

    random = np.random.default_rng(0)
    base = random.random(200)
    one, two = base + random.random(200), np.round(base, 1)
    names, matrix = correlations(scores_of({"ensemble": base, "a": one, "b": two, "c": np.full(200, 3.0)}))
    assert names == ["ensemble", "a", "b", "c"]
    np.testing.assert_allclose(matrix[:3, :3], spearmanr(np.column_stack([base, one, two])).statistic)
    np.testing.assert_array_equal(matrix[3], [0, 0, 0, 1])
    np.testing.assert_array_equal(matrix[:, 3], [0, 0, 0, 1])
