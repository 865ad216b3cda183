"""A promise that leaves little to be found is told, with what to do; that of the committed sample is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from operations_world import NOW, make_settings, training_rows, write_history

from cxad_pipeline.cli.backtesting import summary_rows
from cxad_pipeline.incidents import Contacts, MetricRule, Promise
from cxad_pipeline.incidents.contacts import contacts_of
from cxad_pipeline.incidents.incident_model import IncidentModel, Replay
from cxad_pipeline.incidents.power import SEGMENTS, Power, power_of, warning_of
from cxad_pipeline.operations.backtest import backtest
from cxad_pipeline.operations.calibration import Judgements, fitted
from cxad_pipeline.operations.watched import watched_metrics

MONDAY = 1_788_739_200  # 7 September 2026, 00:00 UTC


def _fit(folder: Path, rows: int | None = None) -> tuple[IncidentModel, Replay]:
    settings = make_settings(folder, f"sqlite:///{folder}/store.db")
    contacts = contacts_of(training_rows().slice(0, rows), settings.segments.dimensions, watched_metrics(settings))
    return fitted(contacts, settings, Judgements((), {}))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[IncidentModel, Replay]]:
    """What the committed training sample teaches, at the promise of 5 a week."""
    return _fit(tmp_path_factory.mktemp("sample"))


def _promising(model: IncidentModel, per_week: float) -> IncidentModel:
    promise = Promise(per_week)
    return replace(model, promise=promise, threshold=model.monitor.threshold(promise))


def test_the_sample_leaves_enough_at_five_a_week_and_little_at_one(sample: tuple[IncidentModel, Replay]) -> None:
    model, replay = sample
    assert model.promise.per_week == 5
    assert warning_of(power_of(model, replay), model) is None
    strict = _promising(model, 1)
    power = power_of(strict, replay)
    assert power.tried == SEGMENTS * len(model.metrics)
    said = warning_of(power, strict)
    assert said is not None
    for words in (
        "promise of 1 a week",
        f"of {power.tried} faults",
        "60 minutes",
        f"{power.found} would reach the threshold {strict.threshold:.2f}",
        "raise incidents.budget_per_week",
        "4.0 weeks (incidents.history_days)",
    ):
        assert words in said


def test_the_lower_the_promise_the_less_is_found(sample: tuple[IncidentModel, Replay]) -> None:
    model, replay = sample
    found = [power_of(_promising(model, per_week), replay).found for per_week in (0.5, 2, 5, 20)]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_a_fault_is_found_where_the_threshold_is_reached_and_nowhere_else(
    sample: tuple[IncidentModel, Replay],
) -> None:
    model, replay = sample
    assert power_of(replace(model, threshold=np.inf), replay).found == 0
    shifts = dict.fromkeys(model.tree.keys, np.inf)
    assert power_of(replace(model, shifts=shifts), replay).found == 0, "false alarms may have raised it, too"


def test_nothing_that_was_learned_is_changed_by_trying(sample: tuple[IncidentModel, Replay]) -> None:
    model, replay = sample
    before = {name: values.copy() for name, values in replay.contacts.values.items()}
    assert power_of(model, replay) == power_of(model, replay)
    for name, values in replay.contacts.values.items():
        np.testing.assert_array_equal(values, before[name])


def test_where_nothing_is_tested_yet_nothing_can_be_found_and_that_is_told(tmp_path: Path) -> None:
    model, replay = _fit(tmp_path, 3_000)
    assert model.monitor.cold.all()
    assert power_of(model, replay) == Power(0, 0)
    said = warning_of(Power(0, 0), model)
    assert said is not None
    assert said.startswith("nothing can be found yet")
    assert f"these {model.monitor.weeks:.1f} weeks" in said
    assert "incidents.history_days" in said


def _of(values: dict[str, np.ndarray], metrics: list[MetricRule], queues: int) -> tuple[IncidentModel, Replay]:
    """120 contacts in each hour of three weeks."""
    number = 120 * 504
    moments = MONDAY + 30 * np.arange(number)
    leaf = np.arange(number) % queues
    contacts = Contacts(("queue",), [(f"q{i}",) for i in range(queues)], leaf, moments, values)
    return IncidentModel.fit(contacts, metrics, window_seconds=3600, timezone="UTC", promise=Promise(5.0))


def test_all_contacts_are_tried_where_they_are_the_one_segment_that_there_is() -> None:
    values = {"wait": np.random.default_rng(0).gamma(4.0, 20.0, size=60_480)}
    model, replay = _of(values, [MetricRule("wait", "high", True)], queues=1)
    assert len(model.tree) == 1
    assert power_of(model, replay) == Power(1, 1)


@pytest.mark.parametrize("bad", ["high", "low"])
def test_a_fault_of_a_metric_that_can_be_negative_is_worse_in_its_bad_direction(bad: Literal["high", "low"]) -> None:
    values = {"mood": np.random.default_rng(0).normal(-0.5 if bad == "high" else 0.1, 1.0, size=60_480)}
    model, replay = _of(values, [MetricRule("mood", bad)], queues=2)
    power = power_of(model, replay)
    assert power.found == power.tried == 2


def test_fewer_than_a_third_is_little() -> None:
    assert [Power(found, 24).is_low for found in (0, 7, 8, 24)] == [True, True, False, False]


@pytest.mark.parametrize(("per_week", "days"), [(1, 28), (1, 2), (5, 28)])
def test_a_backtest_warns_of_the_promise_that_it_tries(tmp_path: Path, per_week: float, days: int) -> None:
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/x.db", incidents={"budget_per_week": per_week})
    write_history(settings)
    found = backtest(settings, days, NOW)
    told = [value for name, value in summary_rows(found, "x.png", settings) if name == "warning"]
    assert len(told) == (per_week == 1)
    assert all(f"promise of {per_week:g} a week" in value for value in told)
