"""Anomalies on their way to the store, kept in files while they wait.

Belongs here: the worker's side, which appends and never waits for a database, and what both sides must agree on: where
segments lie, how they are named, and who may take one. Does not belong here: writing them to the store (`drain`).

The promise. `append` returns after the records are in the kernel's hands, and the answer is sent after that: a process
that is killed with SIGKILL loses nothing that it has answered. A machine that loses power loses at most what was
answered since the last sync: `SYNC_SECONDS` and the time that a sync takes.

A segment is a file of lines, one JSON record each, `<state>/spool/<time>-<pid>-<random>.ndjson`. Its writer holds a
lock on it (flock) that the kernel frees when the writer closes it or dies in any way; a segment whose lock is free is
done, and the drain may take it. No process number is looked at: those are given out again.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from cxad_pipeline.store.records import AnomalyRecord

_log = logging.getLogger(__name__)

SYNC_SECONDS = 1.0
"""How often what was appended is written through to the disk, and handed over to the drain."""

_SEGMENT_BYTES = 1 << 20
_MANY_SEGMENTS = 100
"""With so many waiting the store is away; segments then grow to their full size, not to one more file a second."""

_SUFFIX = ".ndjson"
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY


def spool_folder(state: Path) -> Path:
    """Where segments lie, below the state folder; made when it is not there, for this user alone."""
    folder = state / "spool"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def segment_sizes(folder: Path) -> dict[Path, int]:
    """Bytes of every segment that is there, the oldest first, those that are still written to included."""
    sizes = {}
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with suppress(FileNotFoundError):  # taken since the folder was listed
            sizes[path] = path.stat().st_size
    return sizes


def claim(path: Path) -> int | None:
    """Take a segment whose writer is done with it.

    Returns
    -------
    int or None
        Descriptor that holds the segment's lock, to be closed by the caller; None where a writer or another drain has
        it, or where it is gone.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if _locked(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _locked(descriptor: int) -> bool:
    """Lock an open segment; not where another has it, or has deleted it in the meantime."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


@dataclass
class _Segment:
    descriptor: int
    size: int = 0
    torn: bool = False

    def write(self, lines: bytes) -> None:
        """All the lines or none of them; `torn` where it could not be cut back to the last whole line.

        Raises
        ------
        OSError
            If they can't be written, such as on a full disk.
        """
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        except OSError:
            self.torn = True
            os.ftruncate(self.descriptor, self.size)
            self.torn = False
            raise
        self.size += len(lines)


def _new_segment(folder: Path) -> _Segment:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # whoever empties the state folder stops nothing
    while True:
        path = folder / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            if _locked(descriptor):
                return _Segment(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # a drain came between the two calls, found it empty and deletes it


class Spool:
    """Where one worker process leaves the anomalies that it has found.

    `append` and `tick` are called on the event loop alone.

    Parameters
    ----------
    state
        The state folder, shared with the other workers and the drain.
    max_bytes
        Most bytes of records that may wait, of all workers together; beyond them records are counted as lost. Others'
        are looked up once in `SYNC_SECONDS`, so that several workers together may pass it by what they write meanwhile.

    Attributes
    ----------
    lost
        Records of this process that could not be kept since it started.

    Raises
    ------
    OSError
        If the folder can't be made or read.
    """

    def __init__(self, state: Path, max_bytes: int) -> None:
        self._folder = spool_folder(state)
        self._max_bytes = max_bytes
        self._segment: _Segment | None = None
        self._done: list[_Segment] = []
        self._appended = 0
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Event | None = None
        self._losing = False
        self.lost = 0
        seen = segment_sizes(self._folder)
        self._n_segments, self._seen = len(seen), sum(seen.values())

    @property
    def size_bytes(self) -> int:
        """Bytes that wait for the store, of all workers; others' as of the last look."""
        return self._seen + self._appended

    def append(self, records: Sequence[AnomalyRecord]) -> None:
        """Keep records; when this returns, the death of the process loses none of them.

        What can't be kept is counted in `lost` and logged once until records are kept again; nothing is raised.
        """
        if not records:
            return
        lines, kept = _lines(records)
        refused = "a record that is not plain JSON" if kept < len(records) else ""
        try:
            if self.size_bytes + len(lines) > self._max_bytes:
                raise OSError(f"more than serving.max_spool_bytes ({self._max_bytes}) would wait for the store")
            if lines:
                self._write(lines)
        except OSError as error:
            refused, kept = str(error), 0
        self._count(len(records) - kept, refused)

    def _write(self, lines: bytes) -> None:
        if self._segment is None:
            self._segment = _new_segment(self._folder)
        try:
            self._segment.write(lines)
            self._appended += len(lines)
        finally:
            if self._segment.torn or self._segment.size >= _SEGMENT_BYTES:
                self._close_segment()

    def _count(self, lost: int, why: str) -> None:
        if not lost:
            if self._losing:
                _log.warning("anomalies are kept for the store again", extra={"lost_since_start": self.lost})
            self._losing = False
            return
        self.lost += lost
        if not self._losing:
            _log.error("anomalies can't be kept for the store: they are lost until it is mended", extra={"reason": why})
        self._losing = True

    async def start(self) -> None:
        """Begin to sync what is appended, and to hand it over, every `SYNC_SECONDS`."""
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._run(self._stopping), name="spool")

    async def stop(self) -> None:
        """Hand over what is left; on the disk when this returns."""
        if self._task is not None and self._stopping is not None:
            self._stopping.set()
            await self._task
            self._task = None
        self._close_segment()
        await self.tick()

    async def tick(self) -> None:
        """Sync what was appended and hand it over; disk work happens in a thread."""
        segment = self._segment
        if segment is not None and segment.size and self._n_segments < _MANY_SEGMENTS:
            self._close_segment()
        done, self._done = self._done, []
        appended = self._appended
        seen = await asyncio.to_thread(_settle, self._folder, done, self._segment)
        if seen is not None:
            self._n_segments, self._seen = len(seen), sum(seen.values())
            self._appended -= appended

    async def _run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await self.tick()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), SYNC_SECONDS)

    def _close_segment(self) -> None:
        if self._segment is not None:
            self._done.append(self._segment)
            self._segment = None


def _lines(records: Sequence[AnomalyRecord]) -> tuple[bytes, int]:
    """Records as lines, and how many there are: one that is not plain JSON is left out."""
    lines = []
    for record in records:
        with suppress(orjson.JSONEncodeError):
            lines.append(orjson.dumps(record, option=_OPTIONS))
    return b"".join(lines), len(lines)


def _settle(folder: Path, done: Sequence[_Segment], current: _Segment | None) -> dict[Path, int] | None:
    """Sync segments, free the locks of those that are done, and look what waits; None where that can't be read."""
    if current is not None:
        _sync(current.descriptor)
    for segment in done:
        _sync(segment.descriptor)
        os.close(segment.descriptor)
    try:
        if done or current is not None:
            _sync_folder(folder)
        return segment_sizes(folder)
    except OSError as error:
        _log.error("the spool folder can't be read", extra={"reason": str(error)})
        return None


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        _log.error("the spool could not be written through to the disk", extra={"reason": str(error)})


def _sync_folder(folder: Path) -> None:
    """Make the names of new segments last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
