"""A store that is away, slow, full or picky costs nothing but time."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anomaly_records import anomaly
from draining import damaged_lines, running_drain, segments_of, spooled, stored_ids, until
from sqlalchemy import text

from cxad_pipeline.serving import drain as drain_module
from cxad_pipeline.serving.drain import Drain
from cxad_pipeline.serving.spool import Spool
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, StoreAwayError, open_store

pytest_plugins = ["store_databases"]


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


@pytest.fixture
def store_of(settings_for: Callable[..., Settings]) -> Iterator[Callable[[str], Store]]:
    opened: list[Store] = []

    def open_(url: str) -> Store:
        opened.append(open_store(settings_for(url)))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


def test_what_the_database_refuses_is_put_aside_and_blocks_nothing(settings: Settings, store: Store) -> None:
    _refuse(store, "%poison%")
    names = [f"I-{number}" for number in range(200)] + ["poison-1", "poison-2", "poison-3"]
    random.Random(3).shuffle(names)
    spooled(settings, [anomaly(name) for name in names[:120]], [anomaly(name) for name in names[120:]])
    drain = Drain(settings)
    drain.drain_once()
    assert stored_ids(settings) == sorted(name for name in names if not name.startswith("poison"))
    assert sorted(json.loads(line)["interaction_id"] for line in damaged_lines(settings)) == [
        "poison-1", "poison-2", "poison-3",
    ]  # fmt: skip
    assert segments_of(settings) == []
    assert drain.status()["written"] == 200


def test_a_store_that_is_away_leaves_segments_alone_says_so_and_is_found_again(
    settings_for: Callable[..., Settings], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(f"sqlite:///{tmp_path}/blocked/store.db")
    (tmp_path / "blocked").write_text("a file where a folder is wanted")
    segments = spooled(settings, [anomaly("I-1"), anomaly("I-2")], [anomaly("I-3")])
    with running_drain(settings) as reports:
        until(lambda: bool(reports) and reports[-1]["reachable"] is False)
        away = reports[-1]
        assert "can't be made" in away["why"]
        assert away["since"].endswith("Z")
        assert away["waiting_records"] == 3
        assert away["waiting_bytes"] == sum(path.stat().st_size for path in segments)
        (tmp_path / "blocked").unlink()
        until(lambda: bool(reports[-1]["reachable"]) and reports[-1]["waiting_records"] == 0)
        assert (reports[-1]["since"], reports[-1]["why"]) == (None, None)
    assert stored_ids(settings) == ["I-1", "I-2", "I-3"]
    assert sum("wait in the spool" in record.message for record in caplog.records) == 1, "once for each cause"


def test_a_commit_that_fails_keeps_the_segment(
    postgres_url: str, settings_for: Callable[..., Settings], store_of: Callable[[str], Store]
) -> None:
    settings, store = settings_for(postgres_url), store_of(postgres_url)
    _refuse(store, "I-%", code="53100")  # the server's disk is full: no fault of the record
    (segment,) = spooled(settings, [anomaly("I-1")])
    content = segment.read_bytes()
    drain = Drain(settings)
    for _ in range(3):
        with pytest.raises(StoreAwayError):
            drain.drain_once()
    assert segment.read_bytes() == content
    assert damaged_lines(settings) == []
    with store.writing() as connection:
        connection.execute(text("DROP TRIGGER refuse ON anomalies"))
    drain.drain_once()
    assert stored_ids(settings) == ["I-1"]


def test_damaged_lines_are_put_aside_once_however_often_the_store_fails(
    postgres_url: str, settings_for: Callable[..., Settings], store_of: Callable[[str], Store]
) -> None:
    settings, store = settings_for(postgres_url), store_of(postgres_url)
    _refuse(store, "I-%", code="53100")
    (segment,) = spooled(settings, [anomaly("I-1")])
    segment.write_bytes(b"damaged\n" + segment.read_bytes())
    drain = Drain(settings)
    for _ in range(3):
        with pytest.raises(StoreAwayError):
            drain.drain_once()
    assert damaged_lines(settings) == []
    with store.writing() as connection:
        connection.execute(text("DROP TRIGGER refuse ON anomalies"))
    drain.drain_once()
    assert damaged_lines(settings) == [b"damaged"]


def test_a_database_that_hangs_delays_no_append(
    postgres_url: str, settings_for: Callable[..., Settings], store_of: Callable[[str], Store]
) -> None:
    settings, store = settings_for(postgres_url), store_of(postgres_url)
    spooled(settings, [anomaly("first")])
    with store.engine.connect() as holder:
        holder.execute(text("LOCK TABLE anomalies"))
        with running_drain(settings) as reports:
            with store.engine.connect() as watcher:
                until(lambda: bool(watcher.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar()))
            spool = Spool(Path(settings.serving.state), 1 << 30)
            spool.append([anomaly("before")])
            asyncio.run(spool.tick())
            for number in range(1_000):
                spool.append([anomaly(f"I-{number}")])
            (only,) = reports
            assert (only["reachable"], only["why"], only["waiting_records"]) == (None, None, 1), "what waits is known"
            asyncio.run(spool.stop())
            holder.rollback()
            until(lambda: bool(reports) and reports[-1]["written"] == 1_002)
    assert len(stored_ids(settings)) == 1_002


def test_segments_deleted_from_outside_while_they_are_drained_arrive(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = drain_module._read
    spooled(settings, [anomaly("I-1")], [anomaly("I-2")])

    def read_what_was_deleted(*arguments: Any) -> Any:
        shutil.rmtree(settings.serving.state)
        return read(*arguments)

    monkeypatch.setattr(drain_module, "_read", read_what_was_deleted)
    Drain(settings).drain_once()
    assert stored_ids(settings) == ["I-1", "I-2"]


def test_what_was_seen_last_stands_while_the_spool_cannot_be_read(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    spooled(settings, [anomaly("I-1"), anomaly("I-2")])
    drain = Drain(settings)
    before, folder = drain.status(), Path(settings.serving.state) / "spool"
    assert before["waiting_records"] == 2
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("a file where the folder was")
    assert drain.status() == drain.status() == before
    assert sum("can't be read" in record.message for record in caplog.records) == 1
    folder.unlink()
    folder.with_name("elsewhere").rename(folder)
    drain.drain_once()
    assert drain.status()["waiting_records"] == 0


def test_a_state_folder_that_vanishes_ends_nothing(settings: Settings) -> None:
    with running_drain(settings) as reports:
        until(lambda: bool(reports))
        shutil.rmtree(settings.serving.state)
        spooled(settings, [anomaly("I-1")])
        until(lambda: reports[-1]["written"] == 1)
    assert stored_ids(settings) == ["I-1"]
