"""Nothing is left of a withdrawn incident that anybody could judge: it takes no verdict, and no earlier one counts."""

from __future__ import annotations

from typing import Any

import pytest
from stored_incident_examples import VOICE, call, incident, moment

from cxad_pipeline.store.counted_verdicts import counted_verdicts
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.feedback import EXPECTED_FOR, Precision, Said, add_incident_feedback, precision_by_segment
from cxad_pipeline.store.gone_incidents import GoneIncidentError, WithdrawnIncidentError
from cxad_pipeline.store.incidents import NOTHING_TOLD, get_incident, save_incident
from cxad_pipeline.store.silences import find_silences
from cxad_pipeline.store.verdict_silences import release_of_incident

pytest_plugins = ["store_databases"]
VERDICTS = ("confirmed", "expected", "false_alarm", "new_trend")


def save(store: Store, name: str, **changes: Any) -> None:
    calls = () if changes.get("status") == "withdrawn" else (call(),)
    with store.writing() as connection:
        save_incident(connection, incident(name, **changes), calls, NOTHING_TOLD)


def say(store: Store, name: str, verdict: str, at: float = 5) -> Said | None:
    with store.writing() as connection:
        return add_incident_feedback(connection, name, verdict, by="ann", at=moment(at), expected_for=EXPECTED_FOR)


def counted(store: Store) -> tuple[dict[str, str], list[Precision]]:
    with store.reading() as connection:
        verdicts = {name: one.verdict for name, one in counted_verdicts(connection).items()}
        return verdicts, precision_by_segment(connection, moment(0))


def test_it_takes_no_verdict(store: Store) -> None:
    save(store, "a", status="withdrawn")
    for verdict in VERDICTS:
        with pytest.raises(WithdrawnIncidentError, match="incident a was withdrawn, since its contacts have changed"):
            say(store, "a", verdict)
    assert counted(store) == ({}, [])
    with store.reading() as connection:
        assert find_silences(connection) == []


def test_an_earlier_verdict_counts_for_nothing_while_it_is_withdrawn(store: Store) -> None:
    for name in ("a", "b"):
        save(store, name)
        say(store, name, "confirmed")
    save(store, "a", status="withdrawn")
    assert counted(store) == ({"b": "confirmed"}, [Precision(VOICE, 1, 0, 0, 0, 1.0)])
    with store.reading() as connection:
        kept = get_incident(connection, "a")
    assert kept is not None
    assert kept.verdict is not None, "what was said is not forgotten"
    save(store, "a")
    assert counted(store) == ({"a": "confirmed", "b": "confirmed"}, [Precision(VOICE, 2, 0, 0, 0, 1.0)])


def test_nor_does_one_on_an_incident_that_it_took_in(store: Store) -> None:
    for name in ("a", "b"):
        save(store, name)
    say(store, "a", "confirmed")
    save(store, "a", status="merged", merged_into="b")
    assert counted(store)[0] == {"b": "confirmed"}
    save(store, "b", status="withdrawn")
    assert counted(store) == ({}, [])
    for name in ("a", "b"):
        with pytest.raises(GoneIncidentError):
            say(store, name, "confirmed")


def test_what_expected_made_ends_with_it_unless_others_asked_for_it(store: Store) -> None:
    for name, at in (("a", 5), ("b", 6)):
        save(store, name)
        say(store, name, "expected", at)
    (made,) = silences(store)
    assert made.ends_at == moment(6) + EXPECTED_FOR
    for name, by_then in (("b", moment(5) + EXPECTED_FOR), ("a", moment(8))):
        save(store, name, status="withdrawn")
        with store.writing() as connection:
            (released,) = release_of_incident(connection, name, moment(8), "withdrawal")
        assert released.ends_at == by_then
        assert silences(store) == [released]


def silences(store: Store) -> list[Any]:
    with store.reading() as connection:
        return find_silences(connection)
