"""The load generator counts, checks and times as it says; the serving benchmark runs from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in_service import scoring, standing_in

from cxad_pipeline.detection import Detector, DetectorConfig, ModelConfig

pytestmark = pytest.mark.timeout(600)

MODULES = (
    *("load_generator", "scoring_requests", "server_processes", "serving_tables", "serving_figure", "serving"),
    "report",
)


@pytest.fixture(scope="module")
def code() -> Iterator[Any]:
    """The benchmark's modules, by name."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield SimpleNamespace(**{name: import_module(name) for name in MODULES})
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def detector(code: Any) -> Detector:
    models = (
        ModelConfig("iforest", "isolation_forest", {"n_estimators": 10}),
        ModelConfig("rcf", "random_cut_forest", {"n_estimators": 5, "tree_size": 32}),
    )
    config = DetectorConfig(["csat", "ies", "aht_seconds"], ["channel", "queue"], models)
    return Detector.fit(code.scoring_requests.interactions(500), config)


@pytest.fixture(scope="module")
def kinds(code: Any, detector: Detector) -> dict[str, Any]:
    module = code.scoring_requests
    found = [module.Json(), module.Ndjson(), module.Arrow(), module.Mlflow(module.model_columns(detector))]
    return {kind.name: kind for kind in found}


def request(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def echo(handler: object, body: bytes) -> bytes:
    return body


def other_text(handler: object, body: bytes) -> bytes:
    return b"<1>"


def twice(handler: object, body: bytes) -> bytes:
    return body * 2


@pytest.fixture
def load(code: Any) -> Callable[..., Any]:
    """A load whose answers are right when they hold the text of the request."""

    def make(port: int, requests: int, calls: int = 1, **more: Any) -> Any:
        bodies = [b"<%d>" % number for number in range(calls)]
        made = [code.load_generator.Call(request(body), ((body, 1),)) for body in bodies]
        return code.load_generator.Load(port, made, requests, **more)

    return make


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("rate", [None, 2_000.0])
def test_each_request_is_sent_once_in_turn_and_measured(
    code: Any, load: Callable[..., Any], framing: str, rate: float | None
) -> None:
    with standing_in(echo, framing=framing) as (port, bodies):
        found = code.load_generator.generate(load(port, 23, calls=3, connections=4, warm_up=6, rate=rate, keep=5))
    assert sorted(bodies[:6]) == sorted([b"<0>", b"<1>", b"<2>"] * 2)
    assert sorted(bodies[6:]) == sorted([b"<0>", b"<1>", b"<2>"] * 7 + [b"<0>", b"<1>"])
    assert len(found.latencies) == 23
    assert min(found.latencies) > 0
    assert sum(found.latencies) <= 4 * found.seconds * 1e9 + sum(found.lateness)
    assert found.per_second == pytest.approx(23 / found.seconds)
    assert len(found.kept) == 5
    assert all(body == b"<%d>" % position for position, body in found.kept)
    assert all(value >= 0 for value in found.lateness)
    assert any(found.lateness) == (rate is not None)
    if rate is not None:
        assert found.seconds >= 22 / rate


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": 503}, "request [0-9]+ was answered with status 503: b'<0>'"),
        ({"reply": other_text}, "holds b'<0>' 0 times and not 1: b'<1>'"),
        ({"reply": twice}, "holds b'<0>' 2 times and not 1"),
        ({"framing": "cut"}, "ended the connection after 3 of 12 bytes"),
        ({"framing": "close"}, "closes its connections"),
        ({"framing": "none"}, "neither Content-Length nor chunks"),
    ],
)
def test_a_wrong_answer_is_no_result(code: Any, load: Callable[..., Any], changes: dict[str, Any], says: str) -> None:
    with (
        standing_in(**{"reply": echo} | changes) as (port, bodies),
        pytest.raises(code.load_generator.LoadError, match=says),
    ):
        code.load_generator.generate(load(port, 10_000, connections=3))
    assert len(bodies) < 100  # the other connections stop, too


def test_one_wrong_answer_stops_all_connections(code: Any, load: Callable[..., Any]) -> None:
    def wrong_once(handler: Any, body: bytes) -> bytes:
        return b"<1>" if len(handler.bodies) == 20 else body

    with (
        standing_in(wrong_once) as (port, bodies),
        pytest.raises(code.load_generator.LoadError, match="holds b'<0>' 0 times"),
    ):
        code.load_generator.generate(load(port, 20_000, connections=3))
    assert len(bodies) < 2_000


def test_the_generator_runs_in_a_process_of_its_own_which_tells_of_wrong_answers(
    code: Any, load: Callable[..., Any]
) -> None:
    generator = code.load_generator
    with generator.own_process() as pool, standing_in(echo) as (port, bodies):
        assert len(pool.submit(generator.generate, load(port, 7)).result().latencies) == 7
        assert pool.submit(os.getpid).result() != os.getpid()
        with standing_in(echo, status=500) as (broken, _), pytest.raises(generator.LoadError, match="status 500"):
            pool.submit(generator.generate, load(broken, 7)).result()
    assert len(bodies) == 7


def test_an_open_loop_charges_a_stall_to_all_requests_that_were_due(code: Any, load: Callable[..., Any]) -> None:
    rate, stall, requests = 200.0, 0.6, 200
    with standing_in(echo, stalls={20: stall}) as (port, _):
        found = code.load_generator.generate(load(port, requests, connections=4, rate=rate))
    waited = [value / 1e9 for value in found.latencies]
    # a request due x seconds into the stall waits for the rest of it, whenever it could be sent
    assert sum(value >= stall / 2 for value in waited) >= 0.8 * rate * stall / 2
    assert code.load_generator.percentile(found.latencies, 0.99) / 1e9 >= 0.8 * stall


def test_a_closed_loop_charges_a_stall_to_the_one_request_that_met_it(code: Any, load: Callable[..., Any]) -> None:
    stall = 3.0  # far longer than a busy machine lets an answer wait
    with standing_in(echo, stalls={20: stall}) as (port, _):
        found = code.load_generator.generate(load(port, 200))
    assert max(found.latencies) >= stall * 1e9
    assert code.load_generator.percentile(found.latencies, 0.99) < stall / 2 * 1e9


@given(
    values=st.lists(st.integers(0, 2**40), min_size=1, max_size=300),
    percent=st.sampled_from([1, 50, 90, 99, 100]),
)
def test_percentiles_are_exact(code: Any, values: list[int], percent: int) -> None:
    expected = np.percentile(values, percent, method="inverted_cdf")
    assert code.load_generator.percentile(values, percent / 100) == expected


@pytest.mark.parametrize("name", ["JSON", "NDJSON", "Arrow", "MLflow JSON"])
def test_answers_of_each_kind_are_compared_with_the_detector(
    code: Any, detector: Detector, kinds: dict[str, Any], name: str
) -> None:
    posts = code.scoring_requests.Posts.of(kinds[name], code.scoring_requests.interactions(60), 20, 3)
    assert [table.num_rows for table in posts.tables] == [20, 20, 20]
    with standing_in(scoring(detector)) as (port, _):
        found = code.load_generator.generate(code.load_generator.Load(port, posts.calls, 6, 2))
    posts.check(found, detector)
    assert sorted({position for position, _ in found.kept}) == [0, 1, 2]


@pytest.mark.parametrize("model", ["iforest", "rcf", "ensemble"])
@pytest.mark.parametrize("name", ["JSON", "NDJSON", "Arrow", "MLflow JSON"])
def test_scores_that_differ_a_little_are_refused(
    code: Any, detector: Detector, kinds: dict[str, Any], name: str, model: str
) -> None:
    posts = code.scoring_requests.Posts.of(kinds[name], code.scoring_requests.interactions(60), 20, 3)
    with standing_in(scoring(detector, **{model: 1 + 1e-8})) as (port, _):
        found = code.load_generator.generate(code.load_generator.Load(port, posts.calls, 6))
    with pytest.raises(code.load_generator.LoadError, match=rf"scores of {model} are not those of Detector\.score"):
        posts.check(found, detector)


def test_answers_in_another_order_and_answers_that_nobody_kept_are_refused(
    code: Any, detector: Detector, kinds: dict[str, Any]
) -> None:
    posts = code.scoring_requests.Posts.of(kinds["JSON"], code.scoring_requests.interactions(20), 20, 1)

    def turned(handler: Any, body: bytes) -> bytes:
        right = json.loads(scoring(detector)(handler, body))
        return json.dumps(right | {"scores": right["scores"][::-1]}, separators=(",", ":")).encode()

    with standing_in(turned) as (port, _):
        found = code.load_generator.generate(code.load_generator.Load(port, posts.calls, 2))
        none = code.load_generator.generate(code.load_generator.Load(port, posts.calls, 2, keep=0))
    with pytest.raises(code.load_generator.LoadError, match="other interactions"):
        posts.check(found, detector)
    with pytest.raises(code.load_generator.LoadError, match="no answer was kept"):
        posts.check(none, detector)


def test_bodies_hold_the_interactions_with_missing_values_as_null(code: Any, kinds: dict[str, Any]) -> None:
    table = code.scoring_requests.interactions(50)
    assert 0 < table["csat"].null_count < 50
    records = json.loads(kinds["JSON"].body(table))
    assert [record["csat"] for record in records] == table["csat"].to_pylist()
    assert records == [json.loads(line) for line in kinds["NDJSON"].body(table).splitlines()]
    assert records[0]["timestamp"].endswith("Z")
    assert pa.ipc.open_stream(kinds["Arrow"].body(table)).read_all().equals(table)
    split = json.loads(kinds["MLflow JSON"].body(table))["dataframe_split"]
    assert split["data"] == [[record[name] for name in split["columns"]] for record in records]


LAUNCHER = """
import subprocess, sys, time
from http.server import HTTPServer, SimpleHTTPRequestHandler
if len(sys.argv) == 2:
    sys.exit(subprocess.call([sys.executable, __file__, sys.argv[1], "worker"]))
held = bytearray(b"x" * 100_000_000)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "sidecar"])
HTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
"""


def test_memory_is_that_of_the_process_that_listens_and_a_stop_ends_the_whole_family(code: Any, tmp_path: Path) -> None:
    (tmp_path / "launch.py").write_text(LAUNCHER)
    server = code.server_processes.Server("launched", [sys.executable, "launch.py", "{port}"], "/", tmp_path)
    others = set(psutil.Process().children(recursive=True))
    with server:
        held = server.memory()
        family = set(psutil.Process().children(recursive=True)) - others
        assert server.fetched("/launch.py").decode() == LAUNCHER
    assert held.worker > 100
    assert len(held.others) == 2
    assert sum("sidecar" in what for what in held.others) == 1
    assert all(megabytes < 100 for megabytes in held.others.values())
    assert len(family) == 3
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_a_server_that_ends_before_it_is_ready_is_told_with_what_it_said(code: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('the reason')"]
    with pytest.raises(SystemExit, match=r"(?s)broken was not ready.*the reason"):
        code.server_processes.Server("broken", command, "/", tmp_path).start()


def test_a_run_against_a_stand_in_has_all_tables_bars_and_the_picture(
    code: Any, detector: Detector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = code.serving_tables
    with code.load_generator.own_process() as pool, standing_in(scoring(detector)) as (port, _):
        bench = code.serving.Bench(pool, detector, code.serving.QUICK)
        loads = bench.loads(port, port)
        answers = bench.in_turns(loads)
    latency = tables.latency_rows(answers)
    bulk = tables.bulk_rows(answers, {name: len(posts.calls[0].request) for name, (posts, _) in loads.items()})
    memory = [
        {"stage": f"{where}, after {stage}", "worker MB": worker, "others MB": 50.0, "others": "sidecar: 50 MB"}
        for where, stage, worker in (
            (tables.FULL, "start", 150.0), (tables.FULL, "Arrow", 310.0), ("MLflow", "all loads", 400.0),
            (tables.ALONE, "JSON", 215.0), (tables.ALONE, "Arrow", 260.0),
        )
    ]  # fmt: skip
    growth = [{"requests": count, "MB": 200.0 + count / 10_000} for count in range(0, 101_000, 1_000)]
    start = [tables.start_row("ours", [3.5, 3.0]), tables.start_row("MLflow", [9.0])]
    found = code.report.Report("serving", quick=False)
    found.tables |= tables.tables(latency, bulk, memory, start, growth, connections=2)
    found.bars += [*tables.bars(latency, bulk, memory, start[0]), tables.growth_bar(growth)]
    milliseconds = {name: np.asarray(tables.counted(name, turns)) / 1e6 for name, turns in answers.items()}
    found.finish(code.serving_figure.drawn(milliseconds, bulk, memory, growth), tmp_path)

    content = json.loads((tmp_path / "serving.json").read_text(encoding="utf-8"))
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")
    rows = {row["load"]: row for row in content["tables"]["latency"]["rows"]}
    assert len(rows) == 8
    for load in ("1 record", "100 records", "1,000 records", "1 record, 100/s"):
        ours, theirs = rows[f"ours: {load}"], rows[f"MLflow: {load}"]
        assert 0 < ours["p50 ms"] <= ours["p99 ms"] <= ours["max ms"]
        assert ours["MLflow / ours"] == pytest.approx(theirs["p50 ms"] / ours["p50 ms"], rel=2e-3)
    rates = {row["body"]: row for row in content["tables"]["bulk"]["rows"]}
    assert list(rates) == ["ours: JSON", "ours: NDJSON", "ours: Arrow", "MLflow: JSON"]
    quotient = rates["ours: Arrow"]["interactions/s"] / rates["ours: JSON"]["interactions/s"]
    assert rates["ours: Arrow"]["times ours: JSON"] == pytest.approx(quotient, rel=2e-3)
    assert "a straight line rises by 10 MB in 100,000 requests" in content["tables"]["growth"]["note"]
    bars = {bar["bar"]: bar for bar in content["bars"]}
    assert len(bars) == 11
    assert bars["1 record at 100 a second: p99 ms"]["peer"] == rows["MLflow: 1 record, 100/s"]["p99 ms"]
    assert bars["worker, full environment: MB"]["measured"] == 310
    assert bars["worker, full environment: MB"]["met"] is False
    assert bars["worker, [serving] alone, before any Arrow body: MB"]["measured"] == 215
    assert bars["worker's growth from 10,000 to 100,000 requests, MB"]["measured"] == 9
    assert bars["start from a local copy, s"]["measured"] == 3
    assert "peer" in capsys.readouterr().out


def test_the_slow_ones_of_all_turns_count_in_an_open_loop_and_the_best_turn_in_a_closed_one(code: Any) -> None:
    def turn(*latencies: int) -> Any:
        return code.load_generator.Answers(latencies, [0] * len(latencies), 1.0, [])

    turns = [turn(1, 2, 9), turn(4, 5, 6)]
    assert code.serving_tables.counted("ours: 1 record", turns) == [1, 2, 9]
    assert sorted(code.serving_tables.counted("ours: 1 record, 100/s", turns)) == [1, 2, 4, 5, 6, 9]


def test_the_quick_form_runs_the_service_and_mlflow(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "benchmarks/serving.py"
    done = subprocess.run(
        [sys.executable, script, "--quick", "--output", tmp_path],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [str(tmp_path / "serving.json"), str(tmp_path / "serving.png")]
    tables = json.loads((tmp_path / "serving.json").read_text(encoding="utf-8"))["tables"]
    assert len(tables["latency"]["rows"]) == 8
    stages = {row["stage"]: row for row in tables["memory"]["rows"]}
    assert stages["full environment, after start"]["worker MB"] > 100  # numba and the model alone take that
    assert "sidecar" in stages["full environment, after JSON"]["others"]
    assert [row["start"].split(":")[0] for row in tables["start"]["rows"]] == ["ours", "ours", "MLflow"]
    assert all(row["best s"] > 0 for row in tables["start"]["rows"])
