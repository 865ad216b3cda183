"""SIGKILL at any moment, of a worker or of the drain, loses nothing that was answered and doubles nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from anomaly_records import anomaly
from draining import left_by_a_dead_writer, run_python, segments_of, stored, stored_ids, until

from cxad_pipeline.serving.drain import Drain
from cxad_pipeline.serving.segments import segment_sizes, spool_folder
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import open_store

pytest_plugins = ["store_databases"]

WORKER = """
import asyncio, sys
from pathlib import Path
from anomaly_records import anomaly
from cxad_pipeline.serving.spool import Spool

async def serve(state, name, size):
    spool = Spool(Path(state), 1 << 30)
    await spool.start()
    number = 0
    while True:
        spool.append([anomaly(f"{name}-{number}-{part}", text="x" * int(size)) for part in range(3)])
        print(f"{name}-{number}", flush=True)  # the answer
        number += 1
        if number % 5 == 0:
            await asyncio.sleep(0.001)

asyncio.run(serve(*sys.argv[1:]))
"""


DRAIN = """
import sys, threading
from cxad_pipeline.serving import drain
from cxad_pipeline.settings import load_settings
drain._BATCH_SEGMENTS = 12
settings = load_settings(sys.argv[1], store={"url": sys.argv[2]}, serving={"state": sys.argv[3]})
print("ready", flush=True)
drain.Drain(settings).run(threading.Event(), lambda report: None)
"""


@pytest.fixture
def settings_on_sqlite(sqlite_url: str, settings_for: Callable[..., Settings]) -> Settings:
    return settings_for(sqlite_url)


@pytest.mark.parametrize("size", [0, 20_000])
def test_what_was_answered_before_a_kill_reaches_the_store_once(settings_on_sqlite: Settings, size: int) -> None:
    settings, moments = settings_on_sqlite, random.Random(size)
    answered: list[str] = []
    drain = Drain(settings)
    for kill in range(16):
        before = len(segments_of(settings))
        worker = run_python(WORKER, settings.serving.state, f"W{kill}", size)
        assert worker.stdout is not None
        answers = [worker.stdout.readline()]
        while kill % 8 == 0 and len(segments_of(settings)) < before + 2:
            answers.append(worker.stdout.readline())  # some live until they have begun another segment
        # How long they live is drawn in answers, which a slow machine gives as well.
        answers += [worker.stdout.readline() for _ in range(moments.randint(0, 100))]
        assert answers[-1], "it ended by itself"
        worker.send_signal(signal.SIGKILL)
        answers += worker.stdout.readlines()
        worker.wait()
        answered += [line.rstrip("\n") for line in answers if line.endswith("\n")]
        if kill % 3 == 0:
            drain.drain_once()
    drain.drain_once()
    kept = [record["interaction_id"] for record in stored(settings)]
    assert len(answered) > 500
    assert {f"{name}-{part}" for name in answered for part in range(3)} <= set(kept)
    assert len(kept) == len(set(kept))
    assert segment_sizes(spool_folder(Path(settings.serving.state))) == {}


def test_a_segment_of_a_living_process_is_left_alone(settings_on_sqlite: Settings) -> None:
    worker = run_python(WORKER, settings_on_sqlite.serving.state, "W", 0)
    try:
        assert worker.stdout is not None
        worker.stdout.readline()
        content = b""
        while not content:  # once a second the segment is a new one, still empty
            worker.send_signal(signal.SIGCONT)
            worker.send_signal(signal.SIGSTOP)  # as slow as can be, and alive
            os.waitid(os.P_PID, worker.pid, os.WSTOPPED)
            current = max(segment_sizes(spool_folder(Path(settings_on_sqlite.serving.state))))
            content = current.read_bytes()
        Drain(settings_on_sqlite).drain_once()
        assert current.read_bytes() == content
        assert content.count(b"\n") > 0
    finally:
        worker.kill()
        worker.communicate()
    Drain(settings_on_sqlite).drain_once()
    assert not current.exists()
    assert {json.loads(line)["interaction_id"] for line in content.splitlines()} <= {
        record["interaction_id"] for record in stored(settings_on_sqlite)
    }


def _wait_into_a_batch(settings: Settings, waiting: int, moments: random.Random) -> None:
    """Until a drawn number of the waiting segments is gone, and then a drawn part of the time that a batch takes."""
    gone, part = moments.randint(1, 80), moments.uniform(0, 1)
    until(lambda: len(segments_of(settings)) < waiting)
    begun = time.monotonic()
    until(lambda: len(segments_of(settings)) <= waiting - gone)
    time.sleep(part * (time.monotonic() - begun) / max(1, gone // 12))  # the moment of death is what varies


def test_a_drain_killed_at_any_moment_loses_and_doubles_nothing(settings: Settings, tmp_path: Path) -> None:
    open_store(settings).close()
    names: list[str] = []
    moments, interrupted = random.Random(11), 0
    arguments = [str(tmp_path / "config.yaml"), settings.store.url, settings.serving.state]
    for kill in range(6):
        batches = [[f"K{kill}-{segment}-{number}" for number in range(30)] for segment in range(120)]
        for number, batch in enumerate(batches):
            left_by_a_dead_writer(settings, f"{kill:04d}-{number:04d}", [anomaly(name) for name in batch])
        names += [name for batch in batches for name in batch]
        waiting = len(segments_of(settings))
        process = subprocess.Popen([sys.executable, "-c", DRAIN, *arguments], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if kill:  # the first at once
            _wait_into_a_batch(settings, waiting, moments)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        interrupted += bool(segments_of(settings))
    Drain(settings).drain_once()
    assert stored_ids(settings) == sorted(names)
    assert segments_of(settings) == []
    assert interrupted > 0, "some deaths came in the middle"
