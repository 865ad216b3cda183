"""The state folder: what the processes of one service share.

Belongs here: making the folder, whose it is, and files in it that appear whole or not at all. Does not belong here:
what is in them (`local_copy`, `mailbox`, `sidecar`, `spool`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from cxad_pipeline.registry.tracking import public_uri
from cxad_pipeline.settings import Settings

# A service whose disk is full goes on scoring with the copy that it has.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class StateFolderError(RuntimeError):
    """The state folder can't be used; the message names it and says what to do."""


def state_folder(settings: Settings) -> Path:
    """The service's state folder, made for its owner alone when it is not there; to be called before it is used.

    Raises
    ------
    StateFolderError
        If it can't be made or written to.
    """
    folder = Path(settings.serving.state).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, "can't be made", error) from error
    try:
        next(folder.iterdir(), None)
        with tempfile.TemporaryFile(dir=folder):  # rights alone don't tell: the disk may be mounted read-only
            pass
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise _unusable(folder, "can't be read and written to", error) from error
    return folder


def _unusable(folder: Path, what: str, error: OSError) -> StateFolderError:
    return StateFolderError(
        f"serving.state: {folder} {what} ({error.strerror}); set it to a local folder in which this user may write"
    )


def model_source(settings: Settings) -> str:
    """Registered model and registry that a service serves from, without secrets."""
    return f"{settings.mlflow.registered_model} in {_place(settings.mlflow.tracking_uri)}"


def works_for(settings: Settings) -> str:
    """What a service serves from and writes to, without secrets: the same for all that may share a state folder."""
    return f"{model_source(settings)}, anomalies to {_place(settings.store.url)}"


def _place(address: str) -> str:
    """An address as it is shown and compared: a file's path in full, no user, no password, no options."""
    place, _, _ = address.partition("?")
    scheme, found, path = place.partition(":///")
    return f"{scheme}{found}{Path(path).absolute()}" if scheme == "sqlite" else public_uri(place)


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
