"""The forms of an answer: valid by the documented schema, exact to the bit in JSON, NDJSON and Arrow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from serving_examples import MODELS, batch_of, interactions, snapshot

from cxad_pipeline.serving.answer_schema import ExplainedLine, ScoreAnswer, ScoreLine
from cxad_pipeline.serving.answers import to_arrow, to_json, to_ndjson
from cxad_pipeline.serving.batch import Batch
from cxad_pipeline.serving.scoring import Answer, score


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of(interactions(600))


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_every_answer_is_valid_by_its_schema_and_no_key_is_undocumented(batch: Batch, model: str, explain: bool):
    answer = score(snapshot(), batch, model, explain)
    whole = json.loads(to_json(answer, 1.5))
    valid = jsonschema_rs.Draft202012Validator(ScoreAnswer.model_json_schema())
    valid.validate(whole)
    assert whole["unknown_categories"]
    for wrong in _with_one_key_more(whole | {"scores": whole["scores"][:1]}):
        assert not valid.is_valid(wrong)
    line = (ExplainedLine if explain else ScoreLine).model_json_schema()
    lines = to_ndjson(answer).decode().splitlines()
    assert len(lines) == 600
    for text in lines:
        jsonschema_rs.Draft202012Validator(line).validate(json.loads(text))


def _with_one_key_more(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer with a key that nobody has described, in each object that is described key by key."""

    def is_by_name(path: tuple[Any, ...]) -> bool:
        return path == ("unknown_categories",) or (
            path[-1:] in (("scores",), ("is_anomaly",), ("columns",)) and len(path) > 1
        )

    def paths(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if isinstance(value, dict) and not is_by_name(path):
            yield path
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in parts:
            yield from paths(part, (*path, key))

    for path in paths(whole, ()):
        copy = json.loads(json.dumps(whole))
        place = copy
        for key in path:
            place = place[key]
        place["undocumented"] = 1
        yield copy


def test_the_schema_describes_every_key_and_its_own_examples_are_valid():
    for model in (ScoreAnswer, ScoreLine, ExplainedLine):
        schema = model.model_json_schema()
        for part in (schema, *schema.get("$defs", {}).values()):
            assert part["description"]
            assert part["additionalProperties"] is False
            for name, described in part["properties"].items():
                assert described.get("description"), name
        assert schema["examples"]
        for example in schema["examples"]:
            jsonschema_rs.Draft202012Validator(schema).validate(example)


def test_a_wrong_answer_is_refused_by_the_schema(batch: Batch):
    whole = json.loads(to_json(score(snapshot(), batch, "both", True), 1.5))
    valid = jsonschema_rs.Draft202012Validator(ScoreAnswer.model_json_schema())
    for path, wrong in {
        ("is_anomaly", "rcf"): 2,
        ("scores", "rcf"): None,
        ("severity",): 100.1,
        ("interaction_id",): 7,
        ("reasons", 0, "direction"): "up",
        ("reasons", 0, "share"): 0,
        ("typical_ranges", "columns", "ies", "low"): None,
    }.items():
        copy = json.loads(json.dumps(whole))
        place = copy["scores"][0]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = wrong
        assert not valid.is_valid(copy), path


_NUMBERS = hnp.arrays(np.float64, 3, elements=st.floats(allow_nan=False, allow_infinity=False))


@given(
    ids=st.lists(st.text(min_size=1), min_size=3, max_size=3),
    columns=st.dictionaries(st.from_regex("[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True), _NUMBERS, min_size=1),
    flagged=hnp.arrays(np.bool_, (12, 3)),
)
def test_numbers_and_identities_survive_every_form_exactly(
    ids: list[str], columns: dict[str, np.ndarray], flagged: np.ndarray
):
    flags = {name: flagged[place % 12] for place, name in enumerate(columns)}
    answer = Answer(ids, "both", "v1", columns, flags, flagged[0], np.zeros(3), (), {}, {})
    in_json = json.loads(to_json(answer, 0.5))["scores"]
    in_lines = [json.loads(line) for line in to_ndjson(answer).split(b"\n")[:-1]]
    in_arrow = pa.ipc.open_stream(to_arrow(answer, 0.5)).read_all()
    assert in_arrow["interaction_id"].to_pylist() == ids
    for row, identity in enumerate(ids):
        assert in_json[row]["interaction_id"] == in_lines[row]["interaction_id"] == identity
        for name, values in columns.items():
            given_again = (
                in_json[row]["scores"][name],
                in_lines[row]["scores"][name],
                in_arrow[f"{name}_score"][row].as_py(),
            )
            assert [_bits(value) for value in given_again] == [_bits(values[row])] * 3
            expected = int(flags[name][row])
            assert in_json[row]["is_anomaly"][name] == in_lines[row]["is_anomaly"][name] == expected
            assert in_arrow[f"{name}_anomaly"][row].as_py() == expected


def _bits(value: float) -> bytes:
    return np.float64(value).tobytes()


def test_an_arrow_answer_has_the_columns_of_batch_scoring_and_the_totals_in_its_schema(batch: Batch):
    columns = {
        "both": ["ensemble_anomaly", "iforest_score", "iforest_anomaly", "rcf_score", "rcf_anomaly"],
        "ensemble": [
            "ensemble_score",
            "ensemble_anomaly",
            "iforest_score",
            "iforest_anomaly",
            "rcf_score",
            "rcf_anomaly",
        ],
        "rcf": ["rcf_score", "rcf_anomaly"],
    }
    for model, expected in columns.items():
        answer = score(snapshot(), batch, model)
        table = pa.ipc.open_stream(to_arrow(answer, 2.0)).read_all()
        assert table.column_names == ["interaction_id", *expected]
        assert {table.schema.field(name).type for name in expected if name.endswith("_anomaly")} == {pa.int8()}
        assert {name.decode(): value.decode() for name, value in table.schema.metadata.items()} == {
            "total_records": "600",
            "anomalies_detected": str(answer.n_anomalies),
            "processing_time_ms": "2.0",
            "model_version": "v3",
            "unknown_categories": orjson.dumps(answer.unknown_categories).decode(),
        }
        explained = pa.ipc.open_stream(to_arrow(score(snapshot(), batch, model, True), 2.0)).read_all()
        assert explained.column_names == ["interaction_id", *expected, "severity", "top_reasons"]


def test_another_version_is_named_in_every_form(batch: Batch):
    answer = score(snapshot(version="41"), batch.rows([0, 1]))
    assert json.loads(to_json(answer, 1.0))["model_version"] == "v41"
    assert [json.loads(line)["model_version"] for line in to_ndjson(answer).splitlines()] == ["v41", "v41"]
    assert pa.ipc.open_stream(to_arrow(answer, 1.0)).schema.metadata[b"model_version"] == b"v41"


def test_fields_that_the_schema_does_not_know_are_named_with_their_count() -> None:
    batch = dataclasses.replace(batch_of(interactions(3)), ignored={"aht_second": 2})
    answer = score(snapshot(), batch)
    assert json.loads(to_json(answer, 1.0))["ignored_fields"] == {"aht_second": 2}
    metadata = pa.ipc.open_stream(to_arrow(answer, 1.0)).schema.metadata
    assert json.loads(metadata[b"ignored_fields"]) == {"aht_second": 2}
    assert "ignored_fields" not in json.loads(to_json(score(snapshot(), batch_of(interactions(3))), 1.0))
