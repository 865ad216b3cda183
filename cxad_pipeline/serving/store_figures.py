"""Figures of the store for /metrics and /health: messages that wait or were given up, incidents that are open.

Belongs here: reading them every few seconds, in the sidecar process. Does not belong here: showing them (`service`,
`health`): workers read them from the sidecar's status file and have no database in memory.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, StoreError, store_opener
from cxad_pipeline.store.figures import figures
from cxad_pipeline.store.pages import iso

_log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""Between two looks."""

_LONGEST_PAUSE_SECONDS = 60.0


class StoreFigures:
    """Reads the figures for as long as it runs.

    Parameters
    ----------
    settings
        The store's address.
    pause
        Between two looks, in seconds.
    """

    def __init__(self, settings: Settings, pause: float = PAUSE_SECONDS) -> None:
        self._store_of = store_opener(settings)
        self._pause = pause

    def run(self, stop: threading.Event, report: Callable[[dict[str, Any] | None], None]) -> None:
        """Read until `stop` is set.

        Parameters
        ----------
        stop
            Set by another thread.
        report
            Called from this thread after each look: with `read_figures`, or None while the store is away, which is for
            the drain to tell and to log.
        """
        pause = self._pause
        while not stop.is_set():
            try:
                report(read_figures(self._store_of()))
                pause = self._pause
            except StoreError as error:
                _log.debug("figures of the store can't be read", extra={"reason": str(error)})
                report(None)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            stop.wait(pause)


def read_figures(store: Store) -> dict[str, Any]:
    """The figures as the status file has them.

    Returns
    -------
    dict
        The keys of `store.figures.Figures`; `oldest_due_at` is ISO 8601.

    Raises
    ------
    StoreError
        If the store can't be read.
    """
    with store.reading() as connection:
        found = figures(connection, dt.datetime.now(dt.UTC))
    due = found.oldest_due_at
    return {**asdict(found), "oldest_due_at": None if due is None else iso(due)}
