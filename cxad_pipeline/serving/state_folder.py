"""The state folder: what the processes of one service share.

Belongs here: making the folder, and files in it that appear whole or not at all. Does not belong here: what is in them
(`local_copy`, `mailbox`, `sidecar`, `spool`).
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from cxad_pipeline.settings import Settings


class StateFolderError(RuntimeError):
    """The state folder can't be used; the message names it and says what to do."""


def state_folder(settings: Settings) -> Path:
    """The service's state folder, made for its owner alone when it is not there.

    Raises
    ------
    StateFolderError
        If it can't be made or written to.
    """
    folder = Path(settings.serving.state).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateFolderError(
            f"{folder}: can't be made ({error.strerror}); set serving.state to a local folder that can be written to"
        ) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StateFolderError(
            f"{folder}: no right to read and write there; set serving.state to a folder of this user"
        )
    return folder


def write_json(path: Path, content: Any, *, durable: bool = True) -> None:
    """Replace a file at once: a reader finds the old content or the new one; if `durable`, after a loss of power too.

    Raises
    ------
    OSError
        If it can't be written, as on a full disk; the old file is then as it was.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """A file's JSON object; None where there is no such file.

    Raises
    ------
    ValueError
        If it holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path}: no valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds {type(content).__name__}, expected a JSON object")
    return content


def file_state(path: Path) -> tuple[int, int, int] | None:
    """What changes whenever `write_json` replaces the file; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def sync_folder(folder: Path) -> None:
    """See to it that a file's new name is on disk, where the system can do that for folders."""
    with contextlib.suppress(OSError):  # Windows opens no folders; there the file's own sync has to do
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
