"""Who only reads makes no store; a file that can't be written says so, and not that nothing runs there."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, inspect, text

from cxad_pipeline.settings import Settings
from cxad_pipeline.store import database
from cxad_pipeline.store.database import VERSION_TABLE, NoStoreError, StoreAwayError, open_store

pytest_plugins = ["store_databases"]


def test_who_only_reads_makes_no_folder_no_file_and_no_table(store_url: str, settings: Settings) -> None:
    for _ in range(2):
        with pytest.raises(NoStoreError, match=r"there is no store at (SQLite|PostgreSQL).* yet; check store\.url"):
            open_store(settings, make=False)
    if store_url.startswith("sqlite"):
        assert not Path(store_url.removeprefix("sqlite:///")).parent.exists()
    made = open_store(settings)
    assert inspect(made.engine).has_table(VERSION_TABLE)
    made.close()
    open_store(settings, make=False).close()


def test_a_database_of_somebody_else_is_no_store(tmp_path: Path, settings_for: Callable[..., Settings]) -> None:
    other = sqlite3.connect(tmp_path / "mlflow.db")
    other.execute("CREATE TABLE runs (id INTEGER)")
    with pytest.raises(NoStoreError, match=f"{tmp_path}/mlflow.db yet"):
        open_store(settings_for(f"sqlite:///{tmp_path}/mlflow.db"), make=False)
    assert [name for (name,) in other.execute("SELECT name FROM sqlite_master")] == ["runs"]
    other.close()


def test_a_path_from_here_is_told_in_full(
    tmp_path: Path, settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoStoreError, match=f"{tmp_path}/data/store.db"):
        open_store(settings_for("sqlite:///data/store.db"), make=False)


@contextmanager
def _nothing_can_be_written() -> Iterator[None]:
    """SQLite answers each write as it does where a file is read-only; permissions would not stop the superuser."""

    def refuse(connection: Any, record: object) -> None:
        connection.execute("PRAGMA query_only = ON")

    event.listen(Engine, "connect", refuse)
    try:
        yield
    finally:
        event.remove(Engine, "connect", refuse)


READ_ONLY = r"store\.db can't be used: attempt to write a readonly database; it is not writable: let this user write"


def test_a_file_that_is_read_only_is_said_to_be(tmp_path: Path, settings_for: Callable[..., Settings]) -> None:
    settings = settings_for(f"sqlite:///{tmp_path}/store.db")
    open_store(settings).close()
    with _nothing_can_be_written():
        store = open_store(settings)
        with pytest.raises(StoreAwayError, match=f"{tmp_path}/{READ_ONLY}"), store.writing() as connection:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'x'"))
        store.close()


def test_nobody_waits_for_a_read_only_file_to_become_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting helps where another process switches the log at the same time, and not here."""
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    (tmp_path / "store.db").touch()
    connection = sqlite3.connect(f"file:{tmp_path}/store.db?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError, match="attempt to write a readonly database"):
        database._write_ahead(connection.cursor())
    connection.close()
    assert naps == []


def test_a_folder_in_which_nobody_makes_files_is_named(settings_for: Callable[..., Settings]) -> None:
    """Not even the superuser makes one in /proc."""
    with pytest.raises(
        StoreAwayError,
        match=r"/proc/store\.db can't be used: unable to open database file; it must be a file that this user may",
    ):
        open_store(settings_for("sqlite:////proc/store.db"))


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path, settings_for: Callable[..., Settings]) -> None:
    for make in (True, False):
        with pytest.raises(StoreAwayError, match=f"{tmp_path} can't be used: .* it must be a file"):
            open_store(settings_for(f"sqlite:///{tmp_path}"), make=make)


def test_only_a_server_is_to_be_checked_for_running(
    tmp_path: Path, postgres_url: str, settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store.db").write_bytes(b"no database at all, whatever it is" * 99)
    with pytest.raises(StoreAwayError, match=r"not a database; check store\.url$"):
        open_store(settings_for(f"sqlite:///{tmp_path}/store.db"))
    monkeypatch.setenv("PGPORT", "1")
    with pytest.raises(StoreAwayError, match=r"check that it runs, and store\.url$"):
        open_store(settings_for(postgres_url))
