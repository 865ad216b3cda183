"""The production configuration runs: PostgreSQL, S3, MLflow's server, Dagster's services and the API, as processes."""

from __future__ import annotations

import csv
import io
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow.parquet as pq
import pytest
from local_stack import LocalStack
from postgres_server import PasswordPostgres
from s3_server import S3Server
from unused_ports import unused_port, unused_ports

from cxad_pipeline.definitions import build_definitions
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.serving.security import new_key
from cxad_pipeline.settings import Settings

_BUCKET = "cxad-test"
_RUN_SECONDS = 240
_SMALL_FORESTS = {f"CXAD_MODELS__{name}__PARAMS__N_ESTIMATORS": "20" for name in ("IFOREST", "RCF")}

pytestmark = pytest.mark.timeout(900)  # the first of them waits until all services are up


class Production:
    """What the tests of this file share: the stack, its servers and its secrets."""

    def __init__(self, root: Path, folder: Path, s3: S3Server) -> None:
        self.secrets = {
            "POSTGRES_PASSWORD": f"pg/{secrets.token_hex(8)}@:x",  # with what would break an address
            "AWS_SECRET_ACCESS_KEY": s3.environment["AWS_SECRET_ACCESS_KEY"],
            "SLACK_WEBHOOK_URL": f"http://127.0.0.1:9/services/{secrets.token_hex(8)}",
        }
        self.tracking_password = secrets.token_hex(8)
        self.api_key, digest = new_key()
        self.secrets["API key"] = self.api_key
        given = self.secrets | {
            "API_KEYS": json.dumps({"desk": {"sha256": digest, "roles": ["score", "read"]}}),
            "AWS_ACCESS_KEY_ID": s3.environment["AWS_ACCESS_KEY_ID"],
            "S3_BUCKET": _BUCKET,
            "ENABLE_SCHEDULER": "false",
        }
        self.endpoint = s3.environment["AWS_ENDPOINT_URL"]
        ports = unused_ports(5)
        names = ["postgres:5432", "mlflow:5000", "dagster-code:4000", "dagster-webserver:3000", "api:8000"]
        addresses = {name: ("127.0.0.1", port) for name, port in zip(names, ports, strict=True)}
        addresses["minio:9000"] = ("127.0.0.1", int(self.endpoint.rpartition(":")[2]))
        self.stack = LocalStack(root, folder, given, addresses)
        self.root = root
        self.postgres = PasswordPostgres(ports[0], "cxad", self.secrets["POSTGRES_PASSWORD"])

    @property
    def s3(self) -> Any:
        environment = self.stack.environment("dagster-code")
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {key: self.s3.get_object(Bucket=_BUCKET, Key=key)["Body"].read() for key in keys}

    def cxad(self, *arguments: str, **extra: str) -> Any:
        """`cxad` in the container of the code server, with a password in MLflow's address, as a proxy may ask for."""
        uri = f"http://reader:{self.tracking_password}@127.0.0.1:{self.stack.port('mlflow:5000')}"
        return self.stack.run("dagster-code", ["cxad", *arguments], CXAD_MLFLOW__TRACKING_URI=uri, **extra)

    def mlflow(self, path: str, host: str | None = None) -> Any:
        url = f"http://127.0.0.1:{self.stack.port('mlflow:5000')}/api/2.0/mlflow/{path}"
        return _answer(url, None, {"Host": host} if host else {})

    def graphql(self, query: str, **variables: Any) -> Any:
        url = f"http://127.0.0.1:{self.stack.port('dagster-webserver:3000')}/graphql"
        answer = _answer(url, {"query": query, "variables": variables}, {})
        assert "errors" not in answer, answer
        return answer["data"]

    def api(self, path: str, body: Any = None) -> Any:
        """The REST API, with the key of a caller that may score and read."""
        url = f"http://127.0.0.1:{self.stack.port('api:8000')}{path}"
        return _answer(url, body, {"Authorization": f"Bearer {self.api_key}"})

    def database_rows(self) -> list[str]:
        """Every row of every table that Dagster, MLflow and the API keep, as text."""
        rows = []
        for database in ("dagster", "mlflow", "cxad"):
            connection = self.postgres.connect(database)
            cursor = connection.cursor()
            cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
            for (table,) in cursor.fetchall():
                cursor.execute(f'SELECT to_jsonb(t)::text FROM "{table}" t')
                rows += [f"{database}.{table}: {row}" for (row,) in cursor.fetchall()]
            connection.close()
        return rows


@pytest.fixture(scope="module")
def production(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """The stack, trained and scored from the terminal; the servers that need no model start meanwhile."""
    root = Path(__file__).resolve().parents[2]
    made = Production(root, tmp_path_factory.mktemp("stack"), s3_server)
    stack = made.stack
    with made.postgres as postgres:
        try:
            connection = postgres.connect()
            for statement in (root / "docker/create_databases.sql").read_text().split(";"):
                if statement.strip():
                    connection.cursor().execute(statement)
            connection.cursor().execute("CREATE DATABASE cxad")  # as PostgreSQL's image does: named as its user
            connection.close()
            for service in ("mlflow", "dagster-code"):
                stack.start(service)
            for _ in range(2):  # Compose runs it at each start
                result = stack.run("bucket", stack.command("bucket"))
                assert result.returncode == 0, result.stdout
            for kind, name in (("training", "mock_train.csv"), ("inference", "mock_inference.csv")):
                made.s3.upload_file(str(root / f"data/input/{kind}/{name}"), _BUCKET, f"input/{kind}/{name}")
            stack.wait("mlflow", "/api/2.0/mlflow/experiments/search?max_results=1")
            made.trained = made.cxad("train", **_SMALL_FORESTS)
            stack.start("api")
            made.scored = made.cxad("score")
            stack.wait("dagster-code")
            for service in ("dagster-webserver", "dagster-daemon"):
                stack.start(service)
            stack.wait("api", "/readyz")
            stack.wait("dagster-webserver", "/server_info")
            yield made
        finally:
            stack.stop()


def test_training_in_production_makes_a_champion_in_mlflow(production: Production) -> None:
    assert production.trained.returncode == 0, production.trained.stdout
    version = production.mlflow("registered-models/alias?name=cx-anomaly-detector&alias=champion")["model_version"]
    assert version["version"] == "1"
    run = production.mlflow(f"runs/get?run_id={version['run_id']}")["run"]
    assert run["info"]["artifact_uri"].startswith("mlflow-artifacts:/")
    assert any("detector" in key for key in production.objects("mlflow/"))


def test_scoring_in_production_leaves_tables_and_exports_in_the_bucket(production: Production) -> None:
    assert production.scored.returncode == 0, production.scored.stdout
    keys = list(production.objects())
    exports = [key for key in keys if key.startswith("processed/anomalies_ensemble_") and key.endswith(".csv")]
    tables = [key for key in keys if key.startswith("storage/ensemble_scores/") and key.endswith(".parquet")]
    assert exports
    assert len(tables) >= len(exports)
    landed = (production.root / "data/input/inference/mock_inference.csv").read_bytes()
    ids = [row["interaction_id"] for key in exports for row in _csv_rows(production.objects(key)[key])]
    assert sorted(ids) == sorted(row["interaction_id"] for row in _csv_rows(landed))
    made = [path.name for path in production.stack.app.iterdir()]
    assert made == ["configs"], "something was written beside the bucket"


def test_mlflow_answers_by_its_name_and_refuses_a_strange_one(production: Production) -> None:
    assert production.mlflow("experiments/search?max_results=1", host="mlflow:5000")["experiments"]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        production.mlflow("experiments/search?max_results=1", host="elsewhere.example.org")


def test_the_api_gives_the_scores_of_the_command_line(production: Production, tmp_path: Path) -> None:
    output = tmp_path / "scored.parquet"
    source = f"s3://{_BUCKET}/input/inference/mock_inference.csv"
    result = production.cxad("score", "--input", source, "--output", str(output))
    assert result.returncode == 0, result.stdout
    expected = pq.read_table(output)
    inputs = [name for name in InteractionSchema().names if name in expected.column_names]
    rows = expected.select(inputs).to_pylist()
    rows = [row | {"timestamp": row["timestamp"].isoformat()} for row in rows]
    answer = production.api("/score?model=ensemble", rows)
    for name in ("ensemble", "iforest", "rcf"):
        scores = [entry["scores"][name] for entry in answer["scores"]]
        np.testing.assert_array_equal(scores, expected[f"{name}_score"].to_numpy())
        flags = [entry["is_anomaly"][name] for entry in answer["scores"]]
        assert flags == expected[f"{name}_anomaly"].to_pylist()
    assert answer["model_version"] == "v1"
    assert answer["anomalies_detected"] > 0
    # What it found is in PostgreSQL a moment later.
    found = {entry["interaction_id"] for entry in answer["scores"] if entry["is_anomaly"]["ensemble"]}
    path = "/api/anomalies?limit=500"
    _until(lambda: found <= {each["interaction_id"] for each in production.api(path)["anomalies"]})


def test_the_api_asks_for_a_key(production: Production) -> None:
    url = f"http://127.0.0.1:{production.stack.port('api:8000')}/score"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        _answer(url, [], {})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        production.api("/reload", {})


def test_the_webserver_lists_our_assets_and_the_daemon_runs_a_queued_job(production: Production) -> None:
    nodes = production.graphql("{ assetNodes { assetKey { path } } }")["assetNodes"]
    ours = build_definitions(Settings()).resolve_asset_graph().get_all_asset_keys()
    assert {tuple(node["assetKey"]["path"]) for node in nodes} == {tuple(key.path) for key in ours}

    tables = sorted(production.objects("storage/ensemble_scores/"))
    window = tables[0].rpartition("/")[2].removesuffix(".parquet")
    launched = production.graphql(
        "mutation($p: ExecutionParams!) { launchRun(executionParams: $p) "
        "{ __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
        p={
            "selector": {
                "repositoryLocationName": "cx-anomaly-detector",
                "repositoryName": "__repository__",
                "jobName": "scoring_job",
            },
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": window}]},
        },
    )["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    before = production.s3.head_object(Bucket=_BUCKET, Key=tables[0])["LastModified"]
    query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    _until(lambda: production.graphql(query, id=run_id)["runOrError"]["status"] in ("SUCCESS", "FAILURE"))
    assert production.graphql(query, id=run_id)["runOrError"]["status"] == "SUCCESS"
    assert production.s3.head_object(Bucket=_BUCKET, Key=tables[0])["LastModified"] >= before
    assert production.objects(f"dagster/storage/{run_id}/compute_logs/"), "no compute logs in the bucket"

    statuses = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy lastHeartbeatTime } } } }"

    def required() -> dict[str, Any]:
        health = production.graphql(statuses)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return {each["daemonType"]: each for each in health if each["required"]}

    assert {"SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR"} <= set(required())
    _until(lambda: all(each["healthy"] and each["lastHeartbeatTime"] for each in required().values()))


def test_the_health_checks_of_the_compose_file_pass(production: Production) -> None:
    for service in ("mlflow", "dagster-code", "dagster-webserver", "dagster-daemon", "api"):
        production.stack.wait(service)


def test_no_secret_is_in_a_log_an_event_a_run_or_a_stored_file(production: Production) -> None:
    shown = production.cxad("config")
    assert "tracking_uri: http://" in shown.stdout
    closed = f"http://reader:{production.tracking_password}@127.0.0.1:{unused_port()}"
    failed = production.stack.run(
        "dagster-code",
        ["dagster", "asset", "materialize", "--select=features", "--module-name=cxad_pipeline.definitions"],
        CXAD_MLFLOW__TRACKING_URI=closed,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    )
    assert failed.returncode != 0, failed.stdout
    hidden = {**production.secrets, "tracking password": production.tracking_password}
    logs = {str(path): path.read_text(errors="replace") for path in production.stack.logs.iterdir()}
    logs |= {"postgres": production.postgres.log.read_text(errors="replace")}
    rows = production.database_rows()
    files = production.objects()
    assert any("STEP_FAILURE" in row for row in rows)
    assert any("cxad.training_id" in row for row in rows)
    assert any(row.startswith("cxad.anomalies") for row in rows)
    for name, secret in hidden.items():
        assert [path for path, text in logs.items() if secret in text] == [], name
        assert [row.split(":")[0] for row in rows if secret in row or json.dumps(secret)[1:-1] in row] == [], name
        assert [key for key, content in files.items() if secret.encode() in content] == [], name


def _answer(url: str, body: Any, headers: dict[str, str]) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def _csv_rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _RUN_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)
