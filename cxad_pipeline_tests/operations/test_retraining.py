"""When files, drift and verdicts ask for a training, without Dagster."""

from __future__ import annotations

import datetime as dt

import pytest

from cxad_pipeline.interactions.landing_plan import Seen, SeenFile
from cxad_pipeline.operations.retraining import (
    NEW_TRENDS,
    DriftSeen,
    TrainingMemory,
    asks_for_training,
    new_trend_reasons,
)

NOW = dt.datetime(2026, 10, 20, 12, tzinfo=dt.UTC)
COOLDOWN = dt.timedelta(hours=72)
DRIFT = DriftSeen("2026-10-20-0600", "aht_seconds in all contacts")
LONG_AGO = NOW - dt.timedelta(days=30)
VERDICTS = "5 verdicts new trend"


def asked(hours_ago: float, window: str = "") -> TrainingMemory:
    return TrainingMemory(Seen(), NOW - dt.timedelta(hours=hours_ago), window)


def reason(
    files: str = "",
    drift: DriftSeen | None = None,
    others: tuple[str, ...] = (),
    memory: TrainingMemory | None = None,
    trained_at: dt.datetime | None = LONG_AGO,
    same_files: bool = False,
) -> str:
    memory = memory or TrainingMemory(Seen())
    return asks_for_training(
        files,
        drift,
        others,
        memory=memory,
        trained_at=trained_at,
        cooldown=COOLDOWN,
        now=NOW,
        same_files=same_files,
    )


def test_nothing_asks_for_nothing():
    assert reason() == ""


def test_drift_asks_and_says_why():
    assert reason(drift=DRIFT) == "drift: aht_seconds in all contacts"
    assert reason(drift=DRIFT, trained_at=None) == "drift: aht_seconds in all contacts"


@pytest.mark.parametrize(("hours", "asks"), [(0, False), (71.9, False), (72, True)])
def test_the_cool_down_is_measured_from_the_later_of_request_and_training(hours: float, asks: bool):
    since = NOW - dt.timedelta(hours=hours)
    assert bool(reason(drift=DRIFT, memory=asked(hours))) is asks
    assert bool(reason(drift=DRIFT, trained_at=since)) is asks
    assert bool(reason(drift=DRIFT, memory=asked(hours), trained_at=LONG_AGO)) is asks
    assert bool(reason(drift=DRIFT, memory=asked(500), trained_at=since)) is asks


def test_the_same_drift_does_not_ask_again_but_a_newer_window_does():
    assert reason(drift=DRIFT, memory=asked(100, DRIFT.window)) == ""
    assert reason(drift=DRIFT, memory=asked(100, "2026-10-20-1200")) == ""
    assert reason(drift=DRIFT, memory=asked(100, "2026-10-20-0000"))


def test_files_ask_whatever_was_asked_before():
    assert reason("new file b.csv", memory=asked(0)) == "new file b.csv"
    assert reason("new file b.csv", DRIFT, memory=asked(0)) == "new file b.csv"
    assert reason("new file b.csv", DRIFT) == "new file b.csv and drift: aht_seconds in all contacts"


def test_other_reasons_wait_for_the_cool_down_too():
    assert reason(others=(VERDICTS,)) == VERDICTS
    assert reason(others=(VERDICTS,), memory=asked(71)) == ""
    assert reason(drift=DRIFT, others=(VERDICTS,), memory=asked(100, DRIFT.window)) == VERDICTS


def test_what_the_last_training_has_read_is_not_trained_on_again():
    assert reason(drift=DRIFT, others=(VERDICTS,), same_files=True) == ""
    assert reason("new file b.csv", DRIFT, (VERDICTS,), same_files=True) == "new file b.csv"


def test_the_memory_outlives_a_restart():
    memory = TrainingMemory(Seen({"a.csv": SeenFile("0" * 64, 7)}), NOW, DRIFT.window)
    assert TrainingMemory.from_json(memory.to_json()) == memory
    assert TrainingMemory.from_json(None) == TrainingMemory(Seen())


def test_a_memory_of_files_alone_is_read():
    """Cursors that were written before drift asked for anything."""
    seen = Seen({"a.csv": SeenFile("0" * 64, 7)})
    assert TrainingMemory.from_json(seen.to_json()) == TrainingMemory(seen)


def test_a_few_interactions_said_to_be_a_new_trend_ask_for_nothing_and_more_of_them_do():
    assert new_trend_reasons(NEW_TRENDS - 1) == []
    assert new_trend_reasons(NEW_TRENDS) == ["5 interactions are said to be a new trend"]
