"""Incidents, messages, silences, the budget and segments over time, as the API gives them, on both databases."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from anomaly_records import anomaly
from fastapi.testclient import TestClient
from incident_store_world import (
    BILLING,
    HOUR,
    SALES,
    at,
    incident,
    save,
    save_calibration,
    save_messages,
    save_windows,
)
from pydantic import BaseModel

from cxad_pipeline.incidents.incident import Status
from cxad_pipeline.incidents.states import State
from cxad_pipeline.serving import incident_schema, review_schema, segment_schema
from cxad_pipeline.serving.app import create_app
from cxad_pipeline.serving.routes_segments import MOST_POINTS, shortened
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.anomalies import record_anomalies
from cxad_pipeline.store.columns import VERDICTS
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.outbox_status import DeliveryState

pytest_plugins = ["store_databases"]

ROLES = {"desk": "reviewer", "screen": "read", "crm": "score", "chief": "admin"}


def _bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer key-of-{name}"}


@pytest.fixture
def keyed(settings_for: Callable[..., Settings], store_url: str) -> Settings:
    keys = {
        name: {"sha256": hashlib.sha256(f"key-of-{name}".encode()).hexdigest(), "roles": [role]}
        for name, role in ROLES.items()
    }
    return settings_for(store_url, keys=keys)


@pytest.fixture
def store(keyed: Settings) -> Iterator[Store]:
    opened = open_store(keyed)
    yield opened
    opened.close()


@pytest.fixture
def client(keyed: Settings, store: Store) -> Iterator[TestClient]:
    client = TestClient(create_app(keyed), headers=_bearer("desk"))  # its sidecar and model are not needed
    yield client
    client.close()


def _get(client: TestClient, path: str, form: type[BaseModel], **query: Any) -> Any:
    answer = client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    form.model_validate(found)  # what OpenAPI says of it
    return found


def _ids(client: TestClient, **query: Any) -> list[int]:
    """Incidents by their hour."""
    page = _get(client, "/api/incidents", incident_schema.IncidentPage, **query)
    return [int(one["id"].partition("-")[2], 16) for one in page["incidents"]]


def test_an_incident_is_given_whole_with_title_verdict_calls_and_messages(client: TestClient, store: Store) -> None:
    one = incident(9)
    save(store, one)
    save_messages(store, one)
    said = client.post("/api/feedback", json={"incident_id": one.id, "verdict": "confirmed", "note": "line down"})
    assert said.status_code == 201, said.text
    found = _get(client, f"/api/incidents/{one.id}", incident_schema.WholeIncident)
    what = "hold time around 191 s, usually 62 s; high in 41 of 55 contacts, usually 6.2"
    assert found["title"] == f"billing / voice / de: {what}"
    assert found["segment"] == dict(BILLING)
    assert (found["score"], found["alert_score"], found["severity"], found["alert_severity"]) == (6.1, 5.4, 70.0, 61.0)
    assert (found["affected"], found["contacts"]) == (41, 55)
    assert found["started_at"] == "2026-03-02T09:00:00.000000Z"
    assert found["causes"][0]["segment"] == {"language": "de"}
    assert found["causes"][0]["high"] is None, "without bound"
    assert found["examples"][0]["interaction_id"] == "I-1"
    assert (found["verdict"]["verdict"], found["verdict"]["by"], found["verdict"]["note"]) == (
        "confirmed", "desk", "line down",
    )  # fmt: skip
    assert [call["window"] for call in found["calls"]] == ["2026-03-02T09:00:00.000000Z"]
    states = {alert["channel"]: (alert["state"], alert["error"]) for alert in found["alerts"]}
    assert states == {"console": ("sent", None), "email": ("dead", "550 no such user")}
    (listed,) = _get(client, "/api/incidents", incident_schema.IncidentPage)["incidents"]
    assert listed == {name: value for name, value in found.items() if name not in ("calls", "alerts")}


def test_what_is_not_there_is_a_problem(client: TestClient) -> None:
    answer = client.get("/api/incidents/20260302-00000a")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "20260302-00000a" in answer.json()["detail"]
    assert client.get("/api/incidents/nonsense").status_code == 422
    assert client.delete("/api/silences/7").status_code == 404


def test_filters_narrow_the_list_and_the_latest_comes_first(client: TestClient, store: Store) -> None:
    save(
        store,
        incident(1),
        incident(2, segment=SALES, severity=20.0, critical=False),
        incident(3, status="resolved", resolved_at=at(6)),
        incident(4, status="merged", merged_into="20260302-000003"),
        incident(5, status="withdrawn"),
        incident(6, segment=(("queue", "Billing"),)),
    )
    assert _ids(client) == [6, 3, 2, 1], "open and resolved ones"
    assert _ids(client, status="merged") == [4]
    assert _ids(client, status=["open", "withdrawn"]) == [6, 5, 2, 1]
    assert _ids(client, queue="billing") == [3, 1], "capitals count"
    assert _ids(client, queue="billing", language="de") == [3, 1]
    assert _ids(client, queue="billing", language="en") == []
    assert _ids(client, queue="sales") == [2]
    assert _ids(client, queue='"sales"]') == []
    assert _ids(client, channel="voice", min_severity=30) == [3, 1]
    assert _ids(client, critical="false") == [2]
    assert _ids(client, since="2026-03-02T04:00:00Z") == [6], "ended after"
    assert _ids(client, until="2026-03-02T02:00:00Z") == [1], "began before"


def test_following_next_gives_every_incident_once(client: TestClient, store: Store) -> None:
    save(store, *(incident(hour) for hour in range(7)))
    query: dict[str, Any] = {"limit": 3}
    pages = []
    while True:
        page = client.get("/api/incidents", params=query).json()
        pages.append([one["id"] for one in page["incidents"]])
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert pages == [[incident(hour).id for hour in hours] for hours in ((6, 5, 4), (3, 2, 1), (0,))]


def test_dimensions_of_the_deployment_are_filters(settings_for: Callable[..., Settings], sqlite_url: str) -> None:
    settings = settings_for(sqlite_url)
    segments = settings.segments.model_copy(update={"dimensions": ["team", "limit"]})
    settings = settings.model_copy(update={"segments": segments})
    opened = open_store(settings)
    save(opened, incident(1, segment=(("team", "red"),)), incident(2, segment=(("team", "blue"),)))
    opened.close()
    client = TestClient(create_app(settings), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50_000))
    assert _ids(client, team="red") == [1]
    assert client.get("/api/incidents?queue=billing").status_code == 422
    assert _ids(client, limit=1) == [2], "a dimension that is named like a filter leaves the filter as it is"
    body = {"segment": {"team": "red"}, "reason": "x", "ends_at": _soon()}
    assert client.post("/api/silences", json=body).status_code == 201
    assert client.post("/api/silences", json=body | {"segment": {"queue": "billing"}}).status_code == 422


def _soon(hours: float = 2) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)).isoformat()


def test_expected_makes_a_silence_that_ends_and_can_be_ended(client: TestClient, store: Store) -> None:
    save(store, incident(1))
    until = _soon()
    body = {"incident_id": incident(1).id, "verdict": "expected", "note": "a migration", "until": until}
    said = client.post("/api/feedback", json=body)
    assert said.status_code == 201, said.text
    made = said.json()["silence"]
    assert (made["scope"], made["segment"], made["metric"]) == ("incidents", dict(BILLING), "hold_time_seconds")
    assert (made["owner"], made["reason"]) == ("desk", "a migration")
    assert dt.datetime.fromisoformat(made["ends_at"]) == dt.datetime.fromisoformat(until)
    assert _get(client, "/api/silences", review_schema.SilenceList)["silences"] == [made]
    ended = client.delete(f"/api/silences/{made['id']}", headers=_bearer("chief"))
    assert (ended.status_code, ended.json()["ended_by"]) == (200, "chief")
    assert _get(client, "/api/silences", review_schema.SilenceList)["silences"] == []
    every = _get(client, "/api/silences", review_schema.SilenceList, active="false")["silences"]
    assert every == [ended.json()]


def test_expected_without_an_end_lasts_as_configured(client: TestClient, store: Store) -> None:
    save(store, incident(1))
    body = {"incident_id": incident(1).id, "verdict": "expected"}
    made = client.post("/api/feedback", json=body).json()["silence"]
    length = dt.datetime.fromisoformat(made["ends_at"]) - dt.datetime.fromisoformat(made["starts_at"])
    assert length == dt.timedelta(days=Settings().feedback.expected_days)
    other = client.post("/api/feedback", json={"incident_id": incident(1).id, "verdict": "new_trend"})
    assert (other.status_code, other.json()["silence"]) == (201, None)


def test_an_expected_anomaly_can_be_hidden(client: TestClient, store: Store) -> None:
    with store.writing() as connection:
        record_anomalies(connection, [anomaly("I-1"), anomaly("I-2"), anomaly("I-3", interaction={"queue": "sales"})])
    said = client.post("/api/feedback", json={"interaction_id": "I-1", "verdict": "expected"}).json()
    assert said["silence"]["scope"] == "anomalies"

    def listed(**query: Any) -> set[str]:
        page = _get(client, "/api/anomalies", review_schema.AnomalyPage, **query)
        return {one["interaction_id"] for one in page["anomalies"]}

    assert listed() == {"I-1", "I-2", "I-3"}
    assert listed(hide_expected="true") == {"I-3"}, "I-2 is of the same segment and reason"


@pytest.mark.parametrize(
    "change",
    [
        {"interaction_id": "I-1"}, {"incident_id": None}, {"until": _soon()}, {"incident_id": "3f9a2c"},
        {"verdict": "expected", "until": "soon"},
    ],
    ids=["both", "neither", "until with another verdict", "no id", "no time"],
)  # fmt: skip
def test_feedback_that_means_nothing_is_refused(client: TestClient, store: Store, change: dict[str, Any]) -> None:
    save(store, incident(1))
    answer = client.post("/api/feedback", json={"incident_id": incident(1).id, "verdict": "confirmed"} | change)
    assert answer.status_code == 422
    assert _get(client, f"/api/incidents/{incident(1).id}", incident_schema.WholeIncident)["verdict"] is None


def test_an_end_in_the_past_is_a_conflict(client: TestClient, store: Store) -> None:
    save(store, incident(1))
    past = _soon(-1)
    body = {"incident_id": incident(1).id, "verdict": "expected", "until": past}
    silence = {"segment": {}, "reason": "x", "ends_at": past}
    for path, content in (("/api/feedback", body), ("/api/silences", silence)):
        answer = client.post(path, json=content)
        assert answer.status_code == 409
        assert "past" in answer.json()["detail"]
    assert _get(client, "/api/silences", review_schema.SilenceList, active="false")["silences"] == []


def test_a_silence_of_a_segment_is_kept_with_its_owner(client: TestClient) -> None:
    body = {
        "segment": {"channel": "voice", "queue": "billing"},
        "metric": "csat",
        "reason": "moving",
        "ends_at": _soon(),
    }
    made = client.post("/api/silences", json=body)
    assert made.status_code == 201, made.text
    review_schema.SilenceAnswer.model_validate(made.json())
    assert (made.json()["owner"], made.json()["scope"], made.json()["metric"]) == ("desk", "incidents", "csat")
    assert list(made.json()["segment"].items()) == [("queue", "billing"), ("channel", "voice")]


def test_precision_is_by_segment(client: TestClient, store: Store) -> None:
    save(store, *(incident(hour) for hour in range(4)), incident(9, segment=SALES))
    for hour, verdict in ((0, "confirmed"), (1, "confirmed"), (2, "false_alarm"), (3, "expected"), (9, "new_trend")):
        assert (
            client.post("/api/feedback", json={"incident_id": incident(hour).id, "verdict": verdict}).status_code == 201
        )
    found = _get(client, "/api/feedback/precision", review_schema.PrecisionList)["segments"]
    counts = ("confirmed", "false_alarms", "expected", "new_trends")
    assert [(one["segment"], *(one[name] for name in counts)) for one in found] == [
        (dict(BILLING), 2, 1, 1, 0),
        (dict(SALES), 0, 0, 0, 1),
    ]
    assert [one["precision"] for one in found] == [pytest.approx(2 / 3), None]
    assert _get(client, "/api/feedback/precision", review_schema.PrecisionList, since=_soon())["segments"] == []


def test_dead_letters_are_listed_with_their_error_and_sent_again(client: TestClient, store: Store) -> None:
    save_messages(store, incident(1))
    everything = _get(client, "/api/alerts", incident_schema.AlertPage)["alerts"]
    assert {(one["channel"], one["state"]) for one in everything} == {
        ("console", "sent"), ("email", "dead"), ("slack", "pending"),
    }  # fmt: skip
    assert "nobody's here" not in str(everything), "of a message its first line alone"
    (dead,) = _get(client, "/api/alerts", incident_schema.AlertPage, state="dead")["alerts"]
    assert (dead["headline"], dead["error"], dead["attempts"]) == (
        f"Trouble in {incident(1).id}",
        "550 no such user",
        1,
    )
    assert dead["given_up_at"]
    assert dead["sent_at"] is None
    sent = next(one["id"] for one in everything if one["state"] == "sent")
    assert client.post("/api/alerts/retry", json={"ids": [sent]}).json() == {"revived": 0}
    assert client.post("/api/alerts/retry", json={"ids": [dead["id"]]}).json() == {"revived": 1}
    assert _get(client, "/api/alerts", incident_schema.AlertPage, state="dead")["alerts"] == []
    assert client.post("/api/alerts/retry", json={}).json() == {"revived": 0}
    for ids in ([], "all", ["1"], [0], [True], [1.5]):
        assert client.post("/api/alerts/retry", json={"ids": ids}).status_code == 422, ids


def test_the_budget_is_what_was_promised_and_what_came(client: TestClient, store: Store) -> None:
    before = _get(client, "/api/budget", incident_schema.Budget)
    assert before["promised_per_week"] == Settings().incidents.budget_per_week
    assert (before["replayed_per_week"], before["threshold"], before["calibrated_at"]) == (None, None, None)
    assert before["until"] is None
    save_calibration(store)
    save_windows(store, 30)
    newest = at(30)
    days = [1, 2, 8, 27, 40]
    save(store, *(incident(day, started_at=newest - dt.timedelta(days=day)) for day in days))
    save(store, incident(3, status="merged", started_at=newest - dt.timedelta(days=3)))
    found = _get(client, "/api/budget", incident_schema.Budget)
    assert (found["promised_per_week"], found["replayed_per_week"], found["threshold"]) == (5.0, 4.25, 4.5)
    assert found["until"] == "2026-03-03T06:00:00.000000Z"
    assert found["achieved"] == [
        {"days": 7, "incidents": 2, "per_week": 2.0},
        {"days": 28, "incidents": 4, "per_week": 1.0},
    ]


def test_segments_show_their_newest_windows_the_highest_score_first(client: TestClient, store: Store) -> None:
    save_windows(store, 30)
    found = _get(client, "/api/segments", segment_schema.SegmentList, windows=4)
    assert found["truncated"] is False
    first = found["segments"][0]
    assert (first["segment"], first["level"], first["highest_score"]) == ({"queue": "billing"}, 1, 6.5)
    assert [window["start"] for window in first["windows"]] == [
        f"2026-03-03T0{hour}:00:00.000000Z" for hour in (2, 3, 4, 5)
    ]
    last = first["windows"][-1]
    assert (last["state"], last["score"], last["contacts"], last["anomalies"]) == ("tested", 6.5, 10, 1)
    assert (last["leading_metric"], last["observed"], last["expected"]) == ("aht_seconds", 400.0, 300.0)
    assert len({str(one["segment"]) for one in found["segments"]}) == len(found["segments"])
    assert all(len(one["windows"]) == 4 for one in found["segments"])
    (everything,) = _get(client, "/api/segments", segment_schema.SegmentList, level=0, until="2026-03-02T02:00:00Z")[
        "segments"
    ]
    assert [window["state"] for window in everything["windows"]] == ["cold_start", "tested"]
    assert everything["windows"][0]["score"] is None


def test_without_windows_there_are_no_segments(client: TestClient) -> None:
    assert _get(client, "/api/segments", segment_schema.SegmentList) == {"segments": [], "truncated": False}


def test_a_series_names_its_segment_in_the_address(client: TestClient, store: Store) -> None:
    save_windows(store, 5)
    path = "/api/timeseries?segment=queue:billing&metric=aht_seconds&since=2026-03-02T01:00:00Z"
    found = _get(client, path, segment_schema.TimeSeries)
    assert (found["segment"], found["windows"], found["truncated"]) == ({"queue": "billing"}, 4, False)
    points = found["points"]
    assert [point["start"] for point in points] == [f"2026-03-02T0{hour}:00:00.000000Z" for hour in (1, 2, 3, 4)]
    assert [(point["contacts"], point["anomalies"], point["values"]) for point in points] == [(10, 1, 10)] * 4
    assert points[-1]["mean"] == pytest.approx(300.0)
    assert (points[-1]["state"], points[-1]["score"]) == ("tested", 6.5)
    other = _get(client, "/api/timeseries?metric=csat", segment_schema.TimeSeries)["points"]
    assert [(point["contacts"], point["mean"], point["expected"]) for point in other] == [(30, 4.0, None)] * 5
    path = "/api/timeseries?segment=channel:chat&segment=queue:sales"
    points = _get(client, path, segment_schema.TimeSeries)["points"]
    assert [point["contacts"] for point in points] == [20] * 5, "in whatever order it is named"
    for nonsense in (
        "segment=team:red",
        "segment=queue",
        "segment=queue:",
        "segment=queue:nowhere",
        "metric=",
        "segment=queue:a%00b",
    ):
        assert client.get(f"/api/timeseries?{nonsense}").status_code == 422, nonsense


def test_a_long_series_is_made_shorter_and_loses_no_contact(client: TestClient, store: Store) -> None:
    save_windows(store, 2_100, seconds=HOUR // 4)
    found = _get(client, "/api/timeseries?segment=queue:billing&metric=aht_seconds", segment_schema.TimeSeries)
    points = found["points"]
    assert found["windows"] == 2_100
    assert len(points) == 1_050
    assert {point["seconds"] for point in points} == {2 * HOUR // 4}
    assert sum(point["contacts"] for point in points) == 21_000
    assert points[-1]["score"] == 6.5
    assert points[0]["mean"] == pytest.approx(300.0)


def test_shortened_series_keep_gaps_and_weigh_means() -> None:
    def point(hour: int, **changes: Any) -> dict[str, Any]:
        plain = {"start": at(hour).isoformat(), "seconds": HOUR, "contacts": 2, "anomalies": 1, "complaints": 0}
        rest = {"together": 0, "values": 2, "mean": 10.0, "state": "tested", "score": 0.1, "observed": 1, "expected": 2}
        return plain | rest | {"low": 0, "high": 4, "incident": None} | changes

    points = [
        point(0),
        point(1, values=6, mean=30.0, score=3.0, observed=9),
        point(2, score=None, state="too_few", mean=None),
        point(20),
    ]
    assert shortened(points, most=4) == points
    short = shortened(points, most=3)
    assert [(one["start"], one["contacts"]) for one in short] == [(points[0]["start"], 6), (points[3]["start"], 2)]
    assert short[0]["mean"] == pytest.approx(25.0)
    assert (short[0]["score"], short[0]["observed"], short[0]["seconds"]) == (3.0, 9, 7 * HOUR)
    assert MOST_POINTS == 2_000


READS = (
    "incidents", "incidents/20260302-000001", "alerts", "budget", "segments", "timeseries", "silences",
    "feedback/precision",
)  # fmt: skip
WRITES = (
    ("POST", "/api/silences", {"segment": {}, "reason": "x", "ends_at": "2199-01-01T00:00Z"}),
    ("POST", "/api/alerts/retry", {}),
    ("POST", "/api/alerts/drop", {}),
    ("DELETE", "/api/silences/1", None),
)


@pytest.mark.parametrize(
    ("name", "reads", "writes"),
    [("desk", True, True), ("screen", True, False), ("crm", False, False), ("chief", True, True)],
)
def test_each_role_may_do_what_it_may(client: TestClient, store: Store, name: str, reads: bool, writes: bool) -> None:
    save(store, incident(1))
    for path in READS:
        assert client.get(f"/api/{path}", headers=_bearer(name)).status_code == (200 if reads else 403), path
    for method, path, body in WRITES:
        answer = client.request(method, path, json=body, headers=_bearer(name))
        assert answer.is_success == writes, (path, answer.text)
        assert writes or answer.status_code == 403
    assert client.get("/api/incidents", headers=_bearer("nobody")).status_code == 401


def test_a_store_that_is_away_is_503(settings_for: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder is wanted")
    settings = settings_for(f"sqlite:///{tmp_path}/blocked/store.db")
    client = TestClient(create_app(settings), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50_000))
    for path in READS:
        answer = client.get(f"/api/{path}")
        assert answer.status_code == 503, path
        assert int(answer.headers["retry-after"]) > 0
        assert "blocked" not in answer.text


def test_the_words_of_the_openapi_are_those_of_the_store() -> None:
    assert get_args(incident_schema.IncidentStatus) == get_args(Status)
    assert get_args(incident_schema.DeliveryState) == get_args(DeliveryState)
    assert get_args(incident_schema.Verdict) == VERDICTS
    assert get_args(segment_schema.WindowState) == tuple(state.name.lower() for state in State)
