"""Dead letters that were put away are kept and count no more; an older store is brought to that form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from queued_messages import listed, notice, put, take, take_one
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import IntegrityError
from stored_incident_examples import moment

import cxad_pipeline.store.migrations
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, _engine, _immediate, _url, open_store
from cxad_pipeline.store.outbox import find_deliveries, outbox_status, queue, revive, settle_dead, settle_sent
from cxad_pipeline.store.outbox_status import drop
from cxad_pipeline.store.outbox_tables import deliveries, messages
from cxad_pipeline.store.retention import prune

pytest_plugins = ["store_databases"]


def _give_up(store: Store, *keys: str, hours: float = 0) -> list[int]:
    for key in keys:
        put(store, key, due=hours)
    ids = []
    for one in take(store, hours=hours):
        with store.writing() as connection:
            assert settle_dead(connection, one, "no such user", moment(hours))
        ids.append(one.id)
    return ids


def _drop(store: Store, ids: list[int] | None) -> int:
    with store.writing() as connection:
        return drop(connection, ids)


@pytest.mark.parametrize("every", [True, False])
def test_what_was_put_away_is_listed_with_its_error_and_neither_counts_nor_comes_back(
    store: Store, every: bool
) -> None:
    dead = _give_up(store, "1", "2")
    assert _drop(store, None if every else dead) == 2
    with store.writing() as connection:
        status = outbox_status(connection, moment(1))
        assert (status.dead, status.pending, status.by_channel) == (0, 0, {})
        assert find_deliveries(connection, state="dead", limit=9)[0] == []
        assert len(find_deliveries(connection, state="dropped", limit=9)[0]) == 2
        assert revive(connection, None) == revive(connection, dead) == 0
    assert {(row["state"], row["error"]) for row in listed(store).values()} == {("dropped", "no such user")}
    assert take(store, hours=9) == []
    assert _drop(store, None) == 0


def test_only_dead_letters_are_put_away_and_only_those_that_are_meant(store: Store) -> None:
    first, _ = _give_up(store, "1", "2")
    put(store, "sent")
    sent = take_one(store)
    with store.writing() as connection:
        assert settle_sent(connection, sent, {}, moment())
    put(store, "claimed")
    claimed = take_one(store)
    put(store, "waits", due=5)
    waits = listed(store)["waits"]["id"]
    assert _drop(store, [first, sent.id, claimed.id, waits, 2**70, first]) == 1
    assert {key: row["state"] for key, row in listed(store).items()} == {
        "1": "dropped", "2": "dead", "sent": "sent", "claimed": "pending", "waits": "pending",
    }  # fmt: skip


def test_a_message_that_was_put_away_holds_up_no_other_of_its_topic(store: Store) -> None:
    put(store, "1", topic="t")
    one = take_one(store)
    with store.writing() as connection:
        assert settle_dead(connection, one, "no such user", moment())
    _drop(store, None)
    put(store, "2", topic="t")
    assert take_one(store).key == "2"


def test_dead_letters_go_when_they_are_old_put_away_or_not(store: Store) -> None:
    old = _give_up(store, "old", "old and put away")
    _give_up(store, "new", hours=5)
    _drop(store, old[1:])
    with store.writing() as connection:
        assert prune(connection, moment(1)) == 2 + 2
    assert set(listed(store)) == {"new"}


@pytest.mark.parametrize("kind", ["digest", "digest_record", "opened"])
def test_the_last_digest_and_its_record_are_never_too_old(store: Store, kind: str) -> None:
    for number in range(3):
        with store.writing() as connection:
            queue(connection, notice(str(number), due=number, kind=kind), [], at=moment(number))
    with store.writing() as connection:
        prune(connection, moment(9))
        left = connection.execute(messages.select()).all()
    assert [row.key for row in left] == ([] if kind == "opened" else ["2"])


def test_a_store_of_the_form_before_keeps_its_messages_and_takes_the_new_state(
    store_url: str, settings: Settings
) -> None:
    old = _engine(_url(store_url))
    config = Config()
    config.set_main_option("script_location", str(Path(cxad_pipeline.store.migrations.__file__).parent))
    with _immediate(old).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        connection.execute(messages.insert(), _message())
        for number, state in enumerate(("pending", "sent", "dead")):
            connection.execute(deliveries.insert(), _delivery(number, state))
        before = connection.execute(deliveries.select().order_by(deliveries.c.id)).all()
        form = _form(connection)
    old.dispose()
    store = open_store(settings)
    with store.writing() as connection:
        assert connection.execute(deliveries.select().order_by(deliveries.c.id)).all() == before
        assert _form(connection) == form, "keys and indexes"
        assert drop(connection, None) == 1
    with pytest.raises(IntegrityError), store.engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET state = 'lost'"))
    with pytest.raises(IntegrityError), store.engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET message_id = 99"))
    with _immediate(store.engine).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
        states = connection.execute(text("SELECT state FROM deliveries ORDER BY id")).scalars().all()
        assert _form(connection) == form
    assert states == ["pending", "sent", "dead"]
    with pytest.raises(IntegrityError), store.engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET state = 'dropped'"))
    store.close()


def _message() -> dict[str, Any]:
    texts = {"key_digest": "d", "key": "k", "kind": "opened", "topic": "t", "content": {"n": [1, None]}}
    return {**texts, "id": 7, "due_at": moment(), "queued_at": moment(0.123)}


def _delivery(number: int, state: str) -> dict[str, Any]:
    row = {"id": 10 + number, "message_id": 7, "channel": f"c{number}", "topic_digest": "t", "state": state}
    settled = {"settled_at": moment(1), "receipt": {"ts": "1.5"}, "error": "Fehler \N{SNOWMAN}"} if number else {}
    return {"attempts": number, "claims": 3, "uncertain": number == 1, "due_at": moment(0.5), **row, **settled}


def _form(connection: Connection) -> list[Any]:
    """Columns, keys and indexes of the deliveries."""
    found = inspect(connection)
    columns = [(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns("deliveries")]
    keys = found.get_pk_constraint("deliveries"), found.get_foreign_keys("deliveries")
    unique = sorted(map(str, found.get_unique_constraints("deliveries")))
    return [columns, keys, unique, sorted(map(str, found.get_indexes("deliveries")))]
