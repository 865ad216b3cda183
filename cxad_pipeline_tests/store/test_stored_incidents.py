"""Incidents come back whole, are kept once each, and are found by what is asked of them."""

from __future__ import annotations

import datetime as dt
import random
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select
from stored_incident_examples import NASTY, VOICE, call, incident, moment

from cxad_pipeline.incidents.incident import Call, Cause, Example, Incident, Reason
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.feedback import add_incident_feedback
from cxad_pipeline.store.incident_tables import incident_calls, incidents
from cxad_pipeline.store.incidents import (
    NOTHING_TOLD,
    CursorError,
    IncidentFilter,
    StoredIncident,
    Told,
    find_incidents,
    get_incident,
    known_incidents,
    lock_incidents,
    opened_between,
    save_incident,
)

pytest_plugins = ["store_databases"]

CALLS = (call(), call((), window=0, score=7.0), call(window=3_600, kind="slow drift", observed=0.1 + 0.2))


def test_an_incident_comes_back_whole_with_its_calls_in_their_order(store: Store) -> None:
    told = Told(moment(2), 45.5, True, 3)
    made = incident(resolved_at=moment(9), merged_into="20260907-000000", score=0.1 + 0.2, status="merged")
    _save(store, made, CALLS, told)
    assert _get(store, made.id) == StoredIncident(made, CALLS, told, None)


def test_what_is_empty_comes_back_empty(store: Store) -> None:
    made = incident(segment=(), causes=(), reasons=(), examples=(), model_version="")
    _save(store, made, ())
    assert _get(store, made.id) == StoredIncident(made, (), NOTHING_TOLD, None)


def test_saving_again_changes_nothing_and_saving_anew_replaces_the_incident_and_its_calls(store: Store) -> None:
    first = incident()
    for _ in range(3):
        _save(store, first, CALLS)
    assert _numbers(store) == (1, 3)
    later = replace(first, status="resolved", score=9.0, ended_at=moment(4), resolved_at=moment(8), causes=())
    told = Told(moment(4), 90.0, True, 2)
    _save(store, later, CALLS[1:], told)
    assert _get(store, first.id) == StoredIncident(later, CALLS[1:], told, None)
    assert _numbers(store) == (1, 2)


def test_a_verdict_stays_with_an_incident_that_is_saved_again(store: Store) -> None:
    _save(store, incident(), CALLS)
    with store.writing() as connection:
        for verdict in ("false_alarm", "confirmed"):
            add_incident_feedback(connection, incident().id, verdict, by="ann", expected_for=dt.timedelta(days=7))
    _save(store, incident(score=8.0), CALLS)
    found = _get(store, incident().id)
    assert found is not None
    assert found.verdict is not None
    assert (found.verdict["verdict"], found.incident.score) == ("confirmed", 8.0)


def test_texts_of_any_kind_and_length_are_kept(store: Store) -> None:
    segment = ((NASTY, NASTY), ("queue", "ok"))
    made = incident(
        segment=segment,
        causes=(Cause(((NASTY, "x"),), 2.0, 1.0, 4.0, 1, 2, 0.5),),
        reasons=(Reason(NASTY, "shift", 1.0, 2.0, 3.0),),
        examples=(Example(NASTY, moment(), 1.0, 2.0, NASTY),),
    )
    calls = (call(segment), call(((NASTY, ""),)))
    _save(store, made, calls)
    found = _get(store, made.id)
    assert found is not None
    assert (found.incident, found.calls) == (made, calls)
    assert _found(store, segment=segment) == [made.id]
    assert _found(store, pairs=((NASTY, NASTY),)) == [made.id]
    assert _found(store, pairs=((NASTY, "queue"),)) == []


def test_numbers_may_be_of_numpy_and_infinite_but_not_nan(store: Store) -> None:
    made = incident(score=float("inf"), contacts=np.int64(55), severity=np.float64(3.5), critical=np.bool_(True))
    _save(store, made, (call(score=np.float64(7), affected=np.int64(3)),))
    found = _get(store, made.id)
    assert found is not None
    assert found.incident == incident(score=float("inf"), contacts=55, severity=3.5, critical=True)
    assert found.calls == (call(score=7.0, affected=3),)
    for bad in (incident(observed=float("nan")), incident("other", threshold=float("nan"))):
        with pytest.raises(ValueError, match=f"incident {bad.id}: .* is no number"):
            _save(store, bad)
    with pytest.raises(ValueError, match="expected is no number"):
        _save(store, incident(), (call(expected=float("nan")),))
    assert _get(store, made.id) == found


def test_the_life_of_incidents_goes_on_from_those_that_are_open_or_ended_lately(store: Store) -> None:
    for name, status, ended in (
        ("open", "open", -99),
        ("ended at the moment", "resolved", 5),
        ("ended before", "resolved", 4.99),
        ("withdrawn lately", "withdrawn", 6),
        ("merged lately", "merged", 6),
    ):
        made = incident(name, status=status, started_at=moment(-100), ended_at=moment(ended))
        _save(store, made, (call(score=float(len(name))),))
    with store.reading() as connection:
        found = known_incidents(connection, moment(5))
    assert {one.incident.id for one in found} == {"open", "ended at the moment", "withdrawn lately"}
    assert all(one.calls == (call(score=float(len(one.incident.id))),) for one in found)


def test_the_budget_counts_incidents_by_their_start_without_merged_and_withdrawn_ones(store: Store) -> None:
    for number, (status, hours) in enumerate(
        [("open", 0), ("resolved", 5), ("merged", 5), ("withdrawn", 5), ("resolved", 10), ("resolved", -0.01)]
    ):
        _save(store, incident(str(number), status=status, started_at=moment(hours)))
    with store.reading() as connection:
        assert opened_between(connection, moment(0), moment(10)) == 2
        assert opened_between(connection, moment(-1), moment(11)) == 4


def _many(store: Store) -> list[Incident]:
    source = random.Random(3)
    made = []
    for number in range(60):
        start = source.randrange(0, 48, 6)
        made.append(
            incident(
                f"I-{number}",
                status=source.choice(["open", "resolved", "merged", "withdrawn"]),
                segment=source.choice([(), VOICE, (("queue", "billing"),), (("channel", "voice"),), (("queue", "b"),)]),
                metric=source.choice(["aht", "csat"]),
                critical=source.random() < 0.5,
                severity=round(source.uniform(0, 100), 1),
                started_at=moment(start),
                ended_at=moment(start + source.randrange(1, 12)),
            )
        )
        _save(store, made[-1], (call(score=float(number)),))
    return made


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"statuses": ("open",)},
        {"statuses": ("open", "resolved"), "critical": True},
        {"critical": False, "metric": "csat"},
        {"min_severity": 50},
        {"segment": VOICE},
        {"segment": ()},
        {"pairs": (("queue", "billing"),)},
        {"pairs": VOICE},
        {"since": moment(20)},
        {"until": moment(12)},
        {"since": moment(12), "until": moment(24), "statuses": ("resolved", "merged")},
        {"statuses": ()},
    ],
    ids=str,
)
@pytest.mark.parametrize("limit", [7, 500])
def test_pages_hold_every_wanted_incident_once_the_latest_start_first(
    store: Store, wanted: dict[str, Any], limit: int
) -> None:
    made = _many(store)
    found: list[StoredIncident] = []
    cursor, sizes = None, []
    while True:
        with store.reading() as connection:
            page, cursor = find_incidents(connection, IncidentFilter(**wanted), limit=limit, cursor=cursor)
        found += page
        sizes.append(len(page))
        if cursor is None:
            break
    assert all(size == limit for size in sizes[:-1])
    expected = [one for one in made if _is_wanted(one, wanted)]
    assert sorted(one.incident.id for one in found) == sorted(one.id for one in expected)
    starts = [one.incident.started_at for one in found]
    assert starts == sorted(starts, reverse=True)
    assert all(one.calls[0].score == float(one.incident.id[2:]) for one in found)


def _is_wanted(one: Incident, wanted: dict[str, Any]) -> bool:
    """The filters as their documentation says, on the incidents themselves."""
    checks = {
        "statuses": lambda value: one.status in value,
        "min_severity": lambda value: one.severity >= value,
        "segment": lambda value: one.segment == value,
        "pairs": lambda value: set(value) <= set(one.segment),
        "metric": lambda value: one.metric == value,
        "critical": lambda value: one.critical is value,
        "since": lambda value: one.ended_at > value,
        "until": lambda value: one.started_at < value,
    }
    return all(checks[name](value) for name, value in wanted.items())


def test_nobody_finds_what_is_not_there(store: Store) -> None:
    _save(store, incident())
    for name in ("nobody", "", NASTY, "20260907-3F9A2C"):
        assert _get(store, name) is None


def test_a_cursor_that_is_none_is_an_error(store: Store) -> None:
    with pytest.raises(CursorError, match="none that a listing has given"), store.reading() as connection:
        find_incidents(connection, IncidentFilter(), limit=1, cursor="x")


def test_one_transaction_at_a_time_judges(store: Store) -> None:
    """Each reads how many incidents there are and adds one of that number: without the lock two would be the same."""
    threads = [threading.Thread(target=_judge, args=(store,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as connection:
        found, _ = find_incidents(connection, IncidentFilter(), limit=100)
    assert sorted(one.incident.id for one in found) == [str(number) for number in range(6)]


def _judge(store: Store) -> None:
    with store.writing() as connection:
        lock_incidents(connection)
        number = connection.execute(select(func.count()).select_from(incidents)).scalar_one()
        save_incident(connection, incident(str(number)), CALLS * 20, NOTHING_TOLD)


def test_after_the_lock_statements_may_take_as_long_as_before(postgres_url: str, settings_for: Any) -> None:
    from cxad_pipeline.store.database import open_store

    store = open_store(settings_for(postgres_url))
    with store.writing() as connection:
        lock_incidents(connection)
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "30s"
    store.close()


def _save(store: Store, made: Incident, calls: tuple[Call, ...] = (), told: Told = NOTHING_TOLD) -> None:
    with store.writing() as connection:
        save_incident(connection, made, calls, told)


def _get(store: Store, incident_id: str) -> StoredIncident | None:
    with store.reading() as connection:
        return get_incident(connection, incident_id)


def _found(store: Store, **wanted: Any) -> list[str]:
    with store.reading() as connection:
        page, _ = find_incidents(connection, IncidentFilter(**wanted), limit=500)
    return [one.incident.id for one in page]


def _numbers(store: Store) -> tuple[int, int]:
    with store.reading() as connection:
        counts = [connection.execute(select(func.count()).select_from(table)) for table in (incidents, incident_calls)]
        return tuple(count.scalar_one() for count in counts)  # type: ignore[return-value]
