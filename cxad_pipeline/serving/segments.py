"""The files in which anomalies wait for the store.

Belongs here: what the writers of segments and their reader must agree on: where segments lie, how they are named, who
may take one; and how one is written. Does not belong here: when a segment is done (`spool`), what becomes of it
(`drain`).

A segment is a file of lines, one JSON record each, `<state>/spool/<time>-<pid>-<random>.ndjson`. Its writer holds a
lock on it (flock) that the kernel frees when the writer closes it or dies in any way; a segment whose lock is free is
done, and the drain may take it. No process number is looked at: those are given out again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)

_SUFFIX = ".ndjson"
_COPIED_BYTES = 1 << 20


def spool_folder(state: Path) -> Path:
    """Where segments lie, below the state folder; made when it is not there, for this user alone."""
    folder = state / "spool"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def segment_sizes(folder: Path) -> dict[Path, int]:
    """Bytes of every segment that is there, the oldest first, those that are still written to included.

    Raises
    ------
    OSError
        If the folder can't be read, as where the process may open no more files; one that is not there is empty.
    """
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return {}
    sizes = {}
    for path in (path for path in paths if path.name.endswith(_SUFFIX)):
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
class Segment:
    """A segment that this process writes to, locked for as long as it is open.

    Attributes
    ----------
    path
        Its name; nobody else gives it to another file.
    descriptor
        The open file.
    size, records
        Bytes and records of its whole lines.
    torn
        Whether part of a line follows them, which could not be cut off.
    """

    path: Path
    descriptor: int
    size: int = 0
    records: int = 0
    torn: bool = False

    @property
    def unlinked(self) -> bool:
        """Whether somebody has deleted it: what is in it is gone once it is closed."""
        return os.fstat(self.descriptor).st_nlink == 0

    def write(self, lines: bytes, records: int) -> None:
        """All the lines or none of them; `torn` where it could not be cut back to the last whole line.

        Raises
        ------
        OSError
            If they can't be written, such as on a full disk.
        """
        if self.torn:
            self._cut()
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        except OSError:
            self.torn = True
            self._cut()
            raise
        self.size += len(lines)
        self.records += records

    def copied(self) -> Segment:
        """A new segment with the same lines, for one that was deleted.

        Raises
        ------
        OSError
            If it can't be made or written.
        """
        copy = new_segment(self.path.parent)
        try:
            while content := os.pread(self.descriptor, min(_COPIED_BYTES, self.size - copy.size), copy.size):
                copy.write(content, 0)
        except OSError:
            copy.discard()
            raise
        copy.records = self.records
        where = {"folder": str(self.path.parent), "records": self.records}
        _log.warning("a segment of the spool was deleted from outside; its records are kept in a new one", extra=where)
        return copy

    def discard(self) -> None:
        """Delete and close it."""
        with suppress(OSError):  # gone already; and the drain clears an empty file away
            self.path.unlink()
        os.close(self.descriptor)

    def _cut(self) -> None:
        os.ftruncate(self.descriptor, self.size)
        self.torn = False


def new_segment(folder: Path) -> Segment:
    """An empty segment of this process; the folder is made where it is not there.

    Raises
    ------
    OSError
        If it can't be made, as on a full disk, or where the process may open no more files.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # whoever deletes the state folder stops nothing
    while True:
        path = folder / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            if _locked(descriptor):
                return Segment(path, descriptor)
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # a drain came between the two calls, found it empty and deletes it
