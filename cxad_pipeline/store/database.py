"""The database behind `store.url`: opened, and brought to the form that the code knows.

Belongs here: connections, transactions, the schema's version. Does not belong here: its failures in words
(`database_faults`), tables (`tables`), the steps from one version to the next (`migrations`), queries (`anomalies`,
`feedback`).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database_faults import NOT_WRITABLE, address_of, in_words, sqlite_code
from cxad_pipeline.store.database_faults import NoStoreError as NoStoreError
from cxad_pipeline.store.database_faults import RefusedError as RefusedError
from cxad_pipeline.store.database_faults import StoreAwayError as StoreAwayError
from cxad_pipeline.store.database_faults import StoreError as StoreError

SCHEMA_VERSION = "0006"
"""The newest migration; a test holds it to the files in `migrations/versions`."""

VERSION_TABLE = "cxad_store_version"
"""Not Alembic's own name, which MLflow and Dagster use: the store may share a database with one of them."""

_CONNECT_SECONDS = 5
_STATEMENT_SECONDS = 30
_MIGRATION_LOCK = 4_283_904_411_718_520_233  # any number that nobody else takes


@dataclass(frozen=True, eq=False)
class Store:
    """An open database of the right form.

    Attributes
    ----------
    engine
        Its connections.
    """

    engine: Engine

    @property
    def address(self) -> str:
        """Where it is, as people may read it."""
        return address_of(self.engine.url)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries.

        Raises
        ------
        StoreAwayError
            If the database does not answer.
        StoreError
            If it can't do what is asked.
        """
        with self._faults(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: committed when the block ends, undone when it raises.

        Raises
        ------
        StoreAwayError
            If the database does not answer, or could not commit.
        RefusedError
            If it refuses the values.
        StoreError
            If it can't do what is asked.
        """
        with self._faults(), _immediate(self.engine).begin() as connection:
            yield connection

    def close(self) -> None:
        """Close connections that are not in use."""
        self.engine.dispose()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, StatementError, PoolTimeoutError) as error:
            raise in_words(error, self.engine.url) from error


def open_store(settings: Settings, *, make: bool = True) -> Store:
    """The configured database, made or brought to the newest form where that is needed.

    Several processes may do so at once: one of them changes the form, the others wait for it.

    Parameters
    ----------
    settings
        `store.url` counts.
    make
        Whether a store is made where there is none; else no file, folder or table is made.

    Raises
    ------
    NoStoreError
        If there is none and none is to be made.
    StoreAwayError
        If it does not answer.
    StoreError
        If `store.url` is none that we know, or the database was made by a newer release.
    """
    url = _url(settings.store.url)
    if not make and _is_missing(url):
        raise _no_store(url)
    store = Store(_engine(url))
    try:
        with store._faults():
            _bring_to_newest(store.engine, make=make)
    except StoreError:
        store.close()
        raise
    return store


def store_opener(settings: Settings) -> Callable[[], Store]:
    """A function that opens the store when it is first called, and gives the same one from then on.

    A failure is raised and not remembered: the next call tries again. Threads may call it at once.
    """
    lock = threading.Lock()
    opened: list[Store] = []

    def store_of() -> Store:
        with lock:
            if not opened:
                opened.append(open_store(settings))
            return opened[0]

    return store_of


def _url(given: str) -> URL:
    known = "write sqlite:///path/of/file.db or postgresql://host/database"
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):  # the text of both may quote the password
        raise StoreError(f"store.url is not the address of a database; {known}") from None
    if url.drivername == "postgresql":
        # SQLAlchemy 2.1 would look for psycopg 3 behind this name; we depend on psycopg2.
        return url.set(drivername="postgresql+psycopg2")
    if url.drivername != "sqlite":
        raise StoreError(f"store.url: {url.drivername}:// is not known; {known}")
    if not url.database or url.database == ":memory:" or url.query:
        raise StoreError("store.url: an SQLite store needs a file, and nothing after it: sqlite:///path/of/file.db")
    return url


def _is_missing(url: URL) -> bool:
    """Whether an SQLite file is not there; what else is wrong with its path, opening it will tell."""
    if url.get_backend_name() != "sqlite":
        return False
    try:
        Path(str(url.database)).stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _no_store(url: URL) -> NoStoreError:
    return NoStoreError(f"there is no store at {address_of(url)} yet; check store.url")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        folder = Path(str(url.database)).absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreAwayError(f"the folder of the store can't be made: {error}; check store.url") from error
        # How long a writer waits for others: at a first start each of several processes brings the tables up to date.
        engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _STATEMENT_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    given = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args=given,
        pool_pre_ping=True,
        pool_timeout=_CONNECT_SECONDS,
        executemany_mode="values_plus_batch",
    )
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:  # noqa: ARG001
    """Readers go on while one writes; a commit is on the disk, since the spool deletes what was committed."""
    connection.isolation_level = None  # the module begins no transactions by itself; we do, in `_begin_sqlite`
    cursor = connection.cursor()
    _write_ahead(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Switch to a write-ahead log; SQLite does not wait by itself for others that switch at the same time."""
    deadline = time.monotonic() + _STATEMENT_SECONDS
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return  # where the file system can't have one, with the log that there is
        except sqlite3.OperationalError as error:
            if sqlite_code(error) in NOT_WRITABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    """A transaction that will write takes the lock at once: one that reads first could not wait for it later."""
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _immediate(engine: Engine) -> Engine:
    return engine.execution_options(immediate=True)


def _prepare_postgresql(connection: Any, record: object) -> None:  # noqa: ARG001
    cursor = connection.cursor()
    cursor.execute(f"SET TIME ZONE 'UTC'; SET statement_timeout = '{_STATEMENT_SECONDS}s'")
    cursor.close()
    connection.commit()


def _bring_to_newest(engine: Engine, *, make: bool) -> None:
    with engine.connect() as connection:
        version = _version(connection)
    if version == SCHEMA_VERSION:
        return
    if version is None and not make:
        raise _no_store(engine.url)
    with _immediate(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        version = _version(connection)
        if version != SCHEMA_VERSION:
            _upgrade(connection, version)


def _version(connection: Connection) -> str | None:
    """The newest migration that was done; None in an empty database."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def _upgrade(connection: Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise StoreError(
            f"{address_of(connection.engine.url)} was made by a newer release (form {version}; this release knows "
            f"up to {SCHEMA_VERSION}): install that release, or set store.url to another database"
        )
    command.upgrade(config, "head")
