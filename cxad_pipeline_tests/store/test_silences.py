"""A silence has an owner, an end and a reach; it is ended and never deleted."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_incident_examples import NASTY, VOICE, moment

from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.silences import Silence, add_silence, end_silence, find_silences, silencing

pytest_plugins = ["store_databases"]

QUEUE: Key = (("queue", "billing"),)


def test_a_silence_comes_back_as_it_was_added(store: Store) -> None:
    added = _add(store, segment=VOICE, metric="aht", reason="fair in Köln")
    assert added == Silence(
        added.id, "incidents", VOICE, "aht", "ann", "fair in Köln", moment(0), moment(8), ended_by=None
    )
    assert _find(store) == [added]


def test_texts_of_any_kind_and_length_are_kept(store: Store) -> None:
    added = _add(store, segment=((NASTY, NASTY),), metric=NASTY, owner=NASTY, reason=NASTY)
    assert _find(store) == [added]
    assert added.segment == ((NASTY, NASTY),)
    assert silencing(_find(store), ((NASTY, NASTY), ("queue", "a")), NASTY) == added


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"owner": ""}, "needs an owner"),
        ({"owner": " \t"}, "needs an owner"),
        ({"ends_at": moment(0)}, "must end after it starts"),
        ({"ends_at": moment(-1)}, "must end after it starts"),
        ({"scope": "everything"}, "must be one of incidents, anomalies"),
    ],
)
def test_a_silence_that_nobody_answers_for_or_that_has_no_end_is_refused(
    store: Store, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        _add(store, **changes)
    assert _find(store) == []


def test_a_silence_holds_from_its_start_until_its_end(store: Store) -> None:
    added = _add(store)
    tick = dt.timedelta(microseconds=1)
    for at, holds in ((moment(0) - tick, 0), (moment(0), 1), (moment(8) - tick, 1), (moment(8), 0)):
        assert _find(store, active_at=at) == [added] * holds


def test_the_silence_that_ends_last_comes_first_and_each_scope_can_be_had_alone(store: Store) -> None:
    short, long = _add(store), _add(store, ends_at=moment(9), scope="anomalies")
    assert _find(store) == [long, short]
    assert _find(store, scope="anomalies") == [long]
    assert _find(store, scope="incidents", active_at=moment(1)) == [short]


def test_an_ended_silence_stays_with_who_ended_it(store: Store) -> None:
    added = _add(store)
    ended = _end(store, added.id, moment(2), by="bob")
    assert ended is not None
    assert (ended.ends_at, ended.ended_by) == (moment(2), "bob")
    assert _find(store) == [ended]
    assert _find(store, active_at=moment(2)) == []
    assert _end(store, added.id, moment(5), by="eve") == ended
    assert _end(store, added.id, moment(2), by="eve") == ended


def test_a_silence_that_is_ended_before_it_begins_never_holds(store: Store) -> None:
    added = _add(store, starts_at=moment(4))
    _end(store, added.id, moment(1))
    for hours in range(10):
        assert _find(store, active_at=moment(hours)) == []


def test_ending_what_is_not_there_gives_nothing(store: Store) -> None:
    for number in (1, -1, 10**30):
        assert _end(store, number, moment()) is None


def _silence(segment: Key, metric: str | None = None, scope: Any = "incidents") -> Silence:
    return Silence(1, scope, segment, metric, "ann", "", moment(0), moment(8))


@pytest.mark.parametrize(
    ("of_silence", "of_incident", "covers"),
    [
        (((), None), (VOICE, "aht"), True),
        (((), "aht"), (VOICE, "aht"), True),
        (((), "aht"), (VOICE, "csat"), False),
        ((QUEUE, None), (VOICE, "csat"), True),
        ((QUEUE, None), (QUEUE, "csat"), True),
        ((VOICE, None), (QUEUE, "csat"), False),
        ((VOICE, None), ((), "csat"), False),
        ((VOICE[::-1], "aht"), (VOICE, "aht"), True),
        (((("queue", "sales"),), None), (VOICE, "aht"), False),
        (((("channel", "billing"),), None), (QUEUE, "aht"), False),
        ((QUEUE, "aht"), (VOICE, None), False),
    ],
)
def test_a_silence_covers_its_segment_with_all_inside_it_and_its_metric(
    of_silence: tuple[Key, str | None], of_incident: tuple[Key, str | None], covers: bool
) -> None:
    silence = _silence(*of_silence)
    assert silencing([silence], *of_incident) == (silence if covers else None)
    assert silencing([_silence(*of_silence, scope="anomalies")], *of_incident) is None


@given(st.lists(st.tuples(st.sampled_from([(), QUEUE, VOICE]), st.sampled_from([None, "aht", "csat"])), max_size=6))
def test_the_first_that_covers_is_given(candidates: list[tuple[Key, str | None]]) -> None:
    silences = [_silence(segment, metric) for segment, metric in candidates]
    covering = [s for s in silences if set(s.segment) <= set(QUEUE) and s.metric in (None, "aht")]
    assert silencing(silences, QUEUE, "aht") is (covering[0] if covering else None)


def _add(store: Store, **changes: Any) -> Silence:
    given: dict[str, Any] = {
        "scope": "incidents",
        "segment": VOICE,
        "metric": None,
        "owner": "ann",
        "reason": "",
        "starts_at": moment(0),
        "ends_at": moment(8),
    }
    with store.writing() as connection:
        kept, _ = add_silence(connection, **{**given, **changes})
    return kept


def _end(store: Store, number: int, at: dt.datetime, by: str = "bob") -> Silence | None:
    with store.writing() as connection:
        return end_silence(connection, number, at, by)


def _find(store: Store, **wanted: Any) -> list[Silence]:
    with store.reading() as connection:
        return find_silences(connection, **wanted)
