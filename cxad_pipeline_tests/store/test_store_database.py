"""The database is made, brought to the newest form once, and never misread; failures are one clear error."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

import cxad_pipeline.store.migrations
from cxad_pipeline.settings import Settings
from cxad_pipeline.settings.serving import StoreSettings
from cxad_pipeline.store.anomalies import AnomalyFilter, find_anomalies
from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.database import (
    SCHEMA_VERSION,
    VERSION_TABLE,
    RefusedError,
    Store,
    StoreAwayError,
    StoreError,
    _engine,
    _immediate,
    _url,
    open_store,
    store_opener,
)
from cxad_pipeline.store.feedback import add_feedback
from cxad_pipeline.store.silences import find_silences
from cxad_pipeline.store.tables import metadata

pytest_plugins = ["store_databases"]

OLD: dict[str, dict[str, None]] = {"anomalies": {}, "feedback": {"until": None, "silence": None}}
"""Tables of the first release, and the columns that they have got since."""
OLD_ANOMALY = f"""
INSERT INTO anomalies (interaction_digest, interaction_id, timestamp, scored_at, model, model_version, source, severity,
    channel, scores, is_anomaly, reasons, interaction)
VALUES ('{digest("I-1")}', 'I-1', '2026-03-02 09:00:00.000001', '2026-03-02 09:30:00.000000', 'both', 'v3', 'api', 71.2,
    'voice', '{{}}', '{{}}', '[]', '{{}}')
"""
OLD_FEEDBACK = f"""
INSERT INTO feedback (interaction_digest, interaction_id, verdict, "by", at, note)
VALUES ('{digest("I-1")}', 'I-1', 'expected', 'ann', '2026-03-02 10:00:00.000005', 'n')
"""
OLD_SILENCE = """
INSERT INTO silences (scope, segment, metric, owner, reason, starts_at, ends_at)
VALUES ('anomalies', '[["queue", "unknown"], ["channel", "voice"], ["language", "unknown"]]', NULL, 'ann', '',
    '2026-03-02 10:00:00.000000', '2026-03-09 10:00:00.000000')
"""
TABLES = {*metadata.tables, VERSION_TABLE}
OPEN = """
import sys
from cxad_pipeline.settings import load_settings
from cxad_pipeline.store.database import open_store
settings = load_settings(sys.argv[1], store={"url": sys.argv[2]})
print("ready", flush=True)
sys.stdin.readline()
open_store(settings)
"""


def test_an_empty_database_gets_all_tables(store: Store) -> None:
    assert set(inspect(store.engine).get_table_names()) == TABLES


def test_the_migrations_make_the_tables_that_the_code_reads(store: Store) -> None:
    with store.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_the_schema_version_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(cxad_pipeline.store.migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_a_database_of_the_first_release_is_brought_up_to_date_with_all_its_rows(
    store_url: str, settings: Settings
) -> None:
    old = _engine(_url(store_url))
    with _immediate(old).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(cxad_pipeline.store.migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        assert set(inspect(connection).get_table_names()) == {"anomalies", "feedback", VERSION_TABLE}
        connection.execute(text(OLD_ANOMALY))
        connection.execute(text(OLD_FEEDBACK))
        before = {name: connection.execute(text(f"SELECT * FROM {name}")).mappings().one() for name in OLD}
    old.dispose()
    store = open_store(settings)
    with store.reading() as connection:
        after = {name: connection.execute(text(f"SELECT * FROM {name}")).mappings().one() for name in OLD}
        (found,), _ = find_anomalies(connection, AnomalyFilter(), limit=9)
    assert {name: {**before[name], **more} for name, more in OLD.items()} == after
    assert found["verdict"] == {"verdict": "expected", "by": "ann", "at": "2026-03-02T10:00:00.000005Z", "note": "n"}
    with store.writing() as connection:
        assert add_feedback(connection, "I-1", "confirmed", by="bob") is not None
    store.close()


def test_a_segment_of_the_second_release_gets_as_its_level_how_many_dimensions_it_names(
    store_url: str, settings: Settings
) -> None:
    """It was two at most."""
    names = [[[name, "v"] for name in ("queue", "channel", "language", "site")[:count]] for count in range(5)]
    old = _engine(_url(store_url))
    with _immediate(old).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(cxad_pipeline.store.migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        insertion = text("INSERT INTO segments (digest, segment, level) VALUES (:digest, :segment, :level)")
        for name in names:
            segment = json.dumps(name)
            row = {"digest": digest(segment), "segment": segment, "level": min(len(name), 2)}
            connection.execute(insertion, row)
    old.dispose()
    store = open_store(settings)
    with store.reading() as connection:
        found = connection.execute(text("SELECT segment, level FROM segments")).all()
    store.close()
    assert sorted((level, json.loads(segment)) for segment, level in found) == list(enumerate(names))


def test_no_verdict_ends_a_silence_of_the_third_release(store_url: str, settings: Settings) -> None:
    """Who asked for it is not known: it counts as asked for by hand."""
    old = _engine(_url(store_url))
    with _immediate(old).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(cxad_pipeline.store.migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        for statement in (OLD_ANOMALY, OLD_FEEDBACK, OLD_SILENCE):
            connection.execute(text(statement))
    old.dispose()
    store = open_store(settings)
    with store.writing() as connection:
        (before,) = find_silences(connection)
        first = add_feedback(connection, "I-1", "confirmed", by="bob", at=before.starts_at)
        add_feedback(connection, "I-1", "expected", by="bob", at=before.starts_at)
        second = add_feedback(connection, "I-1", "confirmed", by="bob", at=before.starts_at)
        (after,) = find_silences(connection)
    store.close()
    assert first is not None
    assert second is not None
    assert (first.released, second.released) == ((), (after,)), "of the old verdict nothing is known"
    assert (after.id, after.ends_at, after.ended_by) == (before.id, before.ends_at, None)


def test_opening_again_changes_nothing(store: Store, settings: Settings) -> None:
    def state() -> list[object]:
        with store.reading() as connection:
            return list(connection.execute(text(f"SELECT * FROM {VERSION_TABLE}")).all())

    before = state()
    open_store(settings).close()
    assert state() == before == [(SCHEMA_VERSION,)]


def test_opening_a_database_of_the_newest_form_imports_no_migrations(store: Store, settings: Settings) -> None:
    code = OPEN.replace("sys.stdin.readline()", "") + "assert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, *_arguments(settings)], check=True, capture_output=True)


def test_processes_that_open_an_empty_database_at_once_all_succeed(store_url: str, settings: Settings) -> None:
    arguments = [sys.executable, "-c", OPEN, *_arguments(settings)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    processes = [subprocess.Popen(arguments, **pipes, text=True) for _ in range(5)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert ended == [("", 0)] * 5
    store = open_store(settings)
    assert set(inspect(store.engine).get_table_names()) == TABLES
    store.close()


def _arguments(settings: Settings) -> list[str]:
    return [str(Path(settings.serving.state).parent / "config.yaml"), settings.store.url]


def test_a_database_of_a_newer_release_is_refused_and_left_alone(store: Store, settings: Settings) -> None:
    with store.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(
        StoreError, match=r"made by a newer release .form 9999.*install that release, or set store\.url"
    ):
        open_store(settings)
    with store.reading() as connection:
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == "9999"


def test_a_migration_that_fails_leaves_nothing_behind(store_url: str, settings: Settings, store: Store) -> None:
    with store.writing() as connection:
        connection.execute(text(f"DELETE FROM {VERSION_TABLE}"))
        connection.execute(text("DROP TABLE anomalies"))
    with pytest.raises(StoreError):  # `feedback`, the second table, is there already
        open_store(settings)
    assert "anomalies" not in inspect(store.engine).get_table_names()


def test_a_failed_transaction_is_undone(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.writing() as connection:  # noqa: PT012
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'x'"))
        raise ZeroDivisionError
    with store.reading() as connection:
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == SCHEMA_VERSION


def test_a_value_that_the_database_refuses_is_told_from_a_database_that_is_away(store: Store) -> None:
    row = f"INSERT INTO {VERSION_TABLE} VALUES ('{SCHEMA_VERSION}')"
    with pytest.raises(RefusedError), store.writing() as connection:
        connection.execute(text(row))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://user:hunter2@host/db", "mysql:// is not known"),
        ("postgresql+psycopg://user:hunter2@host/db", "is not known"),
        ("hunter2", "not the address of a database"),
        ("postgresql://user:hunter2@host:port/db", "not the address of a database"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////dev/null/hunter/store.db", "can't be made"),
    ],
)
def test_an_address_that_is_none_is_one_clear_error(url: str, says: str, settings_for: Callable[..., Settings]) -> None:
    """Settings refuse most of them by their form already; whoever opens a store otherwise is told as well."""
    unchecked = settings_for("sqlite:///x.db").model_copy(update={"store": StoreSettings.model_construct(url=url)})
    with pytest.raises(StoreError, match=says) as caught:
        open_store(unchecked)
    assert "hunter2" not in _all_that_is_said(caught.value)


def test_a_wrong_password_is_refused_and_not_quoted(
    postgres_url: str, settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    url = postgres_url.replace(":///", f"://{os.environ['PGUSER']}:hunter2@/")
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        open_store(settings_for(url))
    assert "hunter2" not in _all_that_is_said(caught.value)


def test_user_and_password_may_stand_in_the_address(
    postgres_url: str, settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    user, password = os.environ["PGUSER"], os.environ["PGPASSWORD"]
    for name in ("PGUSER", "PGPASSWORD"):
        monkeypatch.delenv(name)
    store = open_store(settings_for(postgres_url.replace(":///", f"://{user}:{quote(password, safe='')}@/")))
    assert password not in store.address + repr(store.engine)
    store.close()


def test_a_database_that_refuses_connections_is_away(settings_for: Callable[..., Settings]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql://127.0.0.1:{unused.getsockname()[1]}/store?connect_timeout=5"
        with pytest.raises(StoreAwayError, match="Connection refused"):
            open_store(settings_for(url))


def test_a_database_that_never_answers_is_away_after_a_while(settings_for: Callable[..., Settings]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/store?connect_timeout=2"
        with pytest.raises(StoreAwayError, match="timeout expired"):
            open_store(settings_for(url))


def test_a_locked_sqlite_file_is_away_and_waited_for(sqlite_url: str, settings_for: Callable[..., Settings]) -> None:
    store = open_store(settings_for(sqlite_url))
    with _locked(store):
        waiting = threading.Thread(target=_touch, args=(store,))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(30)
    assert not waiting.is_alive()
    store.close()


def test_sqlite_commits_reach_the_disk_and_readers_do_not_wait(
    sqlite_url: str, settings_for: Callable[..., Settings]
) -> None:
    store = open_store(settings_for(sqlite_url))
    with store.reading() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with _locked(store), store.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM anomalies")).scalar() == 0
    store.close()


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    other = sqlite3.connect(str(store.engine.url.database), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.execute("ROLLBACK")
    other.close()


def _touch(store: Store) -> None:
    with store.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = version_num"))


def test_an_sqlite_file_that_is_none_is_an_error_that_names_it(
    tmp_path: Path, settings_for: Callable[..., Settings]
) -> None:
    (tmp_path / "store.db").write_bytes(os.urandom(4096))
    with pytest.raises(StoreError, match=r"store\.db.*not a database"):
        open_store(settings_for(f"sqlite:///{tmp_path}/store.db"))


def test_the_opener_opens_once_for_many_threads_and_tries_again_after_a_failure(
    tmp_path: Path, settings_for: Callable[..., Settings]
) -> None:
    (tmp_path / "blocked").write_text("a file where a folder is wanted")
    store_of = store_opener(settings_for(f"sqlite:///{tmp_path}/blocked/store.db"))
    with pytest.raises(StoreError):
        store_of()
    (tmp_path / "blocked").unlink()
    found: list[Store] = []
    threads = [threading.Thread(target=lambda: found.append(store_of())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(store) for store in found}) == 1
    found[0].close()


def _all_that_is_said(error: BaseException | None) -> str:
    said = ""
    while error is not None:
        said += f"{error}{error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said
