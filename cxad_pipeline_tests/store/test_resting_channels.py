"""A channel that asked to be left alone is, with what waits for it, what is being sent and what comes later."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from queued_messages import hours_of, listed, notice, put, take, take_one
from sqlalchemy import select, text
from stored_incident_examples import moment

from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.outbox import outbox_status, put_off, queue, settle_dead, settle_failed, settle_sent
from cxad_pipeline.store.outbox_tables import deliveries

pytest_plugins = ["store_databases"]


def _put_off(store: Store, hours: float, channel: str = "slack") -> int:
    with store.writing() as connection:
        return put_off(connection, channel, moment(hours))


@pytest.mark.parametrize("before", [True, False])
def test_nothing_of_a_channel_that_rests_is_claimed_or_due_whenever_it_was_queued(store: Store, before: bool) -> None:
    if before:
        put(store, "1", "slack", "email")
    assert _put_off(store, 1) == before
    if not before:
        put(store, "1", "slack", "email")
    assert [one.channel for one in take(store, "slack", "email")] == ["email"]
    with store.reading() as connection:
        assert outbox_status(connection, moment(0.9), ["slack"]).due == 0
        assert outbox_status(connection, moment(1), ["slack"]).due == 1
    assert take(store, hours=0.9) == []
    assert take_one(store, hours=1).key == "1"


def test_what_is_replaced_while_the_channel_rests_waits_too(store: Store) -> None:
    put(store, "1", content={"n": 1})
    _put_off(store, 1)
    put(store, "1", content={"n": 2}, due=0.5)
    assert take(store, hours=0.9) == []
    assert take_one(store, hours=1).content == {"n": 2}


def test_what_a_dead_process_was_sending_waits_until_the_channel_rests_no_longer(store: Store) -> None:
    """Its lease ends after five minutes."""
    put(store, "1")
    take_one(store)
    assert _put_off(store, 1) == 0
    assert take(store, hours=0.9) == []
    assert take_one(store, hours=1).uncertain


def test_what_fails_by_itself_while_the_channel_rests_waits_too(store: Store) -> None:
    """Two processes: one is asked to leave the channel alone, the other finds no connection."""
    put(store, "1")
    one = take_one(store)
    _put_off(store, 1)
    with store.writing() as connection:
        assert settle_failed(connection, one, "no connection", moment(0.1))
    assert take(store, hours=0.9) == []
    assert take_one(store, hours=1).key == "1"


def test_of_two_wishes_the_longer_one_counts(store: Store) -> None:
    for hours in (2, 1):
        _put_off(store, hours)
    put(store, "1")
    assert take(store, hours=1.9) == []
    _put_off(store, 3)
    assert take(store, hours=2.9) == []
    assert take_one(store, hours=3).key == "1"


def test_what_is_due_later_than_the_channel_rests_keeps_its_time(store: Store) -> None:
    put(store, "1", due=5)
    assert _put_off(store, 1) == 0
    put(store, "2", due=7)
    assert {key: hours_of(row) for key, row in listed(store).items()} == {"1": 5, "2": 7}


@pytest.mark.parametrize("state", ["sent", "dead", "claimed"])
def test_what_is_settled_or_being_sent_is_not_put_off(store: Store, state: str) -> None:
    put(store, "1")
    one = take_one(store)
    with store.writing() as connection:
        if state == "sent":
            assert settle_sent(connection, one, {}, moment())
        if state == "dead":
            assert settle_dead(connection, one, "no such user", moment())
    assert _put_off(store, 1) == 0
    assert hours_of(listed(store)["1"]) == 0


def test_a_delivery_that_somebody_changes_is_not_waited_for(
    postgres_url: str, settings_for: Callable[..., Settings]
) -> None:
    """Two that put off at once, each with a row that the other wants, would else stop one another."""
    store = open_store(settings_for(postgres_url))
    put(store, "1")
    put(store, "2")
    with store.writing() as other:
        held = select(deliveries.c.id).order_by(deliveries.c.id).limit(1).with_for_update()
        other.execute(held).scalar_one()
        with store.writing() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '3s'"))
            assert put_off(connection, "slack", moment(1)) == 1
        queue(other, notice("3"), ["slack"])
    assert take(store, hours=0.9) == []
    store.close()
