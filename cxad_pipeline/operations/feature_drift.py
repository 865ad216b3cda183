"""Recent scoring windows against the training rows.

Belongs here: the counts of windows in storage, whether there are enough of them, the words and the table for what was
found. Does not belong here: the measures (`detection.drift`), what drift asks for (`retraining`), and Dagster objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.detection.drift import DriftFigures, DriftReference
from cxad_pipeline.detection.drift_bins import CountArray, Key
from cxad_pipeline.files import Folder
from cxad_pipeline.incidents.incident import segment_text
from cxad_pipeline.settings.operations import DriftSettings

_REFERENCE = b"reference"
_NAMED = 3


class CountedWindows:
    """Counts of windows in the bins of one reference, each found once.

    A window that was counted with another reference, before the last training, is counted again from its scores: else
    nothing could be said for a week after each training.
    """

    def __init__(self, storage: Folder, reference: DriftReference) -> None:
        self._storage = storage
        self._reference = reference
        self._counts: dict[str, CountArray | None] = {}

    def add(self, key: str, scored: pa.Table) -> CountArray:
        """Count a window."""
        counts = self._counts[key] = self._reference.counts(scored)
        return counts

    def there(self, keys: Sequence[str]) -> list[CountArray]:
        """Counts of those windows that were scored."""
        for key in keys:
            if key not in self._counts:
                self._counts[key] = self._stored(key)
        return [counts for key in keys if (counts := self._counts[key]) is not None]

    def _stored(self, key: str) -> CountArray | None:
        earlier = self._read(f"feature_drift/{key}.parquet")
        if earlier is not None and earlier.schema.metadata[_REFERENCE] == self._reference.digest.encode():
            return np.asarray(earlier["counts"].combine_chunks().flatten().to_numpy(), dtype=np.int64)
        scored = self._read(f"ensemble_scores/{key}.parquet")
        return None if scored is None else self._reference.counts(scored)

    def _read(self, path: str) -> pa.Table | None:
        if not self._storage.exists(path):
            return None
        with self._storage.open(path) as stream:
            return pq.read_table(stream)


@dataclass(frozen=True)
class WindowDrift:
    """The recent windows up to one against the training rows."""

    figures: DriftFigures
    windows: int
    status: str

    @property
    def drifted(self) -> int:
        """How many features of segments have drifted."""
        return int(np.count_nonzero(self.figures.drifted))

    def worst(self, reference: DriftReference, limit: int) -> list[dict[str, Any]]:
        """The features that are furthest from the training rows, by how much they exceed their limits."""
        figures = self.figures
        excess = np.fmax(figures.psi / figures.psi_limit, figures.ks / figures.ks_limit)
        order = np.lexsort((-np.nan_to_num(excess), ~figures.drifted))
        order = order[figures.compared[order]]
        return [
            {
                "feature": reference.features[place].name,
                "segment": segment_words(reference.features[place].segment),
                "psi": _figure(figures.psi[place]),
                "psi_limit": _figure(figures.psi_limit[place]),
                "ks": _figure(figures.ks[place]),
                "ks_limit": _figure(figures.ks_limit[place]),
                "contacts": int(figures.contacts[place]),
                "drifted": bool(figures.drifted[place]),
            }
            for place in order[:limit]
        ]

    def words(self, reference: DriftReference) -> str:
        """The worst features that have drifted, in words; empty where none has."""
        named = [
            f"{row['feature']} in {row['segment']} ({measures_words(row)})"
            for row in self.worst(reference, _NAMED)
            if row["drifted"]
        ]
        more = self.drifted - len(named)
        return "; ".join([*named, *([f"{more} more"] if more else [])])


def judge(reference: DriftReference, recent: Sequence[CountArray], settings: DriftSettings) -> WindowDrift:
    """Compare windows. Fewer than half of those asked for are no sample of the week, and nothing there has drifted.

    On simulated months without drift, whose mix changes over the day and the week, one to four windows of six hours
    after a training exceeded the limits a dozen times in sixty; fourteen to twenty-eight never did.
    """
    figures = reference.compare(
        np.sum(recent, axis=0), max_psi=settings.max_psi, max_ks=settings.max_ks, min_contacts=settings.min_contacts
    )
    contacts = int(figures.contacts.max())
    if 2 * len(recent) < settings.recent_windows:
        status = f"not judged: {len(recent)} of the last {settings.recent_windows} windows are there"
        none = np.zeros_like(figures.drifted)
        return WindowDrift(replace(figures, drifted=none), len(recent), status)
    if contacts == 0:
        status = "no data"
    elif not figures.compared.any():
        status = f"not judged: {plural(contacts, 'contact')}, drift.min_contacts asks for {settings.min_contacts}"
    else:
        status = "drifted" if figures.drifted.any() else "no drift"
    return WindowDrift(figures, len(recent), status)


def drift_table(reference: DriftReference, counts: CountArray, figures: DriftFigures) -> pa.Table:
    """A row for each feature in each segment: the window's own counts, and the figures of the recent windows."""
    features = reference.features
    training = np.add.reduceat(reference.training, reference.starts[:-1])
    columns: dict[str, tuple[pa.Array, str]] = {
        "segment": (pa.array([segment_text(f.segment) for f in features]), "pairs of dimension and value"),
        "feature": (pa.array([feature.name for feature in features]), "column"),
        "counts": (
            pa.ListArray.from_arrays(pa.array(reference.starts, pa.int32()), pa.array(counts, pa.int64())),
            "rows of this window in each cell",
        ),
        "contacts": (pa.array(figures.contacts), "rows of the recent windows"),
        "reference_contacts": (pa.array(training), "training rows"),
        "psi": (pa.array(figures.psi, from_pandas=True), "population stability index of the recent windows"),
        "psi_limit": (pa.array(figures.psi_limit, from_pandas=True), "drift.max_psi and what comes by chance"),
        "ks": (pa.array(figures.ks, from_pandas=True), "Kolmogorov-Smirnov distance; none for categories"),
        "ks_limit": (pa.array(figures.ks_limit, from_pandas=True), "drift.max_ks and what comes by chance"),
        "drifted": (pa.array(figures.drifted), "whether a measure exceeds its limit"),
    }
    schema = pa.schema(
        [pa.field(name, array.type, metadata={"meaning": words}) for name, (array, words) in columns.items()],
        metadata={_REFERENCE: reference.digest},
    )
    return pa.Table.from_arrays([array for array, _ in columns.values()], schema=schema)


def segment_words(segment: Key) -> str:
    """A segment as people read it."""
    return ", ".join(f"{name}={value}" for name, value in segment) or "all contacts"


def measures_words(row: Mapping[str, Any]) -> str:
    """Figures of a feature with the limits they are held against."""
    words = f"PSI {row['psi']:.2f}, limit {row['psi_limit']:.2f}"
    return words if row["ks"] is None else f"{words}; KS {row['ks']:.2f}, limit {row['ks_limit']:.2f}"


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)
