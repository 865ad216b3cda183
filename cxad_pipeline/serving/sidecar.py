"""The sidecar: one process beside the workers, for what they have no memory or time for.

Belongs here: its threads, its sign of life, its end. Does not belong here: what the threads do (`follower`,
`drain`, `store_figures`), and starting it (`supervision`).

It reads the settings, as one line of JSON, from its standard input, and ends when that is closed: its parent has then
ended too, however that came about.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from cxad_pipeline.serving.follower import Follower
from cxad_pipeline.serving.local_copy import clean
from cxad_pipeline.serving.mailbox import Mailbox
from cxad_pipeline.serving.request_log import configure_logging
from cxad_pipeline.serving.sidecar_status import STATUS_FILE
from cxad_pipeline.serving.state_folder import state_folder, works_for, write_json
from cxad_pipeline.settings import Settings

log = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0
_MAILBOX_SECONDS = 0.1
_LONGEST_PAUSE = 30.0
# A batch for the store takes seconds at most; a database that hangs must not keep the next sidecar waiting.
_END_SECONDS = 10.0
# Where processors are scarce, scoring goes first.
_NICENESS = 5


class Sidecar:
    """The threads of the process, and what they report.

    Parameters
    ----------
    settings
        The whole configuration, as the workers have it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._works_for = settings, works_for(settings)
        self._state = state_folder(settings)
        clean(self._state)  # no other sidecar is running
        self._mailbox = Mailbox(self._state)
        self._follower = Follower(settings, self._state)
        self._store: dict[str, Any] = {}
        self._alerts: dict[str, Any] | None = None
        self._stop = threading.Event()
        self._told_to_end = False
        self._thread_failures: dict[str, str] = {}
        self._taken: set[str] = set()
        self._warned: set[str] = set()

    def run(self) -> None:
        """Work until `stop` is called."""
        drain = self._thread("drain", self._drain)
        follower = self._thread("follower", lambda: self._follower.run(self._stop))
        self._thread("figures", self._look_at_alerts)
        next_beat = 0.0
        while not self._told_to_end:
            now = time.monotonic()
            if now >= next_beat:
                self._beat()
                next_beat = now + _BEAT_SECONDS
            self._take_requests()
            time.sleep(_MAILBOX_SECONDS)
        self._stop.set()
        # A fetch is left where it is, and what it has left is removed at the next start; a batch is brought to its end.
        self._follower.wake()
        drain.join(_END_SECONDS)
        follower.join(_MAILBOX_SECONDS)

    def stop(self) -> None:
        """Have `run` end; may be called from any thread, and from a signal's handler, which must take no lock."""
        self._told_to_end = True

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Start a thread that works until told to stop, and again when it fails; the others go on meanwhile."""

        def lives() -> None:
            pause = _BEAT_SECONDS
            while not self._stop.is_set():
                try:
                    work()
                except Exception as error:
                    log.exception("a thread of the sidecar has failed and is started again", extra={"part": name})
                    self._thread_failures[name] = f"{type(error).__name__}: {error}"
                    self._stop.wait(pause)
                    del self._thread_failures[name]
                    pause = min(2 * pause, _LONGEST_PAUSE)

        thread = threading.Thread(target=lives, name=name, daemon=True)
        thread.start()
        return thread

    def _drain(self) -> None:
        from cxad_pipeline.serving.drain import Drain

        Drain(self._settings).run(self._stop, self._report_store)

    def _report_store(self, report: dict[str, Any]) -> None:
        self._store = dict(report)

    def _look_at_alerts(self) -> None:
        from cxad_pipeline.serving.store_figures import StoreFigures

        StoreFigures(self._settings).run(self._stop, self._report_alerts)

    def _report_alerts(self, report: dict[str, Any] | None) -> None:
        self._alerts = report

    def _beat(self) -> None:
        path = self._state / STATUS_FILE
        content = {
            "pid": os.getpid(),
            "at": time.time(),
            "works_for": self._works_for,
            "mlflow": self._follower.status(),
            "store": self._store,
            "alerts": self._alerts,
            "failures": dict(self._thread_failures),
        }
        try:
            write_json(path, content, durable=False)
        except OSError as error:  # a full disk, most often; the sign of life needs no room
            self._warn("the status can't be written", error)
            if path.exists():
                os.utime(path)
        else:
            self._warned.clear()

    def _take_requests(self) -> None:
        try:
            for nonce in self._mailbox.open_requests():
                if nonce not in self._taken:
                    self._taken.add(nonce)
                    self._follower.ask(partial(self._answer, nonce))
        except OSError as error:
            self._warn("requests can't be read", error)

    def _answer(self, nonce: str, answer: dict[str, Any]) -> None:
        try:
            self._mailbox.answer(nonce, {**answer, "works_for": self._works_for})
        except OSError as error:
            self._warn("a request can't be answered", error)
        else:
            self._taken.discard(nonce)

    def _warn(self, event: str, error: OSError) -> None:
        """Log once what comes again and again while a disk is full."""
        if event not in self._warned:
            self._warned.add(event)
            log.warning(event, extra={"folder": str(self._state), "reason": error.strerror})


def main() -> None:
    """Run until standard input is closed, or SIGTERM."""
    # Ctrl+C reaches the whole group; when this process ends is for its parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging()
    # While MLflow is away it warns of each try, in 300 characters; the follower says it once, and since when.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    line = sys.stdin.readline()
    if not line:
        raise SystemExit("the sidecar is started by the service (`cxad serve`), which hands it the settings")
    sidecar = Sidecar(Settings.model_validate(json.loads(line)))

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  what `signal` calls it with
        sidecar.stop()

    def until_closed() -> None:
        while sys.stdin.read(4096):
            pass
        sidecar.stop()
        time.sleep(2 * _END_SECONDS)
        os._exit(1)  # it hangs, on a disk that does not answer, say; the next one waits for its lock

    signal.signal(signal.SIGTERM, on_signal)
    threading.Thread(target=until_closed, name="stdin", daemon=True).start()
    sidecar.run()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)  # a fetch that hangs has threads of its own, which an ordinary end would wait for


if __name__ == "__main__":
    main()
