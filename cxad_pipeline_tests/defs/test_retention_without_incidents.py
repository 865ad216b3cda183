"""What is old is deleted wherever incidents are looked for or not, and a store that refuses fails no run."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from anomaly_records import anomaly
from landing_world import START, make_settings

from cxad_pipeline.definitions import build_definitions
from cxad_pipeline.defs import retention
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.anomalies import AnomalyFilter, find_anomalies, record_anomalies
from cxad_pipeline.store.database import StoreAwayError, open_store

WINDOW = f"{START:%Y-%m-%d-%H%M}"


def scored(settings: Settings, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Anomalies of a window without contacts, recorded."""
    path = Path(settings.paths.storage, "ensemble_scores", f"{WINDOW}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"model_version": pa.array([], pa.string())}), path)
    job = build_definitions(settings, channels=[]).resolve_job_def("scoring_job")
    tags = {f"dagster/asset_partition_range_{end}": WINDOW for end in ("start", "end")}
    return job.execute_in_process(instance=instance, tags=tags, asset_selection=[dg.AssetKey("recorded_anomalies")])


def remembered(settings: Settings) -> set[str]:
    store = open_store(settings)
    with store.reading() as connection:
        found, _ = find_anomalies(connection, AnomalyFilter(), limit=9)
    store.close()
    return {row["interaction_id"] for row in found}


def with_anomalies(tmp_path: Path, *, enabled: bool) -> Settings:
    """An anomaly of today and one of last year, kept for thirty days."""
    url, first = f"sqlite:///{tmp_path}/store.db", f"{START:%Y-%m-%d}"
    settings = make_settings(
        tmp_path,
        store={"url": url, "retention_days": 30},
        incidents={"enabled": enabled},
        schedule={"first_window": first},
    )
    store, now = open_store(settings), dt.datetime.now(dt.UTC)
    with store.writing() as connection:
        old = (now - dt.timedelta(days=365)).isoformat()
        record_anomalies(connection, [anomaly("new") | {"timestamp": now.isoformat()}], source="api")
        record_anomalies(connection, [anomaly("old") | {"timestamp": old}], source="api")
    store.close()
    return settings


def test_without_incidents_scoring_deletes_what_is_old(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    settings = with_anomalies(tmp_path, enabled=False)
    result = scored(settings, instance)
    assert remembered(settings) == {"new"}
    (made,) = result.asset_materializations_for_node("recorded_anomalies")
    assert made.metadata["rows_pruned"].value == 1


def test_with_incidents_that_is_left_to_calibration(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    settings = with_anomalies(tmp_path, enabled=True)
    assert scored(settings, instance).success
    assert remembered(settings) == {"new", "old"}


def test_a_store_that_can_not_delete_fails_no_run(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*_: object) -> int:
        raise StoreAwayError("canceling statement due to statement timeout")

    monkeypatch.setattr(retention, "prune_store", too_long)
    settings = with_anomalies(tmp_path, enabled=False)
    assert scored(settings, instance).success
    assert remembered(settings) == {"new", "old"}
