"""What Prometheus reads, taken apart by prometheus_client's own parsers."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from front_examples import ask, real_server, small_app, until
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from cxad_pipeline import __version__
from cxad_pipeline.detection.detector import Detector
from cxad_pipeline.serving.metrics import LOAD_FAILURES, Metrics
from cxad_pipeline.serving.snapshot import Snapshot
from cxad_pipeline.serving.worker_metrics import share_between_workers
from cxad_pipeline.settings.serving import ServingSettings

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples_of(text: str) -> Samples:
    found = [sample for family in parse_text(text) for sample in family.samples]
    samples = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found}
    assert len(samples) == len(found)  # no series twice
    return samples


def scraped(metrics: Metrics) -> Samples:
    return samples_of(metrics.exposition()[0].decode())


def snapshot(version: str, loaded_at: dt.datetime) -> Snapshot:
    return Snapshot(cast(Detector, None), version, f"run-{version}", loaded_at)


def after_requests(*requests: tuple[str, str], **how: Any) -> Samples:
    metrics = Metrics()
    app = small_app(how.pop("serving", None), metrics)
    for method, path in requests:
        asyncio.run(ask(app, path, method, raw_path=b"/", **how))
    return scraped(metrics)


def test_requests_are_counted_by_method_template_and_status() -> None:
    found = after_requests(
        ("GET", "/health"),
        ("GET", "/health"),
        ("POST", "/score"),
        ("GET", "/api/anomalies/1"),
        ("GET", "/api/anomalies/2"),
        ("GET", "/api/anomalies/x"),
        ("GET", "/fail"),
    )
    counted = {labels: value for (name, labels), value in found.items() if name == "cxad_http_requests_total"}
    expected = {
        ("GET", "/health", "200"): 2,
        ("POST", "/score", "200"): 1,
        ("GET", "/api/anomalies/{number}", "200"): 2,
        ("GET", "/api/anomalies/{number}", "422"): 1,
        ("GET", "/fail", "500"): 1,
    }
    assert counted == {
        tuple(zip(("method", "route", "status"), labels, strict=True)): n for labels, n in expected.items()
    }
    assert found["cxad_http_request_duration_seconds_count", (("route", "/api/anomalies/{number}"),)] == 3
    assert found["cxad_http_requests_in_flight", ()] == 0


def test_a_request_is_in_flight_until_it_is_answered() -> None:
    async def main() -> tuple[float, float]:
        metrics, come = Metrics(), asyncio.Event()
        app = small_app(metrics=metrics)

        async def receive() -> Any:
            await come.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        waiting = asyncio.create_task(ask(app, "/score", "POST", receive=receive))
        await asyncio.sleep(0)
        during = scraped(metrics)["cxad_http_requests_in_flight", ()]
        come.set()
        await waiting
        return during, scraped(metrics)["cxad_http_requests_in_flight", ()]

    assert asyncio.run(main()) == (1, 0)


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=9).map(lambda rest: f"/{rest}")), max_size=8))
def test_foreign_methods_and_paths_make_no_new_series(requests: list[tuple[str, str]]) -> None:
    found = after_requests(*requests)
    for name, labels in found:
        if name == "cxad_http_requests_total":
            assert dict(labels)["route"] in ("unmatched", "/health", "/fail", "/busy", "/docs")
            assert dict(labels)["method"] in ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "other")


def test_what_was_scored_is_counted() -> None:
    metrics = Metrics()
    metrics.scored(10, {"iforest": 2, "rcf": 0}, {"foo": 3, "bar": 1}, {"queue": 4})
    metrics.scored(5, {"iforest": 1}, {}, {})
    found = scraped(metrics)
    assert found["cxad_interactions_scored_total", ()] == 15
    assert found["cxad_anomalies_total", (("model", "iforest"),)] == 3
    assert found["cxad_anomalies_total", (("model", "rcf"),)] == 0
    assert found["cxad_unknown_fields_total", ()] == 4
    assert found["cxad_unknown_categories_total", (("column", "queue"),)] == 4
    assert "foo" not in str(found)  # a caller's names are no label


def test_only_the_model_that_serves_is_shown() -> None:
    metrics, moment = Metrics(), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    assert not [name for name, _ in scraped(metrics) if name == "cxad_model_info"]
    for version in ("1", "2", "1"):
        metrics.model_loaded(snapshot(version, moment))
        found = scraped(metrics)
        shown = {labels: value for (name, labels), value in found.items() if name == "cxad_model_info"}
        assert shown == {(("run_id", f"run-{version}"), ("version", version)): 1}
    assert found["cxad_model_loaded_timestamp_seconds", ()] == moment.timestamp()


def test_load_failures_have_a_fixed_set_of_reasons_from_the_start() -> None:
    metrics = Metrics()
    metrics.model_load_failed("copy_refused", "damaged")
    metrics.model_load_failed("something that a file says", "damaged")
    found = {
        labels[0][1]: n for (name, labels), n in scraped(metrics).items() if name == "cxad_model_load_failures_total"
    }
    assert found == {**dict.fromkeys(LOAD_FAILURES, 0), "copy_refused": 1, "other": 1}


def test_numbers_of_others_are_read_at_each_scrape() -> None:
    metrics, held = Metrics(), {"bytes": 5.0, "lost": 2.0, "subscribers": 3.0, "up": True}
    metrics.watch("cxad_spool_bytes", lambda: held["bytes"])
    metrics.watch("cxad_mlflow_up", lambda: held["up"])
    metrics.watch("cxad_store_up", lambda: None)
    metrics.watch("cxad_spool_lost_total", lambda: held["lost"])
    metrics.watch("cxad_stream_dropped_total", lambda: held["lost"], "slow_client")
    metrics.watch("cxad_stream_subscribers", lambda: held["subscribers"])
    for _ in range(2):
        found = scraped(metrics)
        assert found["cxad_spool_bytes", ()] == held["bytes"]
        assert found["cxad_mlflow_up", ()] == held["up"]
        assert ("cxad_store_up", ()) not in found
        assert found["cxad_spool_lost_total", ()] == held["lost"]
        assert found["cxad_stream_dropped_total", (("reason", "slow_client"),)] == held["lost"]
        assert found["cxad_stream_dropped_total", (("reason", "sampled"),)] == 0
        assert found["cxad_stream_subscribers", ()] == held["subscribers"]
        held.update(bytes=0, lost=7, subscribers=1, up=False)


def test_a_reading_that_fails_hides_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    metrics.watch("cxad_spool_bytes", lambda: 1 / 0)
    metrics.watch("cxad_spool_lost_total", lambda: 1 / 0)
    metrics.watch("cxad_mlflow_up", lambda: 1)
    found = scraped(metrics)
    assert ("cxad_spool_bytes", ()) not in found
    assert found["cxad_mlflow_up", ()] == 1
    told = [record for record in caplog.records if record.name == "cxad_pipeline.serving.metrics"]
    assert {record.__dict__["metric"] for record in told} == {"cxad_spool_bytes", "cxad_spool_lost_total"}


@pytest.mark.parametrize("name", [("cxad_nothing",), ("cxad_stream_dropped_total",), ("cxad_spool_bytes", "x")])
def test_what_is_no_metric_cannot_be_watched(name: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no metric to watch"):
        Metrics().watch(name[0], lambda: 1, *name[1:])


def test_both_formats_parse_and_say_the_same() -> None:
    metrics = Metrics()
    metrics.request_ended("GET", "/health", 200, 0.001)
    metrics.model_loaded(snapshot("3", dt.datetime(2026, 1, 2, tzinfo=dt.UTC)))
    text, text_type = metrics.exposition()
    openmetrics, openmetrics_type = metrics.exposition(OPENMETRICS)
    assert text_type.startswith("text/plain; version=0.0.4")
    assert openmetrics_type.startswith("application/openmetrics-text; version=1.0.0")
    series = [
        {(s.name, tuple(sorted(s.labels.items()))) for family in families for s in family.samples}
        for families in (parse_text(text.decode()), parse_openmetrics(openmetrics.decode()))
    ]
    assert series[0] == series[1]
    names = {name for name, _ in series[0]}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "cxad_build_info"} <= names
    assert (("version", __version__),) in {labels for name, labels in series[0] if name == "cxad_build_info"}
    assert not [name for name in names if name.endswith("_created")]


def test_every_metric_has_a_meaning_and_a_conventional_name() -> None:
    for family in parse_openmetrics(Metrics().exposition(OPENMETRICS)[0].decode()):
        assert family.documentation
        assert family.name.startswith(("cxad_", "process_"))
        assert family.name.islower()
        assert not family.name.endswith(("_ms", "_milliseconds", "_kb", "_mb"))


@given(st.text(max_size=40) | st.sampled_from([f"{OPENMETRICS[:-5]}{v}" for v in ("", "x", "1.x", "²", "9" * 5000)]))
def test_any_accept_header_gets_an_answer(accept: str) -> None:
    content, media_type = METRICS.exposition(accept)
    assert b"cxad_build_info" in content
    assert "\n" not in media_type
    media_type.encode("latin-1")


METRICS = Metrics()


def test_apps_in_one_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.scored(3, {}, {}, {})
    assert scraped(one)["cxad_interactions_scored_total", ()] == 3
    assert scraped(other)["cxad_interactions_scored_total", ()] == 0


WORKER = """
import sys, datetime as dt
from cxad_pipeline.serving.metrics import Metrics
from cxad_pipeline.serving.snapshot import Snapshot
metrics, lost = Metrics(), 0
metrics.watch("cxad_spool_lost_total", lambda: lost)
metrics.watch("cxad_stream_subscribers", lambda: 2)
metrics.watch("cxad_spool_bytes", lambda: 11)
for line in sys.stdin:
    word, _, number = line.strip().partition(" ")
    if word == "load":
        metrics.model_loaded(Snapshot(None, number.strip(), "run", dt.datetime.fromtimestamp(int(number), dt.UTC)))
    if word == "score":
        lost += int(number)
        metrics.scored(int(number), {"rcf": 1}, {}, {})
        metrics.in_flight.inc()
        metrics.request_ended("POST", "/score", 200, 0.004)
    if word == "scrape":
        sys.stdout.write(metrics.exposition()[0].decode())
    print("END", flush=True)
"""


class Worker:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, what: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(what, file=self.process.stdin, flush=True)
        said = list(iter(self.process.stdout.readline, "END\n"))
        assert self.process.poll() is None
        return "".join(said)

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def test_a_scrape_of_any_worker_shows_all_of_them_and_outlives_the_dead() -> None:
    workers: list[Worker] = []
    try:
        with share_between_workers():
            folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
            workers += [Worker(), Worker()]
        assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
        assert not folder.exists()
    finally:
        for worker in workers:
            worker.end()

    workers.clear()
    with share_between_workers():
        try:
            workers += [Worker(), Worker()]
            one, other = workers
            for worker, number, version in ((one, 3, 7), (other, 4, 7)):
                worker.do(f"load {version}")
                worker.do(f"score {number}")
            for worker in workers:
                found = samples_of(worker.do("scrape"))
                assert found["cxad_interactions_scored_total", ()] == 7
                assert found["cxad_anomalies_total", (("model", "rcf"),)] == 2
                assert found["cxad_spool_lost_total", ()] == 7
                assert found["cxad_stream_subscribers", ()] == 4
                assert found["cxad_spool_bytes", ()] == 11
                assert found["cxad_http_requests_in_flight", ()] == 2
                assert found["cxad_http_request_duration_seconds_count", (("route", "/score"),)] == 2
                assert found["cxad_http_request_duration_seconds_bucket", (("le", "0.005"), ("route", "/score"))] == 2
                assert found["cxad_model_info", (("run_id", "run"), ("version", "7"))] == 1
                assert found["cxad_build_info", (("version", __version__),)] == 1
                both = found["process_resident_memory_bytes", ()]
            one.do("load 8")
            versions = {labels for name, labels in samples_of(other.do("scrape")) if name == "cxad_model_info"}
            assert versions == {(("run_id", "run"), ("version", version)) for version in ("7", "8")}
            one.end()
            workers.remove(one)
            found = samples_of(other.do("scrape"))
            assert found["cxad_interactions_scored_total", ()] == 7  # a counter never falls
            assert found["cxad_http_requests_in_flight", ()] == 1
            assert found["cxad_stream_subscribers", ()] == 2
            assert ("cxad_model_info", (("run_id", "run"), ("version", "8"))) not in found
            assert found["process_resident_memory_bytes", ()] < both
            workers.append(Worker())
            workers[-1].do("score 5")
            assert samples_of(other.do("scrape"))["cxad_interactions_scored_total", ()] == 12
        finally:
            for worker in workers:
                worker.end()


def test_two_workers_of_a_real_server_are_scraped_as_one(tmp_path: Path) -> None:
    with share_between_workers(), real_server(tmp_path, ServingSettings(), "--port", "0", "--workers", "2") as server:
        until(lambda: server.log.read_text().count("Application startup complete") == 2)
        for _ in range(20):
            assert server.get("/health").status == 200
        labels = (("method", "GET"), ("route", "/health"), ("status", "200"))

        def counted() -> float:
            return samples_of(server.get("/metrics").content.decode()).get(("cxad_http_requests_total", labels), 0)

        until(lambda: counted() == 20)  # a request is counted when its client has the answer already
        assert [counted() for _ in range(4)] == [20] * 4
