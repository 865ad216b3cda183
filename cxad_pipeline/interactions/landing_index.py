"""Which minutes each landed file speaks of, kept beside the data so that a file is searched once.

Belongs here: the cache and its key. It may be deleted at any time; it is made again from the files.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cxad_pipeline.files import FileStat, Folder
from cxad_pipeline.interactions.landing import Window, survey
from cxad_pipeline.interactions.sources import SourceReader
from cxad_pipeline.settings import Settings

_FORMAT = 3
_LANDED = b"landed"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class FileIndex:
    """What is known of one landed file.

    Attributes
    ----------
    path
        Below the landing folder.
    sha256
        Of its content: a file that is landed again unchanged has the same one.
    rows, all_rows
        Accepted rows, and all rows whatever became of them.
    spans
        Runs of neighbouring minutes since 1970, as first minute and count; shape (k, 2).
    unreadable
        Why the file, or the rest of it, can't be read; empty where it can.
    """

    path: str
    sha256: str
    rows: int
    all_rows: int
    spans: np.ndarray
    unreadable: str = ""

    @property
    def period(self) -> tuple[dt.datetime, dt.datetime]:
        """The period that holds all rows; both ends are the same where there are none."""
        if len(self.spans) == 0:
            return _EPOCH, _EPOCH
        first, last = int(self.spans[0, 0]), int(self.spans[-1].sum())
        return _EPOCH + dt.timedelta(minutes=first), _EPOCH + dt.timedelta(minutes=last)

    def touches(self, window: Window) -> bool:
        """Whether a row of the file, accepted or rejected, lies in a window."""
        first, count = self.spans[:, 0], self.spans[:, 1]
        start, end = _minute(window.start), _minute(window.end)
        return bool(np.any((first < end) & (first + count > start)))

    def windows(self, windows: Sequence[Window]) -> list[str]:
        """Keys of the windows that the file touches."""
        if len(self.spans) == 0 or not windows:
            return []
        first, after = self.spans[:, 0], self.spans.sum(axis=1)
        starts = np.array([_minute(window.start) for window in windows])
        ends = np.array([_minute(window.end) for window in windows])
        last = np.searchsorted(first, ends) - 1  # the last run of minutes that begins before the window ends
        touched = (last >= 0) & (after[np.maximum(last, 0)] > starts)
        return [window.key for window, hit in zip(windows, touched, strict=True) if hit]


class LandingIndex:
    """The index of a landing folder.

    Parameters
    ----------
    storage
        Folder for the cache.
    landed
        Folder of the files.
    readers
        The sources; the cache is void when they change.
    """

    def __init__(self, storage: Folder, landed: Folder, readers: Sequence[SourceReader], settings: Settings) -> None:
        self._cache = storage.below("landing_index")
        self._landed = landed
        self._readers = readers
        self._known: dict[FileStat, FileIndex] = {}
        sources = [source.model_dump(mode="json") for source in settings.sources]
        extra = [column.model_dump(mode="json") for column in settings.interactions.extra_columns]
        self._reading = _digest(json.dumps([_FORMAT, sources, extra, settings.timezone], sort_keys=True))

    def of(self, stat: FileStat) -> FileIndex:
        """The index of one file, from the cache where neither the file nor its reading has changed."""
        known = self._known.get(stat)
        if known is None:
            known = self._known[stat] = self._cached(stat)
        return known

    def _cached(self, stat: FileStat) -> FileIndex:
        name = f"{_digest(self._landed.address(stat.path))[:32]}.json"
        key = [stat.path, stat.size, stat.modified.isoformat(), self._reading]
        if self._cache.exists(name):
            try:
                entry = json.loads(self._cache.read(name))
            except ValueError:
                entry = {"key": None}  # damaged; it is made again
            if entry["key"] == key:
                spans = np.array(entry["spans"], np.int64).reshape(-1, 2)
                return FileIndex(
                    stat.path, entry["sha256"], entry["rows"], entry["all_rows"], spans, entry["unreadable"]
                )
        found = survey(self._landed, stat, self._readers)
        index = FileIndex(
            stat.path,
            self._landed.sha256(stat.path),
            found.rows,
            found.all_rows,
            _spans(found.minutes),
            found.unreadable,
        )
        entry = {"key": key, **vars(index), "spans": index.spans.tolist()}
        self._cache.write(name, json.dumps(entry).encode())
        return index

    def files_in_window(self, stats: Iterable[FileStat], window: Window) -> list[FileIndex]:
        """Indexes of the files that touch one window, in the given order."""
        return [entry for entry in map(self.of, stats) if entry.touches(window)]

    def files_in(self, stats: Iterable[FileStat], windows: Sequence[Window]) -> list[FileStat]:
        """Those of the files that touch at least one of the windows, in the given order; empty files are among them."""
        chosen = []
        for stat in stats:
            index = self.of(stat)
            if len(index.spans) == 0 or any(index.touches(window) for window in windows):
                chosen.append(stat)
        return chosen


def files_digest(indexes: Iterable[FileIndex], window: Window | None = None) -> str:
    """One hash for some files and their contents, by which it is known later whether they are still the same.

    With a window its ends are part of it: a window of the same key and another length is another window.
    """
    ends = [] if window is None else [window.start.isoformat(), window.end.isoformat()]
    return _digest(json.dumps([*ends, *([index.path, index.sha256] for index in indexes)]))


def with_digest(table: pa.Table, digest: str) -> pa.Table:
    """A table that carries, in its schema's metadata, the digest of the files that it was read from."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _LANDED: digest.encode()})


def digest_of(table: pa.Table) -> str:
    """What `with_digest` noted; empty where it did not."""
    return str((table.schema.metadata or {}).get(_LANDED, b"").decode())


def _spans(minutes: np.ndarray) -> np.ndarray:
    if len(minutes) == 0:
        return np.empty((0, 2), np.int64)
    starts = np.flatnonzero(np.diff(minutes, prepend=minutes[0] - 2) != 1)
    counts = np.diff(np.append(starts, len(minutes)))
    return np.column_stack([minutes[starts], counts])


def _minute(moment: dt.datetime) -> int:
    return int(moment.timestamp()) // 60


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
