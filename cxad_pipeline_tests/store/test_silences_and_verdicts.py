"""Silences that several people end, extend and rest on; verdicts where several models found, or people judged, one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from anomaly_records import anomaly
from queued_messages import another_waiting
from stored_incident_examples import VOICE, moment

from cxad_pipeline.settings import Settings
from cxad_pipeline.store.anomalies import record_anomalies
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.feedback import Said, add_feedback, new_trends_since
from cxad_pipeline.store.silences import Silence, add_silence, end_silence, find_silences

pytest_plugins = ["store_databases"]


def _flag(store: Store, *names: str, **changes: Any) -> None:
    with store.writing() as connection:
        record_anomalies(connection, [anomaly(name, **changes) for name in names])


def _say(store: Store, name: str, verdict: str, hours: float, by: str = "ann", until: float | None = None) -> Said:
    end = None if until is None else moment(until)
    with store.writing() as connection:
        said = add_feedback(connection, name, verdict, by=by, at=moment(hours), until=end)
    assert said is not None
    return said


def _silences(store: Store) -> list[Silence]:
    with store.reading() as connection:
        return find_silences(connection)


def test_a_silence_that_somebody_extends_meanwhile_ends_when_it_was_ended(
    postgres_url: str, settings_for: Callable[..., Settings]
) -> None:
    """It was to begin later, and has begun by then."""
    store = open_store(settings_for(postgres_url))
    whole: dict[str, Any] = {"scope": "incidents", "segment": VOICE, "metric": "aht", "owner": "lead"}
    with store.writing() as connection:
        made, _ = add_silence(connection, **whole, starts_at=moment(10), ends_at=moment(12))

    def end() -> Silence | None:
        with store.writing() as connection:
            return end_silence(connection, made.id, at=moment(5), by="bob")

    with ExitStack() as last, store.writing() as connection:
        add_silence(connection, **whole, starts_at=moment(2), ends_at=moment(11))
        last.enter_context(another_waiting(store, end))
    (ended,) = _silences(store)
    assert (ended.starts_at, ended.ends_at, ended.ended_by) == (moment(2), moment(5), "bob")
    store.close()


def test_an_end_that_has_passed_is_not_one_that_somebody_still_wants(store: Store) -> None:
    _flag(store, "I-1", "I-2")
    _say(store, "I-1", "expected", 0, until=2)
    _say(store, "I-2", "expected", 1, until=10)
    (ended,) = _say(store, "I-2", "confirmed", 5, by="bob").released
    assert (ended.ends_at, ended.ended_by) == (moment(5), "bob")
    assert _silences(store) == [ended]


def test_a_silence_rests_on_the_latest_verdict_of_an_interaction_that_was_judged_often(store: Store) -> None:
    _flag(store, "I-1", "I-2")
    for until in (9, 5, 8):
        _say(store, "I-1", "expected", 0, until=until)
    _say(store, "I-2", "expected", 1, until=20)
    (left,) = _say(store, "I-2", "false_alarm", 2).released
    assert (left.ends_at, left.ended_by) == (moment(8), None)


@pytest.mark.parametrize("later_first", [True, False])
def test_expected_silences_what_the_latest_model_found(store: Store, later_first: bool) -> None:
    found = [("v1", 60, "aht_seconds"), ("v2", 120, "csat")]
    for version, scored, column in reversed(found) if later_first else found:
        reasons = [{**anomaly("I-1")["reasons"][0], "column": column}]
        _flag(store, "I-1", model_version=version, scored=scored, reasons=reasons)
    silence = _say(store, "I-1", "expected", 0).silence
    assert silence is not None
    assert silence.metric == "csat"


def test_new_trends_are_counted_by_the_latest_verdict_of_each_interaction(store: Store) -> None:
    _flag(store, "I-1", "I-2", "I-3")
    for name, verdict in (("I-1", "new_trend"), ("I-1", "confirmed"), ("I-2", "false_alarm"), ("I-2", "new_trend")):
        _say(store, name, verdict, 1)
    for hours in (1, 2):
        _say(store, "I-3", "new_trend", hours)

    def since(moment_: dt.datetime | None) -> int:
        with store.reading() as connection:
            return new_trends_since(connection, moment_)

    assert [since(None), since(moment(0)), since(moment(1)), since(moment(2))] == [2, 2, 1, 0]
