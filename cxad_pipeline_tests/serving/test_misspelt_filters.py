"""A misspelt queue, channel or language is told, and not answered with an empty list as if all were quiet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from anomaly_records import anomaly
from fastapi.testclient import TestClient
from incident_store_world import incident, save, save_windows

from cxad_pipeline.serving.app import create_app
from cxad_pipeline.settings import Settings
from cxad_pipeline.settings.sources import ColumnMapping, Source
from cxad_pipeline.store.anomalies import record_anomalies
from cxad_pipeline.store.database import Store, open_store

pytest_plugins = ["store_databases"]

LISTS = {"/api/incidents": "incidents", "/api/anomalies": "anomalies"}


@pytest.fixture
def settings(settings_for: Callable[..., Settings], store_url: str) -> Settings:
    """A source gives a queue `support`, in which nothing was counted so far."""
    source = Source(name="export", columns={"queue": ColumnMapping(column="q", codes={"7": "support"}, other="rest")})
    return settings_for(store_url).model_copy(update={"sources": [source]})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = open_store(settings)
    yield opened
    opened.close()


@pytest.fixture
def client(settings: Settings, store: Store) -> Iterator[TestClient]:
    app = create_app(settings)
    client = TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50_000))
    yield client
    client.close()


def _listed(client: TestClient, path: str, **query: Any) -> list[Any]:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()[LISTS[path]]
    return found


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("queue", "biling", "did you mean queue=billing?"),
        ("queue", "suport", "did you mean queue=support?"),
        ("channel", "Voice", "did you mean channel=voice?"),
        ("language", "klingon", "known for language: de, en"),
    ],
)
def test_a_value_that_no_contact_had_is_a_problem_with_the_nearest(
    client: TestClient, store: Store, path: str, name: str, value: str, words: str
) -> None:
    save_windows(store, 1)
    save(store, incident(1))
    with store.writing() as connection:
        record_anomalies(connection, [anomaly("I-1")])
    answer = client.get(path, params={name: value})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert problem["detail"].startswith(f"The query parameter '{name}': ")
    assert words in problem["detail"]
    assert [fault["field"] for fault in problem["faults"]] == [name]
    assert client.get(path, params={"queue": "billing", name: value}).status_code == 422, "with one that is known, too"


@pytest.mark.parametrize("path", LISTS)
def test_a_value_that_was_counted_or_is_configured_is_an_empty_list(
    client: TestClient, store: Store, path: str
) -> None:
    save_windows(store, 1)
    for query in ({"queue": "sales"}, {"queue": "sales", "channel": "chat"}, {"queue": "support"}, {"queue": "rest"}):
        assert _listed(client, path, **query) == []
    assert _listed(client, path, queue="billing", language="en") == [], "no contact has both, and each has some"


@pytest.mark.parametrize("path", LISTS)
def test_before_anything_was_counted_every_list_is_empty(client: TestClient, path: str) -> None:
    assert _listed(client, path, queue="biling") == []


@pytest.mark.parametrize("path", LISTS)
def test_what_an_anomaly_has_is_known_whether_or_not_it_was_counted(
    client: TestClient, store: Store, path: str
) -> None:
    """The API scores contacts that never lie in a file."""
    save_windows(store, 1)
    assert client.get(path, params={"queue": "pilot"}).status_code == 422
    with store.writing() as connection:
        record_anomalies(connection, [anomaly("I-1", interaction={"queue": "pilot"})])
    assert _listed(client, path, queue="pilot", min_severity=100) == []
