"""Anomalies on their way to the store, kept in files while they wait: the worker's side.

Belongs here: appending, which never waits for a database, and when a segment is done. Does not belong here: the files
themselves (`segments`), writing them to the store (`drain`).

The promise. `append` returns after the records are in the kernel's hands, and the answer is sent after that: a process
that is killed with SIGKILL loses nothing that it has answered. A machine that loses power loses at most what was
answered since the last sync: `SYNC_SECONDS` and the time that a sync takes.

A worker has a segment open at all times, and lets go of it only for another: where no file can be opened any more, it
writes on to the one that it has. A segment that is deleted from outside is copied for as long as it is open.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from cxad_pipeline.serving.segments import Segment, new_segment, segment_sizes, spool_folder
from cxad_pipeline.store.records import AnomalyRecord

_log = logging.getLogger(__name__)

SYNC_SECONDS = 1.0
"""How often what was appended is written through to the disk, and handed over to the drain."""

_SEGMENT_BYTES = 1 << 20
_MANY_SEGMENTS = 100
"""With so many waiting the store is away; segments then grow to their full size, not to one more file a second."""

_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY

_NOT_OPENED = "the spool can't open a new segment; one that is open is written on"
_NOT_COPIED = "a segment of the spool was deleted from outside, and its records can't be copied yet"
_NOT_SYNCED = "the spool could not be written through to the disk"
_NOT_READ = "the spool folder can't be read"


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
        self._segment: Segment | None = None
        self._done: list[Segment] = []
        self._appended = 0
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Event | None = None
        self._losing = False
        self._troubles: set[str] = set()
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
                self._write(lines, kept)
        except OSError as error:
            refused, kept = str(error), 0
        self._count(len(records) - kept, refused)

    def _write(self, lines: bytes, records: int) -> None:
        segment = self._segment = self._in_place()
        try:
            segment.write(lines, records)
            self._appended += len(lines)
        finally:
            full = segment.size >= _SEGMENT_BYTES and _NOT_OPENED not in self._troubles
            if segment.torn or full:
                self._rotate(segment)

    def _in_place(self) -> Segment:
        """The segment to write to: the open one, or a copy of it where it was deleted."""
        segment = self._segment
        if segment is None:
            return new_segment(self._folder)
        if not segment.unlinked:
            return segment
        copy = segment.copied()
        segment.size = segment.records = 0
        self._done.append(segment)  # closed later: a sync of it may be under way in a thread
        return copy

    def _rotate(self, segment: Segment) -> None:
        """Hand the segment over, if there is another to write to."""
        if self._open():
            self._done.append(segment)

    def _open(self) -> bool:
        try:
            self._segment = new_segment(self._folder)
        except OSError as error:
            self._tell(_NOT_OPENED, str(error))
            return False
        self._tell(_NOT_OPENED, None)
        return True

    def _tell(self, trouble: str, why: str | None) -> None:
        """Log a trouble once for as long as it lasts; `why` is None when there is none."""
        if why is None:
            self._troubles.discard(trouble)
        elif trouble not in self._troubles:
            self._troubles.add(trouble)
            _log.warning(trouble, extra={"folder": str(self._folder), "reason": why})

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
        """Open a segment; begin to sync what is appended, and to hand it over, every `SYNC_SECONDS`."""
        self._stopping = asyncio.Event()
        self._open()
        self._task = asyncio.create_task(self._run(self._stopping), name="spool")

    async def stop(self) -> None:
        """Hand over what is left; on the disk when this returns."""
        if self._task is not None and self._stopping is not None:
            self._stopping.set()
            await self._task
            self._task = None
        if self._segment is not None:
            self._done.append(self._segment)
            self._segment = None
        await self.tick()
        for segment in self._done:
            self._count(segment.records, "its segment was deleted from outside")
            segment.discard()
        self._done = []

    async def tick(self) -> None:
        """Sync what was appended and hand it over; disk work happens in a thread."""
        trouble = self._hand_over()
        done, self._done = self._done, []
        appended = self._appended
        settled = await asyncio.to_thread(_settle, self._folder, done, self._segment)
        self._done = settled.left + self._done
        if settled.sizes is not None:
            self._n_segments, self._seen = len(settled.sizes), sum(settled.sizes.values())
            self._appended -= appended
        troubles = trouble | settled.troubles
        for name in (_NOT_COPIED, _NOT_SYNCED, _NOT_READ):
            self._tell(name, troubles.get(name))

    def _hand_over(self) -> dict[str, str]:
        """Rotate if anything was appended; what is wrong with the segment, by the name of the trouble."""
        segment = self._segment
        if segment is None:
            return {}
        trouble = {}
        try:
            segment = self._segment = self._in_place()
        except OSError as error:
            trouble[_NOT_COPIED] = str(error)
        if segment.size >= _SEGMENT_BYTES or (segment.size and self._n_segments < _MANY_SEGMENTS):
            self._rotate(segment)
        return trouble

    async def _run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            if self._segment is None:
                self._open()
            await self.tick()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), SYNC_SECONDS)


def _lines(records: Sequence[AnomalyRecord]) -> tuple[bytes, int]:
    """Records as lines, and how many there are: one that is not plain JSON is left out."""
    lines = []
    for record in records:
        with suppress(orjson.JSONEncodeError):
            lines.append(orjson.dumps(record, option=_OPTIONS))
    return b"".join(lines), len(lines)


@dataclass
class _Settled:
    """What a look at the disk has shown: `sizes` is None where the folder can't be read."""

    sizes: dict[Path, int] | None = None
    left: list[Segment] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)


def _settle(folder: Path, done: Sequence[Segment], current: Segment | None) -> _Settled:
    """Sync segments, free the locks of those that are done, and look what waits.

    A segment that was deleted and can't be copied is left for the next time.
    """
    settled = _Settled()
    written = [segment for segment in done if segment.size]
    for segment in done:
        if not segment.size:
            segment.discard()
    if current is not None and current.size:
        _sync(current, settled)
        written.append(current)
    for segment in written:
        if segment is not current:
            _close(segment, settled)
    try:
        if written:
            _sync_folder(folder)
        settled.sizes = segment_sizes(folder)
    except OSError as error:
        settled.troubles[_NOT_READ] = str(error)
    return settled


def _close(segment: Segment, settled: _Settled) -> None:
    """Sync and close a segment, or a copy of it where it was deleted."""
    _sync(segment, settled)
    try:
        if segment.unlinked:
            copy = segment.copied()
            _sync(copy, settled)
            os.close(copy.descriptor)
    except OSError as error:
        settled.left.append(segment)
        settled.troubles[_NOT_COPIED] = str(error)
    else:
        os.close(segment.descriptor)


def _sync(segment: Segment, settled: _Settled) -> None:
    try:
        os.fsync(segment.descriptor)
    except OSError as error:
        settled.troubles[_NOT_SYNCED] = str(error)


def _sync_folder(folder: Path) -> None:
    """Make the names of new segments last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
