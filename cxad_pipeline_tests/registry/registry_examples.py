"""Where the registry tests find what MLflow has stored."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from cxad_pipeline.registry.tracking import mlflow_client
from cxad_pipeline.settings import Settings


def artifact_folder(settings: Settings, version: str) -> Path:
    """Folder of a registered model's artifacts."""
    client = mlflow_client(settings)
    entry = client.get_model_version(settings.mlflow.registered_model, version)
    logged = client.get_logged_model(entry.source.removeprefix("models:/"))
    return Path(urlsplit(logged.artifact_location).path)
