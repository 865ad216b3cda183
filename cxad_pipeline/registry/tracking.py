"""Runs in MLflow: one parent for a training, one child for each model.

Belongs here: what is logged, and under which names, so that runs compare. Does not belong here: versions and aliases
(`versions`).
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from cxad_pipeline import __version__
from cxad_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

PARENT_TAG = "cxad.training_id"
ROLE_TAG = "cxad.role"


class RegistryError(RuntimeError):
    """MLflow lacks what is needed; the message says what, and which command makes it."""


@dataclass(frozen=True)
class TrainingRuns:
    """The MLflow runs of one training.

    Parameters
    ----------
    settings
        Tracking server, experiment and artifact root.
    training_id
        What the runs have in common; the Dagster run id where Dagster trains.
    """

    settings: Settings
    training_id: str

    def client(self) -> MlflowClient:
        """Client of the configured server.

        Raises
        ------
        RegistryError
            If it can't be reached.
        """
        with answering(self.settings) as client:
            return client

    def experiment_id(self) -> str:
        """The experiment, made when it is not there."""
        config = self.settings.mlflow
        with answering(self.settings) as client:
            experiment = client.get_experiment_by_name(config.experiment)
            if experiment is None:
                location = _artifact_uri(config.artifacts)
                return str(client.create_experiment(config.experiment, artifact_location=location))
        if experiment.lifecycle_stage == "deleted":
            raise RegistryError(
                f"the MLflow experiment {config.experiment!r} is deleted; restore it "
                f"(mlflow experiments restore -x {experiment.experiment_id}) or set mlflow.experiment"
            )
        return str(experiment.experiment_id)

    def parent_id(self) -> str:
        """The parent run, made when it is not there."""
        client, experiment = self.client(), self.experiment_id()
        found = client.search_runs(
            [experiment], f"tags.{PARENT_TAG} = '{self.training_id}' and tags.{ROLE_TAG} = 'training'", max_results=1
        )
        if found:
            return str(found[0].info.run_id)
        name = f"training-{self.training_id[:8]}"
        run = client.create_run(experiment, tags=self._tags("training"), run_name=name)
        client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)

    @contextmanager
    def parent(self) -> Iterator[str]:
        """Log into the parent run; it fails when the block raises."""
        with self._active(self.parent_id()) as run_id:
            yield run_id

    @contextmanager
    def child(self, role: str) -> Iterator[str]:
        """Log into a child run of its own; child and parent fail when the block raises.

        Materializing a model again in the same Dagster run makes another child: runs are never overwritten.
        """
        client, parent = self.client(), self.parent_id()
        tags = self._tags(role) | {"mlflow.parentRunId": parent}
        run = client.create_run(self.experiment_id(), tags=tags, run_name=role)
        try:
            with self._active(run.info.run_id) as run_id:
                yield run_id
        except BaseException:
            client.set_terminated(parent, "FAILED")
            raise

    def tag_parent(self, tags: Mapping[str, str]) -> None:
        """Set tags on the parent run."""
        client, parent = self.client(), self.parent_id()
        for name, value in tags.items():
            client.set_tag(parent, name, value)

    def log_to_child(self, role: str, metrics: Mapping[str, float]) -> None:
        """Add metrics to the newest child run of a role; there may be none, when its asset was not made in this run."""
        client = self.client()
        found = client.search_runs(
            [self.experiment_id()],
            f"tags.{PARENT_TAG} = '{self.training_id}' and tags.{ROLE_TAG} = '{role}'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        for run in found:
            for name, value in metrics.items():
                client.log_metric(run.info.run_id, name, float(value))

    def _tags(self, role: str) -> dict[str, str]:
        return {
            PARENT_TAG: self.training_id,
            ROLE_TAG: role,
            "dagster.run_id": self.training_id,
            "cxad.version": __version__,
            "mlflow.source.git.commit": code_version(),
        }

    @contextmanager
    def _active(self, run_id: str) -> Iterator[str]:
        import mlflow

        mlflow.set_tracking_uri(tracking_uri(self.settings))
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            yield run_id


def mlflow_client(settings: Settings) -> MlflowClient:
    """A client of the configured tracking server and model registry."""
    from mlflow import MlflowClient

    quiet_mlflow()  # after the import, which sets up MLflow's own logging
    uri = tracking_uri(settings)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def quiet_mlflow() -> None:
    """Keep MLflow's chatter out of our output, and its usage reports at home."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def tracking_uri(settings: Settings) -> str:
    """The tracking server; the folder of an SQLite file is made, since SQLite does not.

    User and password of a server go to the two variables that MLflow reads: it quotes addresses in its errors.
    """
    uri = settings.mlflow.tracking_uri
    if uri.startswith(("http://", "https://")):
        parts = urlsplit(uri)
        if parts.username is not None:
            os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
            os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
        return public_uri(uri)
    if uri.startswith("postgresql://"):
        # SQLAlchemy 2.1 would look for psycopg 3 behind this name; we depend on psycopg2.
        return uri.replace("postgresql://", "postgresql+psycopg2://", 1)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).absolute().parent.mkdir(parents=True, exist_ok=True)
    return uri


def public_uri(uri: str) -> str:
    """An address without user and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def without_credentials(text: str) -> str:
    """A text of a library's, which may quote an address, without user and password."""
    return re.sub(r"(?<=://)[^\s/]*@", "", text)


@contextmanager
def answering(settings: Settings) -> Iterator[MlflowClient]:
    """A client for the block; MLflow's own failures become one RegistryError that names the server."""
    try:
        yield mlflow_client(settings)
    except _store_errors() as error:
        raise RegistryError(
            f"MLflow ({public_uri(settings.mlflow.tracking_uri)}) does not answer: {without_credentials(str(error))}; "
            "check that it runs, and mlflow.tracking_uri"
        ) from error


def _store_errors() -> tuple[type[Exception], ...]:
    """What MLflow raises when a store fails."""
    from mlflow.exceptions import MlflowException

    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ModuleNotFoundError:  # mlflow-skinny, which knows servers and no databases
        return (MlflowException,)
    return (MlflowException, SQLAlchemyError)


def log_metrics(metrics: Mapping[str, float]) -> None:
    """Log metrics to the active run."""
    import mlflow

    mlflow.log_metrics({name: float(value) for name, value in metrics.items()})


def log_params(params: Mapping[str, object]) -> None:
    """Log parameters to the active run; nested ones are named with dots."""
    import mlflow

    mlflow.log_params(dict(_flat(params)))


def log_figures(figures: Mapping[str, Figure]) -> None:
    """Log figures to the active run, as `figures/<name>.png`."""
    import mlflow

    for name, figure in figures.items():
        mlflow.log_figure(figure, f"figures/{name}.png")


def log_dataset(frame: pd.DataFrame, *, name: str, source: str, digest: str, context: str) -> None:
    """Log which rows were used: schema, number and hash, not the rows themselves."""
    import mlflow
    from mlflow.data.pandas_dataset import from_pandas

    with warnings.catch_warnings():
        # Two hints that do not apply: a folder is a folder, and missing values are in the table's own schema.
        warnings.filterwarnings("ignore", message="The specified dataset source can be interpreted")
        warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column")
        mlflow.log_input(from_pandas(frame, source=source, name=name, digest=digest[:32]), context=context)
    mlflow.set_tag("cxad.dataset_sha256", digest)


def code_version() -> str:
    """The commit of the checkout that runs, or the package's version outside one."""
    folder = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return __version__
    return answer.stdout.strip()


def _artifact_uri(artifacts: str | None) -> str | None:
    if artifacts is None or "://" in artifacts:
        return artifacts
    return Path(artifacts).absolute().as_uri()


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
