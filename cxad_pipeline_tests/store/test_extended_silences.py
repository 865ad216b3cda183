"""Of one scope, segment and metric there are never two silences at a time: a second one extends the first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from stored_incident_examples import NASTY, VOICE, moment

from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.silences import Silence, add_silence, end_silence, find_silences

pytest_plugins = ["store_databases"]

QUEUE: Key = (("queue", "billing"),)


def _add(store: Store, start: float = 0, end: float = 8, **changes: Any) -> tuple[Silence, Silence | None]:
    given: dict[str, Any] = {"scope": "incidents", "segment": VOICE, "metric": None, "owner": "ann", "reason": "a fair"}
    with store.writing() as connection:
        return add_silence(connection, **{**given, **changes}, starts_at=moment(start), ends_at=moment(end))


def _find(store: Store) -> list[Silence]:
    with store.reading() as connection:
        return find_silences(connection)


@pytest.mark.parametrize(("end", "last"), [(12, 12), (8, 8), (6, 8)], ids=["later", "the same", "earlier"])
def test_the_later_end_wins_and_the_newest_owner_and_reason(store: Store, end: float, last: float) -> None:
    first, nothing = _add(store)
    kept, before = _add(store, 5, end, owner="bob", reason="migration")
    assert (nothing, before) == (None, first)
    assert kept == Silence(first.id, "incidents", VOICE, None, "bob", "migration", moment(0), moment(last))
    assert _find(store) == [kept]


def test_one_that_begins_earlier_begins_earlier_from_then_on(store: Store) -> None:
    first, _ = _add(store, 4, 8)
    kept, _ = _add(store, 2, 6)
    assert (kept.id, kept.starts_at, kept.ends_at) == (first.id, moment(2), moment(8))


@pytest.mark.parametrize(
    "changes",
    [{"metric": "aht"}, {"segment": QUEUE}, {"segment": ()}, {"scope": "anomalies"}],
    ids=["of a metric", "of a larger segment", "of all contacts", "of another scope"],
)
def test_what_silences_something_else_is_another_silence(store: Store, changes: dict[str, Any]) -> None:
    first, _ = _add(store)
    other, before = _add(store, **changes)
    assert before is None
    assert {one.id for one in _find(store)} == {first.id, other.id}
    again, before = _add(store, 1, 9, **changes)
    assert (again.id, before) == (other.id, other)


def test_the_order_of_dimensions_and_what_no_database_can_hold_make_no_difference(store: Store) -> None:
    segment: Key = (("queue", NASTY), ("channel", "voice"))
    first, _ = _add(store, segment=segment, metric=NASTY)
    kept, before = _add(store, 1, 9, segment=segment[::-1], metric=NASTY)
    assert (kept.id, before) == (first.id, first)


def test_one_that_has_ended_stays_as_it_is(store: Store) -> None:
    first, _ = _add(store)
    with store.writing() as connection:
        ended = end_silence(connection, first.id, at=moment(3), by="bob")
    second, before = _add(store, 3, 9)
    assert before is None
    assert _find(store) == [second, ended]
    touching, before = _add(store, 9, 10)
    assert before is None, "the end is not part of it"
    joined, before = _add(store, 8, 9)
    assert (joined.id, before) == (second.id, second)
    assert touching in _find(store)


def test_one_that_was_ended_before_it_began_is_not_revived(store: Store) -> None:
    first, _ = _add(store, 4, 8)
    with store.writing() as connection:
        end_silence(connection, first.id, at=moment(1), by="bob")
    kept, before = _add(store, 2, 6)
    assert (kept.id != first.id, before) == (True, None)


def test_several_at_the_same_time_become_one_with_the_latest_end(store: Store) -> None:
    """Three are added while the transaction of a first one is open: none of them can see it yet."""
    held: dict[str, Any] = {"scope": "incidents", "segment": VOICE, "metric": None, "owner": "first"}
    with ThreadPoolExecutor(3) as threads:
        with store.writing() as connection:
            add_silence(connection, **held, starts_at=moment(0), ends_at=moment(4))
            added = [threads.submit(_add, store, 0, end) for end in (5, 9, 7)]
            wait(added, timeout=0.5)
            assert not any(one.done() for one in added), "each waits for who came before"
        assert all(one.result(60)[1] is not None for one in added), "each extends the first"
    (only,) = _find(store)
    assert (only.starts_at, only.ends_at) == (moment(0), moment(9))
