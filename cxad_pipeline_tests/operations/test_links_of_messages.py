"""Links lead where their reader can go: to a configured address, from every message, or they are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from operations_world import NOW, RecordingChannel, World, make_settings, scored_rows
from pydantic import ValidationError

from cxad_pipeline.alerting.message import Message
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.operations.watched import filled, filled_link
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import open_store

PUBLIC = {"dagster_url": "https://dagster.example.com/"}


def messages_of(folder: Path, rows: Any = None, **alerts: Any) -> dict[str, Message]:
    """What a day's incident brings, by the kind of message; the name of its window is its day."""
    settings = make_settings(folder, f"sqlite:///{folder}/store.db", alerts=alerts)
    world = World(settings, open_store(settings), [RecordingChannel()])
    try:
        world.judge(rows)
        deliver_round(world.store, settings, world.channels, world.teller, lambda: NOW)
        return {parcel.kind: parcel.message for parcel in world.channels[0].parcels}
    finally:
        world.store.close()


def test_incident_and_digest_lead_to_dagster_where_its_address_is_known(tmp_path: Path) -> None:
    found = messages_of(tmp_path, **PUBLIC)
    link = "https://dagster.example.com/assets/incidents?partition=2026-10-13"
    assert set(found) == {"resolved", "digest"}
    for message in found.values():
        assert f"Dagster: {link}" in message.text.splitlines()
        assert f'href="{link}"' in message.html
        assert f"<{link}|Dagster>" in str(message.blocks)


def test_without_an_address_no_message_has_a_link(tmp_path: Path) -> None:
    found = messages_of(tmp_path)
    assert set(found) == {"resolved", "digest"}
    for message in found.values():
        told = f"{message.text}{message.html}{message.blocks}"
        assert not [word for word in ("://", "href", "Dagster", "MLflow") if word in told]


def test_a_link_to_one_incident_is_in_its_message_alone(tmp_path: Path) -> None:
    found = messages_of(tmp_path, links={"Incident": "https://x.test/{incident}", "All": "https://x.test/"})
    assert "Incident: https://x.test/20261013-" in found["resolved"].text
    assert found["digest"].text.splitlines()[-1] == "All: https://x.test/"


def test_a_digest_of_days_without_any_window_names_none(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/store.db", alerts=PUBLIC)
    world = World(settings, open_store(settings), [RecordingChannel()])
    try:
        with world.store.reading() as connection:
            assert world.teller.digest_context(connection).links == {}
        world.judge(scored_rows(), windows=1)
        with world.store.reading() as connection:
            links = world.teller.digest_context(connection).links
    finally:
        world.store.close()
    assert links == {"Dagster": "https://dagster.example.com/assets/incidents?partition=2026-10-12"}


def test_the_page_of_a_failed_run() -> None:
    unset = Settings()
    public = Settings(alerts={**PUBLIC, "mlflow_url": "http://models.example.com:5000"})
    assert unset.alerts.run_link is not None
    assert filled_link(unset.alerts.run_link, unset, run_id="r1") is None
    assert filled_link(unset.alerts.run_link, public, run_id="r1") == "https://dagster.example.com/runs/r1"
    assert filled(unset.alerts.links, public, window="w")["MLflow"] == (
        "http://models.example.com:5000/#/models/cx-anomaly-detector"
    )
    assert filled({"empty": ""}, public) == {}


def test_an_address_on_this_machine_is_kept_where_somebody_has_given_it() -> None:
    """As where people come by a tunnel."""
    settings = Settings(ports={"dagster": 3001})
    assert (
        filled_link("http://localhost:{port}/runs/{run_id}", settings, run_id="r1") == "http://localhost:3001/runs/r1"
    )


@pytest.mark.parametrize("address", ["dagster.example.com", "ftp://dagster.example.com", "https://"])
def test_what_is_no_address_of_a_page_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="dagster_url"):
        Settings(alerts={"dagster_url": address})
