"""Verdicts are added, the latest counts; `expected` silences; precision is counted by segment."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from anomaly_records import anomaly
from sqlalchemy import func, select
from stored_incident_examples import NASTY, VOICE, call, incident, moment

from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.anomalies import record_anomalies
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.feedback import (
    EXPECTED_FOR,
    Precision,
    Said,
    add_feedback,
    add_incident_feedback,
    precision_by_segment,
)
from cxad_pipeline.store.incident_tables import incident_feedback
from cxad_pipeline.store.incidents import NOTHING_TOLD, get_incident, save_incident
from cxad_pipeline.store.silences import find_silences

pytest_plugins = ["store_databases"]

WEEK = dt.timedelta(days=7)
VERDICTS = ["confirmed", "expected", "false_alarm", "new_trend"]
LEAF: Key = (("queue", "billing"), ("channel", "voice"), ("language", "de"))


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_on_an_incident_is_kept_and_stands_beside_it(store: Store, verdict: str) -> None:
    _save(store)
    _say(store, "false_alarm" if verdict != "false_alarm" else "confirmed")
    said = _say(store, verdict, note="Grüße", at=moment(5.5), expected_for=dt.timedelta(hours=2))
    expected: dict[str, str] = {
        "verdict": verdict, "by": "ann", "at": "2026-09-07T05:30:00.000000Z", "note": "Grüße",
    }  # fmt: skip
    if verdict == "expected":
        expected["until"] = "2026-09-07T07:30:00.000000Z"
    assert said is not None
    assert said.verdict == expected
    with store.reading() as connection:
        found = get_incident(connection, incident().id)
        assert found is not None
        assert found.verdict == expected
        assert connection.execute(select(func.count()).select_from(incident_feedback)).scalar() == 2


def test_expected_silences_the_segment_and_metric_of_an_incident(store: Store) -> None:
    _save(store)
    _say(store, "expected", at=moment(5), note="a fair")
    said = _say(store, "expected", at=moment(6), until=moment(8), by="bob")
    for verdict in ("confirmed", "false_alarm", "new_trend"):
        _say(store, verdict)
    with store.reading() as connection:
        (silence,) = find_silences(connection)
    assert (silence.segment, silence.metric, silence.scope) == (VOICE, "aht", "incidents")
    assert (silence.starts_at, silence.ends_at) == (moment(5), moment(5) + WEEK), "the later end of the two"
    assert (silence.owner, silence.reason) == ("bob", "expected")
    assert said is not None
    assert said.silence == silence
    assert said.verdict["until"] == "2026-09-07T08:00:00.000000Z", "what was said stays as it was said"


@pytest.mark.parametrize("until", [None, moment(8)])
def test_expected_silences_the_leaf_of_an_anomaly_and_the_column_of_its_first_reason(
    store: Store, until: dt.datetime | None
) -> None:
    _record(store, "I-1")
    with store.writing() as connection:
        said = add_feedback(connection, "I-1", "expected", by="ann", at=moment(5), until=until)
        add_feedback(connection, "I-1", "confirmed", by="ann")
        silences = find_silences(connection)
    assert [(one.scope, one.segment, one.metric, one.owner) for one in silences] == [
        ("anomalies", LEAF, "aht_seconds", "ann")
    ]
    end = moment(5) + EXPECTED_FOR if until is None else until
    assert (silences[0].starts_at, silences[0].ends_at) == (moment(5), end)
    assert said is not None
    assert said.silence == silences[0]
    assert said.verdict["until"] == end.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_an_anomaly_without_channel_or_reasons_silences_the_unknown_alone(store: Store) -> None:
    _record(store, "I-1", reasons=[], interaction={"channel": None, "queue": None, "language": None})
    with store.writing() as connection:
        add_feedback(connection, "I-1", "expected", by="ann", expected_for=dt.timedelta(hours=1))
        (silence,) = find_silences(connection)
    assert silence.segment == (("queue", "unknown"), ("channel", "unknown"), ("language", "unknown"))
    assert silence.metric is None


def test_feedback_on_an_incident_that_is_not_there_adds_nothing(store: Store) -> None:
    assert _say(store, "expected") is None
    with store.reading() as connection:
        assert find_silences(connection) == []


@pytest.mark.parametrize(
    ("verdict", "changes", "says"),
    [
        ("maybe", {}, "must be one of confirmed, expected, false_alarm, new_trend"),
        ("confirmed", {"until": moment(9)}, "until is the end of a silence, which confirmed does not bring about"),
        ("expected", {"at": moment(5), "until": moment(5)}, "must be after the moment of the verdict"),
        ("expected", {"expected_for": dt.timedelta(0)}, "must be after the moment of the verdict"),
    ],
)
def test_feedback_that_makes_no_sense_is_refused_and_adds_nothing(
    store: Store, verdict: str, changes: dict[str, Any], says: str
) -> None:
    _save(store)
    _record(store, "I-1")
    with pytest.raises(ValueError, match=says):
        _say(store, verdict, **changes)
    with pytest.raises(ValueError, match=says), store.writing() as connection:
        add_feedback(connection, "I-1", verdict, by="ann", **changes)
    with store.reading() as connection:
        assert find_silences(connection) == []
        assert connection.execute(select(func.count()).select_from(incident_feedback)).scalar() == 0


def test_texts_of_any_kind_are_kept(store: Store) -> None:
    _save(store, segment=((NASTY, NASTY),), metric=NASTY)
    _record(store, "I-1", interaction={"queue": NASTY})
    said = _say(store, "expected", by=NASTY, note=NASTY)
    with store.writing() as connection:
        also = add_feedback(connection, "I-1", "expected", by=NASTY, note=NASTY)
        assert len(find_silences(connection)) == 2
    assert said is not None
    assert also is not None
    assert said.verdict["note"] == also.verdict["note"] == NASTY


def test_precision_counts_the_latest_verdict_of_each_incident_by_segment(store: Store) -> None:
    told = {
        VOICE: [["confirmed"], ["false_alarm", "confirmed"], ["confirmed", "false_alarm"], ["expected"]],
        (): [["new_trend"], ["expected", "new_trend"]],
        (("queue", "a"),): [["false_alarm"]],
        (("queue", "b"),): [[]],
    }
    for segment, incidents in told.items():
        for number, verdicts in enumerate(incidents):
            _save(store, f"{segment} {number}", segment=segment)
            for verdict in verdicts:
                _say(store, verdict, incident_id=f"{segment} {number}", at=moment(5))
    _save(store, "judged before", segment=VOICE)
    _say(store, "confirmed", incident_id="judged before", at=moment(4))
    with store.reading() as connection:
        assert precision_by_segment(connection, moment(5)) == [
            Precision(VOICE, 2, 1, 1, 0, 2 / 3),
            Precision((), 0, 0, 0, 2, None),
            Precision((("queue", "a"),), 0, 0, 1, 0, 0.0),
        ]
        assert precision_by_segment(connection, moment(4))[0].confirmed == 3
        assert precision_by_segment(connection, moment(6)) == []


def test_precision_counts_interactions_by_leaf_once_whatever_versions_found_them(store: Store) -> None:
    for number in range(4):
        for version in ("v1", "v2"):
            queue = None if number == 3 else "billing"
            _record(store, f"I-{number}", model_version=version, interaction={"queue": queue})
    with store.writing() as connection:
        for number, verdicts in enumerate([["confirmed"], ["confirmed", "false_alarm"], ["expected"], ["confirmed"]]):
            for verdict in verdicts:
                add_feedback(connection, f"I-{number}", verdict, by="ann", at=moment(5))
    with store.reading() as connection:
        assert precision_by_segment(connection, moment(5), "anomalies") == [
            Precision(LEAF, 1, 1, 1, 0, 0.5),
            Precision((("queue", "unknown"), *LEAF[1:]), 1, 0, 0, 0, 1.0),
        ]
        assert precision_by_segment(connection, moment(5)) == []


def _save(store: Store, incident_id: str = incident().id, **changes: Any) -> None:
    with store.writing() as connection:
        save_incident(connection, incident(incident_id, **changes), (call(),), NOTHING_TOLD)


def _say(store: Store, verdict: str, *, incident_id: str = incident().id, **changes: Any) -> Said | None:
    with store.writing() as connection:
        return add_incident_feedback(connection, incident_id, verdict, **{"by": "ann", "expected_for": WEEK, **changes})


def _record(store: Store, interaction_id: str, **changes: Any) -> None:
    with store.writing() as connection:
        record_anomalies(connection, [anomaly(interaction_id, **changes)])
