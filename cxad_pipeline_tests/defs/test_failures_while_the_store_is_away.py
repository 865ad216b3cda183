"""A failed run is told for certain, and once: also where the store was away when it failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
from dagster._core.definitions.run_status_sensor_definition import RunStatusSensorCursor
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from landing_world import RecordingChannel
from pydantic import SecretStr

from cxad_pipeline.alerting.message import Message
from cxad_pipeline.defs import failures
from cxad_pipeline.defs.failures import run_failure_sensor
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, StoreAwayError, open_store

REPOSITORY = "__repository__"
FAILED_THERE = "a queue without a name"


@dg.op
def step() -> None:
    raise ValueError(FAILED_THERE)


@dg.job
def training_job() -> None:
    step()


def origin_of(location: str) -> ManagedGrpcPythonEnvCodeLocationOrigin:
    return ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=location), location_name=location)


@dataclass
class Daemon:
    """Ticks of the sensor as the daemon does them: the cursor is kept where a tick ends well."""

    settings: Settings
    instance: dg.DagsterInstance
    channel: RecordingChannel
    store: Store
    away: bool = False
    cursor: str | None = None

    def store_of(self) -> Store:
        if self.away:
            raise StoreAwayError("PostgreSQL can't be used: check that it runs")
        return self.store

    def tick(self, settings: Settings | None = None, location: str | None = None) -> str:
        settings = settings or self.settings
        teller = Teller(settings, [self.channel], lambda _: "")
        sensor = run_failure_sensor(settings, self.store_of, [self.channel], teller, dg.DefaultSensorStatus.RUNNING)
        with dg.SensorEvaluationContext(
            instance_ref=None,
            last_tick_completion_time=None,
            last_run_key=None,
            cursor=self.cursor,
            log_key=None,
            instance=self.instance,
            code_location_origin=None if location is None else origin_of(location),
            repository_name=None if location is None else REPOSITORY,
        ) as context:
            data = sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return data.skip_message or ""

    def fail(self, location: str | None = None) -> str:
        """A failed run, by the daemon for a code location or by a command."""
        if location is None:
            return training_job.execute_in_process(instance=self.instance, raise_on_error=False).run_id
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(origin_of(location), REPOSITORY), "training_job")
        started = dg.DagsterRunStatus.STARTED
        run = create_run_for_test(self.instance, "training_job", status=started, remote_job_origin=origin)
        self.instance.report_run_failed(run)
        return run.run_id

    def told(self) -> list[Message]:
        return self.channel.sent


@pytest.fixture
def daemon(settings: Settings, instance: dg.DagsterInstance, channel: RecordingChannel) -> Iterator[Daemon]:
    store = open_store(settings)
    yield Daemon(settings, instance, channel, store)
    store.close()


def test_what_failed_while_the_store_was_away_is_told_when_it_is_back_each_run_once(daemon: Daemon) -> None:
    daemon.tick()
    daemon.away = True
    runs = [daemon.fail(), daemon.fail()]
    for _ in range(2):
        with pytest.raises(dg.Failure, match="check that it runs"):
            daemon.tick()
    daemon.away = False
    assert daemon.tick() == "2 failed runs told"
    assert daemon.tick() == "no run has failed"
    assert [run in message.text for run, message in zip(runs, daemon.told(), strict=True)] == [True, True]
    assert all(FAILED_THERE in message.text for message in daemon.told())


def test_what_failed_before_the_first_look_is_not_told_in_a_flood(daemon: Daemon) -> None:
    daemon.fail()
    daemon.tick()
    run = daemon.fail()
    daemon.tick()
    (message,) = daemon.told()
    assert run in message.text


def test_what_failed_while_alerts_were_switched_off_is_not_told_later(daemon: Daemon) -> None:
    daemon.tick()
    daemon.fail()
    off = daemon.settings.model_copy(update={"alerts": daemon.settings.alerts.model_copy(update={"enabled": False})})
    assert daemon.tick(off) == "alerts are switched off"
    daemon.tick()
    assert daemon.told() == []


def test_it_goes_on_where_the_sensor_of_an_earlier_version_was(daemon: Daemon) -> None:
    daemon.fail()
    (latest,) = daemon.instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    daemon.cursor = RunStatusSensorCursor(record_id=latest.storage_id, record_timestamp="2026-10-14").to_json()
    run = daemon.fail()
    daemon.tick()
    (message,) = daemon.told()
    assert run in message.text


def test_many_are_told_a_part_in_each_look(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_MOST", 2)
    daemon.tick()
    runs = [daemon.fail() for _ in range(3)]
    assert [daemon.tick() for _ in range(3)] == ["2 failed runs told", "1 failed run told", "no run has failed"]
    assert [run in message.text for run, message in zip(runs, daemon.told(), strict=True)] == [True] * 3


def test_runs_of_other_code_locations_and_of_commands_are_theirs_to_tell(daemon: Daemon) -> None:
    daemon.tick(location="product")
    ours = [daemon.fail(location) for location in ("another", None, "product", "another")][2]
    assert daemon.tick(location="product") == "1 failed run told"
    (message,) = daemon.told()
    assert ours in message.text
    assert daemon.tick(location="product") == "no run has failed"


def test_an_error_that_quotes_a_secret_is_told_without_it(daemon: Daemon) -> None:
    webhook = SecretStr("plain-words-that-no-pattern-knows")
    secret = daemon.settings.model_copy(
        update={"alerts": daemon.settings.alerts.model_copy(update={"slack_webhook_url": webhook})}
    )
    daemon.tick()
    run = dg.GraphDefinition("training_job").to_job()
    failed = daemon.instance.create_run_for_job(run, status=dg.DagsterRunStatus.STARTED)
    daemon.instance.report_run_failed(failed, f"no answer from {webhook.get_secret_value()}")
    assert daemon.tick(secret) == "1 failed run told"
    (message,) = daemon.told()
    assert "no answer from" in message.text
    assert webhook.get_secret_value() not in str(message.to_dict())
