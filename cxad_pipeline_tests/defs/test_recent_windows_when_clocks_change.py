"""Drift compares so many windows as it was told, also over the nights in which clocks are set."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from landing_world import make_settings

from cxad_pipeline.defs.drift import recent_windows
from cxad_pipeline.defs.partitions import scoring_windows


@pytest.mark.parametrize("first", ["2026-10-24", "2026-03-28"])
@pytest.mark.parametrize("cron", ["*/30 * * * *", "0 * * * *", "0 */2 * * *", "0 */3 * * *", "0 2 * * *"])
def test_recent_windows_are_as_many_as_asked_for_and_the_last_ones(tmp_path: Path, cron: str, first: str) -> None:
    schedule = {"batch_score_cron": cron, "timezone": "Europe/Berlin", "first_window": first}
    partitions = scoring_windows(make_settings(tmp_path, schedule=schedule, incidents={"window_minutes": 30}))
    end = dt.datetime.fromisoformat(f"{first}T00:00+00:00") + dt.timedelta(days=8)
    keys = list(partitions.get_partition_keys(current_time=end))
    assert len(keys) >= 7
    for place in range(4, len(keys)):
        assert recent_windows(partitions, keys[place], 5) == keys[place - 4 : place + 1]
