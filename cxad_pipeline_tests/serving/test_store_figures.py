"""Figures of the outbox and of incidents: read by the sidecar, shown by workers that know no database."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import pytest
from incident_store_world import incident, save, save_messages
from prometheus_client.parser import text_string_to_metric_families
from service_world import RunningService, ServiceWorld, until

from cxad_pipeline.serving.health import alert_concerns
from cxad_pipeline.serving.store_figures import StoreFigures
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, open_store

pytest_plugins = ["store_databases"]


def _filled(store: Store) -> None:
    save(store, incident(1), incident(2), incident(3, status="resolved"))
    save_messages(store, incident(1))


def test_figures_are_read_again_and_again_until_told_to_stop(settings: Settings, store: Store) -> None:
    reports: list[dict[str, Any] | None] = []
    stop, told = threading.Event(), threading.Condition()

    def report(figures: dict[str, Any] | None) -> None:
        with told:
            reports.append(figures)
            told.notify()

    thread = threading.Thread(target=StoreFigures(settings, pause=0.01).run, args=(stop, report))
    thread.start()
    try:
        with told:
            assert told.wait_for(lambda: bool(reports), 120)
        assert reports[0] == {"pending": 0, "failing": 0, "dead": 0, "oldest_due_at": None, "open_incidents": 0}
        _filled(store)
        with told:
            assert told.wait_for(lambda: reports[-1] is not None and reports[-1]["dead"] == 1, 120)
        last = reports[-1]
        assert last is not None
        assert (last["pending"], last["open_incidents"]) == (1, 2)
        assert dt.datetime.fromisoformat(last["oldest_due_at"]) <= dt.datetime.now(dt.UTC)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_of_a_store_that_is_away_nothing_is_told(settings_for: Any, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder is wanted")
    reports: list[dict[str, Any] | None] = []
    stop = threading.Event()

    def report(figures: dict[str, Any] | None) -> None:
        reports.append(figures)
        stop.set()

    StoreFigures(settings_for(f"sqlite:///{tmp_path}/blocked/store.db"), pause=0.01).run(stop, report)
    assert reports == [None]


@pytest.mark.parametrize(
    ("told", "begins"),
    [
        (None, None),
        ({"dead": 0}, None),
        ({"dead": 1}, "1 message was given up"),
        ({"dead": 2}, "2 messages were given up"),
    ],
)
def test_dead_letters_are_a_concern_with_what_to_do(told: dict[str, int] | None, begins: str | None) -> None:
    found = alert_concerns({"alerts": told})
    assert [one[: len(begins or "")] for one in found] == ([] if begins is None else [begins])
    assert all("cxad alerts --retry" in one for one in found)


def test_a_service_shows_the_figures_and_goes_on_scoring(tmp_path: Path) -> None:
    world = ServiceWorld(tmp_path)
    world.place_model()
    store = open_store(world.settings())
    _filled(store)
    store.close()
    with world.running() as service:
        until(lambda: _gauges(service).get("cxad_alerts_dead") == 1)
        found = _gauges(service)
        assert (found["cxad_alerts_pending"], found["cxad_incidents_open"]) == (1, 2)
        assert found["cxad_alerts_oldest_due_seconds"] > 0
        health = service.client.get("/health")
        assert health.status_code == 200
        assert health.json()["status"] == "degraded"
        assert any("1 message was given up" in one for one in health.json()["concerns"])
        assert health.json()["details"]["alerts"]["open_incidents"] == 2
        assert service.client.post("/api/alerts/retry", json={}).json() == {"revived": 1}
        until(lambda: _gauges(service)["cxad_alerts_dead"] == 0)
        assert not any("given up" in one for one in service.client.get("/health").json()["concerns"])


def _gauges(service: RunningService) -> dict[str, float]:
    families = text_string_to_metric_families(service.client.get("/metrics").text)
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}
