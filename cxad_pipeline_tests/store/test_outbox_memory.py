"""What the outbox remembers of attempts: whether one may have arrived, what went wrong, and that there was one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from queued_messages import LEASE, another_waiting, listed, notice, put, take, take_one
from stored_incident_examples import moment

from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.outbox import (
    Claimed,
    claim,
    give_up_unserved,
    outbox_status,
    queue,
    revive,
    settle_dead,
    settle_failed,
    settle_sent,
    withdraw,
)

pytest_plugins = ["store_databases"]


def _fail(store: Store, one: Claimed, *, uncertain: bool = False, counted: bool = True) -> None:
    with store.writing() as connection:
        assert settle_failed(connection, one, "503", moment(1), uncertain=uncertain, counted=counted)


def _give_up_unserved(store: Store) -> None:
    with store.writing() as connection:
        assert give_up_unserved(connection, [], due_before=moment(1), error="left", at=moment(2)) == {"slack": 1}


def _revived(store: Store) -> Claimed:
    with store.writing() as connection:
        assert revive(connection, None, at=moment(3)) == 1
    return take_one(store, hours=3)


@pytest.mark.parametrize("uncertain", [True, False])
def test_what_may_have_arrived_is_uncertain_also_after_it_was_given_up_for_want_of_a_channel(
    store: Store, uncertain: bool
) -> None:
    put(store, "1")
    _fail(store, take_one(store), uncertain=uncertain)
    _give_up_unserved(store)
    assert listed(store)["1"]["uncertain"] == uncertain
    assert _revived(store).uncertain == uncertain


def test_an_attempt_that_nobody_ended_is_uncertain_also_after_it_was_given_up_for_want_of_a_channel(
    store: Store,
) -> None:
    put(store, "1")
    take_one(store)
    _give_up_unserved(store)
    assert _revived(store).uncertain


@pytest.mark.parametrize(("first", "last"), [(True, False), (False, True), (False, False)])
def test_what_may_have_arrived_once_is_uncertain_also_when_the_last_attempt_was_refused(
    store: Store, first: bool, last: bool
) -> None:
    put(store, "1")
    _fail(store, take_one(store), uncertain=first)
    again = take_one(store, hours=1)
    assert again.uncertain == first
    with store.writing() as connection:
        assert settle_dead(connection, again, "refused", moment(1), uncertain=last)
    assert _revived(store).uncertain == (first or last)


def test_what_was_sent_in_the_end_has_no_error(store: Store) -> None:
    put(store, "1")
    _fail(store, take_one(store))
    assert listed(store)["1"]["error"] == "503"
    again = take_one(store, hours=1)
    with store.writing() as connection:
        assert settle_sent(connection, again, {}, moment(1))
    assert (listed(store)["1"]["state"], listed(store)["1"]["error"]) == ("sent", None)


def test_what_was_revived_is_not_failing_before_it_fails_again(store: Store) -> None:
    put(store, "1")
    one = take_one(store)
    with store.writing() as connection:
        assert settle_dead(connection, one, "no such user", moment())
        assert revive(connection, None, at=moment(1)) == 1
        assert outbox_status(connection, moment(1)).failing == 0
    assert listed(store)["1"]["error"] is None


@pytest.mark.parametrize("how", ["not counted", "revived"])
def test_what_was_tried_is_not_withdrawn_though_it_has_all_its_attempts_before_it(store: Store, how: str) -> None:
    put(store, "1")
    one = take_one(store)
    if how == "revived":
        with store.writing() as connection:
            assert settle_dead(connection, one, "no such user", moment())
            assert revive(connection, None, at=moment(1)) == 1
    else:
        _fail(store, one, counted=False)
    assert listed(store)["1"]["attempts"] == 0
    with store.writing() as connection:
        assert withdraw(connection, "1") == 0
    assert take_one(store, hours=1).key == "1"


@pytest.fixture
def postgresql(postgres_url: str, settings_for: Callable[..., Settings]) -> Iterator[Store]:
    """In SQLite one that writes keeps all others out by itself."""
    opened = open_store(settings_for(postgres_url))
    yield opened
    opened.close()


def _replace(store: Store) -> bool:
    with store.writing() as connection:
        return queue(connection, notice("1", content={"text": "new"}), ["slack", "email"], at=moment())


@pytest.mark.parametrize("known_for", [(), ("slack",)])
def test_what_somebody_begins_to_send_is_not_replaced(postgresql: Store, known_for: tuple[str, ...]) -> None:
    """Also where the key was only remembered, and whoever begins has just queued it for a channel."""
    with postgresql.writing() as connection:
        queue(connection, notice("1"), known_for, at=moment())
    with ExitStack() as last, postgresql.writing() as connection:
        if not known_for:
            queue(connection, notice("1"), ["slack"], at=moment())
        (one,) = claim(connection, ["slack"], now=moment(), lease=LEASE, limit=1)
        replaced = last.enter_context(another_waiting(postgresql, lambda: _replace(postgresql)))
        # Committed: the other one goes on.
    assert replaced == [False]
    assert take(postgresql, "email") == []
    with postgresql.writing() as connection:
        assert settle_sent(connection, one, {}, moment())
    assert listed(postgresql)["1"]["state"] == "sent"
