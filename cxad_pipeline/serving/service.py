"""What one worker process is made of.

Belongs here: the parts of the service, put together from the settings, and their start and stop. Does not belong here:
routes (`routes_*`), the framework's app (`app`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from threading import Lock
from typing import TYPE_CHECKING

from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.serving.bodies import BodyReader
from cxad_pipeline.serving.memory import limit_arenas
from cxad_pipeline.serving.metrics import Metrics
from cxad_pipeline.serving.model_store import ModelStore
from cxad_pipeline.serving.security import Keyring
from cxad_pipeline.serving.spool import Spool
from cxad_pipeline.serving.state_folder import state_folder
from cxad_pipeline.serving.stream import LiveStream
from cxad_pipeline.serving.supervision import Supervisor
from cxad_pipeline.serving.worker_process import end_with_parent
from cxad_pipeline.settings import Settings

if TYPE_CHECKING:
    from cxad_pipeline.store.database import Store

# Large requests are read and scored beside the event loop; the kernels release the GIL. More threads than this would
# only take turns, and each keeps memory of its own.
_SCORING_THREADS = 2


class Service:
    """The parts of a worker; `running` starts and stops those that run.

    Parameters
    ----------
    settings
        The whole configuration.

    Raises
    ------
    StateFolderError
        If the state folder can't be used.
    """

    def __init__(self, settings: Settings) -> None:
        serving = settings.serving
        self.settings = settings
        self.state = state_folder(settings)
        self.schema = schema_of(settings)
        self.metrics = Metrics()
        self.keyring = Keyring(serving)
        self.bodies = BodyReader(self.schema, settings.timezone, serving.max_records)
        self.models = ModelStore(settings, on_load=self.metrics.model_loaded, on_failure=self.metrics.model_load_failed)
        self.spool = Spool(self.state, serving.max_spool_bytes)
        self.stream = LiveStream(serving)
        self.supervisor = Supervisor(settings)
        self._opening = Lock()
        self._open_store: Callable[[], Store] | None = None
        self._watch_parts()
        self.scoring_threads = ThreadPoolExecutor(_SCORING_THREADS, thread_name_prefix="scoring")

    def store(self) -> Store:
        """The database of anomalies; imported and opened when it is first asked for, in a thread.

        Raises
        ------
        StoreError
            If it can't be opened; the next call tries again.
        """
        from cxad_pipeline.store.database import store_opener

        with self._opening:
            if self._open_store is None:
                self._open_store = store_opener(self.settings)
        return self._open_store()

    def _watch_parts(self) -> None:
        """Have the numbers read for metrics that the parts keep."""

        def told(part: str, name: str) -> float | None:
            value = (self.models.status()[part] or {}).get(name)
            return None if value is None else float(value)

        watch, stream, spool = self.metrics.watch, self.stream, self.spool
        watch("cxad_mlflow_up", lambda: told("mlflow", "reachable"))
        watch("cxad_store_up", lambda: told("store", "reachable"))
        watch("cxad_alerts_pending", lambda: told("alerts", "pending"))
        watch("cxad_alerts_failing", lambda: told("alerts", "failing"))
        watch("cxad_alerts_dead", lambda: told("alerts", "dead"))
        watch("cxad_alerts_oldest_due_seconds", self._overdue)
        watch("cxad_incidents_open", lambda: told("alerts", "open_incidents"))
        watch("cxad_spool_bytes", lambda: spool.size_bytes)
        watch("cxad_spool_waiting_records", lambda: told("store", "waiting_records"))
        watch("cxad_spool_lost_total", lambda: spool.lost)
        watch("cxad_stream_events_total", lambda: stream.published)
        watch("cxad_stream_subscribers", lambda: stream.subscribers)
        watch("cxad_stream_dropped_total", lambda: stream.sampled_out, "sampled")
        watch("cxad_stream_dropped_total", lambda: stream.dropped, "slow_client")
        watch("cxad_stream_dropped_total", lambda: stream.unsent, "slow_worker")
        watch("cxad_stream_dropped_total", lambda: stream.too_large, "too_large")

    def _overdue(self) -> float | None:
        """Since when the message is due that waits longest, in seconds; 0 where none is, None where it is not known."""
        alerts = self.models.status()["alerts"]
        if alerts is None:
            return None
        if alerts["oldest_due_at"] is None:
            return 0.0
        due = dt.datetime.fromisoformat(alerts["oldest_due_at"])
        return max(0.0, (dt.datetime.now(dt.UTC) - due).total_seconds())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start what runs in the background, and stop it in the opposite order."""
        limit_arenas()
        end_with_parent()
        parts = (self.spool, self.models, self.stream, self.supervisor)
        started = []
        try:
            for part in parts:
                await part.start()
                started.append(part)
            yield
        finally:
            for part in reversed(started):
                await part.stop()
            self.scoring_threads.shutdown(wait=True)
