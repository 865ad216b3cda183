"""Fixtures: empty databases for the store, on SQLite and on a real PostgreSQL.

A plugin: `pytest_plugins = ["store_databases"]` in a test module, so that all of them share one PostgreSQL.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_server import PasswordPostgres
from unused_ports import unused_port

from cxad_pipeline.settings import Settings, load_settings
from cxad_pipeline.store.database import Store, open_store

USER, PASSWORD = "keeper", "p@ss:word/%41"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PasswordPostgres]:
    """A running PostgreSQL."""
    with PasswordPostgres(unused_port(), USER, PASSWORD) as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/new folder/store.db"


@pytest.fixture
def postgres_url(postgres: PasswordPostgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty schema, made faster than a database; place, user and password are in the environment."""
    schema = f"store_{next(_numbers)}"
    connection = postgres.connect()
    connection.cursor().execute(f"CREATE SCHEMA {schema}")
    connection.close()
    variables = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": USER, "PGPASSWORD": PASSWORD}
    for variable, value in (variables | {"PGOPTIONS": f"-c search_path={schema}"}).items():
        monkeypatch.setenv(variable, value)
    return "postgresql:///postgres"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    found: str = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param])
    return found


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with a database, a state folder of the test, and what else is given of `serving`."""
    config = tmp_path / "config.yaml"
    config.write_text("timezone: UTC\n")

    def make(url: str, **serving: Any) -> Settings:
        return load_settings(config, store={"url": url}, serving={"state": str(tmp_path / "state"), **serving})

    return make


@pytest.fixture
def settings(store_url: str, settings_for: Callable[..., Settings]) -> Settings:
    return settings_for(store_url)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = open_store(settings)
    yield opened
    opened.close()
