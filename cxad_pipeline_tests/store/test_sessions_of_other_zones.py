"""Moments are the same in every session of PostgreSQL, whatever its zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from queued_messages import hours_of, listed, put
from sqlalchemy import event, select

from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.outbox_tables import messages

pytest_plugins = ["store_databases"]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns"])
def test_a_session_in_another_zone_reads_what_was_written(
    postgres_url: str, settings_for: Callable[..., Settings], zone: str
) -> None:
    """As behind PgBouncer, where what one session was set to is not what the next one has."""
    store = open_store(settings_for(postgres_url))
    put(store, "1", due=2.5)

    @event.listens_for(store.engine, "begin")
    def elsewhere(connection: object) -> None:
        connection.exec_driver_sql(f"SET LOCAL TIME ZONE '{zone}'")  # type: ignore[attr-defined]

    put(store, "2", due=2.5)
    assert {key: hours_of(row) for key, row in listed(store).items()} == {"1": 2.5, "2": 2.5}
    with store.reading() as connection:
        found = connection.execute(select(messages.c.due_at)).scalars().all()
    assert {moment.tzinfo for moment in found} == {dt.UTC}
    store.close()
