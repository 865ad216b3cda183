"""Which incidents a configuration would have raised."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from operations_world import (
    NOW,
    START,
    RecordingChannel,
    World,
    make_settings,
    scored_rows,
    training_rows,
    write_history,
    write_scored,
)

from cxad_pipeline.incidents import State
from cxad_pipeline.operations.backtest import backtest
from cxad_pipeline.operations.history import NoHistoryError
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.incidents import IncidentFilter, find_incidents


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = make_settings(tmp_path, f"sqlite:///{tmp_path}/store.db")
    write_history(made)
    write_scored(made, scored_rows())
    return made


def test_with_enough_history_before_it_finds_what_the_pipeline_found(settings: Settings) -> None:
    found = backtest(settings, 2, NOW)
    world = World(settings, open_store(settings), [RecordingChannel()])
    world.judge()
    with world.store.reading() as connection:
        stored, _ = find_incidents(connection, IncidentFilter(), limit=10)
    world.store.close()
    assert "28 days of contacts before them" in found.judged_by
    assert [incident.id for incident in found.incidents] == [s.incident.id for s in stored]
    assert found.threshold == pytest.approx(world.model.threshold)
    assert found.windows.number == 48
    assert found.replayed_per_week == pytest.approx(len(found.incidents) * 3.5)


def test_with_too_little_before_it_each_day_is_judged_by_the_others(settings: Settings) -> None:
    found = backtest(settings, 28, NOW)
    assert "each day judged by the others" in found.judged_by
    assert found.windows.number == 28 * 24
    assert any(
        incident.started_at >= START and ("queue", "billing") in incident.segment for incident in found.incidents
    )
    assert found.replayed_per_week <= found.promised_per_week


def test_a_smaller_promise_raises_fewer_incidents(settings: Settings, tmp_path: Path) -> None:
    strict = make_settings(tmp_path, settings.store.url, incidents={"budget_per_week": 0.5})
    few, many = backtest(strict, 28, NOW), backtest(settings, 28, NOW)
    assert few.threshold > many.threshold
    assert len(few.incidents) < len(many.incidents)


def test_it_writes_nothing_to_the_store(settings: Settings, tmp_path: Path) -> None:
    backtest(settings, 2, NOW)
    assert not (tmp_path / "store.db").exists()


def test_too_little_history_is_said(tmp_path: Path) -> None:
    made = make_settings(tmp_path, f"sqlite:///{tmp_path}/store.db")
    with pytest.raises(NoHistoryError, match="cxad train"):
        backtest(made, 28, NOW)
    write_history(made, training_rows().slice(0, 3_000))
    found = backtest(made, 7, NOW)
    assert found.incidents == ()


def test_what_could_not_be_tested_is_known(settings: Settings, tmp_path: Path) -> None:
    """The picture shades it."""
    special = make_settings(
        tmp_path, settings.store.url, incidents={"special_days": [NOW.date() - dt.timedelta(days=2)]}
    )
    found = backtest(special, 2, NOW)
    assert list(found.states[:24]) == [State.SPECIAL_DAY] * 24
    assert State.SPECIAL_DAY not in found.states[24:]
    assert np.isnan(found.best[:24]).all()
