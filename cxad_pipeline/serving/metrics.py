"""What Prometheus may ask of the service.

Belongs here: every metric, its name, meaning and labels, and the text that a scrape gets. Does not belong here: when
something is counted.

Names follow Prometheus' conventions; every label has a small fixed set of values (methods, route templates, columns of
the schema, reasons listed here, versions of the model). What several workers need beyond is in `worker_metrics`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from cxad_pipeline import __version__
from cxad_pipeline.serving.snapshot import Snapshot
from cxad_pipeline.serving.worker_metrics import AllWorkers, shared_folder

_log = logging.getLogger(__name__)

# Where a model was not taken over: the state folder can't be read, the copy in it is damaged or not for this service,
# the sidecar refused or could not fetch what MLflow names.
LOAD_FAILURES = ("state_unreadable", "copy_refused", "champion_refused", "other")
# Above the rate of the stream; a client, or another worker, that was too slow; longer than an event may be.
DROPS = ("sampled", "slow_client", "slow_worker", "too_large")
_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.012, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_MODEL_INFO = "cxad_model_info"

# Read when they are scraped. The same for all workers: they come from files that these share.
_OF_THE_SERVICE = {
    "cxad_mlflow_up": "1 if the sidecar reached MLflow last time.",
    "cxad_store_up": "1 if the sidecar reached the store last time.",
    "cxad_spool_bytes": "Bytes of anomalies on disk that wait for the store.",
    "cxad_spool_waiting_records": "Anomalies on disk that wait for the store.",
    "cxad_alerts_pending": "Messages that wait for their time or their next attempt, by channel counted.",
    "cxad_alerts_failing": "Pending messages whose last attempt failed, likewise.",
    "cxad_alerts_dead": "Messages that were given up, likewise.",
    "cxad_alerts_oldest_due_seconds": "How long the message is overdue that waits longest; 0: none is due.",
    "cxad_incidents_open": "Incidents that go on.",
}

Reading = Callable[[], float | None]


class Metrics:
    """The metrics of one app.

    Parameters
    ----------
    version
        Of the package.
    """

    def __init__(self, version: str = __version__) -> None:
        self._folder = shared_folder()
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "cxad_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._durations = Histogram(
            "cxad_http_request_duration_seconds",
            "From a request's arrival to its answer's last byte; without the live stream.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = _gauge("cxad_http_requests_in_flight", "Requests being answered.", "livesum", registry)
        self._scored = Counter("cxad_interactions_scored", "Interactions scored.", registry=registry)
        self._anomalies = Counter(
            "cxad_anomalies", "Interactions found unusual, by model.", ["model"], registry=registry
        )
        self._unknown_fields = Counter(
            "cxad_unknown_fields", "Fields of records that the schema does not know.", registry=registry
        )
        self._unknown_categories = Counter(
            "cxad_unknown_categories", "Categories that the model was not trained on.", ["column"], registry=registry
        )
        self._model = Gauge(
            _MODEL_INFO, "The model that serves.", ["version", "run_id"], multiprocess_mode="livemax", registry=registry
        )
        self._loaded: Gauge | None = None
        self._load_failures = Counter(
            "cxad_model_load_failures", "Models that could not be taken over.", ["reason"], registry=registry
        )
        dropped = Counter("cxad_stream_dropped", "Events that the live stream left out.", ["reason"], registry=registry)
        # Counted by their owners in each worker, and taken over from there.
        self._of_workers: dict[tuple[str, ...], Counter | Gauge] = {
            ("cxad_spool_lost_total",): Counter(
                "cxad_spool_lost", "Anomalies that could not be kept for the store.", registry=registry
            ),
            ("cxad_stream_events_total",): Counter(
                "cxad_stream_events", "Scored interactions put on the live stream.", registry=registry
            ),
            **{("cxad_stream_dropped_total", reason): dropped.labels(reason) for reason in DROPS},
            ("cxad_stream_subscribers",): _gauge(
                "cxad_stream_subscribers", "Clients of the live stream.", "livesum", registry
            ),
        }
        build = Gauge("cxad_build_info", "This software.", ["version"], multiprocess_mode="livemax", registry=registry)
        build.labels(version).set(1)
        for reason in LOAD_FAILURES:
            self._load_failures.labels(reason)
        self._by_request: dict[tuple[str, str, int], Counter] = {}
        self._by_route: dict[str, Histogram] = {}
        self._by_model: dict[str, Counter] = {}
        self._serving: Gauge | None = None
        self._readings: dict[str, Reading] = {}
        self._taken_over: dict[tuple[str, ...], tuple[Reading, float]] = {}
        self._take_over_at = 0.0
        self._shown = CollectorRegistry() if self._folder else registry
        if self._folder:
            self._shown.register(AllWorkers(self._folder))
        else:
            ProcessCollector(registry=registry)
        self._shown.register(_Readings(self._readings))

    def request_ended(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count an answer; `seconds` is None where the time says nothing, as for an endless stream."""
        key = (method if method in _METHODS else "other", route, status)
        counter = self._by_request.get(key)
        if counter is None:
            counter = self._by_request[key] = self._requests.labels(*key)
        counter.inc()
        if seconds is not None:
            histogram = self._by_route.get(route)
            if histogram is None:
                histogram = self._by_route[route] = self._durations.labels(route)
            histogram.observe(seconds)
        if self._folder and time.monotonic() >= self._take_over_at:
            self.take_over()

    def scored(
        self,
        n: int,
        flagged: Mapping[str, int],
        unknown_fields: Mapping[str, int],
        unknown_categories: Mapping[str, int],
    ) -> None:
        """Count what was scored.

        Parameters
        ----------
        n
            Interactions.
        flagged
            How many of them each model found unusual.
        unknown_fields
            By field that the schema does not know, in how many records it stood. The names are a caller's and no label.
        unknown_categories
            By column, how many values the model was not trained on.
        """
        self._scored.inc(n)
        for model, count in flagged.items():
            counter = self._by_model.get(model)
            if counter is None:
                counter = self._by_model[model] = self._anomalies.labels(model)
            if count:
                counter.inc(count)
        for count in unknown_fields.values():
            self._unknown_fields.inc(count)
        for column, count in unknown_categories.items():
            if count:
                self._unknown_categories.labels(column).inc(count)

    def model_loaded(self, snapshot: Snapshot) -> None:
        """Note the model that serves from now on."""
        now = self._model.labels(snapshot.version, snapshot.run_id)
        now.set(1)
        if self._serving is not None and self._serving is not now:
            self._serving.set(0)  # and not shown any more; files of several workers know no removal
        self._serving = now
        if self._loaded is None:  # not from the start, or it would say 1970
            self._loaded = _gauge(
                "cxad_model_loaded_timestamp_seconds",
                "When the model was loaded; of several workers, by the one whose model is oldest.",
                "livemin",
                self._registry,
            )
        self._loaded.set(snapshot.loaded_at.timestamp())

    def model_load_failed(self, kind: str, reason: str) -> None:  # noqa: ARG002  words are for the log, not a label
        """Count a model that could not be taken over, by one of `LOAD_FAILURES`; anything else counts as other."""
        self._load_failures.labels(kind if kind in LOAD_FAILURES else "other").inc()

    def watch(self, name: str, read: Reading, *labels: str) -> None:
        """Have a number of somebody else's read for each scrape.

        Parameters
        ----------
        name
            A gauge of the whole service, read from what workers share (`cxad_mlflow_up`, `cxad_store_up`,
            `cxad_spool_bytes`, `cxad_spool_waiting_records`, `cxad_alerts_...`, `cxad_incidents_open`); or a number of
            this worker, which is added to those of the others (`cxad_spool_lost_total`, `cxad_stream_events_total`,
            `cxad_stream_dropped_total`, `cxad_stream_subscribers`).
        read
            Gives the value quickly: for a counter the sum since the start. None if it is not known, which leaves it
            out. If it fails, that is logged; the scrape goes on.
        *labels
            Value of the metric's label, if it has one.

        Raises
        ------
        ValueError
            If there is no such metric to watch.
        """
        if name in _OF_THE_SERVICE and not labels:
            self._readings[name] = read
        elif (name, *labels) in self._of_workers:
            self._taken_over[(name, *labels)] = (read, 0.0)
        else:
            raise ValueError(f"{(name, *labels)}: is no metric to watch")

    def take_over(self) -> None:
        """Read the numbers of this worker that others count.

        A scrape does so in the worker that answers it; the others, where there are several, with a request, at most
        once a second.
        """
        self._take_over_at = time.monotonic() + 1
        for key, (read, before) in self._taken_over.items():
            value = _read(key[0], read)
            if value is None:
                continue
            metric = self._of_workers[key]
            if isinstance(metric, Gauge):
                metric.set(value)
            elif value > before:
                metric.inc(value - before)
                self._taken_over[key] = (read, value)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """What a scrape gets.

        Parameters
        ----------
        accept
            Of the request: OpenMetrics is given to whom asks for it, else Prometheus' text format.

        Returns
        -------
        tuple of bytes and str
            The text and its media type.
        """
        self.take_over()
        # Not the header itself: the library fails on versions that are none, and repeats what they say.
        encode, media_type = choose_encoder(_OPENMETRICS if _OPENMETRICS.partition(";")[0] in accept else "")
        return encode(_Shown(self._shown)), media_type


def _gauge(name: str, meaning: str, mode: Any, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, meaning, multiprocess_mode=mode, registry=registry)


def _read(name: str, read: Reading) -> float | None:
    try:
        value = read()
    except Exception:  # noqa: BLE001  # one that fails must not hide the others
        _log.exception("a metric could not be read", extra={"metric": name})
        return None
    return None if value is None else float(value)


class _Shown(Collector):
    """What is shown of a registry: not the models that served before, nor when each series began."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample
                for sample in metric.samples
                if not sample.name.endswith("_created") and (metric.name != _MODEL_INFO or sample.value)
            ]
            yield metric


class _Readings(Collector):
    """Gauges that others own."""

    def __init__(self, readings: Mapping[str, Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        for name, read in self._readings.items():
            value = _read(name, read)
            if value is not None:
                yield GaugeMetricFamily(name, _OF_THE_SERVICE[name], value=value)
