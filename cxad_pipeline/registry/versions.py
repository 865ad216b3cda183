"""Versions of the registered model, and the aliases champion and challenger.

Belongs here: registering, moving aliases, loading. Does not belong here: whether a version deserves it (`promotion`).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxad_pipeline.detection.detector import Detector, DetectorFormatError
from cxad_pipeline.registry.tracking import (
    RegistryError,
    answering,
    mlflow_client,
    public_uri,
    quiet_mlflow,
    tracking_uri,
    without_credentials,
)
from cxad_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

CHAMPION = "champion"
CHALLENGER = "challenger"
_DETECTOR = "detector"
# What loads and scores any detector: the libraries that fitted a member are not among it, since it is kept as arrays.
_REQUIREMENTS = ("mlflow", "numba", "numpy", "pandas", "pyarrow")


@dataclass(frozen=True)
class RegisteredDetector:
    """A detector with its place in the registry."""

    detector: Detector
    version: str
    run_id: str

    @property
    def label(self) -> str:
        """What is written beside scores: `v3`."""
        return f"v{self.version}"


@dataclass(frozen=True)
class FetchedVersion:
    """A registered version whose files lie in a local folder.

    Attributes
    ----------
    folder
        What `Detector.load` reads, if it is a detector.
    version, run_id
        Its number, and the MLflow run that registered it.
    source
        Where the files came from.
    """

    folder: Path
    version: str
    run_id: str
    source: str

    def unreadable(self, settings: Settings, error: Exception) -> RegistryError:
        """The error that says which version can't be read, and why."""
        # MLflow's words run over several lines; the folder of the copy means nothing to a reader.
        what = without_credentials(" ".join(str(error).replace(f"{self.folder}/", "").split()))
        return RegistryError(
            f"version {self.version} of {settings.mlflow.registered_model} is registered, but its artifacts at "
            f"{self.source} can't be read ({what}); check mlflow.artifacts, or train again"
        )


def register(detector: Detector, settings: Settings, *, example: pd.DataFrame) -> str:
    """Log the detector to the active MLflow run, register a version and give it the alias challenger.

    Parameters
    ----------
    detector
        What to register.
    settings
        Names of the registered model and its server.
    example
        A few training rows with the model's input columns; they are stored with the model.

    Returns
    -------
    str
        The version's number.
    """
    import mlflow

    quiet_mlflow()
    name = settings.mlflow.registered_model
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / _DETECTOR
        detector.save(folder)
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={_DETECTOR: str(folder)},
            signature=_signature(detector),
            input_example=example,
            pip_requirements=[f"{package}=={installed_version(package)}" for package in _REQUIREMENTS],
            metadata={"format": "cxad detector"},
        )
    client = mlflow_client(settings)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description="Unusual interactions of a contact centre, without labels.")
    registered = client.create_model_version(name, info.model_uri, run_id=info.run_id, model_id=info.model_id)
    client.set_registered_model_alias(name, CHALLENGER, registered.version)
    return str(registered.version)


def load(settings: Settings, alias_or_version: str = CHAMPION) -> RegisteredDetector:
    """Load a registered detector without running code from the artifact store.

    Raises
    ------
    RegistryError
        If there is no such version; the message says how to make one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        fetched = fetch(settings, alias_or_version, Path(scratch))
        try:
            detector = Detector.load(fetched.folder)
        except DetectorFormatError as error:
            raise fetched.unreadable(settings, error) from error
    return RegisteredDetector(detector, fetched.version, fetched.run_id)


def fetch(settings: Settings, alias_or_version: str, into: Path) -> FetchedVersion:
    """Copy a registered version's files from the artifact store to a local folder; nothing of them is read yet.

    Raises
    ------
    RegistryError
        If there is no such version, or its files can't be had.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    entry = find(settings, alias_or_version)
    if entry is None:
        raise RegistryError(no_version(settings, alias_or_version))
    # The address of the logged model itself: `models:/` is resolved by MLflow's global registry, not by this client.
    source = str(entry.source)
    fetched = FetchedVersion(into, str(entry.version), str(entry.run_id), source)
    try:
        logged = mlflow_client(settings).get_logged_model(source.removeprefix("models:/"))
        source = f"{logged.artifact_location.rstrip('/')}/artifacts/{_DETECTOR}"
        fetched = replace(fetched, source=source)
        folder = download_artifacts(artifact_uri=source, dst_path=str(into), tracking_uri=tracking_uri(settings))
    except (MlflowException, OSError) as error:
        raise fetched.unreadable(settings, error) from error
    return replace(fetched, folder=Path(folder))


def no_version(settings: Settings, alias_or_version: str) -> str:
    """What to tell where a version is asked for that is not there."""
    return (
        f"no {alias_or_version} of {settings.mlflow.registered_model} in MLflow "
        f"({public_uri(settings.mlflow.tracking_uri)}): train one first, with `cxad train` or the training job "
        "in Dagster"
    )


def find(settings: Settings, alias_or_version: str) -> Any | None:
    """The entry of a version by its alias or number; None where there is none.

    Raises
    ------
    RegistryError
        If MLflow can't be reached.
    """
    from mlflow.exceptions import MlflowException

    name = settings.mlflow.registered_model
    with answering(settings) as client:
        try:
            if alias_or_version.isdigit():
                return client.get_model_version(name, alias_or_version)
            return client.get_model_version_by_alias(name, alias_or_version)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


def champion_version(settings: Settings) -> str:
    """Number of the champion's version; empty where there is no champion."""
    entry = find(settings, CHAMPION)
    return "" if entry is None else str(entry.version)


def promote(settings: Settings, version: str, reason: str) -> None:
    """Make a version the champion."""
    client, name = mlflow_client(settings), settings.mlflow.registered_model
    client.set_model_version_tag(name, version, "promotion", "champion")
    client.set_model_version_tag(name, version, "promotion_reason", reason)
    client.set_registered_model_alias(name, CHAMPION, version)
    challenger = find(settings, CHALLENGER)
    if challenger is not None and str(challenger.version) == version:  # another training may have registered since
        client.delete_registered_model_alias(name, CHALLENGER)


def keep_challenger(settings: Settings, version: str, reason: str) -> None:
    """Leave a version challenger, with the reason beside it."""
    client, name = mlflow_client(settings), settings.mlflow.registered_model
    client.set_model_version_tag(name, version, "promotion", "challenger")
    client.set_model_version_tag(name, version, "promotion_reason", reason)


def _signature(detector: Detector) -> Any:
    """Columns and parameters of the registered model; every column may be missing.

    Numbers are `any` and not `double`, because MLflow refuses an int64 column where a double is asked for, and pandas
    reads counts, and seconds without a fraction, as int64. The time is `any` and not `datetime`, because MLflow refuses
    moments with a zone and moments as text, which is what CSV and JSON hold. The model itself refuses what is neither.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    config = detector.config
    columns = [ColSpec(AnyType(), name, required=False) for name in config.numeric]
    columns += [ColSpec("string", name, required=False) for name in config.category_inputs]
    if config.timestamp is not None:
        columns.append(ColSpec(AnyType(), config.timestamp, required=False))
    params = ParamSchema([ParamSpec("model", "string", "ensemble"), ParamSpec("explain", "boolean", False)])
    return ModelSignature(inputs=Schema(columns), params=params)
