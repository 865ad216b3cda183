"""A saved object: a folder with one JSON document and one npz of plain arrays, without pickle.

Belongs here: writing and reading such folders, and the one error for a folder that is none. Does not belong
here: what is in them; each class turns itself into a document and arrays.
"""

from __future__ import annotations

import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

FORMAT = "cxad"
VERSION = 2
ARRAYS_FILE = "arrays.npz"

Arrays = Mapping[str, npt.NDArray[Any]]
_Object = TypeVar("_Object")

# What numpy and zipfile raise on flipped bits. RuntimeError: such a bit says encrypted, or some other compression.
_DAMAGE = (
    ValueError, EOFError, RuntimeError, KeyError, SyntaxError, MemoryError, OverflowError, struct.error,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class DetectorFormatError(ValueError):
    """A folder that does not hold what it should: which file, what is wrong with it."""


def write_artifact(folder: str | Path, kind: str, content: Mapping[str, Any], arrays: Arrays) -> None:
    """Write an object to a folder, which is made if need be.

    Parameters
    ----------
    folder
        Where to; files of the same names are replaced.
    kind
        What it is; names the document, `<kind>.json`.
    content
        Whatever JSON holds.
    arrays
        Arrays of numbers.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    np.savez(target / ARRAYS_FILE, allow_pickle=False, **arrays)
    document = {
        "format": f"{FORMAT}-{kind}",
        "version": VERSION,
        "content": content,
        "arrays": {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()},
    }
    text = json.dumps(document, indent=1, default=_plain_number)
    (target / f"{kind}.json").write_text(text, encoding="utf-8")


def read_artifact(folder: str | Path, kind: str, build: Callable[[Mapping[str, Any], Arrays], _Object]) -> _Object:
    """Read an object that `write_artifact` wrote.

    Parameters
    ----------
    folder
        Where from.
    kind
        What is expected there.
    build
        Makes the object of its content and arrays; its KeyError, TypeError and ValueError mean a bad folder.

    Raises
    ------
    DetectorFormatError
        If a file is missing, damaged, of another kind or version, or if the object cannot be made of it.
    """
    source = Path(folder)
    document = _read_document(source / f"{kind}.json", kind)
    arrays = _read_arrays(source / ARRAYS_FILE, document["arrays"])
    try:
        return build(document["content"], arrays)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DetectorFormatError(f"{source}: no usable {kind}: {what}") from error


def with_prefix(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The arrays under longer names."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def under_prefix(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The arrays that `with_prefix` named, under their own names."""
    start = f"{prefix}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def _plain_number(value: object) -> Any:
    """What JSON writes for a numpy number, which a parameter of an algorithm may be."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be saved as JSON")


def _read_document(path: Path, kind: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DetectorFormatError(f"{path}: cannot be read: {error.strerror}; is {kind} saved there?") from error
    except (ValueError, RecursionError) as error:
        raise DetectorFormatError(f"{path}: no valid JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != f"{FORMAT}-{kind}":
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise DetectorFormatError(f"{path}: format is {found!r}, expected '{FORMAT}-{kind}'")
    if document.get("version") != VERSION:
        raise DetectorFormatError(
            f"{path}: version {document.get('version')!r}; this release reads {VERSION}: train again, or use the "
            "release that wrote it"
        )
    if not isinstance(document.get("content"), dict) or not isinstance(document.get("arrays"), dict):
        raise DetectorFormatError(f"{path}: content or arrays are missing")
    return document


def _read_arrays(path: Path, expected: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except OSError as error:
        raise DetectorFormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise DetectorFormatError(f"{path}: damaged: {error}") from error
    found = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    for name in sorted(set(found) | set(expected)):
        if found.get(name) != expected.get(name):
            raise DetectorFormatError(
                f"{path}: array {name!r} is {found.get(name)}, the document says {expected.get(name)}; "
                "the two files are not of one save"
            )
    return arrays
