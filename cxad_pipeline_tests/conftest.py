"""What every test may rely on: an environment without our variables, and one S3 server for those that ask for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from process_state import (
    caches_emptied_afterwards,
    environment_as_before,
    logging_as_before,
    mlflow_unset_afterwards,
)
from s3_server import S3Server
from worker_shares import long_first, scheduling
from xdist.remote import Producer
from xdist.scheduler import Scheduling

# A slow machine is no fault of the code; pytest's own timeout ends what hangs. Examples are drawn anew in every run but
# that of .ci/run, which gives a seed: what refuses a change there is the change.
settings.register_profile("pipeline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pipeline")

_NAMES = ("BATCH_SCORE_CRON", "SLACK_WEBHOOK_URL", "API_PORT", "DAGSTER_HOME")
_PREFIXES = ("CXAD_", "ENABLE_", "MLFLOW_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    return scheduling(config, log)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name in _NAMES or name.startswith(_PREFIXES):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="module")
def _process_as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a module sets for the whole process ends with it: which modules share a process differs from run to run."""
    with (
        environment_as_before(),
        logging_as_before(),
        mlflow_unset_afterwards(),
        caches_emptied_afterwards(request.module),
    ):
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server; `s3_folder` points the environment to it."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_folder(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://` address of an empty folder, on a server that the environment names as it would in production."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return s3_server.new_folder()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's folder."""
    return Path(__file__).resolve().parent.parent
