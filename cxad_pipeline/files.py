"""Files in a folder or below an S3 prefix, through one interface.

Belongs here: listing, reading, and writing whole or not at all. Does not belong here: what is in the files.
"""

from __future__ import annotations

import datetime as dt
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
            filesystem, path = fs.FileSystem.from_uri(self.uri.rstrip("/"))
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

    def open(self, relative: str) -> Any:
        """Open a file for reading at any position, as a pyarrow NativeFile.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """
        return self.filesystem.open_input_file(self.full_path(relative))

    def read(self, relative: str) -> bytes:
        """Content of a file."""
        with self.open(relative) as stream:
            return bytes(stream.read())

    def sha256(self, relative: str) -> str:
        """SHA-256 of a file's content, in hexadecimal digits."""
        digest = hashlib.sha256()
        with self.open(relative) as stream:
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

        A local folder is swapped by renaming. An object store has no such step: its files are replaced one by one.
        """
        with tempfile.TemporaryDirectory() as scratch:
            if self.is_remote:
                save(Path(scratch))
                for file in sorted(Path(scratch).rglob("*")):
                    if file.is_file():
                        self._upload(file, f"{relative}/{file.relative_to(scratch).as_posix()}")
                return
            target = Path(self.full_path(relative))
            target.parent.mkdir(parents=True, exist_ok=True)
            new, old = (target.with_name(f".{target.name}.{state}-{os.getpid()}") for state in ("new", "old"))
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            try:
                save(new)
                if target.exists():
                    target.rename(old)
                new.rename(target)
            finally:
                shutil.rmtree(new, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def local_copy(self, relative: str) -> Iterator[Path]:
        """A local folder with the files below a path: the folder itself where it is local.

        Raises
        ------
        FileNotFoundError
            If there is nothing at that path.
        """
        if not self.exists(relative):
            raise FileNotFoundError(f"{self.address(relative)}: nothing is there")
        if not self.is_remote:
            yield Path(self.full_path(relative))
            return
        with tempfile.TemporaryDirectory() as scratch:
            fs.copy_files(
                self.full_path(relative), scratch, source_filesystem=self.filesystem,
                destination_filesystem=fs.LocalFileSystem(),
            )  # fmt: skip
            yield Path(scratch)

    def _upload(self, file: Path, relative: str) -> None:
        with file.open("rb") as source, self.filesystem.open_output_stream(self.full_path(relative)) as sink:
            shutil.copyfileobj(source, sink, _BLOCK)
