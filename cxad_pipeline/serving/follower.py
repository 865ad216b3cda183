"""Follows the champion in MLflow and keeps a good copy of it; runs in the sidecar.

Belongs here: when MLflow is asked, when a version is fetched, and what is told while that fails. Does not belong here:
the copies themselves (`local_copy`), MLflow's client (`registry.versions`).
"""

from __future__ import annotations

import datetime as dt
import errno
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.tracking import RegistryError, public_uri, without_credentials
from cxad_pipeline.serving import local_copy
from cxad_pipeline.serving.local_copy import RefusedModelError
from cxad_pipeline.serving.state_folder import model_source
from cxad_pipeline.settings import Settings

log = logging.getLogger(__name__)

# MLflow's client waits two minutes and tries eight times by itself. Here the next poll is the next try.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "PGCONNECT_TIMEOUT": "10",
}
_SILENT_SECONDS = 15.0
_LONGEST_WAIT = 300.0
_LONGEST_REASON = 600
_NO_ROOM = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))

Answer = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class _Failure:
    """A champion that could not be had."""

    identity: tuple[str, str]
    reason: str
    times: int
    retry_at: float | None  # time.monotonic(); None: only when the champion changes, or somebody asks


class Follower:
    """Asks MLflow for the champion, every `serving.poll_seconds` and whenever `ask` is called.

    Parameters
    ----------
    settings
        The whole configuration.
    state
        The state folder.
    """

    def __init__(self, settings: Settings, state: Path) -> None:
        self._settings, self._state, self._schema = settings, state, schema_of(settings)
        self._source = model_source(settings)
        self._server = f"MLflow ({public_uri(settings.mlflow.tracking_uri)})"
        self._asked: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._looking: tuple[float, str] | None = None
        self._reachable: bool | None = None
        self._since = self._checked_at = _now()
        self._error: str | None = None
        self._champion: tuple[str, str] | None = None
        self._no_champion = False
        self._failure: _Failure | None = None
        self._bad_copy: str | None = None
        self._failures_in_a_row = 0
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)

    def run(self, stop: threading.Event) -> None:
        """Follow until told to stop."""
        waiting: list[Answer] = []
        careful = True
        while not stop.is_set():
            self.look(careful)
            for answer in waiting:
                answer(self._answer())
            waiting = self._wait(self._pause())
            careful = bool(waiting)

    def look(self, careful: bool) -> None:
        """Ask MLflow, and fetch the champion if it is another than the copy's.

        Parameters
        ----------
        careful
            Also make sure that the copy is still good, and try again what was refused.
        """
        self._looking = (time.monotonic(), _now())
        try:
            entry = versions.find(self._settings, versions.CHAMPION)
        except Exception as error:  # noqa: BLE001  MLflow and its drivers raise what they like; all of it means: away
            self._away(error)
            return
        finally:
            self._looking, self._checked_at = None, _now()
        self._answered()
        if entry is None:
            self._champion, self._failure = None, None
            self._error = versions.no_version(self._settings, versions.CHAMPION)
            if not self._no_champion:
                self._no_champion = True
                log.warning(self._error)
            return
        self._error = None
        self._champion = identity = (str(entry.version), str(entry.run_id))
        if self._no_champion:
            self._no_champion = False
            log.info("MLflow has a champion now", extra={"model_version": identity[0], "run_id": identity[1]})
        if self._held(careful) == identity:
            self._failure = None
        elif careful or self._may_try(identity):
            self._looking = (time.monotonic(), _now())
            try:
                self._fetch(identity)
            finally:
                self._looking = None

    def ask(self, answer: Answer) -> None:
        """Have MLflow asked now; `answer` is called, in the follower's thread, when that is done."""
        self._asked.put(answer)

    def wake(self) -> None:
        """End the pause, so that `run` sees that it is to stop."""
        self._asked.put(None)

    def status(self) -> dict[str, Any]:
        """What is known of MLflow, as plain JSON; may be called from any thread."""
        looking, reachable, since, error = self._looking, self._reachable, self._since, self._error
        if looking is not None and time.monotonic() - looking[0] > _SILENT_SECONDS and error is None:
            reachable, since = False, looking[1]
            error = f"{self._server} or its artifact store has not answered since {since}"
        champion, failure = self._champion, self._failure
        return {
            "reachable": reachable,
            "since": since,
            "checked_at": self._checked_at,
            "error": error,
            "champion": None if champion is None else {"version": champion[0], "run_id": champion[1]},
            "refused": None if failure is None else failure.reason,
        }

    def _wait(self, seconds: float) -> list[Answer]:
        """Pause; those who asked meanwhile, if any."""
        try:
            asked = [self._asked.get(timeout=seconds)]
            while not self._asked.empty():
                asked.append(self._asked.get())
        except queue.Empty:
            return []
        return [answer for answer in asked if answer is not None]

    def _pause(self) -> float:
        """Seconds to the next look: shorter at first when MLflow does not answer, since it may just be starting."""
        poll = self._settings.serving.poll_seconds
        return min(poll, _growing(self._failures_in_a_row - 1)) if self._failures_in_a_row else poll

    def _answer(self) -> dict[str, Any]:
        return {"error": self._failure.reason if self._failure else self._error}

    def _held(self, careful: bool) -> tuple[str, str] | None:
        """Version and run of the copy; None where there is no good one."""
        try:
            copy = local_copy.read_pointer(self._state, self._source)
            if copy is not None and careful:
                local_copy.load_copy(self._state, copy, self._schema)
        except RefusedModelError as error:
            if self._bad_copy != str(error):
                self._bad_copy = str(error)
                log.warning("the local copy is no good and is fetched again", extra={"reason": self._bad_copy})
            return None
        self._bad_copy = None
        return copy.identity if copy else None

    def _may_try(self, identity: tuple[str, str]) -> bool:
        failure = self._failure
        if failure is None or failure.identity != identity:
            return True
        return failure.retry_at is not None and time.monotonic() >= failure.retry_at

    def _fetch(self, identity: tuple[str, str]) -> None:
        try:
            copy = local_copy.keep(self._state, self._schema, self._source, self._download)
        except RefusedModelError as error:
            self._failed(error.identity or identity, str(error), for_good=True)
        except Exception as error:  # noqa: BLE001  as above; what the artifact store raises is not for us to list
            self._failed(identity, self._why_not_fetched(identity[0], error))
        else:
            self._failure = None
            log.info("champion fetched", extra={"model_version": copy.version, "run_id": copy.run_id})

    def _download(self, into: Path) -> tuple[Path, str, str]:
        fetched = versions.fetch(self._settings, versions.CHAMPION, into)
        return fetched.folder, fetched.version, fetched.run_id

    def _why_not_fetched(self, version: str, error: Exception) -> str:
        # MLflow hides the system's number in a text of its own.
        full = next((words for words in _NO_ROOM if words in str(error)), None)
        if full is not None:
            return f"version {version} can't be kept in {self._state} ({full}): make room on its disk"
        if isinstance(error, RegistryError):  # it names the version itself
            return _words(error)
        name = f"version {version} of {self._settings.mlflow.registered_model}"
        return f"{name} can't be fetched to {self._state}: {_words(error)}"

    def _failed(self, identity: tuple[str, str], reason: str, for_good: bool = False) -> None:
        before = self._failure
        times = before.times + 1 if before and before.identity == identity else 1
        pause = min(self._settings.serving.poll_seconds * _growing(times), _LONGEST_WAIT)
        self._failure = _Failure(identity, reason, times, None if for_good else time.monotonic() + pause)
        if before is None or before.reason != reason:
            log.error("champion refused" if for_good else "champion not fetched", extra={"reason": reason})

    def _away(self, error: Exception) -> None:
        self._failures_in_a_row += 1
        self._error = _words(error)
        if self._reachable is not False:
            self._reachable, self._since = False, _now()
            log.warning("MLflow does not answer", extra={"reason": self._error})

    def _answered(self) -> None:
        self._failures_in_a_row = 0
        if self._reachable is not True:
            again = self._reachable is False
            self._reachable, self._since = True, _now()
            if again:
                log.info("MLflow answers again")


def _growing(times: int) -> float:
    """Twice as much each time, and never beyond all floats."""
    return float(2 ** min(times, 20))


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _words(error: Exception) -> str:
    """An error in one line, without the stack of causes that network libraries put into theirs."""
    text = without_credentials(" ".join(str(error).split()))
    name = "" if isinstance(error, RegistryError) else f"{type(error).__name__}: "
    return f"{name}{text}"[:_LONGEST_REASON]
