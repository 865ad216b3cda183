"""The API gives the scores, flags, severities and reasons of batch scoring and of MLflow's pyfunc, to the bit.

The served detector has gone through the registry; the rows come in as JSON and are compared as they leave.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from serving_examples import MODELS, STRATEGIES, fitted_detector, interactions, json_body, records, simulated

from cxad_pipeline.detection import Detector
from cxad_pipeline.detection.output import score_table
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.tracking import TrainingRuns
from cxad_pipeline.registry.training_rows import model_input
from cxad_pipeline.serving.answers import to_arrow, to_json, to_ndjson
from cxad_pipeline.serving.batch import Batch
from cxad_pipeline.serving.bodies import JSON, BodyReader
from cxad_pipeline.serving.scoring import anomaly_records, score
from cxad_pipeline.serving.snapshot import Snapshot
from cxad_pipeline.settings import load_settings

N_ROWS = 3_000
DETECTORS = (*STRATEGIES, "timed")
"""One that also looks at the hour, beside the strategies."""

Expected = dict[str, dict[str, list[Any]]]
"""By kind of value and model, the values of the rows."""


@dataclass(frozen=True)
class Registered:
    """A registered detector, as it serves and as MLflow loads it."""

    original: Detector
    snapshot: Snapshot
    predict: Callable[..., Any]


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return interactions(N_ROWS)


@pytest.fixture(scope="module")
def batch(rows: pa.Table) -> Batch:
    return read(json_body(rows))


def read(body: bytes) -> Batch:
    return BodyReader(InteractionSchema(), "UTC", 10_000).read(body, JSON)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Registered]:
    """By strategy; `timed` averages."""
    import mlflow

    folder = tmp_path_factory.mktemp("registry")
    (folder / "config.yaml").write_text("timezone: UTC\n")
    address = f"sqlite:///{folder}/mlflow.db"
    settings = load_settings(
        folder / "config.yaml", mlflow={"tracking_uri": address, "artifacts": str(folder / "artifacts")}
    )
    found = {}
    for name in DETECTORS:
        detector = _detector(name)
        with TrainingRuns(settings, "training-of-a-test").child("ensemble"):
            example = model_input(simulated(4_000, 1).slice(0, 5), detector)
            version = versions.register(detector, settings, example=example)
        loaded = versions.load(settings, version)
        mlflow.set_registry_uri(address)
        pyfunc = mlflow.pyfunc.load_model(f"models:/{settings.mlflow.registered_model}/{version}")
        snapshot = Snapshot(loaded.detector, loaded.version, loaded.run_id, dt.datetime.now(dt.UTC))
        found[name] = Registered(detector, snapshot, pyfunc.predict)
    return found


def _detector(name: str) -> Detector:
    return fitted_detector(timed=True) if name == "timed" else fitted_detector(name)


def as_batch_gives(scored: dict[str, list[Any]], model: str) -> Expected:
    """The values of an answer, from the columns of batch scoring by name."""
    members = ["iforest", "rcf"] if model in ("both", "ensemble") else [model]
    with_score = [*members, "ensemble"] if model == "ensemble" else members
    flags = {name: scored[f"{name}_anomaly"] for name in with_score}
    if model == "both":
        flags["ensemble"] = [max(pair) for pair in zip(*flags.values(), strict=True)]
    return {
        "scores": {name: scored[f"{name}_score"] for name in with_score},
        "is_anomaly": flags,
        "severity": {"": scored["severity"]},
        "top_reasons": {"": scored["top_reasons"]},
    }


def as_entries_say(entries: list[dict[str, Any]], explained: bool) -> Expected:
    """The same from the entries of a JSON or NDJSON answer."""
    found: Expected = {}
    for part in ("scores", "is_anomaly"):
        found[part] = {name: [entry[part][name] for entry in entries] for name in entries[0][part]}
        assert all(entry[part].keys() == entries[0][part].keys() for entry in entries)
    if explained:
        found["severity"] = {"": [entry["severity"] for entry in entries]}
        texts = [[reason["text"] for reason in entry["reasons"]] for entry in entries]
        found["top_reasons"] = {"": ["; ".join(own) for own in texts]}
    return found


def as_columns_say(table: pa.Table, explained: bool) -> Expected:
    """The same from the columns of an Arrow answer."""
    found: Expected = {}
    for part, ending in (("scores", "_score"), ("is_anomaly", "_anomaly")):
        named = [name for name in table.column_names if name.endswith(ending)]
        found[part] = {name.removesuffix(ending): table[name].to_pylist() for name in named}
    if explained:
        found |= {name: {"": table[name].to_pylist()} for name in ("severity", "top_reasons")}
    return found


def assert_same(found: Expected, expected: Expected, explained: bool) -> None:
    """Equal values under equal names, in every bit."""
    assert set(found) == (set(expected) if explained else {"scores", "is_anomaly"})
    for part, by_model in found.items():
        assert set(by_model) == set(expected[part])
        for name, values in by_model.items():
            assert values == expected[part][name], (part, name)
            if part in ("scores", "severity"):
                assert np.array(values).tobytes() == np.array(expected[part][name]).tobytes(), (part, name)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", DETECTORS)
def test_every_form_of_the_answer_has_the_values_of_batch_scoring_and_of_the_pyfunc(
    registered: dict[str, Registered], rows: pa.Table, batch: Batch, name: str, model: str
):
    served = registered[name]
    as_batch_names = "ensemble" if model == "both" else model
    scored = score_table(served.original, rows, model=as_batch_names, explain_all=True)
    frame = model_input(rows, served.original)
    predicted = served.predict(frame, params={"model": as_batch_names, "explain": True})
    in_batch = as_batch_gives(scored.to_pydict(), model)
    assert_same(as_batch_gives({column: predicted[column].tolist() for column in predicted}, model), in_batch, True)
    for explained in (False, True):
        answer = score(served.snapshot, batch, model, explained)
        assert list(answer.ids) == rows["interaction_id"].to_pylist()
        whole = json.loads(to_json(answer, 1.0))
        assert_same(as_entries_say(whole["scores"], explained), in_batch, explained)
        lines = [json.loads(line) for line in to_ndjson(answer).splitlines()]
        assert_same(as_entries_say(lines, explained), in_batch, explained)
        table = pa.ipc.open_stream(to_arrow(answer, 1.0)).read_all()
        assert_same(as_columns_say(table, explained), in_batch, explained)
        assert answer.severity.tolist() == in_batch["severity"][""]
        decisive = in_batch["is_anomaly"]["ensemble" if model in ("both", "ensemble") else model]
        assert whole["anomalies_detected"] == sum(decisive)
        kept = anomaly_records(served.snapshot, batch, answer, dt.datetime.now(dt.UTC))
        assert [record["interaction_id"] for record in kept] == [
            identity for identity, flag in zip(answer.ids, decisive, strict=True) if flag
        ]
        for record in kept:
            row = answer.ids.index(record["interaction_id"])
            assert "; ".join(reason["text"] for reason in record["reasons"]) == in_batch["top_reasons"][""][row]
            assert record["severity"] == in_batch["severity"][""][row]


@pytest.mark.parametrize("name", DETECTORS)
def test_a_request_of_one_record_gives_what_a_request_of_many_gives(
    registered: dict[str, Registered], rows: pa.Table, batch: Batch, name: str
):
    served = registered[name].snapshot
    alone = [read(json.dumps([record]).encode()) for record in records(rows)]
    for model in MODELS:
        whole = json.loads(to_json(score(served, batch, model), 1.0))["scores"]
        single = [json.loads(to_json(score(served, one, model), 1.0))["scores"] for one in alone]
        assert [entry for entries in single for entry in entries] == whole
    explained = json.loads(to_json(score(served, batch, "both", True), 1.0))["scores"]
    for row in range(0, N_ROWS, 10):
        assert json.loads(to_json(score(served, alone[row], "both", True), 1.0))["scores"] == [explained[row]]


def test_the_comparison_was_not_trivial(registered: dict[str, Registered], rows: pa.Table, batch: Batch):
    answers = {name: {model: score(registered[name].snapshot, batch, model) for model in MODELS} for name in DETECTORS}
    for name, by_model in answers.items():
        for model, answer in by_model.items():
            for flags in answer.flags.values():
                assert 10 < flags.sum() < N_ROWS / 2, (name, model)
    for one, other in combinations(STRATEGIES, 2):
        assert not np.array_equal(
            answers[one]["ensemble"].scores["ensemble"], answers[other]["ensemble"].scores["ensemble"]
        )
        assert not np.array_equal(answers[one]["ensemble"].decisive, answers[other]["ensemble"].decisive)
    for name in ("average", "max", "timed"):
        assert not np.array_equal(answers[name]["both"].decisive, answers[name]["ensemble"].decisive)
    assert not np.array_equal(answers["timed"]["rcf"].scores["rcf"], answers["average"]["rcf"].scores["rcf"])
    for member in ("iforest", "rcf"):
        own = answers["average"][member]
        assert not np.array_equal(own.severity, answers["average"]["ensemble"].severity)
        assert len(set(own.scores[member].tolist())) > N_ROWS / 2
    assert all(count > 10 for count in answers["average"]["both"].unknown_categories.values())
    for column in ("csat", "ies", "transfers", "channel", "queue"):
        assert 10 < rows[column].null_count < N_ROWS
