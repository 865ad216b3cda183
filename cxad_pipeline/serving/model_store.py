"""The champion as one worker process has it.

Belongs here: loading the copy that `champion.json` names, swapping it in, and what `/health` tells of it. Does not
belong here: MLflow, which this process never imports (`follower`, in the sidecar), and the copies (`local_copy`).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cxad_pipeline.detection.detector import Detector
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.serving.local_copy import (
    POINTER,
    ForeignCopyError,
    LocalCopy,
    RefusedModelError,
    load_copy,
    read_pointer,
)
from cxad_pipeline.serving.mailbox import Mailbox
from cxad_pipeline.serving.sidecar_status import SidecarStatus
from cxad_pipeline.serving.snapshot import Snapshot
from cxad_pipeline.serving.state_folder import file_state, model_source, state_folder
from cxad_pipeline.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 0.05
# What was refused may have failed for want of memory or of open files: it is tried again, but rarely.
_RETRY_SECONDS = 30.0
# Loading takes a fraction of a second, but half a minute when the kernels have to be compiled first: the service then
# starts without a model, so that it can say that it lives.
_START_SECONDS = 5.0

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class ReloadOutcome:
    """What a reload did.

    Attributes
    ----------
    before, after
        Version that served before and serves now; None where there was or is none.
    changed
        Whether another model serves now. Its version may be the same, when the registry was wiped.
    error
        Why the champion could not be loaded; the model from before goes on serving.
    """

    before: str | None
    after: str | None
    changed: bool
    error: str | None = None


class ModelStore:
    """Holds the model that serves, and follows the champion.

    `current` is replaced as a whole: a request takes it once and keeps it to its end.

    Parameters
    ----------
    settings
        The whole configuration.
    on_load
        Called in the event loop with each snapshot that begins to serve.
    on_failure
        Called in the event loop when a champion is not taken over, once per reason: with the kind of failure
        (`state_unreadable`, `copy_refused` or `champion_refused`) and the reason in words, which is logged, too.
    """

    def __init__(
        self,
        settings: Settings,
        on_load: Callable[[Snapshot], None] | None = None,
        on_failure: Callable[[str, str], None] | None = None,
    ) -> None:
        self.current: Snapshot | None = None
        self._settings, self._schema = settings, schema_of(settings)
        self._state, self._source = Path(settings.serving.state).absolute(), model_source(settings)
        self._mailbox = Mailbox(self._state)
        self._sidecar = SidecarStatus(settings)
        self._on_load, self._on_failure = on_load, on_failure
        self._copy: LocalCopy | None = None
        self._pointer: tuple[int, int, int] | None = None
        self._refusal: str | None = None
        self._copy_of_another: str | None = None
        self._told_of_another = False
        self._reported: set[str] = set()
        self._retry_at = 0.0
        self._loading = asyncio.Lock()
        self._reloading: asyncio.Task[ReloadOutcome] | None = None
        self._watching: asyncio.Task[None] | None = None
        # Threads of its own: those of the service may all be busy with scoring.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="model-store")

    async def start(self) -> None:
        """Load the last good copy, if there is one, and follow the champion from now on.

        Raises
        ------
        StateFolderError
            If the state folder can't be used.
        """
        await self._in_thread(lambda: state_folder(self._settings))
        first = asyncio.create_task(self._follow())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(first), _START_SECONDS)
        await self._in_thread(self._sidecar.look)
        self._watching = asyncio.create_task(self._watch())
        self._watching.add_done_callback(_tell_of_its_end)

    async def stop(self) -> None:
        """Follow no longer; the current model stays."""
        for task in (self._watching, self._reloading):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def reload(self, timeout: float) -> ReloadOutcome:
        """Have the sidecar look at MLflow now, and load what it finds; reloads at the same time are one.

        Parameters
        ----------
        timeout
            Seconds to wait for the sidecar, at most.
        """
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reload(timeout))
        return await asyncio.shield(self._reloading)

    def status(self) -> dict[str, Any]:
        """What `/health` tells: the model, MLflow, the sidecar, the store; takes no time."""
        snapshot, copy = self.current, self._copy
        model = None
        if snapshot is not None and copy is not None:
            model = {
                "version": snapshot.version,
                "run_id": snapshot.run_id,
                "loaded_at": snapshot.loaded_at.isoformat(timespec="seconds"),
                "fetched_at": copy.fetched_at,
            }
        return {
            "model": model,
            "copy_refused": self._refusal,
            "copy_of_another": self._copy_of_another,
            "last_error": self._sidecar.shared or self._refusal or self._sidecar.error,
            **self._sidecar.told(),
        }

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._follow()
            await self._in_thread(self._sidecar.look)
            if self._sidecar.shared is not None:
                self._fail_for_another(self._sidecar.shared)
            elif self._sidecar.failure is not None:
                self._fail("champion_refused", self._sidecar.failure)

    async def _follow(self, again: bool = False) -> None:
        """Load what the pointer names, if that is something else; `again`: also what was refused before."""
        async with self._loading:
            try:
                pointer = await self._in_thread(lambda: file_state(self._state / POINTER))
            except OSError as error:  # the disk may come back, and the model serves meanwhile
                self._refusal = f"{self._state}: can't be read ({error.strerror})"
                self._fail("state_unreadable", self._refusal)
                return
            refused = self._refusal is not None and (again or time.monotonic() >= self._retry_at)
            if pointer is None:
                self._refusal = self._copy_of_another = None
            if pointer is None or (pointer == self._pointer and not refused):
                return
            try:
                found = await self._in_thread(self._load)
            except ForeignCopyError as error:  # the sidecar replaces it, if it is this service's
                self._copy_of_another = error.source
                self._refusal, self._retry_at = str(error), time.monotonic() + _RETRY_SECONDS
                self._fail_for_another(self._refusal)
            except (RefusedModelError, OSError, MemoryError) as error:
                self._copy_of_another = None
                await self._refuse(f"{error}" or type(error).__name__, damaged=pointer != self._pointer)
            else:
                self._serve(found)
            self._pointer = pointer

    def _load(self) -> tuple[LocalCopy, Detector] | None:
        """The copy that the pointer names; None if it serves already or there is none."""
        copy = read_pointer(self._state, self._source)
        if copy is None or copy == self._copy:
            return None
        detector = load_copy(self._state, copy, self._schema)
        # All that lives now, models and modules, lives on: a collection that went through it again would take 40 ms
        # out of some request.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return copy, detector

    def _serve(self, found: tuple[LocalCopy, Detector] | None) -> None:
        self._refusal = self._copy_of_another = None
        if found is None:
            return
        copy, detector = found
        self._copy = copy
        self.current = Snapshot(detector, copy.version, copy.run_id, dt.datetime.now(dt.UTC))
        self._reported.clear()
        self._told_of_another = False
        log.info("model loaded", extra={"model_version": copy.version, "run_id": copy.run_id})
        if self._on_load is not None:
            self._on_load(self.current)

    async def _refuse(self, reason: str, damaged: bool) -> None:
        self._refusal, self._retry_at = reason, time.monotonic() + _RETRY_SECONDS
        self._fail("copy_refused", reason)
        if damaged:  # the sidecar looks at its copy, and fetches it again if need be
            with contextlib.suppress(OSError):
                await self._in_thread(self._mailbox.ask)

    def _fail_for_another(self, reason: str) -> None:
        """Tell once of another service on the state folder: by its copy or by its sidecar, whichever is seen first."""
        if not self._told_of_another:
            self._told_of_another = True
            self._fail("copy_refused", reason)

    def _fail(self, kind: str, reason: str) -> None:
        if reason in self._reported:
            return
        self._reported.add(reason)
        serving = f"version {self.current.version} goes on serving" if self.current else "no model serves"
        log.error("champion not loaded", extra={"reason": reason, "serving": serving})
        if self._on_failure is not None:
            self._on_failure(kind, reason)

    async def _reload(self, timeout: float) -> ReloadOutcome:
        before = self.current
        try:
            error = await asyncio.wait_for(self._asked(), timeout)
        except TimeoutError:
            error = self._sidecar.silence(timeout)
        except OSError as problem:
            error = f"{self._state}: the request can't be written ({problem.strerror})"
        await self._follow(again=True)
        # That another's copy is still there has a cause, which the sidecar has told.
        causes = (error, self._refusal) if self._copy_of_another else (self._refusal, error)
        after = self.current
        return ReloadOutcome(
            before=before.version if before else None,
            after=after.version if after else None,
            changed=after is not before,
            error=causes[0] or causes[1],
        )

    async def _asked(self) -> str | None:
        """Ask the sidecar and wait for its answer: None, or why there is no new champion."""
        nonce = await self._in_thread(self._mailbox.ask)
        try:
            while (answer := await self._in_thread(lambda: self._mailbox.answer_to(nonce))) is None:
                await asyncio.sleep(_ANSWER_SECONDS)
        finally:
            self._mailbox.forget(nonce)
        return self._sidecar.shared_with(f"{answer.get('works_for')}") or answer.get("error")

    async def _in_thread(self, function: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


def _tell_of_its_end(watching: asyncio.Task[None]) -> None:
    error = None if watching.cancelled() else watching.exception()
    if error is not None:
        log.critical("the champion is followed no longer: start the service again", exc_info=error)
