"""A verdict counts for what it was given for, and goes with an incident that is taken in by another one."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from stored_incident_examples import NASTY, VOICE, call, incident, moment

from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.counted_verdicts import CountedVerdict, counted_verdicts
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.feedback import (
    EXPECTED_FOR,
    Precision,
    add_incident_feedback,
    precision_by_segment,
)
from cxad_pipeline.store.gone_incidents import MergedIncidentError
from cxad_pipeline.store.incident_tables import incident_feedback
from cxad_pipeline.store.incidents import NOTHING_TOLD, save_incident
from cxad_pipeline.store.silences import find_silences

pytest_plugins = ["store_databases"]

QUEUE: Key = (("queue", "billing"),)


def test_a_verdict_keeps_what_it_was_given_for(store: Store) -> None:
    _save(store, "a")
    _say(store, "a", "new_trend")
    _save(store, "a", segment=QUEUE, metric="csat", started_at=moment(-1), ended_at=moment(9))
    assert _counted(store)["a"] == CountedVerdict(
        "new_trend", moment(5), VOICE, "aht", moment(0), moment(1), None, None
    )
    assert _precision(store) == [Precision(VOICE, 0, 0, 0, 1, None)]


def test_a_verdict_of_an_earlier_release_counts_for_what_the_incident_is_now(store: Store) -> None:
    _save(store, "a")
    _say(store, "a", "confirmed")
    with store.writing() as connection:
        empty = dict.fromkeys(("segment", "metric", "started_at", "ended_at"))
        connection.execute(update(incident_feedback).values(empty))
    _save(store, "a", segment=QUEUE, metric="csat", started_at=moment(2), ended_at=moment(9))
    assert _counted(store)["a"] == CountedVerdict(
        "confirmed", moment(5), QUEUE, "csat", moment(2), moment(9), None, None
    )
    assert _precision(store) == [Precision(QUEUE, 1, 0, 0, 0, 1.0)]


def test_the_latest_verdict_of_those_that_it_took_in_counts_for_a_taker_without_one(store: Store) -> None:
    for name in ("a", "b", "c", "d"):
        _save(store, name, segment=((name, name),))
    _say(store, "a", "false_alarm")
    _say(store, "b", "confirmed")
    _say(store, "a", "new_trend", by="bob")
    _say(store, "d", "confirmed")
    # a into b, and b into c: the chain ends in c, and d stays by itself.
    for name, taker in (("a", "b"), ("b", "c")):
        _save(store, name, segment=((name, name),), status="merged", merged_into=taker)
    (found,) = (verdict for name, verdict in _counted(store).items() if name == "c")
    assert (found.verdict, found.segment) == ("new_trend", (("a", "a"),))
    assert set(_counted(store)) == {"c", "d"}
    assert _precision(store) == [
        Precision((("a", "a"),), 0, 0, 0, 1, None),
        Precision((("d", "d"),), 1, 0, 0, 0, 1.0),
    ]


def test_a_verdict_of_its_own_counts_for_a_taker_however_old_it_is(store: Store) -> None:
    for name in ("a", "b"):
        _save(store, name)
    _say(store, "b", "confirmed")
    _say(store, "a", "false_alarm")
    _save(store, "a", status="merged", merged_into="b")
    assert {name: verdict.verdict for name, verdict in _counted(store).items()} == {"b": "confirmed"}
    assert _precision(store) == [Precision(VOICE, 1, 0, 0, 0, 1.0)]


def test_an_incident_that_is_merged_no_longer_has_its_own_verdict_again(store: Store) -> None:
    for name in ("a", "b"):
        _save(store, name)
    _say(store, "a", "confirmed")
    _save(store, "a", status="merged", merged_into="b")
    assert set(_counted(store)) == {"b"}
    _save(store, "a", status="resolved")
    assert set(_counted(store)) == {"a"}


def test_a_merged_incident_takes_no_verdict_and_names_the_one_that_does(store: Store) -> None:
    first = f"a{NASTY}"
    for name in (first, "b", "c"):
        _save(store, name)
    _save(store, first, status="merged", merged_into="b")
    _save(store, "b", status="merged", merged_into="c")
    for name in (first, "b"):
        with pytest.raises(MergedIncidentError, match="was taken in by c: say it of that one") as caught:
            _say(store, name, "expected")
        assert caught.value.taker == "c"
    assert _counted(store) == {}
    with store.reading() as connection:
        assert find_silences(connection) == []


def _save(store: Store, incident_id: str, **changes: Any) -> None:
    with store.writing() as connection:
        save_incident(connection, incident(incident_id, **changes), (call(),), NOTHING_TOLD)


def _say(store: Store, incident_id: str, verdict: str, by: str = "ann") -> None:
    with store.writing() as connection:
        add_incident_feedback(connection, incident_id, verdict, by=by, at=moment(5), expected_for=EXPECTED_FOR)


def _counted(store: Store) -> dict[str, CountedVerdict]:
    with store.reading() as connection:
        return counted_verdicts(connection)


def _precision(store: Store) -> list[Precision]:
    with store.reading() as connection:
        return precision_by_segment(connection, moment(0))
