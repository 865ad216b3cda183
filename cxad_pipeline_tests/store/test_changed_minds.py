"""Another verdict ends the silence that `expected` has made, as far as nobody else asked for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from anomaly_records import anomaly
from stored_incident_examples import VOICE, call, incident, moment

from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.anomalies import record_anomalies
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.feedback import EXPECTED_FOR, Said, add_feedback, add_incident_feedback
from cxad_pipeline.store.incidents import NOTHING_TOLD, save_incident
from cxad_pipeline.store.silences import Silence, add_silence, end_silence, find_silences

pytest_plugins = ["store_databases"]

QUEUE: Key = (("queue", "billing"),)


@pytest.mark.parametrize("verdict", ["confirmed", "false_alarm", "new_trend"])
def test_another_verdict_on_the_incident_ends_the_silence(store: Store, verdict: str) -> None:
    _save(store, "a")
    made = _say(store, "a", "expected", 5).silence
    assert made is not None
    said = _say(store, "a", verdict, 7, by="bob")
    (ended,) = said.released
    assert (ended.id, ended.ends_at, ended.ended_by) == (made.id, moment(7), "bob")
    assert (said.silence, _find(store)) == (None, [ended])
    assert _say(store, "a", "confirmed", 8).released == (), "it is ended once"


def test_expected_said_again_gives_up_nothing_and_silences_anew_once_it_was_ended(store: Store) -> None:
    _save(store, "a")
    first = _say(store, "a", "expected", 5)
    assert _say(store, "a", "expected", 6).released == ()
    _say(store, "a", "confirmed", 7)
    second = _say(store, "a", "expected", 8)
    assert first.silence is not None
    assert second.silence is not None
    assert second.silence.id != first.silence.id
    assert _active(store, 9) == [second.silence]
    assert [one.id for one in _say(store, "a", "confirmed", 10).released] == [second.silence.id]


def test_a_silence_on_which_another_incident_rests_goes_on_to_the_end_that_was_wanted_for_that_one(
    store: Store,
) -> None:
    _save(store, "a")
    _save(store, "b")
    _say(store, "b", "expected", 5, until=moment(20))
    _say(store, "a", "expected", 6, until=moment(30))
    (left,) = _say(store, "a", "confirmed", 7).released
    assert (left.ends_at, left.ended_by) == (moment(20), None)
    assert _active(store, 19) == [left]
    (ended,) = _say(store, "b", "false_alarm", 8).released
    assert (ended.id, ended.ends_at, ended.ended_by) == (left.id, moment(8), "ann")


def test_a_silence_that_another_incident_extended_goes_on_as_it_is(store: Store) -> None:
    _save(store, "a")
    _save(store, "b")
    _say(store, "a", "expected", 5, until=moment(9))
    extended = _say(store, "b", "expected", 6, until=moment(30)).silence
    assert _say(store, "a", "confirmed", 7).released == (extended,)


def test_a_silence_never_becomes_longer_when_somebody_gives_it_up(store: Store) -> None:
    for name in ("a", "b", "c"):
        _save(store, name)
    _say(store, "a", "expected", 5, until=moment(30))
    _say(store, "c", "expected", 5, until=moment(20))
    _save(store, "a", status="merged", merged_into="b")
    (left,) = _say(store, "b", "confirmed", 6).released
    assert left.ends_at == moment(20)
    _save(store, "a", status="resolved")  # so that its own verdict counts again
    assert _say(store, "c", "confirmed", 7).released == (left,)


@pytest.mark.parametrize("by_hand_first", [True, False])
def test_what_was_asked_for_by_hand_is_not_taken_back_by_a_verdict(store: Store, by_hand_first: bool) -> None:
    _save(store, "a")
    if not by_hand_first:
        _say(store, "a", "expected", 4)
    with store.writing() as connection:
        for end in (12, 11):  # the later of those asked for by hand counts
            add_silence(
                connection, scope="incidents", segment=VOICE, metric="aht", owner="lead", starts_at=moment(4),
                ends_at=moment(end),
            )  # fmt: skip
    if by_hand_first:
        _say(store, "a", "expected", 5)
    (left,) = _say(store, "a", "confirmed", 6).released
    assert (left.ends_at, left.ended_by) == (moment(12), None)
    assert _find(store) == [left]


def test_one_that_was_ended_by_hand_or_in_time_stays_as_it_is(store: Store) -> None:
    _save(store, "a")
    made = _say(store, "a", "expected", 5).silence
    assert made is not None
    with store.writing() as connection:
        ended = end_silence(connection, made.id, at=moment(6), by="bob")
    assert _say(store, "a", "confirmed", 7).released == ()
    assert _find(store) == [ended]
    _say(store, "a", "expected", 8, until=moment(9))
    assert _say(store, "a", "confirmed", 9).released == ()


def test_the_silence_of_a_segment_that_the_incident_was_known_by_is_ended_too(store: Store) -> None:
    _save(store, "a")
    _say(store, "a", "expected", 5)
    _save(store, "a", segment=QUEUE)
    _say(store, "a", "expected", 6)
    assert {one.segment for one in _active(store, 6.5)} == {VOICE, QUEUE}
    assert {one.segment for one in _say(store, "a", "confirmed", 7).released} == {VOICE, QUEUE}
    assert _active(store, 7) == []


def test_a_verdict_on_the_taker_ends_the_silence_of_what_it_took_in(store: Store) -> None:
    for name in ("a", "b", "c"):
        _save(store, name)
    _say(store, "a", "expected", 5)
    _save(store, "a", status="merged", merged_into="b")
    assert _say(store, "c", "confirmed", 6).released == (), "another incident"
    (ended,) = _say(store, "b", "confirmed", 7).released
    assert ended.ends_at == moment(7)


def test_another_verdict_on_an_interaction_ends_its_silence_as_far_as_no_other_rests_on_it(store: Store) -> None:
    with store.writing() as connection:
        record_anomalies(connection, [anomaly("I-1"), anomaly("I-2")])
        for name in ("I-1", "I-2"):
            add_feedback(connection, name, "expected", by="ann", at=moment(5))
        first = add_feedback(connection, "I-1", "confirmed", by="bob", at=moment(6))
        assert first is not None
        assert [one.ends_at for one in first.released] == [moment(5) + EXPECTED_FOR]
        second = add_feedback(connection, "I-2", "false_alarm", by="bob", at=moment(7))
        assert second is not None
    (ended,) = _find(store)
    assert second.released == (ended,)
    assert (ended.scope, ended.ends_at, ended.ended_by) == ("anomalies", moment(7), "bob")


def test_a_verdict_that_is_being_given_on_another_incident_keeps_the_silence(store: Store) -> None:
    """Somebody changes their mind while the transaction of another verdict is open: it can't be seen yet."""
    _save(store, "a")
    _save(store, "b")
    _say(store, "a", "expected", 5)
    with ThreadPoolExecutor(1) as threads:
        with store.writing() as connection:
            add_incident_feedback(
                connection, "b", "expected", by="bob", at=moment(6), until=moment(20), expected_for=EXPECTED_FOR
            )
            changed = threads.submit(_say, store, "a", "confirmed", 7)
            wait([changed], timeout=0.5)
            assert not changed.done(), "it waits for who came before"
        (left,) = changed.result(60).released
    assert (left.ends_at, left.ended_by) == (moment(20), None)
    assert _find(store) == [left]


def _save(store: Store, incident_id: str, **changes: Any) -> None:
    with store.writing() as connection:
        save_incident(connection, incident(incident_id, **changes), (call(),), NOTHING_TOLD)


def _say(store: Store, incident_id: str, verdict: str, hour: float, **changes: Any) -> Said:
    given = {"by": "ann", "expected_for": EXPECTED_FOR, **changes}
    with store.writing() as connection:
        said = add_incident_feedback(connection, incident_id, verdict, at=moment(hour), **given)
    assert said is not None
    return said


def _find(store: Store) -> list[Silence]:
    with store.reading() as connection:
        return find_silences(connection)


def _active(store: Store, hour: float) -> list[Silence]:
    with store.reading() as connection:
        return find_silences(connection, active_at=moment(hour))
