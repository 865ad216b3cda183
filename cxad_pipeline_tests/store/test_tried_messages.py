"""Whether a message may still be replaced: nobody has been tried with it, and nobody is until the transaction ends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.outbox import Claimed, Notice, claim, queue, settle_failed, was_tried

pytest_plugins = ["store_databases"]

NOW = dt.datetime(2026, 10, 13, 13, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


def _queue(store: Store, key: str, *channels: str) -> None:
    with store.writing() as connection:
        queue(connection, Notice(key, "opened", key, {}, NOW), channels, at=NOW)


def _claim(store: Store, channel: str) -> list[Claimed]:
    with store.writing() as connection:
        return claim(connection, [channel], now=NOW, lease=MINUTE, limit=9)


def _tried(store: Store, *keys: str) -> bool:
    with store.writing() as connection:
        return was_tried(connection, keys)


def test_a_message_is_tried_from_its_first_claim_on_any_channel_on(store: Store) -> None:
    _queue(store, "a", "slack", "mail")
    _queue(store, "b", "slack")
    assert not _tried(store, "a", "b")
    (claimed,) = _claim(store, "mail")
    assert _tried(store, "b", "a")
    assert not _tried(store, "b")
    with store.writing() as connection:
        settle_failed(connection, claimed, "refused", NOW + MINUTE)
    assert _tried(store, "a")


def test_what_nobody_is_to_have_was_never_tried(store: Store) -> None:
    _queue(store, "a")
    assert not _tried(store, "a")
    assert not _tried(store, "unknown")
    assert not _tried(store)


def test_nobody_is_tried_with_it_before_the_transaction_ends(
    postgres_url: str, settings_for: Callable[[str], Settings]
) -> None:
    """In SQLite no other transaction writes meanwhile."""
    store = open_store(settings_for(postgres_url))
    _queue(store, "a", "slack")
    _queue(store, "b", "slack")
    with store.writing() as connection:
        assert not was_tried(connection, ["a"])
        assert [claimed.key for claimed in _claim(store, "slack")] == ["b"]
    assert [claimed.key for claimed in _claim(store, "slack")] == ["a"]
    store.close()
