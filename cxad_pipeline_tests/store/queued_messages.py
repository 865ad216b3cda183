"""Messages in the outbox, queued and claimed, for the tests of the store."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text
from stored_incident_examples import moment

from cxad_pipeline.store.database import Store
from cxad_pipeline.store.outbox import Claimed, Delivery, Notice, claim, find_deliveries, queue

LEASE = dt.timedelta(minutes=5)


def notice(key: str, *, due: float = 0, **changes: Any) -> Notice:
    """A message of its own topic, due so many hours after Monday."""
    fields: dict[str, Any] = {"kind": "opened", "topic": key, "content": {"text": key}}
    return Notice(key=key, due_at=moment(due), **(fields | changes))


def put(store: Store, key: str, *channels: str, due: float = 0, **changes: Any) -> None:
    """Queue a message, for `slack` unless others are named."""
    with store.writing() as connection:
        queue(connection, notice(key, due=due, **changes), channels or ("slack",), at=moment(due))


def take(store: Store, *channels: str, hours: float = 0) -> list[Claimed]:
    """Claim what is due."""
    with store.writing() as connection:
        return claim(connection, channels or ("slack",), now=moment(hours), lease=LEASE, limit=100)


def take_one(store: Store, *channels: str, hours: float = 0) -> Claimed:
    """Claim the one delivery that is due."""
    (one,) = take(store, *channels, hours=hours)
    return one


def listed(store: Store) -> dict[str, Delivery]:
    """All deliveries by the key of their message."""
    with store.reading() as connection:
        return {row["key"]: row for row in find_deliveries(connection, limit=500)[0]}


def hours_of(delivery: Delivery) -> float:
    """When a delivery is due, in hours after Monday."""
    return (dt.datetime.fromisoformat(delivery["due_at"]) - moment()) / dt.timedelta(hours=1)


@contextmanager
def another_waiting(store: Store, act: Callable[[], Any]) -> Iterator[list[Any]]:
    """Another thread that acts and by now waits for a lock on PostgreSQL; at the end, with what it has come to.

    Commit what it waits for inside.
    """
    outcome: list[Any] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(act())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread of the test
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 60
    waiting = text(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN "
        "(SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
    )
    while thread.is_alive() and time.monotonic() < deadline:
        with store.reading() as connection:
            if connection.execute(waiting).scalar_one():
                break
        time.sleep(0.02)  # between two looks; the deadline decides
    yield outcome
    thread.join(60)
    assert not thread.is_alive()
    if faults:
        raise faults[0]
