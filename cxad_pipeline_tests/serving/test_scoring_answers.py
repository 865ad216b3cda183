"""Answers of /score: the keys of the contract, flags by what was asked for, reasons, and what is kept and shown."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import subprocess
import sys

import jsonschema_rs
import numpy as np
import pyarrow as pa
import pytest
from serving_examples import MODELS, batch_of, fitted_detector, interactions, simulated, snapshot

from cxad_pipeline.detection import Detector, ModelConfig
from cxad_pipeline.detection.output import UnknownModelError, score_table
from cxad_pipeline.serving.answer_schema import ScoreAnswer
from cxad_pipeline.serving.answers import to_arrow, to_json, to_ndjson
from cxad_pipeline.serving.batch import Batch
from cxad_pipeline.serving.scoring import MOST_EXPLAINED, anomaly_records, choices, live_event, score

AT = dt.datetime(2026, 3, 21, 10, 0, 0, 250, tzinfo=dt.timezone(dt.timedelta(hours=2)))
MEMBERS = ["iforest", "rcf"]


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of(interactions(600))


@pytest.mark.parametrize(
    ("model", "scores", "flags"),
    [
        ("both", ["iforest", "rcf"], ["iforest", "rcf", "ensemble"]),
        ("ensemble", ["iforest", "rcf", "ensemble"], ["iforest", "rcf", "ensemble"]),
        ("iforest", ["iforest"], ["iforest"]),
        ("rcf", ["rcf"], ["rcf"]),
    ],
)
def test_the_answer_has_the_keys_of_the_contract(batch: Batch, model: str, scores: list[str], flags: list[str]):
    answer = score(snapshot(), batch, model)
    whole = json.loads(to_json(answer, 1.23456))
    *keys, last = whole
    assert keys == ["scores", "total_records", "anomalies_detected", "processing_time_ms", "model_version"]
    assert last == "unknown_categories"  # of which this batch has some
    assert whole["unknown_categories"] == {name: n for name, n in answer.unknown_categories.items() if n} != {}
    assert whole["total_records"] == len(whole["scores"]) == 600
    assert whole["processing_time_ms"] == 1.235
    assert whole["model_version"] == "v3"
    assert [entry["interaction_id"] for entry in whole["scores"]] == batch.ids
    for entry in whole["scores"]:
        assert list(entry) == ["interaction_id", "scores", "is_anomaly"]
        assert list(entry["scores"]) == scores
        assert list(entry["is_anomaly"]) == flags
        assert all(type(flag) is int for flag in entry["is_anomaly"].values())
    decisive = "ensemble" if "ensemble" in flags else model
    assert whole["anomalies_detected"] == sum(entry["is_anomaly"][decisive] for entry in whole["scores"]) > 0


def test_both_flags_where_any_member_does_and_the_ensemble_by_its_strategy(batch: Batch):
    both, ensemble = score(snapshot("max"), batch), score(snapshot("max"), batch, "ensemble")
    either = [bool(one or other) for one, other in zip(both.flags["iforest"], both.flags["rcf"], strict=True)]
    assert both.decisive.tolist() == both.flags["ensemble"].tolist() == either
    expected = score_table(fitted_detector("max"), interactions(600))["ensemble_anomaly"].to_pylist()
    assert ensemble.decisive.tolist() == ensemble.flags["ensemble"].tolist() == [flag == 1 for flag in expected]
    assert both.n_anomalies == sum(either) != sum(expected) == ensemble.n_anomalies


def test_an_unknown_model_is_an_error_that_lists_what_is_allowed(batch: Batch):
    assert choices(fitted_detector()) == ["both", "ensemble", "iforest", "rcf"]
    with pytest.raises(UnknownModelError, match=r"unknown model 'lof'; allowed: both, ensemble, iforest, rcf$"):
        score(snapshot(), batch, "lof")


def test_a_detector_of_one_model_with_a_name_of_its_own_answers_for_it(batch: Batch):
    config = fitted_detector().config
    alone = dataclasses.replace(
        config,
        models=(ModelConfig("trees", "random_cut_forest", {"n_estimators": 10, "tree_size": 64}, 95),),
        ensemble=dataclasses.replace(config.ensemble, weights={}),
    )
    served = dataclasses.replace(snapshot(), detector=Detector.fit(simulated(4_000, 1), alone), version="12")
    assert choices(served.detector) == ["both", "ensemble", "trees"]
    entry = json.loads(to_json(score(served, batch), 1.0))["scores"][0]
    assert (list(entry["scores"]), list(entry["is_anomaly"])) == (["trees"], ["trees", "ensemble"])
    assert json.loads(to_ndjson(score(served, batch, "trees")).splitlines()[0])["model_version"] == "v12"
    with pytest.raises(UnknownModelError):
        score(served, batch, "rcf")


def test_the_typical_ranges_are_those_that_the_reasons_name(batch: Batch):
    whole = json.loads(to_json(score(snapshot(), batch, "ensemble", True), 1.0))
    compared, segments = 0, set()
    for entry in whole["scores"]:
        typical = entry["typical_ranges"]
        segments.add(typical["segment"])
        for reason in entry["reasons"]:
            assert list(reason) == ["column", "value", "low", "high", "direction", "share", "segment", "text"]
            if reason["low"] is not None:
                compared += 1
                assert typical["segment"] == reason["segment"]
                assert typical["columns"][reason["column"]] == {"low": reason["low"], "high": reason["high"]}
    assert compared > 500
    assert len(segments) > 5


def test_a_range_that_training_never_had_is_left_out(batch: Batch):
    table = simulated(4_000, 1)
    queue, csat = np.array(table["queue"].to_pylist()), table["csat"].to_pylist()
    gone = [None if name == "sales" else value for name, value in zip(queue, csat, strict=True)]
    table = table.set_column(table.column_names.index("csat"), "csat", pa.array(gone, pa.float64()))
    served = dataclasses.replace(snapshot(), detector=Detector.fit(table, fitted_detector().config))
    entries = json.loads(to_json(score(served, batch, "both", True), 1.0))["scores"]
    jsonschema_rs.Draft202012Validator(
        ScoreAnswer.model_json_schema()["$defs"]["ExplainedEntry"] | {"$defs": ScoreAnswer.model_json_schema()["$defs"]}
    ).validate(entries[0])
    sales = [entry for entry in entries if entry["typical_ranges"]["segment"].startswith("sales")]
    assert sales
    for entry in sales:
        assert "csat" not in entry["typical_ranges"]["columns"]
        assert "ies" in entry["typical_ranges"]["columns"]


@pytest.mark.parametrize("model", MODELS)
def test_each_anomaly_is_kept_once_with_what_the_answer_says_of_it(batch: Batch, model: str):
    explained = score(snapshot(), batch, model, True)
    whole = json.loads(to_json(explained, 1.0))["scores"]
    flag = model if model in MEMBERS else "ensemble"
    expected = [
        (row, entry | {"model": model, "model_version": "v3", "scored_at": "2026-03-21T08:00:00.000250Z"})
        for row, entry in enumerate(whole)
        if entry["is_anomaly"][flag]
    ]
    assert 5 < len(expected) < 100
    for answer in (explained, score(snapshot(), batch, model)):
        records = anomaly_records(snapshot(), batch, answer, AT)
        assert len(records) == len(expected)
        for record, (row, entry) in zip(records, expected, strict=True):
            plain = json.loads(json.dumps(record, allow_nan=False))
            interaction = plain.pop("interaction")
            assert interaction == batch.interaction(row)
            assert plain.pop("timestamp") == interaction["timestamp"]
            assert plain == {name: value for name, value in entry.items() if name != "typical_ranges"}


def test_a_kept_interaction_has_the_columns_that_the_caller_gave(batch: Batch):
    row = next(row for row in range(600) if np.isnan(batch.numbers["csat"][row]) and batch.texts["queue"][row] is None)
    interaction = batch.interaction(row)
    source = {
        name: value for name, value in interactions(600).slice(row, 1).to_pylist()[0].items() if value is not None
    }
    assert {"csat", "queue"}.isdisjoint(interaction)
    assert list(interaction)[:2] == ["interaction_id", "timestamp"]
    assert interaction["timestamp"] == source.pop("timestamp").strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert {name: value for name, value in interaction.items() if name != "timestamp"} == source


def test_in_a_burst_every_anomaly_is_kept_and_the_most_severe_have_reasons():
    burst = batch_of(interactions(3_000))
    answer = score(snapshot(), burst)
    everything = dataclasses.replace(answer, decisive=np.ones(3_000, dtype=np.bool_))
    records = anomaly_records(snapshot(), burst, everything, AT)
    assert [record["interaction_id"] for record in records] == burst.ids
    told = [record["severity"] for record in records if record["reasons"]]
    untold = [record["severity"] for record in records if not record["reasons"]]
    assert len(told) == MOST_EXPLAINED
    assert min(told) >= max(untold)
    alone = {record["interaction_id"]: record for record in anomaly_records(snapshot(), burst, answer, AT)}
    assert 0 < len(alone) < MOST_EXPLAINED
    severe = {record["interaction_id"]: record for record in records if record["reasons"]}
    both = [identity for identity in alone if identity in severe]
    assert both
    for identity in both:
        assert alone[identity] == severe[identity]


def test_no_anomaly_no_record():
    calm = batch_of(interactions(600))
    answer = score(snapshot(), calm)
    quiet = calm.rows(np.flatnonzero(~answer.decisive).tolist())
    assert anomaly_records(snapshot(), quiet, score(snapshot(), quiet), AT) == []


def test_a_live_event_says_of_any_row_what_a_reader_wants_first(batch: Batch):
    answer = score(snapshot(), batch, "ensemble")
    records = anomaly_records(snapshot(), batch, answer, AT)
    unusual, usual = int(np.flatnonzero(answer.decisive)[0]), int(np.flatnonzero(~answer.decisive)[0])
    whole = json.loads(to_json(answer, 1.0))["scores"]
    for row, record in ((unusual, records[0]), (usual, None)):
        event = json.loads(json.dumps(live_event(batch, answer, row, record, AT), allow_nan=False))
        interaction = batch.interaction(row)
        segment = {name: interaction[name] for name in ("queue", "channel", "language") if name in interaction}
        assert event == {
            **segment,
            **whole[row],
            "timestamp": interaction["timestamp"],
            "scored_at": "2026-03-21T08:00:00.000250Z",
            "model_version": "v3",
            "severity": round(float(answer.severity[row]), 1),
            "anomaly": record is not None,
            "reasons": [reason["text"] for reason in record["reasons"]] if record else [],
        }
    assert records[0]["reasons"]
    nameless = next(row for row in range(600) if batch.texts["queue"][row] is None)
    assert "queue" not in live_event(batch, answer, nameless, None, AT)


def test_rows_without_any_value_and_no_rows_at_all_are_answered():
    moments = np.array([1_770_000_000_000_000], dtype=np.int64)
    bare = Batch(ids=["only a name"], numbers={}, texts={}, moments=lambda: moments)
    for model in MODELS:
        entry = json.loads(to_json(score(snapshot(), bare, model, True), 1.0))["scores"][0]
        assert np.isfinite(list(entry["scores"].values())).all()
        assert entry["typical_ranges"]["segment"] == ""
        none = score(snapshot(), bare.rows([]), model, True)
        assert json.loads(to_json(none, 1.0))["scores"] == []
        assert to_ndjson(none) == b""
        assert pa.ipc.open_stream(to_arrow(none, 1.0)).read_all().num_rows == 0


def test_categories_that_training_had_not_are_counted(batch: Batch):
    table = interactions(600)
    for name, count in score(snapshot(), batch).unknown_categories.items():
        assert count == table[name].to_pylist().count("never seen") > 0


def test_a_category_is_the_one_that_was_sent_to_its_last_byte():
    table = interactions(600).slice(0, 2)
    longest = "x" * 2_000_000
    table = table.set_column(table.column_names.index("queue"), "queue", pa.array(["billing\x00", longest]))
    answer = score(snapshot(), batch_of(table), "ensemble")
    assert answer.unknown_categories["queue"] == 2
    assert answer.scores["ensemble"].tolist() == score_table(fitted_detector(), table)["ensemble_score"].to_pylist()


def test_a_count_that_the_model_takes_as_a_category_is_scored_as_in_batch(batch: Batch):
    config = fitted_detector().config
    numeric = [name for name in config.numeric if name != "transfers"]
    counted = dataclasses.replace(config, numeric=numeric, categorical=[*config.categorical, "transfers"])
    detector = Detector.fit(simulated(4_000, 1), counted)
    answer = score(dataclasses.replace(snapshot(), detector=detector), batch, "ensemble", True)
    scored = score_table(detector, interactions(600), explain_all=True)
    assert answer.scores["ensemble"].tolist() == scored["ensemble_score"].to_pylist()
    texts = ["; ".join(reason.text for reason in reasons) for reasons in answer.explained or ()]
    assert texts == scored["top_reasons"].to_pylist()
    assert any("transfers 1" in text and "of training" in text for text in texts)


def test_scoring_changes_nothing_in_the_batch_nor_the_model(batch: Batch):
    before = score(snapshot(), batch, "ensemble", True)
    kept = {name: values.copy() for name, values in batch.numbers.items()}
    anomaly_records(snapshot(), batch, before, AT)
    again = score(snapshot(), batch, "ensemble", True)
    assert to_json(before, 1.0) == to_json(again, 1.0)
    for name, values in kept.items():
        np.testing.assert_array_equal(batch.numbers[name], values)


def test_scoring_and_its_answers_need_no_library_of_tables():
    code = (
        "import sys, cxad_pipeline.serving.scoring, cxad_pipeline.serving.answers, cxad_pipeline.serving.answer_schema;"
        "print(sorted({'pyarrow', 'pandas', 'sklearn', 'mlflow', 'sqlalchemy', 'dagster'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert said.stdout.strip() == "[]"
