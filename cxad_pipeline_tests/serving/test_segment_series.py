"""A metric against its band, window by window, as the API gives it, on both databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from incident_store_world import BILLING, HOUR, METRICS, SALES, at, incident, save, save_windows

from cxad_pipeline.incidents.bands import NORMAL, CountBaseline, MeanBaseline, SegmentBaselines
from cxad_pipeline.incidents.incident import Call
from cxad_pipeline.interactions.configured_columns import subjects
from cxad_pipeline.serving.app import create_app
from cxad_pipeline.serving.segment_schema import SegmentList, TimeSeries
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.baselines import record_baselines
from cxad_pipeline.store.calibrations import CalibrationRecord, record_calibration
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import NOTHING_TOLD, save_incident

pytest_plugins = ["store_databases"]

QUEUE = (("queue", "billing"),)
SERIES = "/api/timeseries?segment=queue:billing&metric="


@pytest.fixture
def client(settings: Settings, store: Store) -> Iterator[TestClient]:
    client = TestClient(create_app(settings), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50_000))
    yield client
    client.close()


def points_of(client: TestClient, path: str) -> list[dict[str, Any]]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    TimeSeries.model_validate(found)
    return list(found["points"])


def calibrate(store: Store, hour: float, *, seconds: int = HOUR, level: float = 240.0) -> None:
    """A calibration that expects so many seconds of handle time, 4 points, 8 contacts; of billing and all contacts."""
    slots = 7 * 86_400 // seconds
    means = {
        "aht_seconds": MeanBaseline(
            True, METRICS[0].worked(np.full(slots, level)), np.full(slots, 0.01), 0.4, NORMAL, (0.0, np.inf)
        ),
        "csat": MeanBaseline(False, np.full(slots, 4.0), np.full(slots, 0.01), 1.0, NORMAL, (1.0, 5.0)),
    }
    counts = {
        "contacts": CountBaseline("contacts", np.full(slots, 8.0), 0.05),
        "complaints": CountBaseline("complaints", np.full(slots, 0.05), 0.05),
    }
    known = SegmentBaselines(seconds, "UTC", means, counts)
    record = CalibrationRecord(at(hour), at(-24), at(0), 900, 7, ["aht_seconds"], 4.5, 5.0, 4.25, 4.0, {})
    with store.writing() as connection:
        number = record_calibration(connection, record)
        record_baselines(connection, number, [((), replace(known, means={}, counts={})), (QUEUE, known)])


def test_every_window_has_its_metric_and_the_band_whichever_test_leads(client: TestClient, store: Store) -> None:
    save_windows(store, 5)
    calibrate(store, 0)
    points = points_of(client, f"{SERIES}aht_seconds")
    deviation = 2.5758293 * np.sqrt(0.4 / 10 + 0.01)
    low, high = (60 * np.expm1(np.log1p(240 / 60) + side * deviation) for side in (-1, 1))
    for point in points:
        assert point["observed"] == point["mean"] == pytest.approx(300.0)
        assert (point["expected"], point["low"], point["high"]) == pytest.approx((240.0, low, high), rel=1e-5)
        assert point["incident"] is None
    csat = points_of(client, f"{SERIES}csat")[0]
    assert (csat["observed"], csat["expected"], csat["high"]) == pytest.approx((4.0, 4.0, 4.854), abs=0.001)
    volume = points_of(client, f"{SERIES}contacts")[0]
    assert (volume["observed"], volume["expected"], volume["values"], volume["mean"]) == (10, 8.0, 0, None)
    assert volume["low"] < 8 < volume["high"]
    complaints = points_of(client, f"{SERIES}complaints")[0]
    assert (complaints["observed"], complaints["expected"]) == (2, pytest.approx(0.5))


def test_what_is_not_known_is_null(client: TestClient, store: Store) -> None:
    save_windows(store, 2)
    usual = ("expected", "low", "high")
    before = points_of(client, f"{SERIES}aht_seconds")[0]
    assert before["observed"] == pytest.approx(300.0), "counted all the same"
    assert [before[name] for name in usual] == [None] * 3
    calibrate(store, 0)
    for path in ("/api/timeseries?metric=aht_seconds", f"{SERIES}together", "/api/timeseries?segment=queue:sales"):
        for point in points_of(client, path):
            assert [point[name] for name in usual] == [None] * 3, path


def test_an_hour_in_which_a_metric_is_not_answered_has_the_state_of_the_metric(
    client: TestClient, store: Store
) -> None:
    save_windows(store, 4, not_answered=[1, 3])
    usual, silent = "tested", "not_answered"
    assert [point["state"] for point in points_of(client, f"{SERIES}csat")] == [usual, silent, usual, silent]
    for path in (f"{SERIES}aht_seconds", f"{SERIES}contacts", "/api/timeseries?segment=queue:billing"):
        assert [point["state"] for point in points_of(client, path)] == [usual] * 4, path
    everyone = points_of(client, "/api/timeseries?metric=csat")
    assert [point["state"] for point in everyone] == ["cold_start", silent, usual, silent]
    segments = client.get("/api/segments").json()
    SegmentList.model_validate(segments)
    (billing,) = [one for one in segments["segments"] if one["segment"] == {"queue": "billing"}]
    assert [one["metrics_not_tested"] for one in billing["windows"]] == [{}, {"csat": silent}, {}, {"csat": silent}]
    assert [one["state"] for one in billing["windows"]] == [usual] * 4


def test_a_metric_that_is_none_is_refused_with_those_that_are_watched(
    client: TestClient, store: Store, settings: Settings
) -> None:
    for when, status in (("before anything was counted", 200), ("then", 422)):
        for path in (f"{SERIES}hold_tme", f"{SERIES}hold_tme&since=2030-01-01T00:00:00Z"):
            assert client.get(path).status_code == status, (when, path)
        save_windows(store, 2)
    answer = client.get(f"{SERIES}hold_tme").json()
    assert answer["detail"].startswith("The query parameter 'metric': no such metric (allowed: ")
    named = answer["detail"].rpartition("(allowed: ")[2].removesuffix(")").split(", ")
    assert named == subjects(settings)
    assert (answer["faults"][0]["field"], answer["n_faults"]) == ("metric", 1)
    assert "hold_tme" not in str(answer)
    for name in named:
        assert len(points_of(client, f"{SERIES}{name}")) == 2, name
        assert points_of(client, f"{SERIES}{name}&since=2030-01-01T00:00:00Z") == []


def test_a_metric_that_was_watched_earlier_keeps_its_past(store_url: str, store: Store, settings: Settings) -> None:
    save_windows(store, 2)
    one = {"metrics": [{"name": "transfers", "bad": "high"}]}
    now = Settings.model_validate(settings.model_dump() | {"incidents": one})
    assert "csat" not in subjects(now)
    with TestClient(create_app(now), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50_000)) as client:
        assert [point["mean"] for point in points_of(client, f"{SERIES}csat")] == [4.0, 4.0]
        assert client.get(f"{SERIES}aht_second").status_code == 422


def test_a_segment_that_nobody_knows_is_refused_with_the_nearest(client: TestClient, store: Store) -> None:
    paths = ("/api/timeseries?segment=queue:biling", "/api/timeseries?segment=queue:biling&metric=csat")
    for path in paths:
        assert points_of(client, path) == [], "nothing was counted: it may be still to come"
    save_windows(store, 2)
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 422, path
        found = answer.json()
        assert found["detail"].startswith("The query parameter 'segment': ")
        assert "queue=billing" in found["detail"]
        assert (found["faults"][0]["field"], found["n_faults"]) == ("segment", 1)
        assert "biling" not in str(found)
    assert points_of(client, "/api/timeseries?segment=queue:billing&since=2030-01-01T00:00:00Z") == []


def test_a_segment_that_is_no_longer_watched_keeps_its_past(client: TestClient, store: Store) -> None:
    save_windows(store, 2)
    calibrate(store, 0)  # of billing alone
    assert len(points_of(client, "/api/timeseries?segment=queue:sales")) == 2
    assert points_of(client, "/api/timeseries?segment=queue:sales&since=2030-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/segments?queue=billing", "windows, until, level"),
        ("/api/timeseries?queue=billing", "segment, metric, since, until"),
        ("/api/alerts?status=dead", "state, cursor, limit"),
        (
            "/api/incidents?severity=40",
            "status, since, until, min_severity, critical, cursor, limit, queue, channel, language",
        ),
    ],
)
def test_a_parameter_that_there_is_not_is_refused_with_those_that_there_are(
    client: TestClient, path: str, allowed: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 422
    found, name = answer.json(), path.partition("?")[2].partition("=")[0]
    assert found["faults"][0]["field"] == name
    detail = found["detail"]
    assert detail.startswith(f"The query parameter {name!r}: no such parameter (allowed: ")
    assert set(detail.rpartition("(allowed: ")[2].removesuffix(")").split(", ")) == set(allowed.split(", "))
    assert detail.endswith(found["faults"][0]["message"].removeprefix("query parameter: "))


def test_windows_of_another_length_than_the_calibration_had_are_not_held_against_it(
    client: TestClient, store: Store
) -> None:
    save_windows(store, 3, seconds=HOUR // 4)
    calibrate(store, 0)
    assert {point["expected"] for point in points_of(client, f"{SERIES}contacts")} == {None}
    calibrate(store, 1, seconds=HOUR // 4)
    assert {point["expected"] for point in points_of(client, f"{SERIES}contacts")} == {8.0}


def test_a_later_calibration_moves_no_band_of_windows_that_were_judged_before(client: TestClient, store: Store) -> None:
    save_windows(store, 3)  # counted in hour 3
    calibrate(store, 0)
    calibrate(store, 4, level=500.0)
    assert {round(point["expected"]) for point in points_of(client, f"{SERIES}aht_seconds")} == {240}
    save_windows(store, 5)  # counted again in hour 5
    assert {round(point["expected"]) for point in points_of(client, f"{SERIES}aht_seconds")} == {500}


def test_the_windows_of_an_incident_are_marked_in_its_segment_and_in_those_that_call_in_it(
    client: TestClient, store: Store
) -> None:
    save_windows(store, 8)
    one = incident(2, ended_at=at(5), segment=BILLING)
    call = Call(QUEUE, int(at(2).timestamp()), 5.0, 4.5, "csat", "shift", 2.0, 4.0, 4, 1.0, 9)
    with store.writing() as connection:
        save_incident(connection, one, [call], NOTHING_TOLD)
        save_incident(connection, incident(7, segment=SALES), [], NOTHING_TOLD)
    save(store, incident(3, segment=QUEUE, severity=1.0, status="resolved", ended_at=at(6)))
    save(store, incident(0, segment=QUEUE, status="withdrawn"), incident(1, segment=QUEUE, status="merged"))
    marked = [point["incident"] for point in points_of(client, f"{SERIES}csat")]
    resolved = incident(3).id
    assert marked == [None, None, one.id, one.id, one.id, resolved, None, None], "of two the more severe one"
    marked = [point["incident"] for point in points_of(client, "/api/timeseries?segment=queue:sales")]
    assert marked == [None] * 7 + [incident(7).id]
    assert {point["incident"] for point in points_of(client, "/api/timeseries")} == {None}


def test_of_windows_put_together_the_band_is_that_of_the_highest_score(client: TestClient, store: Store) -> None:
    save_windows(store, 2_100, seconds=HOUR // 4)
    calibrate(store, 0, seconds=HOUR // 4)
    start = at(2_098 / 4)
    save(store, incident(1, segment=QUEUE, started_at=start, ended_at=at(2_099 / 4)))
    points = points_of(client, f"{SERIES}aht_seconds")
    assert len(points) == 1_050
    last = points[-1]
    assert (last["score"], last["contacts"], last["values"]) == (6.5, 20, 20)
    assert last["low"] < last["expected"] < last["high"]
    alone = points_of(client, f"{SERIES}aht_seconds&since={at(2_099 / 4):%Y-%m-%dT%H:%M:%SZ}")[0]
    for name in ("observed", "expected", "low", "high"):
        assert last[name] == alone[name]
    assert alone["incident"] is None
    assert last["incident"] == incident(1).id, "of the other window of the two"


@pytest.mark.parametrize(
    ("module", "library"),
    [("serving.app", "sqlalchemy"), ("serving.app", "scipy.special"), ("store.window_listing", "scipy.special")],
)
def test_who_draws_no_band_does_without_its_libraries(module: str, library: str) -> None:
    code = f"import sys, cxad_pipeline.{module}; print('{library}' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
