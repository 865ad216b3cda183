"""What a worker has found is kept in whole lines, handed over in time, and counted where it can't be kept."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from anomaly_records import anomaly
from draining import run_python

from cxad_pipeline.serving import segments as segments_module
from cxad_pipeline.serving import spool as spool_module
from cxad_pipeline.serving.segments import claim, segment_sizes, spool_folder
from cxad_pipeline.serving.spool import Spool
from cxad_pipeline.store.records import AnomalyRecord

pytest_plugins = ["store_databases"]


PLENTY = 1 << 30


LIMITED = """
import asyncio, json, resource, sys
from pathlib import Path
from anomaly_records import anomaly
from cxad_pipeline.serving.spool import Spool

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
spool = Spool(Path(sys.argv[1]), 1 << 30)
kept, lost = [], 0
for number in range(60):
    spool.append([anomaly(f"I-{number}-{part}") for part in range(2)])
    if spool.lost == lost:
        kept += [f"I-{number}-{part}" for part in range(2)]
    lost = spool.lost
    if number == 40:  # there is room again
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
asyncio.run(spool.stop())
print(json.dumps({"kept": kept, "lost": lost}))
"""


NO_DESCRIPTORS = """
import asyncio, json, logging, os, resource, sys
from contextlib import suppress
from pathlib import Path
from anomaly_records import anomaly
from cxad_pipeline.serving import spool as spool_module
from cxad_pipeline.serving.spool import Spool

spool_module.SYNC_SECONDS = 3600  # the ticks are those below
logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("cxad_pipeline").addHandler(handler)

def taken():
    with suppress(OSError):
        while True:
            yield os.open("/dev/null", os.O_RDONLY)

async def work():
    spool = Spool(Path(sys.argv[1]), 1 << 30)
    await spool.start()
    await spool.tick()  # from here on it has its thread
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    for episode in range(2):
        others = []
        for number in range(8):
            others += taken()  # connections that wait to be accepted take each descriptor that comes free
            spool.append([anomaly(f"{episode}-{number}-{part}", text="x" * 100_000) for part in range(4)])
            await spool.tick()
        during = list(logged)
        for descriptor in others:
            os.close(descriptor)
        await spool.tick()
        print(json.dumps(during))
        logged.clear()
    await spool.stop()
    print(json.dumps(spool.lost))

asyncio.run(work())
"""


def test_records_arrive_as_they_were(tmp_path: Path) -> None:
    records = [anomaly(f"I-{number}", text='line\nbreak "quoted" \u2028 Grüße 🎧') for number in range(25)]
    spool = Spool(tmp_path, PLENTY)
    for start in range(0, 25, 5):
        spool.append(records[start : start + 5])
    asyncio.run(spool.stop())
    assert _spooled(tmp_path) == records
    assert spool.lost == 0


def test_a_tick_hands_over_what_was_appended_and_an_idle_one_makes_no_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLENTY)

    async def work() -> None:
        await spool.tick()
        assert segment_sizes(spool_folder(tmp_path)) == {}
        spool.append([])
        assert segment_sizes(spool_folder(tmp_path)) == {}
        spool.append([anomaly("I-1")])
        (only,) = segment_sizes(spool_folder(tmp_path))
        assert claim(only) is None
        await spool.tick()
        descriptor = claim(only)
        assert descriptor is not None
        os.close(descriptor)

    asyncio.run(work())


def test_an_idle_worker_keeps_one_empty_segment_which_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SYNC_SECONDS", 3600)  # the ticks are those below

    async def work() -> None:
        spool = Spool(tmp_path, PLENTY)
        await spool.start()
        (only,) = _segments(tmp_path)
        for _ in range(5):
            await spool.tick()
        assert _segments(tmp_path) == [only]
        spool.append([anomaly("I-1")])
        for _ in range(5):
            await spool.tick()
        assert len(_segments(tmp_path)) == 2, "the one that was handed over, and an empty one"
        await spool.stop()
        assert _segments(tmp_path) == [only]

    asyncio.run(work())


def test_what_is_appended_is_handed_over_by_itself(tmp_path: Path) -> None:
    async def work() -> None:
        spool = Spool(tmp_path, PLENTY)
        await spool.start()
        spool.append([anomaly("I-1")])
        (only,) = segment_sizes(spool_folder(tmp_path))
        deadline = time.monotonic() + 120
        while (descriptor := claim(only)) is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        os.close(descriptor)
        await spool.stop()

    asyncio.run(work())


def test_stop_hands_over_what_is_left_and_what_comes_later_is_kept_too(tmp_path: Path) -> None:
    async def work() -> None:
        spool = Spool(tmp_path, PLENTY)
        await spool.start()
        spool.append([anomaly("I-1")])
        await spool.stop()
        assert all((descriptor := claim(path)) is not None and not os.close(descriptor) for path in _segments(tmp_path))
        spool.append([anomaly("I-2")])
        await spool.stop()

    asyncio.run(work())
    assert [record["interaction_id"] for record in _spooled(tmp_path)] == ["I-1", "I-2"]


def test_while_many_segments_wait_they_grow_to_their_full_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_MANY_SEGMENTS", 5)
    spool = Spool(tmp_path, PLENTY)

    async def work() -> None:
        for number in range(40):
            spool.append([anomaly(f"I-{number}")])
            await spool.tick()
        assert len(_segments(tmp_path)) <= 6
        grown = max(segment_sizes(spool_folder(tmp_path)).items(), key=lambda item: item[1])[0]
        for path in _segments(tmp_path):
            if path != grown:
                path.unlink()  # the store is there again
        await spool.tick()
        await spool.tick()
        descriptor = claim(grown)
        assert descriptor is not None
        os.close(descriptor)

    asyncio.run(work())


def test_beyond_the_limit_records_are_counted_as_lost_and_later_ones_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path, 5_000)
    appended = 0
    while not spool.lost:
        spool.append([anomaly(f"I-{appended}"), anomaly(f"J-{appended}")])
        appended += 1
    spool.append([anomaly("lost")])
    assert spool.lost == 3
    assert spool.size_bytes <= 5_000
    assert spool.size_bytes == sum(segment_sizes(spool_folder(tmp_path)).values())
    assert len(_errors(caplog)) == 1, "one message for as long as it lasts"
    asyncio.run(spool.stop())
    assert len(_spooled(tmp_path)) == 2 * (appended - 1)
    for path in _segments(tmp_path):
        path.unlink()
    asyncio.run(spool.tick())
    spool.append([anomaly("kept")])
    asyncio.run(spool.stop())
    assert [record["interaction_id"] for record in _spooled(tmp_path)] == ["kept"]
    assert spool.lost == 3


def test_the_limit_counts_what_other_workers_left(tmp_path: Path) -> None:
    first, second = Spool(tmp_path, 5_000), Spool(tmp_path, 5_000)
    first.append([anomaly("I-1"), anomaly("I-2"), anomaly("I-3")])
    asyncio.run(second.tick())
    assert second.size_bytes == first.size_bytes > 0
    assert Spool(tmp_path, 5_000).size_bytes == first.size_bytes
    while not second.lost:
        second.append([anomaly("I-4")])
    assert 4_000 < second.size_bytes <= 5_000


def test_a_full_disk_loses_whole_records_and_no_line_is_torn(tmp_path: Path) -> None:
    worker = run_python(LIMITED, tmp_path)
    said = json.loads(worker.communicate(timeout=120)[0])
    assert worker.returncode == 0
    assert said["lost"] > 10
    assert said["kept"][-1] == "I-59-1", "kept again once there is room"
    assert [record["interaction_id"] for record in _spooled(tmp_path)] == said["kept"]
    assert len(said["kept"]) + said["lost"] == 120


def test_a_folder_that_cannot_be_written_loses_and_raises_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path, PLENTY)
    spool_folder(tmp_path).rmdir()
    (tmp_path / "spool").write_text("a file where the folder was")
    spool.append([anomaly("I-1")])
    spool.append([anomaly("I-2")])
    asyncio.run(spool.tick())
    assert spool.lost == 2
    assert len(_errors(caplog)) == 1
    (tmp_path / "spool").unlink()
    spool.append([anomaly("I-3")])
    asyncio.run(spool.stop())
    assert [record["interaction_id"] for record in _spooled(tmp_path)] == ["I-3"]


def test_a_shortage_of_descriptors_loses_nothing_and_is_told_once_each_time(tmp_path: Path) -> None:
    worker = run_python(NO_DESCRIPTORS, tmp_path)
    first, second, lost = map(json.loads, worker.communicate(timeout=120)[0].splitlines())
    assert worker.returncode == 0
    assert lost == 0
    names = [f"{episode}-{number}-{part}" for episode in range(2) for number in range(8) for part in range(4)]
    assert [record["interaction_id"] for record in _spooled(tmp_path)] == names
    assert len(_segments(tmp_path)) > 1, "handed over once there were descriptors again"
    for messages in (first, second):
        assert sorted(messages) == [
            "the spool can't open a new segment; one that is open is written on",
            "the spool folder can't be read",
        ]


def test_a_state_folder_that_is_deleted_loses_nothing_that_is_still_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SYNC_SECONDS", 3600)  # the ticks are those below
    state = tmp_path / "state"
    spool = Spool(state, PLENTY)

    async def work() -> None:
        await spool.start()
        shutil.rmtree(state)
        spool.append([anomaly("I-1"), anomaly("I-2")])
        assert _names(state) == ["I-1", "I-2"], "a kill right now would lose nothing"
        shutil.rmtree(state)
        spool.append([anomaly("I-3")])
        assert _names(state) == ["I-1", "I-2", "I-3"]
        shutil.rmtree(state)
        await spool.tick()
        assert _names(state) == ["I-1", "I-2", "I-3"]
        for path in _segments(state):
            path.unlink()  # as the drain does
        spool.append([anomaly("I-4")])
        shutil.rmtree(state)
        await spool.stop()

    asyncio.run(work())
    assert _names(state) == ["I-4"]
    assert spool.lost == 0
    assert min(segment_sizes(spool_folder(state)).values()) > 0
    asyncio.run(spool.tick())
    assert spool.size_bytes == sum(segment_sizes(spool_folder(state)).values())


def test_a_full_segment_that_is_deleted_before_it_is_closed_is_copied_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", 1)
    spool = Spool(tmp_path, PLENTY)
    for number in range(3):
        spool.append([anomaly(f"I-{number}")])
    for path in _segments(tmp_path):
        path.unlink()
    asyncio.run(spool.tick())
    assert sorted(_names(tmp_path)) == ["I-0", "I-1", "I-2"]
    asyncio.run(spool.stop())
    assert spool.lost == 0


@pytest.mark.parametrize("mended", [True, False])
def test_what_a_deleted_segment_holds_is_copied_as_soon_as_it_can_be_or_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mended: bool
) -> None:
    spool = Spool(tmp_path, PLENTY)
    spool.append([anomaly("I-1")])
    shutil.rmtree(tmp_path / "spool")
    spool.append([anomaly("I-2")])
    shutil.rmtree(tmp_path / "spool")
    (tmp_path / "spool").write_text("a file where the folder was")
    for _ in range(3):
        asyncio.run(spool.tick())
    spool.append([anomaly("I-3")])
    assert spool.lost == 1
    assert sum("can't be copied" in record.message for record in caplog.records) == 1
    if mended:
        (tmp_path / "spool").unlink()
    asyncio.run(spool.stop())
    if not mended:
        (tmp_path / "spool").unlink()
    assert _names(tmp_path) == (["I-1", "I-2"] if mended else [])
    assert spool.lost == (1 if mended else 3)


def test_a_record_that_is_no_json_is_lost_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLENTY)
    spool.append([anomaly("I-1"), anomaly("I-2", text=object()), anomaly("I-3", text="\ud800"), anomaly("I-4")])
    assert spool.lost == 2
    asyncio.run(spool.stop())
    assert [record["interaction_id"] for record in _spooled(tmp_path)] == ["I-1", "I-4"]


def test_a_drain_that_meets_a_segment_as_it_is_born_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the making of the file and its lock a drain may take it for done, empty, and delete it."""
    lock, met = segments_module._locked, []

    def met_by_a_drain(descriptor: int) -> bool:
        for path in _segments(tmp_path):
            if len(met) < 3:
                met.append(path)
                path.unlink()
        return lock(descriptor)

    monkeypatch.setattr(segments_module, "_locked", met_by_a_drain)
    spool = Spool(tmp_path, PLENTY)
    spool.append([anomaly("I-1")])
    asyncio.run(spool.stop())
    assert len(met) == 3
    assert [record["interaction_id"] for record in _spooled(tmp_path)] == ["I-1"]


def test_only_this_user_may_read_what_waits(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "state", PLENTY)
    spool.append([anomaly("I-1")])
    (path,) = _segments(tmp_path / "state")
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_spooling_needs_no_database_library() -> None:
    code = (
        "import sys, cxad_pipeline.serving.spool; "
        "assert not {'sqlalchemy', 'alembic', 'pyarrow', 'psycopg2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    own = [record for record in caplog.records if record.name == "cxad_pipeline.serving.spool"]
    return [record for record in own if record.levelno >= logging.ERROR]


def _segments(state: Path) -> list[Path]:
    return list(segment_sizes(spool_folder(state)))


def _names(state: Path) -> list[str]:
    return [record["interaction_id"] for record in _spooled(state)]


def _spooled(state: Path) -> list[AnomalyRecord]:
    """All the lines of all segments, each of them whole."""
    content = [path.read_text(encoding="utf-8") for path in _segments(state)]
    assert all(text.endswith("\n") or not text for text in content)
    return [json.loads(line) for text in content for line in text.split("\n")[:-1]]
