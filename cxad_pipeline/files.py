"""Files in a folder or below an S3 prefix, through one interface.

Belongs here: listing, reading, and writing whole or not at all. Does not belong here: what is in the files.
"""

from __future__ import annotations

import datetime as dt
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pyarrow import fs

_BLOCK = 1 << 20


@dataclass(frozen=True)
class FileStat:
    """What a listing says of one file.

    Attributes
    ----------
    path
        Path below the folder, with forward slashes.
    size
        Bytes.
    modified
        Time of the last change, in UTC.
    """

    path: str
    size: int
    modified: dt.datetime


@dataclass(frozen=True)
class Folder:
    """A local folder or an S3 prefix.

    Parameters
    ----------
    uri
        A path, or `s3://bucket/prefix`. S3 credentials, region and `AWS_ENDPOINT_URL` come from the environment.

    Raises
    ------
    ValueError
        If the URI has a scheme that is neither a path nor s3.
    """

    uri: str
    filesystem: Any = field(init=False, repr=False, compare=False)
    path: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.is_remote:
            path = self.uri.removeprefix("s3://").strip("/")  # as it is; a URI would want spaces and umlauts escaped
            filesystem = _object_store(path.split("/")[0])
        elif "://" in self.uri:
            raise ValueError(f"{self.uri}: must be a folder or s3://bucket/prefix")
        else:
            filesystem, path = fs.LocalFileSystem(), str(Path(self.uri).absolute())
        object.__setattr__(self, "filesystem", filesystem)
        object.__setattr__(self, "path", path)

    @property
    def is_remote(self) -> bool:
        """Whether the folder is a prefix of an object store."""
        return self.uri.startswith("s3://")

    def below(self, relative: str) -> Folder:
        """The folder at a path below this one."""
        return Folder(f"{self.uri.rstrip('/')}/{relative}")

    def full_path(self, relative: str) -> str:
        """Path of a file as its file system names it."""
        return f"{self.path}/{relative}"

    def address(self, relative: str) -> str:
        """Path or s3:// address of a file as people read it."""
        return f"{self.uri.rstrip('/')}/{relative}"

    def list(self) -> list[FileStat]:
        """All files below, sorted by path; none where the folder does not exist."""
        selector = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        found = [
            FileStat(
                info.path[len(self.path) :].lstrip("/"),
                info.size,
                dt.datetime.fromtimestamp(info.mtime_ns / 1e9, tz=dt.UTC),
            )
            for info in self.filesystem.get_file_info(selector)
            if info.type == fs.FileType.File
        ]
        return sorted(found, key=lambda stat: stat.path)

    def exists(self, relative: str) -> bool:
        """Whether a file or folder of that path is there."""
        return bool(self.filesystem.get_file_info(self.full_path(relative)).type != fs.FileType.NotFound)

    def is_file(self, relative: str) -> bool:
        """Whether a file of that path is there, and is no folder or device."""
        return bool(self.filesystem.get_file_info(self.full_path(relative)).type == fs.FileType.File)

    def open(self, relative: str) -> Any:
        """Open a file for reading at any position, as a pyarrow NativeFile.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """
        return self.filesystem.open_input_file(self.full_path(relative))

    def open_stream(self, relative: str) -> Any:
        """Open a file for reading from its beginning; an object store is asked for large pieces, not for each line.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """
        return self.filesystem.open_input_stream(self.full_path(relative), compression=None, buffer_size=_BLOCK)

    def size(self, relative: str) -> int | None:
        """Bytes of a file; None where it is not there."""
        size = self.filesystem.get_file_info(self.full_path(relative)).size
        return None if size is None else int(size)

    def read(self, relative: str) -> bytes:
        """Content of a file."""
        with self.open(relative) as stream:
            return bytes(stream.read())

    def sha256(self, relative: str) -> str:
        """SHA-256 of a file's content, in hexadecimal digits."""
        digest = hashlib.sha256()
        with self.open_stream(relative) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    @contextmanager
    def replacing(self, relative: str) -> Iterator[BinaryIO]:
        """Write a file that appears whole when the block ends, and not at all when it raises."""
        name = relative.rsplit("/", 1)[-1]
        target = Path(self.full_path(relative))
        if not self.is_remote:
            target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=None if self.is_remote else target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
            if self.is_remote:
                self._upload(Path(temporary), relative)
            else:
                Path(temporary).chmod(0o644)
                Path(temporary).replace(target)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def write(self, relative: str, content: bytes) -> None:
        """Write a file whole, or not at all."""
        with self.replacing(relative) as stream:
            stream.write(content)

    def delete(self, relative: str) -> None:
        """Delete a file, if it is there."""
        if self.exists(relative):
            self.filesystem.delete_file(self.full_path(relative))

    def save_folder(self, relative: str, save: Callable[[Path], None]) -> None:
        """Let `save` fill a local folder and put it in place of what is there.

        A local folder is swapped by renaming: whoever stops between the two renames leaves the old one beside it, where
        `local_copy` finds it. An object store has no such step: its files are replaced one by one, then those go that
        are no more.
        """
        with tempfile.TemporaryDirectory() as scratch:
            if self.is_remote:
                save(Path(scratch))
                files = [file for file in sorted(Path(scratch).rglob("*")) if file.is_file()]
                names = [file.relative_to(scratch).as_posix() for file in files]
                for file, name in zip(files, names, strict=True):
                    self._upload(file, f"{relative}/{name}")
                place = self.below(relative)
                for stat in place.list():
                    if stat.path not in names:
                        place.delete(stat.path)
                return
        target = Path(self.full_path(relative))
        target.parent.mkdir(parents=True, exist_ok=True)
        left = _set_aside(target)
        new = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
        old = new.with_name(new.name.replace(".new-", ".old-"))
        try:
            new.chmod(0o755)
            save(new)
            if target.exists():
                target.rename(old)
            try:
                new.rename(target)
            except OSError:
                if old.exists():
                    old.rename(target)
                raise
            for folder in [old, *left]:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    @contextmanager
    def local_copy(self, relative: str) -> Iterator[Path]:
        """A local folder with the files below a path: the folder itself where it is local.

        Raises
        ------
        FileNotFoundError
            If there is nothing at that path.
        """
        if not self.is_remote:
            target = Path(self.full_path(relative))
            found = [target] if target.exists() else _set_aside(target)
            if found:
                yield found[-1]
                return
        if not self.exists(relative):
            raise FileNotFoundError(f"{self.address(relative)}: nothing is there")
        with tempfile.TemporaryDirectory() as scratch:
            fs.copy_files(
                self.full_path(relative), scratch, source_filesystem=self.filesystem,
                destination_filesystem=fs.LocalFileSystem(),
            )  # fmt: skip
            yield Path(scratch)

    def _upload(self, file: Path, relative: str) -> None:
        with file.open("rb") as source, self.filesystem.open_output_stream(self.full_path(relative)) as sink:
            shutil.copyfileobj(source, sink, _BLOCK)


def _set_aside(target: Path) -> list[Path]:
    """Old states of a folder that a `save_folder` which was stopped has left, the latest last."""
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.old-*"), key=lambda path: path.stat().st_mtime)


def _object_store(bucket: str) -> Any:
    """S3, or what `AWS_ENDPOINT_URL` names; a region that the environment does not name is asked of S3."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        region = "us-east-1" if endpoint else fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(region=region, endpoint_override=endpoint)
