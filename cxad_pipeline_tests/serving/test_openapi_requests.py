"""The OpenAPI document is true: requests that are made from it, valid ones and broken ones, find nothing amiss.

Schemathesis makes them and judges the answers: documented statuses, media types, headers and shapes; what is valid by
the schema accepted and what is not refused; no key, no answer; never a server error.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_store_world import world_in
from service_world import RunningService, ServiceWorld

from cxad_pipeline import __version__
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.serving.security import new_key

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# The stream has no end; test_stream_over_http calls it.
ENDLESS = "/api/stream"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceWorld]:
    folder = tmp_path_factory.mktemp("openapi")
    with world_in(folder) as registry:
        registry.new_champion()
        yield ServiceWorld.of(folder, registry.settings())


@pytest.fixture(scope="module")
def open_service(world: ServiceWorld) -> Iterator[RunningService]:
    """A service without keys."""
    with world.running(CXAD_SERVING__REQUESTS_PER_MINUTE="null") as service:
        yield service


def _findings(service: RunningService, folder: Path, *arguments: str) -> str:
    """What Schemathesis prints where it finds something; empty where it does not."""
    done = subprocess.run(
        [
            str(SCHEMATHESIS), "run", f"{service.url}/openapi.json", "--checks=all", f"--exclude-path={ENDLESS}",
            "--max-examples=60", "--seed=20261121", "--no-color", "--generation-database=none", *arguments,
        ],
        cwd=folder, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert "API Operations" in done.stdout, done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stdout


@pytest.mark.timeout(900)
def test_without_keys_nothing_is_found(open_service: RunningService, tmp_path: Path) -> None:
    assert _findings(open_service, tmp_path) == ""


@pytest.mark.timeout(900)
def test_with_keys_nothing_is_found(world: ServiceWorld, tmp_path: Path) -> None:
    key, digest = new_key()
    variables = {
        "CXAD_SERVING__KEYS": json.dumps({"tester": {"sha256": digest, "roles": ["admin"]}}),
        "CXAD_SERVING__REQUESTS_PER_MINUTE": "null",
        "CXAD_SERVING__STATE": f"{tmp_path}/state",
        "CXAD_STORE__URL": f"sqlite:///{tmp_path}/store.db",
    }
    with world.running(**variables) as service:
        assert _findings(service, tmp_path, "--header", f"Authorization: Bearer {key}") == ""


def test_the_document_says_what_a_record_is_from_the_one_schema(open_service: RunningService) -> None:
    document: dict[str, Any] = open_service.client.get("/openapi.json").json()
    assert document["info"]["version"] == __version__
    body = document["paths"]["/score"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"}
    assert body["application/json"]["schema"]["items"] == {"$ref": "#/components/schemas/Interaction"}
    record = document["components"]["schemas"]["Interaction"]
    for column in InteractionSchema().columns:
        shown = record["properties"][column.name]
        assert column.meaning in shown["description"]
        assert shown["examples"]
        if column.unit:
            assert f" {column.unit}" in shown["description"] or column.unit in json.dumps(shown)
        text = json.dumps(shown)
        for limit in (column.minimum, column.maximum):
            assert limit is None or f"{limit:g}" in text
    undocumented = [
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if not (operation.get("summary") and operation.get("description"))
    ]
    assert undocumented == []
