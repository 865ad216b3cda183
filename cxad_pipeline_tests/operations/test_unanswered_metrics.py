"""Surveys that do not come back any more: what judging counts, what is listed, and what the next digest says."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from operations_world import NOW, START, STEP, RecordingChannel, World, between, make_settings, scored_rows

from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.segment_windows import find_windows

pytest_plugins = ["store_databases"]

FROM = START + dt.timedelta(days=1, hours=8)
HOURS = 16
"""From then to the end of what is scored."""


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    url = str(store.engine.url.render_as_string(hide_password=False))
    return World(make_settings(tmp_path, url), store, [RecordingChannel()])


def without(metric: str, start: dt.datetime, **only: str) -> Any:
    """The scored rows without the values of a metric from a moment on, in some segment."""
    rows = scored_rows()
    gone = np.array([moment >= start for moment in rows["timestamp"].to_pylist()])
    for name, value in only.items():
        gone &= np.array([one == value for one in rows[name].to_pylist()])
    values = pa.array(
        [None if is_gone else value for value, is_gone in zip(rows[metric].to_pylist(), gone, strict=True)],
        rows.schema.field(metric).type,
    )
    return rows.set_column(rows.schema.get_field_index(metric), metric, values)


def digests(world: World, now: dt.datetime) -> list[str]:
    (channel,) = world.channels
    before = len(channel.parcels)
    deliver_round(world.store, world.settings, world.channels, world.teller, lambda: now)
    return [parcel.message.text for parcel in channel.parcels[before:] if parcel.kind == "digest"]


def not_answered_hours(world: World) -> list[str]:
    with world.store.reading() as connection:
        rows = find_windows(connection, since=None, until=None, segment=(), limit=100)
    return [row["start"][:13] for row in reversed(rows) if row["metrics_not_tested"].get("csat") == "not_answered"]


def test_surveys_that_stop_coming_back_are_counted_listed_and_told(world: World) -> None:
    (judged,) = world.judge(without("csat", FROM))
    hours = not_answered_hours(world)
    assert hours[0] == "2026-10-13T08"
    assert len(hours) >= HOURS - 4, "at night there are few surveys anyway"
    assert judged.metrics_not_tested["csat"]["not_answered"] >= len(hours)
    assert "not_answered" not in judged.metrics_not_tested.get("aht_seconds", {})
    (text,) = digests(world, NOW)
    assert "FEW VALUES of satisfaction" in text.splitlines()[0]
    (line,) = [line for line in text.splitlines() if line.startswith("  satisfaction · ")]
    assert line.startswith(f"  satisfaction · all contacts · 0 values in {len(hours)} windows of 13 Oct 08:00-")
    surveys = between(scored_rows(), FROM, START + 8 * STEP)["csat"]
    usual = float(line.rpartition("usually ")[2].replace(",", ""))
    assert usual == pytest.approx(len(surveys) - surveys.null_count, rel=0.15)


@pytest.mark.parametrize("queue", ["sales", "support"])
def test_a_queue_whose_handle_times_are_missing_is_told_by_its_name_and_nothing_else(world: World, queue: str) -> None:
    """A third of the channels, the languages and all contacts is missing with it."""
    world.judge(without("aht_seconds", FROM, queue=queue))
    (text,) = digests(world, NOW)
    (line,) = [line for line in text.splitlines() if line.startswith("  handle time · ")]
    assert line.startswith(f"  handle time · {queue} · 0 values in ")


def test_a_digest_tells_it_once(world: World) -> None:
    world.judge(without("csat", FROM))
    assert "FEW VALUES" in digests(world, NOW)[0]
    assert not any("FEW VALUES" in text for text in digests(world, NOW + dt.timedelta(days=1)))


def test_surveys_that_land_late_take_it_back(world: World) -> None:
    world.judge(without("csat", FROM))
    assert not_answered_hours(world)
    (judged,) = world.judge(now=NOW + dt.timedelta(hours=1))
    assert not not_answered_hours(world)
    assert "not_answered" not in judged.metrics_not_tested.get("csat", {})
    assert not any("FEW VALUES" in text for text in digests(world, NOW + dt.timedelta(hours=2)))


def test_days_on_which_all_is_answered_as_usual_say_nothing_of_it(world: World) -> None:
    world.judge()
    assert not any("FEW VALUES" in text for text in digests(world, NOW))
