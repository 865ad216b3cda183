"""From the spool into the store: the only reader of segments, in the sidecar process.

Belongs here: taking segments that are done, writing them in batches, and what happens while the store is away or when
it refuses a record. Does not belong here: how segments come about (`spool`), tables (`store`).

The promise. A segment is deleted only after its records are committed, so that each is written at least once; the store
keeps one row for an interaction and model version, so that each is there once. A line that can't be read, and a record
that the database refuses, go to `<state>/spool/damaged/` and stop nothing else.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cxad_pipeline.serving.segments import claim, segment_sizes, spool_folder
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.anomalies import record_anomalies
from cxad_pipeline.store.database import RefusedError, Store, StoreError, open_store
from cxad_pipeline.store.records import AnomalyRecord

_log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""How often the folder is looked at."""

_BATCH_BYTES = 2 << 20
_BATCH_SEGMENTS = 200
_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 0.5, 30.0

_RECORD = TypeAdapter(AnomalyRecord)


@dataclass(frozen=True)
class _Claim:
    path: Path
    descriptor: int


@dataclass(frozen=True)
class _Line:
    segment: Path
    text: bytes
    record: AnomalyRecord


@dataclass(frozen=True)
class _Damaged:
    segment: Path
    text: bytes
    why: str


class Drain:
    """Writes what the workers have spooled to the store, for as long as it runs.

    Parameters
    ----------
    settings
        The store's address, and the state folder.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = spool_folder(Path(settings.serving.state))
        self._store: Store | None = None
        self._since: dt.datetime | None = None
        self._why: str | None = None
        self._reachable: bool | None = None
        self._written = 0
        self._damaged = 0
        self._last_written: dt.datetime | None = None
        self._counted: dict[Path, tuple[int, int]] = {}
        self._waiting = {"waiting_records": 0, "waiting_bytes": 0}
        self._unreadable = False
        self._backoff = _FIRST_BACKOFF_SECONDS

    def run(self, stop: threading.Event, report: Callable[[dict[str, Any]], None]) -> None:
        """Drain until `stop` is set; the batch in hand is finished then, and what is left stays in its segments.

        Parameters
        ----------
        stop
            Set by another thread.
        report
            Called from this thread with `status()` when it has changed: before a turn, which may take long, after each
            batch of it, and at its end.
        """
        told: dict[str, Any] | None = None

        def tell() -> None:
            nonlocal told
            status = self.status()
            if status != told:
                report(told := status)

        try:
            while not stop.is_set():
                tell()
                pause = self._turn(stop, tell)
                tell()
                stop.wait(pause)
        finally:
            self._close()

    def status(self) -> dict[str, Any]:
        """How it goes.

        Returns
        -------
        dict
            `reachable`: whether the store took what it was last asked to, None before it was asked; `since`, `why`: of
            its being away, None while it is there; `waiting_records`, `waiting_bytes`: in all segments, those of living
            workers included, as last seen where they can't be read; `written`, `damaged`: records since this process
            began; `last_written_at`. Times are ISO 8601 in UTC.
        """
        self._look()
        return {
            "reachable": self._reachable,
            "since": _iso(self._since),
            "why": self._why,
            **self._waiting,
            "written": self._written,
            "damaged": self._damaged,
            "last_written_at": _iso(self._last_written),
        }

    def drain_once(self, stop: threading.Event | None = None, after_batch: Callable[[], None] | None = None) -> None:
        """Write all segments that are done, up to the batch at which `stop` is set.

        Parameters
        ----------
        stop
            Set by another thread.
        after_batch
            Called when a batch is stored and its segments are deleted.

        Raises
        ------
        StoreError
            If the store can't be used; what was not committed stays in its segments.
        OSError
            If segments can't be read, or damaged lines not be put aside.
        """
        if self._store is None:
            self._store = open_store(self._settings)
        waiting = iter(segment_sizes(self._folder))
        while not (stop is not None and stop.is_set()):
            with _claimed(waiting) as claims:
                if not claims:
                    return
                lines, damaged = _read(claims)
                damaged += self._write(self._store, lines)
                self._put_aside(damaged)
                for taken in claims:
                    taken.path.unlink(missing_ok=True)
            if lines:
                self._there()
            if after_batch is not None:
                after_batch()

    def _turn(self, stop: threading.Event, after_batch: Callable[[], None]) -> float:
        """Drain once; how long to wait until the next time, in seconds."""
        try:
            self.drain_once(stop, after_batch)
        except (StoreError, OSError) as error:
            return self._away(str(error))
        self._there()
        return POLL_SECONDS

    def _there(self) -> None:
        if self._why is not None:
            _log.warning("the store is there again")
        self._reachable, self._since, self._why = True, None, None
        self._backoff = _FIRST_BACKOFF_SECONDS

    def _away(self, why: str) -> float:
        if self._why != why:
            _log.warning("anomalies wait in the spool for the store", extra={"reason": why})
        self._since = self._since or dt.datetime.now(dt.UTC)
        self._reachable, self._why = False, why
        self._close()  # the next attempt connects anew and looks at the schema again
        pause = self._backoff * random.uniform(0.75, 1.25)
        self._backoff = min(2 * self._backoff, _LONGEST_BACKOFF_SECONDS)
        return pause

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _write(self, store: Store, lines: Sequence[_Line]) -> list[_Damaged]:
        """Commit records; where the database refuses them, each half by itself, down to those at fault, the result."""
        if not lines:
            return []
        try:
            with store.writing() as connection:
                record_anomalies(connection, [line.record for line in lines])
        except (RefusedError, ValueError) as error:
            if len(lines) == 1:
                return [_Damaged(lines[0].segment, lines[0].text, str(error))]
            middle = len(lines) // 2
            return self._write(store, lines[:middle]) + self._write(store, lines[middle:])
        self._written += len(lines)
        self._last_written = dt.datetime.now(dt.UTC)
        return []

    def _put_aside(self, damaged: Sequence[_Damaged]) -> None:
        """Keep lines that can't be stored, by segment; before it is deleted, so that they are somewhere at any time."""
        folder = self._folder / "damaged"
        for path in dict.fromkeys(line.segment for line in damaged):
            lines = [line for line in damaged if line.segment == path]
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with os.fdopen(os.open(folder / path.name, flags, 0o600), "wb") as stream:
                stream.writelines(line.text + b"\n" for line in lines)
                stream.flush()
                os.fsync(stream.fileno())
            self._damaged += len(lines)
            why = ", ".join(sorted({line.why for line in lines}))
            place = str(folder / path.name)
            _log.error("lines of the spool are put aside", extra={"lines": len(lines), "file": place, "reason": why})

    def _look(self) -> None:
        """See what waits; where that can't be read, what was seen last stands."""
        try:
            sizes = segment_sizes(self._folder)
            self._waiting = {"waiting_records": self._records_in(sizes), "waiting_bytes": sum(sizes.values())}
        except OSError as error:
            if not self._unreadable:
                _log.warning("what waits in the spool can't be read", extra={"reason": str(error)})
            self._unreadable = True
        else:
            self._unreadable = False

    def _records_in(self, sizes: dict[Path, int]) -> int:
        """Lines in the segments; each is counted again only when it has grown."""
        self._counted = {path: self._counted[path] for path in sizes if path in self._counted}
        for path, size in sizes.items():
            if path not in self._counted or self._counted[path][0] != size:
                try:
                    self._counted[path] = (size, path.read_bytes().count(b"\n"))
                except FileNotFoundError:
                    continue
        return sum(count for _, count in self._counted.values())


def _read(claims: Sequence[_Claim]) -> tuple[list[_Line], list[_Damaged]]:
    """The records of segments, and the lines that are none."""
    lines: list[_Line] = []
    damaged: list[_Damaged] = []
    for taken in claims:
        with os.fdopen(taken.descriptor, "rb", closefd=False) as stream:  # deleted from outside or not
            content = stream.read()
        for text in content.split(b"\n"):
            try:
                if text:
                    lines.append(_Line(taken.path, text, _RECORD.validate_json(text, strict=True)))
            except ValidationError:
                damaged.append(_Damaged(taken.path, text, "no anomaly; was the machine stopped while it was written?"))
    return lines, damaged


@contextmanager
def _claimed(waiting: Iterator[Path]) -> Iterator[list[_Claim]]:
    """The next segments that are done, about a batch of them; their locks are held until the block ends."""
    claims: list[_Claim] = []
    size = 0
    try:
        for path in waiting:
            descriptor = claim(path)
            if descriptor is None:
                continue
            claims.append(_Claim(path, descriptor))
            size += os.fstat(descriptor).st_size
            if size >= _BATCH_BYTES or len(claims) >= _BATCH_SEGMENTS:
                break
        yield claims
    finally:
        for taken in claims:
            os.close(taken.descriptor)


def _iso(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")
