"""What the sidecar tells of itself, as workers read it.

Belongs here: reading `sidecar.json` and judging whether it is fresh. Does not belong here: writing it (`sidecar`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cxad_pipeline.serving.state_folder import file_state, read_json, works_for
from cxad_pipeline.settings import Settings

STATUS_FILE = "sidecar.json"
# The sidecar writes about every second; on a busy machine it may come late.
_FRESH_SECONDS = 10.0
# Starting it takes a few; after this long something is wrong.
_MISSING_SECONDS = 15.0
_MISSING = (
    "the sidecar process does not run: the champion is not followed, and anomalies wait; the log of the service says "
    "why it ended"
)


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
        self._first_look: float | None = None
        self._changed_at: float | None = None

    def look(self) -> None:
        """Read the file if it has changed since the first look: what lay there then may be of an earlier time."""
        first = self._first_look is None
        if self._first_look is None:
            self._first_look = time.monotonic()
        try:
            file = file_state(self._path)
            if file == self._file:
                return
            self._file = file
            if first or file is None:
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
    def missing(self) -> bool:
        """Whether there has been none for so long that it is not just being started."""
        since = self._changed_at or self._first_look
        return since is not None and time.monotonic() - since >= _MISSING_SECONDS

    @property
    def other(self) -> str | None:
        """What the sidecar works for, where that is not this service: another one shares the state folder."""
        works_for = self._content.get("works_for")
        return str(works_for) if self.alive and works_for != self._works_for else None

    @property
    def failure(self) -> str | None:
        """Why the champion that MLflow names is not here, other than that MLflow is away."""
        return (self._ours.get("mlflow") or {}).get("refused")

    @property
    def error(self) -> str | None:
        """What is wrong, in words; None if nothing is."""
        if self.missing:
            return _MISSING
        if self.shared is not None:
            return self.shared
        mlflow = self._ours.get("mlflow") or {}
        failures = self._ours.get("failures") or {}
        return mlflow.get("refused") or mlflow.get("error") or next(iter(failures.values()), None)

    @property
    def shared(self) -> str | None:
        """What to tell while the sidecar works for another service; None if it does not."""
        return None if self.other is None else self.shared_with(self.other)

    def shared_with(self, other: str) -> str | None:
        """What to tell of a sidecar that works for `other`; None if that is this service."""
        if other == self._works_for:
            return None
        return (
            f"{self._path.parent} is in use by another service ({other}; this one: {self._works_for}), for which the "
            "sidecar works: the champion of this one is not followed; give each service a serving.state of its own"
        )

    def told(self) -> dict[str, Any]:
        """MLflow, store, alerts and the sidecar itself for `/health`."""
        content = self._ours
        return {
            "mlflow": content.get("mlflow") or {"reachable": None},
            "store": content.get("store"),
            "alerts": content.get("alerts"),
            "sidecar": {
                "alive": self.alive,
                "missing": self.missing,
                "works_for_another": self.other,
                "failures": content.get("failures") or {},
                "pid": content.get("pid"),
                "at": self._content.get("at"),
            },
        }

    def silence(self, waited: float) -> str:
        """What to tell when a request had no answer."""
        if not self.alive:
            return f"no answer within {waited:g} s: the sidecar process does not run; it is being started again"
        return self.error or f"no answer within {waited:g} s: MLflow or its artifact store is slow; ask again"

    @property
    def _ours(self) -> dict[str, Any]:
        """What it tells, if it lives and works for this service."""
        return self._content if self.alive and self.other is None else {}
