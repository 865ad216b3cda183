"""A worker as one of several processes.

Belongs here: what a worker owes to the process that started it. Does not belong here: the sidecar (`supervision`).
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal

log = logging.getLogger(__name__)


def end_with_parent() -> None:
    """Ask this process to stop when the one that started it as a worker is gone; for one by itself, nothing.

    Killed outright, uvicorn's parent leaves its workers behind: they would serve on, and hold the port.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(parent.sentinel)
        log.error("the process that started this worker is gone; it stops")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, ended)
