"""`cxad serve` as a user runs it: one process or several, started, used, stopped, killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from model_store_world import RegistryWorld, world_in
from service_world import PATIENCE, RunningService, ServiceWorld, until
from serving_examples import fitted_detector, interactions, json_body
from unused_ports import unused_port

from cxad_pipeline.serving.security import new_key

FORBIDDEN = ("dagster", "sklearn", "pandas", "pandera", "mlflow", "pyarrow", "sqlalchemy", "alembic", "rrcf")
RECORD = {"timestamp": "2026-03-02T09:30:00Z", "channel": "voice", "language": "en", "queue": "billing"}
# Without the certificates of all authorities: reading them takes longer than a request, and there is no TLS here.
CONNECTION = {"timeout": PATIENCE, "trust_env": False, "verify": False}
UNUSUAL = {"csat": 1, "ies": 3, "complaints": 9, "aht_seconds": 9_000, "hold_time_seconds": 4_000, "transfers": 9}


@pytest.fixture
def world(tmp_path: Path) -> ServiceWorld:
    made = ServiceWorld(tmp_path)
    made.place_model()
    return made


@pytest.fixture
def registry_world(tmp_path: Path) -> Iterator[RegistryWorld]:
    with world_in(tmp_path) as made:
        yield made


def _post(service: RunningService, content: bytes, path: str = "/score", **headers: str) -> httpx2.Response:
    return service.client.post(path, content=content, headers={"Content-Type": "application/json"} | headers)


def _stored(service: RunningService) -> list[str]:
    """Ids of all anomalies in the store, as the API gives them page by page."""
    found: list[str] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        cursor = {"cursor": page["next"]} if page["next"] else {}
        page = service.client.get("/api/anomalies", params={"limit": 500, **cursor}).json()
        found += [each["interaction_id"] for each in page["anomalies"]]
    return found


def test_it_scores_says_where_it_listens_and_ends_with_status_0(world: ServiceWorld) -> None:
    with world.running() as service:
        answer = _post(service, json_body(interactions(200)))
        assert answer.status_code == 200
        assert answer.json()["total_records"] == 200
        assert answer.headers["X-Model-Version"] == answer.json()["model_version"] == "v3"
    assert service.process.returncode == 0
    first, *lines = service.log.splitlines()
    assert first == f"REST API {service.url}  (docs: {service.url}/docs)"
    logged = [json.loads(line) for line in lines]
    (request,) = [line for line in logged if line["event"] == "request" and line["route"] == "/score"]
    assert (request["records"], request["model_version"]) == (200, "v3")
    assert request["request_id"] == answer.headers["X-Request-ID"]
    for record in json.loads(json_body(interactions(200))):
        assert record["interaction_id"] not in service.log


def test_a_worker_holds_nothing_in_memory_that_scoring_does_not_need(world: ServiceWorld) -> None:
    """MLflow, pandas, Arrow and the database's drivers are for other processes, or for those who ask for them."""
    with world.running() as service:
        assert _post(service, json_body(interactions(200)), "/score?explain=true").status_code == 200
        assert service.client.get("/metrics").status_code == 200
        mapped = Path(f"/proc/{service.process.pid}/maps").read_text()
        libraries = {name for name in re.findall(r"site-packages/(\w+)", mapped) if name.islower()}
        assert {"numpy", "llvmlite"} <= libraries
        assert libraries.isdisjoint({"pandas", "sklearn", "pyarrow", "sqlalchemy", "psycopg2", "grpc", "dagster"})


@pytest.mark.parametrize("module", ["cxad_pipeline.serving.app", "cxad_pipeline.cli.serving", "cxad_pipeline.cli"])
def test_the_import_pulls_in_no_forbidden_module(module: str) -> None:
    forbidden = [
        "dagster",
        "sklearn",
        "pandas",
        "pandera",
        "mlflow",
        "pyarrow",
        "sqlalchemy",
        "alembic",
        "matplotlib",
        "rrcf",
    ]
    program = f"import sys, {module}; print(*sorted(set({forbidden}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_an_address_that_others_can_reach_wants_keys(world: ServiceWorld) -> None:
    done = _refused(world, CXAD_SERVING__HOST="0.0.0.0")
    assert "serving.keys" in done
    assert "cxad key" in done


def test_a_state_folder_that_cannot_be_used_is_named_before_anything_listens(world: ServiceWorld) -> None:
    assert "serving.state: " in _refused(world, CXAD_SERVING__STATE="/proc/x")


def test_a_port_in_use_is_named(world: ServiceWorld) -> None:
    with world.running() as service:
        assert f"port {service.port} is in use" in _refused(world, API_PORT=str(service.port))


def _refused(world: ServiceWorld, **variables: str) -> str:
    given = {"CXAD_CONFIG": str(world.folder / "config.yaml"), "API_PORT": str(unused_port())}
    done = subprocess.run(
        [sys.executable, "-m", "cxad_pipeline.cli", "serve"],
        cwd=world.folder,
        env=os.environ | given | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_requests_in_flight_are_answered_when_it_is_asked_to_stop(world: ServiceWorld) -> None:
    body = json_body(interactions(2_000))
    with world.running() as service, contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(contextlib.closing(HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)))
            for _ in range(4)
        ]
        for connection in connections:
            connection.putrequest("POST", "/score?explain=true")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body[:1_000])  # however fast it is, none of them is answered before the rest is there
        until(lambda: _in_flight(service) == 5)  # with the one that asks
        service.process.send_signal(signal.SIGTERM)
        until(lambda: not _listens(service.port))
        for connection in connections:
            connection.send(body[1_000:])
        answers = [connection.getresponse() for connection in connections]
        assert [answer.status for answer in answers] == [200] * 4
        assert [json.load(answer)["total_records"] for answer in answers] == [2_000] * 4
        assert service.process.wait(PATIENCE) == 0


def _in_flight(service: RunningService) -> float:
    content = service.client.get("/metrics").text
    return float(re.findall(r"^cxad_http_requests_in_flight (\S+)", content, re.MULTILINE)[0])


@pytest.mark.timeout(600)
def test_no_anomaly_that_was_answered_is_lost_when_it_is_killed(world: ServiceWorld) -> None:
    """Killed outright at random moments, again and again; what clients had been told of is in the store afterwards."""
    told: list[str] = []
    moments = random.Random(4)
    for round_ in range(6):
        service = RunningService(world, {})
        try:
            service.wait_until_ready()
            stop = threading.Event()

            def send(round_: int = round_, service: RunningService = service, stop: threading.Event = stop) -> None:
                number = 0
                with httpx2.Client(base_url=service.url, **CONNECTION) as client:
                    while not stop.is_set():
                        ids = [f"{round_}-{number}-{row}" for row in range(3)]
                        body = orjson.dumps([{"interaction_id": name} | RECORD | UNUSUAL for name in ids])
                        try:
                            answer = client.post("/score", content=body, headers={"Content-Type": "application/json"})
                        except httpx2.TransportError:
                            return
                        assert answer.json()["anomalies_detected"] == 3
                        told.extend(ids)
                        number += 1

            with ThreadPoolExecutor(1) as thread:
                sending = thread.submit(send)
                before = len(told)
                until(lambda before=before: len(told) > before + moments.randrange(3, 400))
                service.process.kill()
                stop.set()
                sending.result()
        finally:
            service.stop()
    assert len(told) > 50
    with world.running() as last:
        until(lambda: set(told) <= set(_stored(last)))
        stored = _stored(last)
    assert len(stored) == len(set(stored)), "an anomaly is there twice"


@pytest.mark.timeout(300)
def test_not_one_request_fails_while_models_change_under_load(registry_world: RegistryWorld) -> None:
    """Two champions take turns, by many reloads at once, while clients score without a pause."""
    detectors = {"1": fitted_detector(), "2": fitted_detector("max")}
    for detector in detectors.values():
        registry_world.register(detector)
    registry_world.crown("1")
    world = ServiceWorld.of(registry_world.folder, registry_world.settings())
    body, expected = json_body(interactions(50)), {}
    with world.running() as service:
        stop, answers, failures = threading.Event(), [], []

        def score() -> None:
            with httpx2.Client(base_url=service.url, **CONNECTION) as client:
                while not stop.is_set():
                    answer = client.post(
                        "/score?model=ensemble", content=body, headers={"Content-Type": "application/json"}
                    )
                    (answers if answer.status_code == 200 else failures).append(answer)

        def reload() -> int:
            with httpx2.Client(base_url=service.url, **CONNECTION) as client:
                return client.post("/reload").status_code

        with ThreadPoolExecutor(9) as threads:
            scoring = [threads.submit(score) for _ in range(3)]
            for version in ("2", "1", "2", "1"):
                registry_world.crown(version)
                reloads = [threads.submit(reload) for _ in range(6)]
                assert [each.result() for each in reloads] == [200] * 6
                assert service.client.get("/models").json()["version"] == version
            stop.set()
            for each in scoring:
                each.result()
    assert failures == []
    assert {answer.json()["model_version"] for answer in answers} == {"v1", "v2"}
    # Each answer is whole: its scores are those of the version that it names.
    for answer in answers:
        content = answer.json()
        scores = [entry["scores"]["ensemble"] for entry in content["scores"]]
        assert scores == expected.setdefault(content["model_version"], scores)
    assert expected["v1"] != expected["v2"]


@pytest.mark.timeout(300)
def test_every_worker_follows_the_champion_and_is_counted(registry_world: RegistryWorld) -> None:
    registry_world.new_champion(fitted_detector())
    second = registry_world.register(fitted_detector("max"))
    world = ServiceWorld.of(registry_world.folder, registry_world.settings())
    with world.running(CXAD_SERVING__WORKERS="2") as service:
        seen = until(lambda: _versions_of_workers(service, 2))
        assert set(seen.values()) == {"1"}
        registry_world.crown(second)
        assert httpx2.post(f"{service.url}/reload", **CONNECTION).status_code == 200
        until(lambda: set((_versions_of_workers(service, 2) or {"": ""}).values()) == {second})
        before = _scored(service)
        for _ in range(20):
            httpx2.post(
                f"{service.url}/score",
                content=json_body(interactions(50)),
                headers={"Content-Type": "application/json"},
                **CONNECTION,
            )
        # Whichever worker a scrape reaches, it tells of all of them.
        until(lambda: _scored(service) == before + 20 * 50)


def _versions_of_workers(service: RunningService, n_workers: int) -> dict[str, str] | None:
    """Version by worker process, once all have answered; each new connection may reach another worker."""
    found: dict[str, Any] = {}
    for _ in range(40):
        answer = httpx2.get(f"{service.url}/models", **CONNECTION)
        if answer.status_code == 200:
            found[answer.json()["loaded_at"]] = answer.json()["version"]
    return found if len(found) >= n_workers else None


def _scored(service: RunningService) -> float:
    answer = httpx2.get(f"{service.url}/metrics", **CONNECTION)
    return float(re.findall(r"^cxad_interactions_scored_total (\S+)", answer.text, re.MULTILINE)[0])


def test_a_key_made_by_the_command_lets_its_owner_in(world: ServiceWorld) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cxad_pipeline.cli", "key", "--name", "desk", "--role", "score"],
        cwd=world.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    key = done.stderr.split()[-1]
    assert key not in done.stdout
    import yaml

    entry = yaml.safe_load(done.stdout)["serving"]["keys"]
    with world.running(CXAD_SERVING__KEYS=json.dumps(entry)) as service:
        body = json_body(interactions(50))
        assert _post(service, body).status_code == 401
        assert _post(service, body, Authorization=f"Bearer {new_key()[0]}").status_code == 401
        assert _post(service, body, Authorization=f"Bearer {key}").status_code == 200
        assert service.client.get("/models", headers={"Authorization": f"Bearer {key}"}).status_code == 403
        assert service.client.get("/health").status_code == 200
    assert key not in service.log


def test_the_python_of_the_documentation_scores_a_file(world: ServiceWorld) -> None:
    repository = Path(__file__).resolve().parents[2]
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", (repository / "docs" / "serving.md").read_text(), re.MULTILINE | re.DOTALL
    )
    with world.running() as service:
        program = f"{block}\nassert len(scores) == len(frame) > 1000\nprint(*scores.columns)"
        done = subprocess.run(
            [sys.executable, "-c", program.replace("http://127.0.0.1:8000", service.url)],
            cwd=repository, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["interaction_id", "ensemble_score", "ensemble_anomaly"]


def test_a_head_without_end_is_cut_by_the_command(world: ServiceWorld) -> None:
    with world.running() as service, socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
        sent = 0
        with contextlib.suppress(OSError):  # cut while sending
            while sent < 20_000_000:
                sent += connection.send(b"y" * 65_536)
        assert sent < 20_000_000
        assert service.client.get("/livez").status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed(world: ServiceWorld) -> None:
    with world.running(CXAD_SERVING__WORKERS="2") as service:
        service.process.kill()
        service.process.wait(PATIENCE)
        until(lambda: not _listens(service.port))
        until(lambda: not _in_session(service.process.pid))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_worker_that_stands_still_for_some_seconds_is_not_killed(world: ServiceWorld) -> None:
    """As on a busy machine; uvicorn by itself gives it five."""
    with world.running(CXAD_SERVING__WORKERS="2") as service:
        workers = until(lambda: len(found := _workers(service)) == 2 and found)
        os.kill(min(workers), signal.SIGSTOP)
        stopped = time.monotonic()
        until(lambda: time.monotonic() - stopped > 8)
        os.kill(min(workers), signal.SIGCONT)
        assert _workers(service) == workers


def _workers(service: RunningService) -> set[int]:
    """Processes that uvicorn has started."""
    found = set()
    for process in _in_session(service.process.pid):
        with contextlib.suppress(OSError):  # ended meanwhile
            if b"multiprocessing.spawn" in Path("/proc", process, "cmdline").read_bytes():
                found.add(int(process))
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _in_session(leader: int) -> list[str]:
    """Processes that are left of what a service has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(stat.parent.name)
    return found
