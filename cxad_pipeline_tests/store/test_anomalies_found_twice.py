"""An anomaly that the API and batch scoring have both found stays when batch scoring finds it no longer."""

from __future__ import annotations

import datetime as dt

import pytest
from anomaly_records import anomaly, moment

from cxad_pipeline.store.anomalies import (
    AnomalyFilter,
    StoredAnomaly,
    find_anomalies,
    record_anomalies,
    replace_batch_anomalies,
)
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.records import AnomalyRecord

pytest_plugins = ["store_databases"]

_HOUR = tuple(dt.datetime.fromisoformat(moment(seconds)) for seconds in (0, 3_600))


def _by_api(store: Store, record: AnomalyRecord) -> int:
    with store.writing() as connection:
        return record_anomalies(connection, [record])


def _by_batch(store: Store, *records: AnomalyRecord) -> int:
    with store.writing() as connection:
        return replace_batch_anomalies(connection, _HOUR[0], _HOUR[1], records)


def _found(store: Store) -> list[StoredAnomaly]:
    with store.reading() as connection:
        return find_anomalies(connection, AnomalyFilter(), limit=9)[0]


@pytest.mark.parametrize("by_api_at", [60, 120, 180])
@pytest.mark.parametrize("api_first", [True, False])
def test_what_the_api_found_too_stays_whichever_came_or_was_scored_first(
    store: Store, by_api_at: int, api_first: bool
) -> None:
    by_api, by_batch = (anomaly("c-1", scored=at, severity=float(at)) for at in (by_api_at, 120))
    if api_first:
        assert _by_api(store, by_api) == 1
        assert _by_batch(store, by_batch) == (by_api_at < 120)
    else:
        assert _by_batch(store, by_batch) == 1
        assert _by_api(store, by_api) == 1, "it changes what is known of where it came from"
        assert _by_api(store, by_api) == 0
    latest = max(by_api_at, 120)
    for _ in range(2):
        (row,) = _found(store)
        assert (row["source"], row["severity"], row["scored_at"]) == ("api", latest, moment(latest))
        assert _by_batch(store) == 0


def test_what_batch_scoring_alone_found_goes_with_it(store: Store) -> None:
    _by_batch(store, anomaly("c-1", scored=60))
    _by_batch(store, anomaly("c-1", scored=120))
    assert [row["source"] for row in _found(store)] == ["batch"]
    _by_batch(store)
    assert _found(store) == []
