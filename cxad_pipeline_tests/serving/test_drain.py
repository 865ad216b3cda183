"""What waits in the spool gets into the store: all of it, once."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from anomaly_records import anomaly
from draining import (
    damaged_lines,
    left_by_a_dead_writer,
    running_drain,
    segments_of,
    spooled,
    stored,
    stored_ids,
    until,
)

from cxad_pipeline.serving import drain as drain_module
from cxad_pipeline.serving.drain import Drain
from cxad_pipeline.serving.spool import Spool
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import open_store

pytest_plugins = ["store_databases"]


def test_everything_arrives_and_nothing_is_left(settings: Settings) -> None:
    batches = [[anomaly(f"I-{batch}-{number}", at=batch) for number in range(40)] for batch in range(12)]
    spooled(settings, *batches)
    with running_drain(settings) as reports:
        until(lambda: bool(reports) and reports[-1]["written"] == 480)
    kept = {record["interaction_id"]: record for record in stored(settings)}
    for record in (record for batch in batches for record in batch):
        assert kept[record["interaction_id"]] == {**record, "source": "api", "verdict": None}
    assert len(kept) == 480
    assert segments_of(settings) == []
    last = reports[-1]
    assert (last["reachable"], last["why"], last["damaged"], last["waiting_bytes"]) == (True, None, 0, 0)


def test_a_segment_that_is_drained_again_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    (segment,) = spooled(settings, [anomaly("I-1"), anomaly("I-2")])
    shutil.copy(segment, tmp_path / "copy")
    Drain(settings).drain_once()
    before = stored(settings)
    shutil.copy(tmp_path / "copy", segment)  # as if the process had died between commit and deletion
    Drain(settings).drain_once()
    assert stored(settings) == before
    assert not segment.exists()


def test_drains_at_the_same_time_share_the_work(settings: Settings) -> None:
    spooled(settings, *[[anomaly(f"I-{segment}-{number}") for number in range(20)] for segment in range(60)])
    open_store(settings).close()
    threads = [threading.Thread(target=Drain(settings).drain_once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Drain(settings).drain_once()
    assert len(stored_ids(settings)) == len(set(stored_ids(settings))) == 1200
    assert segments_of(settings) == []
    assert damaged_lines(settings) == []


def test_damaged_lines_are_put_aside_and_the_rest_goes_on(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    (segment,) = spooled(settings, [anomaly("I-1"), anomaly("I-2"), anomaly("I-3")])
    first, second, third = segment.read_bytes().splitlines()
    incomplete = json.dumps({name: value for name, value in anomaly("I-4").items() if name != "scores"}).encode()
    wrong = json.dumps(anomaly("I-5", severity="high")).encode()
    no_time = json.dumps(anomaly("I-6", timestamp="secret words")).encode()
    bad = [second[:50], b"\0\0\0\0", b"[]", b"\xff\xfe", incomplete, wrong, no_time]
    segment.write_bytes(b"\n".join([first, *bad[:4], b"", third, *bad[4:], second[: len(second) // 2]]))
    drain = Drain(settings)
    drain.drain_once()
    assert stored_ids(settings) == ["I-1", "I-3"]
    assert sorted(damaged_lines(settings)) == sorted([*bad, second[: len(second) // 2]])
    assert drain.status()["damaged"] == 8
    assert segments_of(settings) == []
    assert "secret words" not in "".join(str(record.__dict__) for record in caplog.records)


def test_a_drain_that_is_told_to_stop_ends_with_a_whole_batch(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "_BATCH_SEGMENTS", 2)
    spooled(settings, *[[anomaly(f"I-{segment}-{number}") for number in range(10)] for segment in range(10)])
    stop = threading.Event()
    record = drain_module.record_anomalies

    def record_and_stop(*arguments: Any) -> int:
        stop.set()
        return record(*arguments)

    monkeypatch.setattr(drain_module, "record_anomalies", record_and_stop)
    reports: list[dict[str, Any]] = []
    Drain(settings).run(stop, reports.append)
    assert len(stored_ids(settings)) == 20
    assert len(segments_of(settings)) == 8
    assert reports[-1]["waiting_records"] == 80


def test_a_backlog_is_reported_before_the_first_batch_and_after_each(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "_BATCH_SEGMENTS", 2)
    spooled(settings, *[[anomaly(f"I-{segment}-{number}") for number in range(10)] for segment in range(6)])
    with running_drain(settings) as reports:
        until(lambda: bool(reports) and reports[-1]["written"] == 60)
    said = [(report["reachable"], report["written"], report["waiting_records"]) for report in reports]
    assert said == [(None, 0, 60), (True, 20, 40), (True, 40, 20), (True, 60, 0)]


def test_an_empty_segment_of_a_dead_writer_is_cleared_away(settings: Settings) -> None:
    path = left_by_a_dead_writer(settings, "0001", [])
    Drain(settings).drain_once()
    assert not path.exists()


def test_segments_of_living_writers_count_as_waiting(settings: Settings) -> None:
    spool = Spool(Path(settings.serving.state), 1 << 30)
    spool.append([anomaly("I-1")])
    spool.append([anomaly("I-2"), anomaly("I-3")])
    drain = Drain(settings)
    drain.drain_once()
    assert drain.status()["waiting_records"] == 3
    assert drain.status()["waiting_bytes"] == spool.size_bytes
    asyncio.run(spool.stop())
    drain.drain_once()
    assert drain.status()["waiting_records"] == 0
