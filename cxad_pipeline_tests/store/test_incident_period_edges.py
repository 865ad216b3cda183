"""The edges of a period: an incident that ended when it began is none of it."""

from __future__ import annotations

import datetime as dt

from stored_incident_examples import call, incident, moment

from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import NOTHING_TOLD, IncidentFilter, find_incidents, save_incident

pytest_plugins = ["store_databases"]


def test_an_incident_that_ended_when_a_period_begins_is_none_of_it(store: Store) -> None:
    made = incident(started_at=moment(2), ended_at=moment(4))
    with store.writing() as connection:
        save_incident(connection, made, (call(),), NOTHING_TOLD)

    def found(since: dt.datetime, until: dt.datetime) -> list[str]:
        with store.reading() as connection:
            page, _ = find_incidents(connection, IncidentFilter(since=since, until=until), limit=10)
        return [one.incident.id for one in page]

    assert found(moment(4), moment(6)) == []
    assert found(moment(4) - dt.timedelta(seconds=1), moment(6)) == [made.id]
    assert found(moment(0), moment(2)) == []
    assert found(moment(0), moment(2) + dt.timedelta(seconds=1)) == [made.id]
