"""What waits in the spool gets into the store: all of it, once, whatever the store or the machine does meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anomaly_records import anomaly
from sqlalchemy import text

from cxad_pipeline.serving import drain as drain_module
from cxad_pipeline.serving.drain import Drain
from cxad_pipeline.serving.spool import Spool, segment_sizes, spool_folder
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.anomalies import AnomalyFilter, StoredAnomaly, find_anomalies
from cxad_pipeline.store.database import Store, StoreAwayError, open_store

pytest_plugins = ["store_databases"]

DRAIN = """
import sys, threading
from cxad_pipeline.serving.drain import Drain
from cxad_pipeline.settings import load_settings
settings = load_settings(sys.argv[1], store={"url": sys.argv[2]}, serving={"state": sys.argv[3]})
print("ready", flush=True)
Drain(settings).run(threading.Event(), lambda report: None)
"""


@contextmanager
def _running(settings: Settings) -> Iterator[list[dict[str, Any]]]:
    """A drain in a thread, with its reports."""
    stop, reports = threading.Event(), list[dict[str, Any]]()
    thread = threading.Thread(target=Drain(settings).run, args=(stop, reports.append))
    thread.start()
    try:
        yield reports
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _spool(settings: Settings, *batches: list[Any]) -> list[Path]:
    """Segments with these records, one segment for each list; their writers are done."""
    before = set(_segments(settings))
    for batch in batches:
        spool = Spool(Path(settings.serving.state), 1 << 30)
        spool.append(batch)
        asyncio.run(spool.stop())
    return [path for path in _segments(settings) if path not in before]


def _left_by_a_dead_writer(settings: Settings, name: str, records: list[Any]) -> Path:
    path = spool_folder(Path(settings.serving.state)) / f"{name}.ndjson"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def _segments(settings: Settings) -> list[Path]:
    return list(segment_sizes(spool_folder(Path(settings.serving.state))))


def _stored(settings: Settings) -> list[StoredAnomaly]:
    store = open_store(settings)
    with store.reading() as connection:
        found, _ = find_anomalies(connection, AnomalyFilter(), limit=10_000_000)
    store.close()
    return found


def _ids(settings: Settings) -> list[str]:
    return sorted(record["interaction_id"] for record in _stored(settings))


def _damaged(settings: Settings) -> list[bytes]:
    folder = spool_folder(Path(settings.serving.state)) / "damaged"
    return [line for path in sorted(folder.glob("*")) for line in path.read_bytes().splitlines()]


def _refuse(store: Store, name: str, *, code: str = "23514") -> None:
    """Have the database refuse an interaction, as by a constraint, or with another of PostgreSQL's codes."""
    if store.engine.dialect.name == "sqlite":
        body = f"SELECT RAISE(ABORT, 'no') WHERE NEW.interaction_id LIKE '{name}'"
        statements = [f"CREATE TRIGGER refuse BEFORE INSERT ON anomalies BEGIN {body}; END"]
    else:
        statements = [
            f"""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.interaction_id LIKE '{name}' THEN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END IF;
                RETURN NEW; END $$""",
            "CREATE TRIGGER refuse BEFORE INSERT ON anomalies FOR EACH ROW EXECUTE FUNCTION refuse()",
        ]
    with store.writing() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%") if "plpgsql" in statement else statement)


def test_everything_arrives_and_nothing_is_left(settings: Settings) -> None:
    batches = [[anomaly(f"I-{batch}-{number}", at=batch) for number in range(40)] for batch in range(12)]
    _spool(settings, *batches)
    with _running(settings) as reports:
        _until(lambda: bool(reports) and reports[-1]["written"] == 480)
    stored = {record["interaction_id"]: record for record in _stored(settings)}
    for record in (record for batch in batches for record in batch):
        assert stored[record["interaction_id"]] == {**record, "source": "api", "verdict": None}
    assert len(stored) == 480
    assert _segments(settings) == []
    last = reports[-1]
    assert (last["reachable"], last["why"], last["damaged"], last["waiting_bytes"]) == (True, None, 0, 0)


def test_a_segment_that_is_drained_again_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    (segment,) = _spool(settings, [anomaly("I-1"), anomaly("I-2")])
    shutil.copy(segment, tmp_path / "copy")
    Drain(settings).drain_once()
    before = _stored(settings)
    shutil.copy(tmp_path / "copy", segment)  # as if the process had died between commit and deletion
    Drain(settings).drain_once()
    assert _stored(settings) == before
    assert not segment.exists()


def test_drains_at_the_same_time_share_the_work(settings: Settings) -> None:
    _spool(settings, *[[anomaly(f"I-{segment}-{number}") for number in range(20)] for segment in range(60)])
    open_store(settings).close()
    threads = [threading.Thread(target=Drain(settings).drain_once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Drain(settings).drain_once()
    assert len(_ids(settings)) == len(set(_ids(settings))) == 1200
    assert _segments(settings) == []
    assert _damaged(settings) == []


def test_damaged_lines_are_put_aside_and_the_rest_goes_on(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    (segment,) = _spool(settings, [anomaly("I-1"), anomaly("I-2"), anomaly("I-3")])
    first, second, third = segment.read_bytes().splitlines()
    incomplete = json.dumps({name: value for name, value in anomaly("I-4").items() if name != "scores"}).encode()
    wrong = json.dumps(anomaly("I-5", severity="high")).encode()
    no_time = json.dumps(anomaly("I-6", timestamp="secret words")).encode()
    bad = [second[:50], b"\0\0\0\0", b"[]", b"\xff\xfe", incomplete, wrong, no_time]
    segment.write_bytes(b"\n".join([first, *bad[:4], b"", third, *bad[4:], second[: len(second) // 2]]))
    drain = Drain(settings)
    drain.drain_once()
    assert _ids(settings) == ["I-1", "I-3"]
    assert sorted(_damaged(settings)) == sorted([*bad, second[: len(second) // 2]])
    assert drain.status()["damaged"] == 8
    assert _segments(settings) == []
    assert "secret words" not in "".join(str(record.__dict__) for record in caplog.records)


def test_what_the_database_refuses_is_put_aside_and_blocks_nothing(settings: Settings, store: Store) -> None:
    _refuse(store, "%poison%")
    names = [f"I-{number}" for number in range(200)] + ["poison-1", "poison-2", "poison-3"]
    random.Random(3).shuffle(names)
    _spool(settings, [anomaly(name) for name in names[:120]], [anomaly(name) for name in names[120:]])
    drain = Drain(settings)
    drain.drain_once()
    assert _ids(settings) == sorted(name for name in names if not name.startswith("poison"))
    assert sorted(json.loads(line)["interaction_id"] for line in _damaged(settings)) == [
        "poison-1", "poison-2", "poison-3",
    ]  # fmt: skip
    assert _segments(settings) == []
    assert drain.status()["written"] == 200


def test_a_store_that_is_away_leaves_segments_alone_says_so_and_is_found_again(
    settings_for: Callable[..., Settings], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(f"sqlite:///{tmp_path}/blocked/store.db")
    (tmp_path / "blocked").write_text("a file where a folder is wanted")
    segments = _spool(settings, [anomaly("I-1"), anomaly("I-2")], [anomaly("I-3")])
    with _running(settings) as reports:
        _until(lambda: bool(reports))
        away = reports[-1]
        assert away["reachable"] is False
        assert "can't be made" in away["why"]
        assert away["since"].endswith("Z")
        assert away["waiting_records"] == 3
        assert away["waiting_bytes"] == sum(path.stat().st_size for path in segments)
        (tmp_path / "blocked").unlink()
        _until(lambda: bool(reports[-1]["reachable"]) and reports[-1]["waiting_records"] == 0)
        assert (reports[-1]["since"], reports[-1]["why"]) == (None, None)
    assert _ids(settings) == ["I-1", "I-2", "I-3"]
    assert sum("wait in the spool" in record.message for record in caplog.records) == 1, "once for each cause"


def test_a_commit_that_fails_keeps_the_segment(
    postgres_url: str, settings_for: Callable[..., Settings], store_of: Callable[[str], Store]
) -> None:
    settings, store = settings_for(postgres_url), store_of(postgres_url)
    _refuse(store, "I-%", code="53100")  # the server's disk is full: no fault of the record
    (segment,) = _spool(settings, [anomaly("I-1")])
    content = segment.read_bytes()
    drain = Drain(settings)
    for _ in range(3):
        with pytest.raises(StoreAwayError):
            drain.drain_once()
    assert segment.read_bytes() == content
    assert _damaged(settings) == []
    with store.writing() as connection:
        connection.execute(text("DROP TRIGGER refuse ON anomalies"))
    drain.drain_once()
    assert _ids(settings) == ["I-1"]


def test_damaged_lines_are_put_aside_once_however_often_the_store_fails(
    postgres_url: str, settings_for: Callable[..., Settings], store_of: Callable[[str], Store]
) -> None:
    settings, store = settings_for(postgres_url), store_of(postgres_url)
    _refuse(store, "I-%", code="53100")
    (segment,) = _spool(settings, [anomaly("I-1")])
    segment.write_bytes(b"damaged\n" + segment.read_bytes())
    drain = Drain(settings)
    for _ in range(3):
        with pytest.raises(StoreAwayError):
            drain.drain_once()
    assert _damaged(settings) == []
    with store.writing() as connection:
        connection.execute(text("DROP TRIGGER refuse ON anomalies"))
    drain.drain_once()
    assert _damaged(settings) == [b"damaged"]


@pytest.fixture
def store_of(settings_for: Callable[..., Settings]) -> Iterator[Callable[[str], Store]]:
    opened: list[Store] = []

    def open_(url: str) -> Store:
        opened.append(open_store(settings_for(url)))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


def test_a_database_that_hangs_delays_no_append(
    postgres_url: str, settings_for: Callable[..., Settings], store_of: Callable[[str], Store]
) -> None:
    settings, store = settings_for(postgres_url), store_of(postgres_url)
    _spool(settings, [anomaly("first")])
    with store.engine.connect() as holder:
        holder.execute(text("LOCK TABLE anomalies"))
        with _running(settings) as reports:
            with store.engine.connect() as watcher:
                _until(lambda: bool(watcher.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar()))
            spool = Spool(Path(settings.serving.state), 1 << 30)
            spool.append([anomaly("before")])
            asyncio.run(spool.tick())
            for number in range(1_000):
                spool.append([anomaly(f"I-{number}")])
            assert reports == [], "the drain still waits for its first answer; all records are appended already"
            asyncio.run(spool.stop())
            holder.rollback()
            _until(lambda: bool(reports) and reports[-1]["written"] == 1_002)
    assert len(_ids(settings)) == 1_002


def test_a_drain_that_is_told_to_stop_ends_with_a_whole_batch(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "_BATCH_SEGMENTS", 2)
    _spool(settings, *[[anomaly(f"I-{segment}-{number}") for number in range(10)] for segment in range(10)])
    stop = threading.Event()
    record = drain_module.record_anomalies

    def record_and_stop(*arguments: Any) -> int:
        stop.set()
        return record(*arguments)

    monkeypatch.setattr(drain_module, "record_anomalies", record_and_stop)
    reports: list[dict[str, Any]] = []
    Drain(settings).run(stop, reports.append)
    assert len(_ids(settings)) == 20
    assert len(_segments(settings)) == 8
    assert reports[-1]["waiting_records"] == 80


def test_a_drain_killed_at_any_moment_loses_and_doubles_nothing(settings: Settings, tmp_path: Path) -> None:
    open_store(settings).close()
    names: list[str] = []
    moments = random.Random(11)
    arguments = [str(tmp_path / "config.yaml"), settings.store.url, settings.serving.state]
    for kill in range(6):
        batches = [[f"K{kill}-{segment}-{number}" for number in range(30)] for segment in range(120)]
        for number, batch in enumerate(batches):
            _left_by_a_dead_writer(settings, f"{kill:04d}-{number:04d}", [anomaly(name) for name in batch])
        names += [name for batch in batches for name in batch]
        process = subprocess.Popen([sys.executable, "-c", DRAIN, *arguments], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0, 0.5))  # the moment of death is what varies
        process.send_signal(signal.SIGKILL)
        process.communicate()
    left = len(_segments(settings))
    Drain(settings).drain_once()
    assert _ids(settings) == sorted(names)
    assert _segments(settings) == []
    assert left > 0, "some deaths came in the middle"


def test_an_empty_segment_of_a_dead_writer_is_cleared_away(settings: Settings) -> None:
    path = _left_by_a_dead_writer(settings, "0001", [])
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


def test_a_state_folder_that_vanishes_ends_nothing(settings: Settings) -> None:
    with _running(settings) as reports:
        _until(lambda: bool(reports))
        shutil.rmtree(settings.serving.state)
        _spool(settings, [anomaly("I-1")])
        _until(lambda: reports[-1]["written"] == 1)
    assert _ids(settings) == ["I-1"]
