"""What the sidecar tells of itself, as workers read it.

Belongs here: reading `sidecar.json` and judging whether it is fresh. Does not belong here: writing it (`sidecar`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cxad_pipeline.registry.tracking import public_uri
from cxad_pipeline.serving.state_folder import file_state, read_json
from cxad_pipeline.settings import Settings

STATUS_FILE = "sidecar.json"
# The sidecar writes about every second; on a busy machine it may come late.
_FRESH_SECONDS = 10.0


class SidecarStatus:
    """The sidecar's last words.

    Parameters
    ----------
    settings
        The whole configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = Path(settings.serving.state).absolute() / STATUS_FILE
        self._works_for = works_for(settings)
        self._file: tuple[int, int, int] | None = None
        self._content: dict[str, Any] = {}
        self._changed_at: float | None = None

    def look(self) -> None:
        """Read the file if it has changed. What a sidecar of an earlier time has left counts for nothing."""
        try:
            file = file_state(self._path)
            if file == self._file:
                return
            first, self._file = self._file is None, file
            if file is None or (first and time.time() - file[1] / 1e9 > _FRESH_SECONDS):
                return
            self._content = read_json(self._path) or {}
        except (OSError, ValueError):  # it is written anew each second; if it stays unreadable, nothing is `alive`
            return
        self._changed_at = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the sidecar has given a sign of life within the last seconds."""
        return self._changed_at is not None and time.monotonic() - self._changed_at < _FRESH_SECONDS

    @property
    def failure(self) -> str | None:
        """Why the champion that MLflow names is not here, other than that MLflow is away."""
        return (self._content.get("mlflow") or {}).get("refused") if self.alive else None

    @property
    def error(self) -> str | None:
        """What is wrong, in words; None if nothing is."""
        if not self.alive:
            return None if self._changed_at is None else "the sidecar process does not answer"
        other = self._content.get("works_for")
        if other != self._works_for:
            return (
                f"{self._path.parent} is shared with a service of other settings ({other}, and here "
                f"{self._works_for}); give each service a serving.state of its own"
            )
        mlflow = self._content.get("mlflow") or {}
        failures = self._content.get("failures") or {}
        return mlflow.get("refused") or mlflow.get("error") or next(iter(failures.values()), None)

    def told(self) -> dict[str, Any]:
        """MLflow, store and the sidecar itself for `/health`."""
        content = self._content if self.alive else {}
        return {
            "mlflow": content.get("mlflow") or {"reachable": None},
            "store": content.get("store"),
            "sidecar": {"alive": self.alive, "pid": content.get("pid"), "at": self._content.get("at")},
        }

    def silence(self, waited: float) -> str:
        """What to tell when a request had no answer."""
        if not self.alive:
            return f"no answer within {waited:g} s: the sidecar process does not run; it is being started again"
        return self.error or f"no answer within {waited:g} s: MLflow or its artifact store is slow; ask again"


def works_for(settings: Settings) -> str:
    """Registry and model that a service serves from, without secrets: all that share a state folder have the same."""
    uri = public_uri(settings.mlflow.tracking_uri)
    if uri.startswith("sqlite:///"):
        uri = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    return f"{settings.mlflow.registered_model} in {uri}"
