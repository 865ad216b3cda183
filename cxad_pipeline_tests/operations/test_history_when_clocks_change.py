"""History is read whole, and links lead to their window, over the night in which the clock shows an hour twice."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
from operations_world import as_scored, between, make_settings

from cxad_pipeline.defs.partitions import scoring_windows, windows_for
from cxad_pipeline.interactions.simulation import SimulationConfig, simulate_table
from cxad_pipeline.operations.history import history
from cxad_pipeline.operations.watched import filled
from cxad_pipeline.settings import Settings

NIGHTS = {
    "Europe/Berlin": (dt.datetime(2026, 10, 25, tzinfo=dt.UTC), "2026-10-25-0200+0100"),
    "America/New_York": (dt.datetime(2026, 11, 1, 5, tzinfo=dt.UTC), "2026-11-01-0100-0500"),
}


@pytest.mark.parametrize("zone", NIGHTS)
def test_windows_of_the_hour_that_comes_twice_are_part_of_history(tmp_path: Path, zone: str) -> None:
    night, second = NIGHTS[zone]
    begin = night - dt.timedelta(hours=2)
    rows = as_scored(
        simulate_table(SimulationConfig(start=begin, interactions=600, seed=4, incidents=0.0)).interactions
    )
    end = begin + dt.timedelta(hours=6)
    schedule: dict[str, Any] = {"batch_score_cron": "0 * * * *", "timezone": zone, "first_window": begin.isoformat()}
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/store.db", schedule=schedule)
    partitions = scoring_windows(settings)
    keys = partitions.get_partition_keys(current_time=end)
    assert second in keys
    scored = Path(settings.paths.storage) / "ensemble_scores"
    scored.mkdir(parents=True)
    for window in windows_for(partitions, keys):
        pq.write_table(between(rows, window.start, window.end), scored / f"{window.key}.parquet")
    written = between(rows, begin, end)
    assert written.num_rows > 20
    found = history(settings, 7, end)
    kept = sorted(int(moment.timestamp()) for moment in written["timestamp"].to_pylist())
    assert sorted(found.moments.tolist()) == kept


@pytest.mark.parametrize("zone", NIGHTS)
def test_a_link_leads_to_the_second_of_the_two_windows(zone: str) -> None:
    second = NIGHTS[zone][1]
    settings = Settings(alerts={"dagster_url": "https://dagster.example.com"})
    link = filled(settings.alerts.links, settings, window=second)["Dagster"]
    assert parse_qs(urlsplit(link).query) == {"partition": [second]}
