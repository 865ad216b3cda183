"""Sees to it that one sidecar runs for a state folder, however many workers share it.

Belongs here: the lock, what the sidecar is handed, starting it, starting it again, stopping it. Does not belong here:
what it does (`sidecar`).

Each worker tries to lock `sidecar.lock`; the one that holds it starts the sidecar, which inherits the lock: the system
gives it free when both have ended. So, when a worker is killed, another one takes over as soon as the old sidecar is
gone, and no two of them ever run.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cxad_pipeline.serving.sidecar_status import STATUS_FILE
from cxad_pipeline.serving.state_folder import StateFolderError, file_state, state_folder
from cxad_pipeline.settings import Settings

log = logging.getLogger(__name__)

LOCK_FILE = "sidecar.lock"
_RETRY_SECONDS = 1.0
_LONGEST_PAUSE = 30.0
# Importing MLflow keeps other threads waiting, on a busy machine for many seconds.
_STALLED_SECONDS = 60.0
# A little longer than the sidecar itself takes to end when the database hangs.
_END_SECONDS = 12.0
_KILL_SECONDS = 2.0


class Supervisor:
    """Starts and watches the sidecar in a thread of its own, in the one worker that holds the lock.

    Parameters
    ----------
    settings
        The whole configuration; the sidecar gets the same, without what it has no use for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = Path(settings.serving.state).absolute()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Begin to try for the lock.

        Raises
        ------
        StateFolderError
            If the state folder can't be used, or if several workers can't share one on this system.
        """
        if sys.platform == "win32" and self._settings.serving.workers > 1:
            raise StateFolderError(
                f"serving.workers is {self._settings.serving.workers}; on Windows one worker is supported, since "
                "several can't agree there on who follows the champion: set it to 1"
            )
        await asyncio.to_thread(state_folder, self._settings)
        self._thread = threading.Thread(target=self._run, name="sidecar-supervisor", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the sidecar, if it is this worker's, and let another worker have the lock."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        lock = self._locked()
        if lock is not None:
            try:
                self._keep_running(lock)
            finally:
                os.close(lock)

    def _locked(self) -> int | None:
        """Wait for the lock; its file descriptor, None if told to stop before."""
        handle, told = None, None
        while not self._stop.is_set():
            try:
                if handle is None:
                    handle = os.open(self._state / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
                if _try_lock(handle):
                    return handle
            except OSError as error:
                if told != str(error):
                    told = str(error)
                    log.warning("the state folder can't be locked; is it on a local disk?", extra={"reason": told})
            self._stop.wait(_RETRY_SECONDS)
        if handle is not None:
            os.close(handle)
        return None

    def _keep_running(self, lock: int) -> None:
        """Start the sidecar, and again whenever it ends, until told to stop."""
        failures = 0
        while not self._stop.is_set():
            started = time.monotonic()
            why = self._one_life(lock)
            if why is None:
                return
            failures = 1 if time.monotonic() - started > 2 * _STALLED_SECONDS else failures + 1
            pause = min(2.0 ** (failures - 1), _LONGEST_PAUSE)
            log.error("the sidecar is started again", extra={"reason": why, "pause_seconds": pause})
            self._stop.wait(pause)

    def _one_life(self, lock: int) -> str | None:
        """Start the sidecar and watch it to its end: why it came, None when told to stop."""
        try:
            child = self._started(lock)
            try:
                return self._watched(child)
            finally:
                _ended(child)
        except OSError as error:
            return f"it can't be started or watched ({error})"
        except Exception as error:
            log.exception("the sidecar can't be started or watched")
            return f"it can't be started or watched ({type(error).__name__})"

    def _started(self, lock: int) -> subprocess.Popen[bytes]:
        line = handed_over(self._settings)
        child = subprocess.Popen(
            [sys.executable, "-m", "cxad_pipeline.serving.sidecar"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=() if sys.platform == "win32" else (lock,),
        )
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already, which `_watched` sees
            child.stdin.write(line)
            child.stdin.flush()
        return child

    def _watched(self, child: subprocess.Popen[bytes]) -> str | None:
        """Wait until the sidecar ends or gives no sign of life, and say which; None when told to stop."""
        beat, seen = None, time.monotonic()
        while not self._stop.wait(_RETRY_SECONDS):
            status = child.poll()
            if status is not None:
                return f"it has ended with status {status}"
            now = file_state(self._state / STATUS_FILE)
            if now != beat:
                beat, seen = now, time.monotonic()
            elif time.monotonic() - seen > _STALLED_SECONDS:
                return f"it has given no sign of life for {_STALLED_SECONDS:g} s"
        return None


def handed_over(settings: Settings) -> bytes:
    """The settings as the sidecar reads them: one line of JSON, through a pipe, since it may hold a password.

    They are handed over since file and environment may have changed meanwhile. `alerts` stays behind as a whole,
    whatever secrets it has: the sidecar sends no messages.

    Raises
    ------
    TypeError
        If a section that the sidecar does get holds what JSON has not, such as a secret.
    """
    return json.dumps(settings.model_dump(exclude={"alerts"}), default=_plain).encode() + b"\n"


def _try_lock(handle: int) -> bool:
    """Lock the file, unless another process has; the system gives the lock free when all that have the file end."""
    if sys.platform == "win32":
        return True  # there is one worker
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ended(child: subprocess.Popen[bytes]) -> None:
    """End the sidecar: close its input, then terminate, then kill."""
    assert child.stdin is not None
    steps: tuple[tuple[Callable[[], None], float | None], ...] = (
        (child.stdin.close, _END_SECONDS),
        (child.terminate, _KILL_SECONDS),
        (child.kill, None),
    )
    for step, patience in steps:
        with contextlib.suppress(BrokenPipeError):  # closing flushes
            step()
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return


def _plain(value: object) -> str:
    """Moments as JSON has them; the tree holds nothing else that JSON has not."""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} can't be handed to the sidecar")
