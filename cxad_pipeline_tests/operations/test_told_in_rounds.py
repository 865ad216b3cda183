"""What rounds of delivery tell of an incident as time passes, what a silence takes back, and what leaves meanwhile."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from operations_world import RecordingChannel, make_settings
from sqlalchemy import text

from cxad_pipeline.alerting.channels import DeliveryError, Parcel
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.incidents.bands import SegmentBaselines
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.store.baselines import record_baselines
from cxad_pipeline.store.calibrations import CalibrationRecord, record_calibration
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.incidents import NOTHING_TOLD, StoredIncident, get_incident, lock_incidents, save_incident
from cxad_pipeline.store.outbox import Notice, queue
from cxad_pipeline.store.silences import add_silence

pytest_plugins = ["store_databases"]

FOUND = dt.datetime(2026, 10, 13, 13, 5, tzinfo=dt.UTC)
SECOND, MINUTE, HOUR = dt.timedelta(seconds=1), dt.timedelta(minutes=1), dt.timedelta(hours=1)
BILLING: Key = (("queue", "billing"),)
VOICE: Key = (("channel", "voice"),)


def incident(severity: float = 50.0, **changes: Any) -> Incident:
    """Hold times in a queue that are far too long, from twelve to one."""
    found = Incident(
        id="20261013-3f9a2c",
        status="open",
        segment=BILLING,
        metric="hold_time_seconds",
        direction="high",
        kind="far tail",
        started_at=FOUND - 65 * MINUTE,
        ended_at=FOUND - 5 * MINUTE,
        score=3.8,
        severity=severity,
        alert_score=3.8,
        alert_severity=50.0,
        critical=True,
        observed=41.0,
        expected=4.2,
        affected=41,
        expected_affected=4.2,
        contacts=55,
        causes=(),
        reasons=(),
        examples=(),
        model_version="3",
        threshold=2.4,
        opened_at=FOUND,
        updated_at=FOUND,
    )
    return replace(found, **changes)


class LimitedChannel(RecordingChannel):
    """A channel that takes nothing while it is limited, and asks to be left alone for two hours."""

    limited = True

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        if self.limited:
            raise DeliveryError("429", retry_after=2 * 3600)
        return super().deliver(parcel)


class Desk:
    """A store, channels, and one incident that changes; times are since it was found."""

    def __init__(self, folder: Path, url: str, *channels: RecordingChannel, **alerts: Any) -> None:
        self.settings = make_settings(folder, url, alerts=alerts)
        self.store: Store = open_store(self.settings)
        self.channels = list(channels) or [RecordingChannel()]
        self.teller = Teller(self.settings, self.channels, lambda moment: f"{moment:%Y-%m-%d}")

    def change(self, after: Incident, at: dt.timedelta) -> None:
        """What judging does with a change, by a clock that says `at`."""
        now = FOUND + at
        after = replace(after, updated_at=now)
        with self.store.writing() as connection:
            lock_incidents(connection)
            known = get_incident(connection, after.id)
            before, told = (known.incident, known.told) if known is not None else (None, NOTHING_TOLD)
            save_incident(connection, after, (), self.teller.tell(connection, before, after, told, now))

    def round(self, at: dt.timedelta) -> None:
        deliver_round(self.store, self.settings, self.channels, self.teller, lambda: FOUND + at)

    def rounds(self, start: dt.timedelta, stop: dt.timedelta, step: dt.timedelta = 10 * MINUTE) -> None:
        while start < stop:
            self.round(start)
            start += step

    def silence(self, start: dt.timedelta, stop: dt.timedelta, segment: Key = ()) -> None:
        with self.store.writing() as connection:
            add_silence(
                connection,
                scope="incidents",
                segment=segment,
                metric=None,
                owner="lead",
                reason="price change",
                starts_at=FOUND + start,
                ends_at=FOUND + stop,
            )

    def stored(self) -> StoredIncident:
        with self.store.reading() as connection:
            found = get_incident(connection, incident().id)
        assert found is not None
        return found

    def said(self, channel: int = 0) -> list[str]:
        """First words of what a channel was told of the incident."""
        parcels = self.channels[channel].parcels
        return [parcel.message.headline.split(" · hold")[0] for parcel in parcels if parcel.topic.startswith("inc")]

    def news(self) -> list[str]:
        return [parcel.message.news for parcel in self.channels[0].parcels if parcel.topic.startswith("inc")]


@pytest.fixture
def desk(tmp_path: Path, sqlite_url: str) -> Iterator[Desk]:
    made = Desk(tmp_path, sqlite_url)
    yield made
    made.store.close()


@pytest.fixture
def either_desk(tmp_path: Path, store_url: str) -> Iterator[Desk]:
    """On each of the databases."""
    made = Desk(tmp_path, store_url)
    yield made
    made.store.close()


@pytest.fixture
def waiting_desk(tmp_path: Path, store_url: str) -> Iterator[Desk]:
    made = Desk(tmp_path, store_url, wait_minutes=5)
    yield made
    made.store.close()


def test_an_incident_that_goes_on_is_told_again_after_the_repeat_interval(desk: Desk) -> None:
    desk.change(incident(), 0 * MINUTE)
    desk.change(incident(affected=50), 3 * HOUR)
    desk.rounds(0 * HOUR, 24 * HOUR, HOUR)
    assert desk.said() == ["Severity 50 · billing"]
    desk.rounds(24 * HOUR, 30 * HOUR, HOUR)
    assert desk.said() == ["Severity 50 · billing", "Still open: severity 50 · billing"]


def test_one_of_which_nothing_is_new_is_not_told_again(desk: Desk) -> None:
    desk.change(incident(), 0 * MINUTE)
    desk.rounds(0 * HOUR, 60 * HOUR, HOUR)
    assert desk.said() == ["Severity 50 · billing"]


def test_one_that_became_worse_too_soon_is_told_when_the_time_has_come(desk: Desk) -> None:
    desk.change(incident(), 0 * MINUTE)
    desk.round(0 * MINUTE)
    desk.change(incident(75.0), 20 * MINUTE)
    desk.rounds(20 * MINUTE, 60 * MINUTE)
    assert desk.said() == ["Severity 50 · billing"]
    desk.rounds(60 * MINUTE, 180 * MINUTE)
    assert desk.said() == ["Severity 50 · billing", "Worse: severity 75 · billing"]


def test_a_message_tells_how_much_worse_it_is_than_people_were_told_last(desk: Desk) -> None:
    """And not than it was when it was found."""
    for severity, at in ((50.0, 0 * HOUR), (70.0, 2 * HOUR), (95.0, 4 * HOUR)):
        desk.change(incident(severity), at)
        desk.round(at)
    usually = "41 of 55 contacts, usually 4.2."
    assert desk.news() == ["", f"Severity 50 → 70; {usually}", f"Severity 70 → 95; {usually}"]
    desk.change(incident(96.0, segment=VOICE), 6 * HOUR)
    desk.round(6 * HOUR)
    assert desk.news()[-1].endswith("severity 95 → 96.")


def test_a_first_message_that_waits_is_taken_back_by_a_silence_and_told_after_it(waiting_desk: Desk) -> None:
    waiting_desk.change(incident(), 0 * MINUTE)
    waiting_desk.silence(1 * MINUTE, 30 * MINUTE)
    waiting_desk.rounds(2 * MINUTE, 30 * MINUTE)
    assert waiting_desk.said() == []
    assert waiting_desk.stored().told == NOTHING_TOLD
    waiting_desk.rounds(30 * MINUTE, 60 * MINUTE)
    assert waiting_desk.said() == ["Severity 50 · billing"]


def test_an_update_that_waits_is_taken_back_by_a_silence_and_told_after_it(either_desk: Desk) -> None:
    """Without a silence it would have been told after an hour."""
    either_desk.change(incident(), 0 * MINUTE)
    either_desk.round(0 * MINUTE)
    either_desk.change(incident(95.0, segment=VOICE), 20 * MINUTE)
    either_desk.silence(25 * MINUTE, 35 * MINUTE)
    either_desk.rounds(30 * MINUTE, 60 * MINUTE)
    assert either_desk.said() == ["Severity 50 · billing"]
    either_desk.rounds(60 * MINUTE, 300 * MINUTE)
    assert either_desk.said() == ["Severity 50 · billing", "Changed: severity 95 · voice"]
    assert either_desk.news()[-1].endswith("severity 50 → 95.")


def test_a_silence_of_what_all_contacts_of_the_segment_share_takes_back_what_waits(waiting_desk: Desk) -> None:
    """All of billing calls here, so a silence of voice covers it."""
    calibration = CalibrationRecord(FOUND - HOUR, FOUND - 9 * HOUR, FOUND - HOUR, 900, 1, ["aht"], 4, 5, 4, 4, {})
    with waiting_desk.store.writing() as connection:
        number = record_calibration(connection, calibration)
        known = SegmentBaselines(3_600, "UTC", {}, {}, (*BILLING, *VOICE))
        record_baselines(connection, number, [(BILLING, known)])
    waiting_desk.change(incident(), 0 * MINUTE)
    waiting_desk.silence(1 * MINUTE, 600 * MINUTE, VOICE)
    waiting_desk.rounds(2 * MINUTE, 60 * MINUTE)
    assert waiting_desk.said() == []


def test_an_end_that_was_reached_before_a_silence_is_told_in_it(desk: Desk) -> None:
    desk.change(incident(), 0 * MINUTE)
    desk.round(0 * MINUTE)
    desk.change(incident(status="resolved", resolved_at=FOUND + 20 * MINUTE), 20 * MINUTE)
    desk.silence(21 * MINUTE, 600 * MINUTE)
    desk.rounds(22 * MINUTE, 60 * MINUTE)
    assert desk.said() == ["Severity 50 · billing"]
    desk.rounds(60 * MINUTE, 120 * MINUTE)
    assert desk.said() == ["Severity 50 · billing", "Over: severity 50 · billing"]


def test_what_a_channel_did_not_take_before_a_silence_is_tried_again_in_it(tmp_path: Path, sqlite_url: str) -> None:
    channel = LimitedChannel()
    desk = Desk(tmp_path, sqlite_url, channel)
    desk.change(incident(), 0 * MINUTE)
    desk.round(0 * MINUTE)
    channel.limited = False
    desk.silence(1 * MINUTE, 600 * MINUTE)
    desk.rounds(2 * MINUTE, 300 * MINUTE)
    assert desk.said() == ["Severity 50 · billing"]
    desk.store.close()


@pytest.mark.parametrize("ending", ["silence", "merged", "resolved"])
def test_the_first_message_of_a_channel_that_rests_is_not_taken_back_with_a_later_one(
    tmp_path: Path, sqlite_url: str, ending: str
) -> None:
    resting = LimitedChannel("resting")
    desk = Desk(tmp_path, sqlite_url, RecordingChannel("working"), resting)
    with desk.store.writing() as connection:  # it is left alone before the incident is found
        content = Message("x", "x").to_dict()
        queue(connection, Notice("run:x", "run_failure", "run:x", content, FOUND), ["resting"], at=FOUND - MINUTE)
    desk.round(-MINUTE)
    desk.round(0 * MINUTE)
    desk.change(incident(), 0 * MINUTE)
    desk.round(0 * MINUTE)
    moved = incident(segment=VOICE)
    desk.change(moved, 20 * MINUTE)
    if ending == "silence":
        desk.silence(25 * MINUTE, 9 * HOUR)
    elif ending == "merged":
        desk.change(replace(moved, status="merged", merged_into="20261013-000000"), 25 * MINUTE)
    else:
        desk.change(replace(moved, status="resolved", resolved_at=FOUND + 25 * MINUTE), 25 * MINUTE)
    resting.limited = False
    desk.rounds(30 * MINUTE, 300 * MINUTE)
    over = ["Over: severity 50 · voice"] if ending == "resolved" else []
    assert desk.said(0) == desk.said(1) == ["Severity 50 · billing", *over]
    desk.store.close()


@pytest.mark.parametrize("wait", [0, 5])
@pytest.mark.parametrize("after", [incident(95.0), incident(segment=VOICE), incident(95.0, segment=VOICE)])
def test_what_has_left_by_another_clock_is_not_taken_for_what_waits(
    tmp_path: Path, store_url: str, wait: int, after: Incident
) -> None:
    """The first message is with the channel; who judges next has a clock that is behind, by which it still waits."""
    desk = Desk(tmp_path, store_url, wait_minutes=wait)
    desk.change(incident(), 0 * MINUTE)
    desk.round(wait * MINUTE)
    desk.change(after, wait * MINUTE - 20 * SECOND)
    desk.rounds(wait * MINUTE, wait * MINUTE + HOUR)
    assert desk.said() == ["Severity 50 · billing"]
    desk.rounds(wait * MINUTE + HOUR, 10 * HOUR)
    name = "billing" if after.segment == BILLING else "voice"
    verb = "Worse" if after.segment == BILLING else "Changed"
    assert desk.said()[1:] == [f"{verb}: severity {after.severity:.0f} · {name}"]
    desk.store.close()


@pytest.mark.parametrize("judged", [False, True])
def test_what_has_left_by_another_clock_is_not_forgotten_in_a_silence(either_desk: Desk, judged: bool) -> None:
    """Who has heard of an incident hears of its end when the silence is over."""
    either_desk.change(incident(), 0 * MINUTE)
    either_desk.round(0 * MINUTE)
    either_desk.silence(-MINUTE, 2 * HOUR)
    if judged:
        either_desk.change(incident(51.0), -20 * SECOND)
    either_desk.round(-20 * SECOND)
    assert either_desk.stored().told.critical
    either_desk.change(incident(status="resolved", resolved_at=FOUND + 3 * HOUR), 3 * HOUR)
    either_desk.round(3 * HOUR)
    assert either_desk.said() == ["Severity 50 · billing", "Over: severity 50 · billing"]


def test_a_round_waits_for_who_judges_and_sees_what_they_saved(tmp_path: Path, postgres_url: str) -> None:
    """Or it would save the incident as it was before, with a reminder."""
    desk = Desk(tmp_path, postgres_url)
    desk.change(incident(), 0 * MINUTE)
    desk.round(0 * MINUTE)
    desk.change(incident(affected=50), 2 * HOUR)
    over = incident(status="resolved", resolved_at=FOUND + 25 * HOUR, updated_at=FOUND + 25 * HOUR)
    thread = threading.Thread(target=desk.round, args=(26 * HOUR,), daemon=True)
    with desk.store.writing() as connection:
        lock_incidents(connection)
        known = get_incident(connection, over.id)
        assert known is not None
        told = desk.teller.tell(connection, known.incident, over, known.told, FOUND + 25 * HOUR)
        save_incident(connection, over, (), told)
        thread.start()
        deadline = time.monotonic() + 120
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        while thread.is_alive():
            with desk.store.reading() as other:
                if other.execute(waiting).scalar_one():
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
    thread.join(120)
    assert not thread.is_alive()
    assert desk.stored().incident.status == "resolved"
    assert desk.said() == ["Severity 50 · billing", "Over: severity 50 · billing"]
    desk.store.close()
