"""`cxad up`: all user interfaces answer over the same state, and one signal leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest
from command_world import USAGE, CommandWorld, one_line
from dagster._core.events import EngineEventData
from unused_ports import unused_port

ASSETS = """{assetNodes {assetKey {path} assetMaterializations(limit: 1) {runId}}
             instance {daemonHealth {allDaemonStatuses {daemonType required healthy}}}}"""


def _ports() -> dict[str, str]:
    return {f"CXAD_PORTS__{name}": str(unused_port()) for name in ("DAGSTER", "MLFLOW", "API")}


def _get(port: str, path: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=120) as answer:
        return bytes(answer.read())


def _ask(port: str, path: str, body: object = None) -> Any:
    return json.loads(_get(port, path, body))


def _until(what: Callable[[], Any], seconds: float = 300) -> Any:
    """What a call gives, once it gives something; it may fail until then."""
    deadline, error = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            if found := what():
                return found
        except OSError as refused:
            error = refused
        time.sleep(0.2)  # between two looks; the deadline decides
    raise AssertionError(f"not within {seconds} s: {error}")


def _children(parent: int) -> set[int]:
    """All processes below one, whichever group they belong to."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in table.splitlines()]
    found, newest = set(), {parent}
    while newest:
        newest = {pid for pid, above in parents if above in newest} - found
        found |= newest
    return found


def _alive(pids: set[int]) -> set[int]:
    table = subprocess.run(["ps", "-eo", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    running = {int(pid) for pid, state in map(str.split, table.splitlines()) if not state.startswith("Z")}
    return pids & running


@pytest.fixture(scope="module")
def trained(
    first_run: tuple[CommandWorld, subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> CommandWorld:
    """A folder of this module alone, trained and scored in: files land in it."""
    world, done = first_run
    assert done.returncode == 0, done.stderr
    return world.copied_to(tmp_path_factory.mktemp("interfaces") / "folder")


@pytest.mark.timeout(900)
def test_all_interfaces_show_the_state_and_one_interrupt_stops_all(trained: CommandWorld) -> None:
    ports = _ports()
    dagster, mlflow, api = (ports[f"CXAD_PORTS__{name}"] for name in ("DAGSTER", "MLFLOW", "API"))
    lost = _lost_run(trained)
    process = trained.start("up", **ports, ENABLE_SCHEDULER="false")
    try:
        announced = _announced(process)
        assert announced == {
            f"Dagster  http://127.0.0.1:{dagster}",
            f"MLflow   http://127.0.0.1:{mlflow}",
            f"API      http://127.0.0.1:{api}/docs",
        }
        assert b"swagger-ui" in _get(api, "/docs")
        assert _until(lambda: _ask(api, "/health"))["models"] == ["iforest", "rcf"]
        assert _get(dagster, "/server_info")  # at once: an address that is shown can be opened
        assert _get(mlflow, "/version")
        answer = _until(lambda: _settled(_ask(dagster, "/graphql", {"query": ASSETS})))
        nodes = {node["assetKey"]["path"][0]: node["assetMaterializations"] for node in answer["assetNodes"]}
        assert {"landed_inference_files", "raw_interactions", "champion_model", "alert_notifications"} <= set(nodes)
        assert nodes["ensemble_scores"], "the UI does not see what the commands have made"
        search = {"max_results": 10, "filter": "name = 'cx-anomaly-detector'"}
        found = _ask(mlflow, "/api/2.0/mlflow/experiments/search", search)
        (experiment,) = found["experiments"]
        runs = _ask(
            mlflow, "/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment["experiment_id"]], "max_results": 50}
        )["runs"]
        names = {run["info"]["run_name"] for run in runs}
        assert {"iforest", "rcf", "ensemble"} <= names
        parent = next(run["info"]["run_id"] for run in runs if run["info"]["run_name"].startswith("training-"))
        listed = _ask(mlflow, f"/api/2.0/mlflow/artifacts/list?run_id={parent}&path=figures")
        assert any(file["path"].endswith("score_distribution.png") for file in listed["files"])
        below = _children(process.pid)
        assert len(below) >= 4  # webserver, daemon, code server, MLflow, API
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0
        _until(lambda: not _alive(below), seconds=60)
        assert "Traceback" not in out + err
        assert f"run {lost} of training_job was killed, or its machine went down: ended" in out + err
        with trained.instance() as instance:
            run = instance.get_run_by_id(lost)
            assert run is not None
            assert run.is_failure, "the queue would wait for it for good"
        assert [line for line in (out + err).splitlines() if "Warning" in line] == []
    finally:
        _kill(process)


def _lost_run(world: CommandWorld) -> str:
    """A run as the default launcher leaves it behind when the machine goes down."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with world.instance() as instance:
        run = instance.create_run_for_job(
            dg.GraphDefinition("training_job").to_job(),
            status=dg.DagsterRunStatus.STARTED,
            tags={".dagster/grpc_info": '{"host": "localhost", "socket": "gone"}'},
        )
        instance.report_engine_event("Started process for run", run, EngineEventData.in_process(gone.pid))
        return run.run_id


RUNS = "{runsOrError(limit: 20) {... on Runs {results {status tags {key value}}}}}"
BACKFILL = """mutation($windows: [String!]) {launchPartitionBackfill(backfillParams: {
                partitionNames: $windows, assetSelection: [{path: ["ensemble_scores"]}, {path: ["anomaly_export"]}]
              }) {__typename}}"""


@pytest.fixture(scope="module")
def scheduled(trained: CommandWorld) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`cxad up` with its sensors and schedules on, and the port of Dagster; the last of its tests kills it."""
    ports = _ports()
    process = trained.start("up", **ports, CXAD_LANDING__SETTLE_SECONDS="0")
    try:
        assert len(_announced(process)) == 3
        yield process, ports["CXAD_PORTS__DAGSTER"]
    finally:
        _kill(process)


@pytest.mark.timeout(900)
def test_the_daemon_scores_a_file_that_lands_and_backfills_windows(
    trained: CommandWorld, scheduled: tuple[subprocess.Popen[str], str]
) -> None:
    """A real tick of the landing sensor and a real backfill, as they are started from the UI."""
    _, dagster = scheduled
    landed = trained.folder / "data/input/inference/late.csv"
    rows = [f"late-{hour},2026-11-02T{hour:02}:30:00Z,300" for hour in range(0, 12, 2)]
    written = trained.folder / "late.csv"
    written.write_text("\n".join(["interaction_id,timestamp,aht_seconds", *rows]) + "\n")
    written.rename(landed)  # a tick may come at any time, and finds all of it or nothing
    windows = ["2026-10-12-0000", "2026-10-12-0600", "2026-10-12-1800"]
    started = _ask(dagster, "/graphql", {"query": BACKFILL, "variables": {"windows": windows}})
    assert started["data"]["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess"
    ranges = _until(lambda: _finished(_ask(dagster, "/graphql", {"query": RUNS})), seconds=400)
    assert sorted(ranges["dagster/sensor_name"]) == [("2026-11-02-0000", "2026-11-02-0600")]
    assert sorted(ranges["dagster/backfill"]) == [
        ("2026-10-12-0000", "2026-10-12-0600"),
        ("2026-10-12-1800", "2026-10-12-1800"),
    ]
    exported = trained.folder / "data/processed/anomalies_ensemble_20261102T060000Z.csv"
    assert exported.read_text().count("late-") == 3


def _finished(answer: dict[str, Any]) -> dict[str, list[tuple[str, str]]] | None:
    """Windows of the runs that the sensor and the backfill have started, once all three have succeeded."""
    found: dict[str, list[tuple[str, str]]] = {"dagster/sensor_name": [], "dagster/backfill": []}
    for run in answer["data"]["runsOrError"]["results"]:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        for origin, ranges in found.items():
            if origin in tags:
                assert run["status"] not in ("FAILURE", "CANCELED")
                if run["status"] == "SUCCESS":
                    ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
                    ranges.append((tags[ends[0]], tags[ends[1]]))
    return found if sum(map(len, found.values())) == 3 else None


def _announced(process: subprocess.Popen[str]) -> set[str]:
    """The addresses that the command shows, as soon as it has shown all."""
    assert process.stdout is not None
    shown: set[str] = set()
    while len(shown) < 3:
        line = process.stdout.readline()
        assert line, "it ended before all answered"
        if "http://127.0.0.1" in line:
            shown.add(line.strip())
    return shown


def _settled(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The answer, once the code is loaded and every daemon that is needed has reported."""
    data: dict[str, Any] = answer["data"]
    daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
    needed = [status for status in daemons if status["required"]]
    healthy = needed and all(status["healthy"] for status in needed)
    return data if data["assetNodes"] and healthy else None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
@pytest.mark.timeout(900)
def test_nothing_is_left_when_the_command_is_killed_outright(scheduled: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = scheduled
    below = _children(process.pid)
    assert len(below) >= 4
    process.kill()
    process.wait(60)
    _until(lambda: not _alive(below), seconds=60)


@pytest.mark.parametrize("key", ["dagster", "mlflow", "api"])
def test_a_port_in_use_is_named_with_its_key(trained: CommandWorld, key: str) -> None:
    ports = _ports()
    variable = f"CXAD_PORTS__{key.upper()}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(ports[variable])))
        taken.listen()
        done = trained.run("up", **ports)
    assert done.returncode == USAGE
    said = one_line(done.stderr)
    assert f"port {ports[variable]} is in use" in said
    assert f"ports.{key}" in said
    assert variable in said


def test_elsewhere_it_says_where_to_start_it(trained: CommandWorld) -> None:
    (trained.folder / "workspace.yaml").rename(trained.folder / "elsewhere.yaml")
    try:
        done = trained.run("up", **_ports())
    finally:
        (trained.folder / "elsewhere.yaml").rename(trained.folder / "workspace.yaml")
    assert done.returncode == USAGE
    assert "workspace.yaml" in one_line(done.stderr)


def _kill(process: subprocess.Popen[str]) -> None:
    """After a failure, leave nothing of this test running."""
    left = _children(process.pid)
    if process.poll() is None:
        process.kill()
        process.communicate(timeout=60)
    for pid in _alive(left):
        os.kill(pid, signal.SIGKILL)
