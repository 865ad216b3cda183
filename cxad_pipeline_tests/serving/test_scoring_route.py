"""POST /score of the whole app: parameters, kinds of bodies, and what is refused, without a network in between."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pytest
from service_world import PATIENCE, ServiceWorld
from serving_examples import interactions, json_body, records, snapshot
from starlette.testclient import TestClient

from cxad_pipeline.serving.app import create_app
from cxad_pipeline.serving.bodies import ARROW, JSON, NDJSON

ROWS = 300


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The app with a model, started as a server starts it; the sidecar's tests are elsewhere."""
    world = ServiceWorld(tmp_path_factory.mktemp("app"), max_records=1_000)
    world.place_model()
    with pytest.MonkeyPatch.context() as patch:
        # However busy the machine is, it does not start before the model is loaded.
        patch.setattr("cxad_pipeline.serving.model_store._START_SECONDS", PATIENCE)
        with local_client(world) as made:
            yield made


def local_client(world: ServiceWorld) -> TestClient:
    return TestClient(create_app(world.settings()), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5))


@pytest.mark.parametrize("explain", ["true", "True"])
def test_the_answer_is_of_the_kind_of_the_body(client: TestClient, explain: str) -> None:
    table = interactions(ROWS)
    path = f"/score?model=ensemble&explain={explain}"
    in_json = client.post(path, content=json_body(table), headers={"Content-Type": JSON})
    lines = "\n".join(json.dumps(record) for record in records(table))
    in_lines = client.post(path, content=lines, headers={"Content-Type": f"{NDJSON}; charset=utf-8"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    in_arrow = client.post(path, content=bytes(sink.getvalue()), headers={"Content-Type": ARROW})
    assert [answer.headers["content-type"] for answer in (in_json, in_lines, in_arrow)] == [JSON, NDJSON, ARROW]
    assert {answer.headers["x-model-version"] for answer in (in_json, in_lines, in_arrow)} == {snapshot().label}
    whole = in_json.json()["scores"]
    by_line = [json.loads(line) for line in in_lines.text.splitlines()]
    assert [{k: v for k, v in entry.items() if k != "model_version"} for entry in by_line] == whole
    columns = pa.ipc.open_stream(in_arrow.content).read_all()
    assert columns["ensemble_score"].to_pylist() == [entry["scores"]["ensemble"] for entry in whole]
    assert columns["interaction_id"].to_pylist() == [entry["interaction_id"] for entry in whole]
    assert len(whole) == ROWS


@pytest.mark.parametrize("kind", [JSON, NDJSON])
def test_every_kind_of_answer_names_the_fields_that_were_ignored(client: TestClient, kind: str) -> None:
    record = records(interactions(1))[0] | {"aht": 1, "größe, =": 2}
    body = json.dumps([record] if kind == JSON else record)
    answer = client.post("/score", content=body, headers={"Content-Type": kind})
    assert answer.headers["x-ignored-fields"] == "aht=1, gr%C3%B6%C3%9Fe%2C%20%3D=1"
    known = client.post("/score", content=json_body(interactions(1)), headers={"Content-Type": JSON})
    assert "x-ignored-fields" not in known.headers


@pytest.mark.parametrize(
    ("path", "headers", "status", "said"),
    [
        ("/score?model=forest", {}, 400, "allowed: both, ensemble, iforest, rcf"),
        ("/score?modle=rcf", {}, 422, "no query parameter 'modle'; there are 'model' and 'explain'"),
        ("/score?explain=1", {}, 422, "must be true or false; got '1'"),
        ("/score", {"Content-Type": "text/plain"}, 415, "application/json"),
        ("/score", {"Content-Encoding": "gzip"}, 415, "packed by 'gzip'"),
        ("/score/", {}, 404, ""),
    ],
)
def test_what_is_refused_says_why(
    client: TestClient, path: str, headers: dict[str, str], status: int, said: str
) -> None:
    answer = client.post(path, content=json_body(interactions(1)), headers={"Content-Type": JSON} | headers)
    assert answer.status_code == status
    problem = answer.json()
    assert problem["status"] == status
    assert said in problem["detail"]


def test_more_records_than_one_request_may_have_are_refused(client: TestClient) -> None:
    record = json.dumps(records(interactions(1))[0])
    body = f"[{','.join([record] * 1_001)}]"
    answer = client.post("/score", content=body, headers={"Content-Type": JSON})
    assert answer.status_code == 413
    assert "at most 1,000" in answer.json()["detail"]


def test_a_bad_record_refuses_the_request_with_index_id_and_field(client: TestClient) -> None:
    rows = records(interactions(3))
    rows[1] = rows[1] | {"hold_time_seconds": -1, "csat": "4"}
    answer = client.post("/score", json=rows)
    assert answer.status_code == 422
    faults = answer.json()["faults"]
    assert [(fault["index"], fault["interaction_id"], fault["field"]) for fault in faults] == [
        (1, rows[1]["interaction_id"], "csat"),
        (1, rows[1]["interaction_id"], "hold_time_seconds"),
    ]
    assert "scores" not in answer.json()


def test_refused_requests_are_counted_by_their_path(client: TestClient) -> None:
    client.post("/score", content=b"[" + b" " * 20_000_000, headers={"Content-Type": JSON})
    counted = client.get("/metrics").text
    assert 'cxad_http_requests_total{method="POST",route="/score",status="413"}' in counted


def test_without_a_model_it_says_so_and_when_to_come_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    with local_client(ServiceWorld(tmp_path_factory.mktemp("empty"))) as client:
        for answer in (client.post("/score", json=[]), client.get("/readyz"), client.get("/models")):
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
        health = client.get("/health")
        assert health.status_code == 503
        assert "No model is loaded" in health.json()["detail"]
        assert health.json()["details"]["model"] is None
        assert client.get("/livez").status_code == 200
