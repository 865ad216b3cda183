"""Anomalies are kept once each, come back as they were, and are listed newest first page by page."""

from __future__ import annotations

import datetime as dt
import json
import random
import threading

import pytest
from anomaly_records import anomaly, moment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from cxad_pipeline.store.anomalies import (
    AnomalyFilter,
    CursorError,
    StoredAnomaly,
    find_anomalies,
    record_anomalies,
)
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.feedback import add_feedback
from cxad_pipeline.store.records import AnomalyRecord
from cxad_pipeline.store.tables import anomalies, feedback

pytest_plugins = ["store_databases"]

ONCE_FOR_ALL_EXAMPLES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40
)


def test_what_is_written_is_read_back(store: Store) -> None:
    record = anomaly("I-1", at=0.000001, scored=7.25, interaction={"name": "Grüße 🎧", "csat": None})
    assert _write(store, record) == 1
    assert _all(store) == [{**record, "source": "api", "verdict": None}]


def test_the_same_record_again_changes_nothing(store: Store) -> None:
    records = [anomaly(f"I-{number}") for number in range(700)]
    assert _write(store, *records) == 700
    before = _rows(store)
    assert _write(store, *records) == 0
    assert _rows(store) == before


def test_of_two_records_of_one_version_the_one_scored_later_stays_in_whichever_order_they_come(store: Store) -> None:
    early, late = anomaly("I-1", scored=10, severity=50.0), anomaly("I-1", scored=11, severity=80.0)
    assert _write(store, late) == 1
    assert _write(store, early) == 0
    assert _write(store, anomaly("I-2", scored=10, severity=50.0)) == 1
    assert _write(store, anomaly("I-2", scored=11, severity=80.0)) == 1
    assert _write(store, early | {"interaction_id": "I-3"}, late | {"interaction_id": "I-3"}) == 1
    assert _write(store, late | {"interaction_id": "I-4"}, early | {"interaction_id": "I-4"}) == 1
    assert [row["severity"] for row in _all(store)] == [80.0] * 4


def test_two_model_versions_keep_a_row_each(store: Store) -> None:
    assert _write(store, anomaly("I-1", model_version="v3"), anomaly("I-1", model_version="v4")) == 2
    assert {row["model_version"] for row in _all(store, interaction_id="I-1")} == {"v3", "v4"}


def test_writers_of_the_same_records_at_once_neither_fail_nor_double(store: Store) -> None:
    records = [anomaly(f"I-{number}") for number in range(300)]
    written: list[int] = []

    def write(seed: int) -> None:
        mine = random.Random(seed).sample(records, len(records))
        for _ in range(4):
            written.append(_write(store, *mine))

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 16
    assert sum(written) == len(_rows(store)) == 300


HOSTILE = [
    "x" * 200_000,
    "".join(random.Random(1).choices("abcdefghijklmnop", k=50_000)),  # does not compress to what an index holds
    "'; DROP TABLE anomalies; --",
    "%s %(a)s :name {0} \\' \\u0000",
    "Ω" * 5_000,
    "\u202e🧨\ufeff",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_texts_of_any_kind_and_length_are_kept_found_and_reviewed(store: Store, hostile: str) -> None:
    record = anomaly(hostile, model=hostile, interaction={"channel": hostile, "queue": hostile, "language": hostile})
    assert _write(store, record, anomaly("other")) == 2
    assert _write(store, record) == 0
    for name in ("interaction_id", "channel", "queue", "language"):
        assert [row["interaction_id"] for row in _all(store, **{name: hostile})] == [hostile]
    with store.writing() as connection:
        assert add_feedback(connection, hostile, "confirmed", by=hostile, note=hostile) is not None
    verdict = _all(store, interaction_id=hostile)[0]["verdict"]
    assert verdict is not None
    assert (verdict["by"], verdict["note"]) == (hostile, hostile)


@ONCE_FOR_ALL_EXAMPLES
@given(name=st.text(st.characters(), min_size=1))
def test_any_text_is_stored_with_what_no_database_holds_replaced(store: Store, name: str) -> None:
    _write(store, anomaly(name, interaction={"queue": name}))
    found = _all(store, interaction_id=name)
    expected = "".join("\ufffd" if letter == "\x00" or "\ud800" <= letter <= "\udfff" else letter for letter in name)
    assert [row["interaction_id"] for row in found] == [expected]


@pytest.mark.parametrize("time", ["yesterday", "2026-03-02T10:00:00", "0001-01-01T00:00:00+14:00", ""])
def test_a_time_that_is_none_is_refused_and_nothing_is_written(store: Store, time: str) -> None:
    with pytest.raises(ValueError, match="not ISO 8601 with a zone"):
        _write(store, anomaly("I-1"), anomaly("I-2") | {"timestamp": time})  # type: ignore[typeddict-item]
    assert _rows(store) == []


def test_times_of_any_zone_and_year_mean_the_same_moment(store: Store) -> None:
    given = {
        "2026-03-02T10:00:00+05:30": "2026-03-02T04:30:00.000000Z",
        "1900-01-01T00:00:00.000001Z": "1900-01-01T00:00:00.000001Z",
        "2199-12-31T23:59:59.999999Z": "2199-12-31T23:59:59.999999Z",
        "0001-01-01T00:00:00Z": "0001-01-01T00:00:00.000000Z",
        "9999-12-31T23:59:59.999999Z": "9999-12-31T23:59:59.999999Z",
    }
    for time in given:
        _write(store, anomaly(time) | {"timestamp": time})  # type: ignore[typeddict-item]
    assert {row["interaction_id"]: row["timestamp"] for row in _all(store)} == given
    assert [row["timestamp"] for row in _all(store)] == sorted(given.values(), reverse=True)


def _many(store: Store) -> list[AnomalyRecord]:
    """Contacts over two days, several of them at the same moment."""
    source = random.Random(7)
    records = [
        anomaly(
            f"I-{number}",
            at=source.randrange(0, 172_800, 7_200),
            severity=round(source.uniform(0, 100), 1),
            interaction={
                "channel": source.choice(["voice", "chat"]),
                "language": source.choice(["de", "en", None]),
                "queue": source.choice(["billing", "sales", "support"]),
            },
        )
        for number in range(200)
    ]
    _write(store, *records)
    return records


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"min_severity": 60},
        {"channel": "chat"},
        {"language": "en", "queue": "sales"},
        {"interaction_id": "I-17"},
        {"interaction_id": "nobody"},
        {"since": 43_200},
        {"until": 43_200},
        {"since": 36_000, "until": 129_600, "min_severity": 30.5, "channel": "voice"},
    ],
    ids=str,
)
@pytest.mark.parametrize("limit", [7, 500])
def test_pages_hold_every_wanted_anomaly_once_the_latest_contact_first(
    store: Store, wanted: dict[str, object], limit: int
) -> None:
    records = _many(store)
    found, sizes = _pages(store, limit, **wanted)
    expected = [record for record in records if _is_wanted(record, wanted)]
    assert sorted(row["interaction_id"] for row in found) == sorted(record["interaction_id"] for record in expected)
    times = [row["timestamp"] for row in found]
    assert times == sorted(times, reverse=True)
    assert all(size == limit for size in sizes[:-1])


def _is_wanted(record: AnomalyRecord, wanted: dict[str, object]) -> bool:
    """The filters as their documentation says, on the records themselves."""
    for name, value in wanted.items():
        if name == "since" and record["timestamp"] < moment(value):  # type: ignore[arg-type]
            return False
        if name == "until" and record["timestamp"] >= moment(value):  # type: ignore[arg-type]
            return False
        if name == "min_severity" and record["severity"] < value:  # type: ignore[operator]
            return False
        if name in ("channel", "language", "queue", "interaction_id") and record["interaction"].get(name) != value:
            return False
    return True


def test_what_is_written_between_two_pages_neither_repeats_nor_hides_a_row(store: Store) -> None:
    _write(store, *[anomaly(f"I-{number}", at=number) for number in range(20)])
    with store.reading() as connection:
        first, cursor = find_anomalies(connection, AnomalyFilter(), limit=8)
    _write(store, *[anomaly(f"new-{number}", at=100 + number) for number in range(5)])
    _write(store, anomaly("I-19", at=19, scored=99))
    with store.reading() as connection:
        second, _ = find_anomalies(connection, AnomalyFilter(), limit=500, cursor=cursor)
    assert [row["interaction_id"] for row in first + second] == [f"I-{number}" for number in reversed(range(20))]


@pytest.mark.parametrize("cursor", ["", "x", "é" * 22, "A" * 21, "A" * 23, "=" * 22, "!" * 22])
def test_a_cursor_that_is_none_is_an_error(store: Store, cursor: str) -> None:
    with pytest.raises(CursorError), store.reading() as connection:
        find_anomalies(connection, AnomalyFilter(), limit=1, cursor=cursor)


@ONCE_FOR_ALL_EXAMPLES
@given(cursor=st.from_regex(r"[A-Za-z0-9_-]{22}", fullmatch=True))
def test_a_made_up_cursor_harms_nothing(store: Store, cursor: str) -> None:
    with store.reading() as connection:
        assert find_anomalies(connection, AnomalyFilter(), limit=1, cursor=cursor) == ([], None)


def test_the_latest_verdict_stands_beside_and_all_are_kept(store: Store) -> None:
    _write(store, anomaly("I-1", model_version="v3"), anomaly("I-1", model_version="v4"), anomaly("I-2"))
    at = dt.datetime(2026, 3, 3, 9, 30, 0, 125, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    with store.writing() as connection:
        add_feedback(connection, "I-1", "confirmed", by="ann")
        said = add_feedback(connection, "I-1", "false_alarm", by="bob", note="a test call", at=at)
    expected = {"verdict": "false_alarm", "by": "bob", "at": "2026-03-03T07:30:00.000125Z", "note": "a test call"}
    assert said is not None
    assert (said.verdict, said.silence) == (expected, None)
    verdicts = {(row["interaction_id"], row["model_version"]): row["verdict"] for row in _all(store)}
    assert verdicts == {("I-1", "v3"): expected, ("I-1", "v4"): expected, ("I-2", "v3"): None}
    with store.reading() as connection:
        assert connection.execute(select(feedback.c.verdict).order_by(feedback.c.id)).scalars().all() == [
            "confirmed",
            "false_alarm",
        ]


def test_feedback_on_what_is_not_stored_adds_nothing(store: Store) -> None:
    with store.writing() as connection:
        assert add_feedback(connection, "nobody", "confirmed", by="ann") is None
        assert connection.execute(select(func.count()).select_from(feedback)).scalar() == 0


def test_a_verdict_that_is_none_is_an_error(store: Store) -> None:
    _write(store, anomaly("I-1"))
    says = "must be one of confirmed, expected, false_alarm, new_trend"
    with pytest.raises(ValueError, match=says), store.writing() as connection:
        add_feedback(connection, "I-1", "maybe", by="ann")


def test_a_listing_uses_the_index_of_its_order(store: Store) -> None:
    _many(store)
    with store.reading() as connection:
        if store.engine.dialect.name == "sqlite":
            plan = connection.exec_driver_sql(
                "EXPLAIN QUERY PLAN SELECT * FROM anomalies ORDER BY timestamp DESC, id DESC LIMIT 9"
            )
        else:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            plan = connection.exec_driver_sql(
                "EXPLAIN SELECT * FROM anomalies ORDER BY timestamp DESC, id DESC LIMIT 9"
            )
        said = json.dumps([list(map(str, row)) for row in plan.all()])
    assert "ix_anomalies_timestamp_id" in said
    assert "B-TREE" not in said
    assert "Sort" not in said


def _write(store: Store, *records: AnomalyRecord) -> int:
    with store.writing() as connection:
        return record_anomalies(connection, records)


def _rows(store: Store) -> list[object]:
    with store.reading() as connection:
        return list(connection.execute(select(anomalies).order_by(anomalies.c.id)).all())


def _filter(wanted: dict[str, object]) -> AnomalyFilter:
    times = {name: dt.datetime.fromisoformat(moment(wanted[name])) for name in ("since", "until") if name in wanted}  # type: ignore[arg-type]
    return AnomalyFilter(**{**wanted, **times})  # type: ignore[arg-type]


def _pages(store: Store, limit: int, **wanted: object) -> tuple[list[StoredAnomaly], list[int]]:
    found: list[StoredAnomaly] = []
    sizes = []
    cursor = None
    while True:
        with store.reading() as connection:
            page, cursor = find_anomalies(connection, _filter(wanted), limit=limit, cursor=cursor)
        found += page
        sizes.append(len(page))
        if cursor is None:
            return found, sizes


def _all(store: Store, **wanted: object) -> list[StoredAnomaly]:
    return _pages(store, 500, **wanted)[0]
