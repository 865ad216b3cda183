"""Copies of the champion in the state folder: the service starts from them while MLflow is away.

Belongs here: which copy is the good one, making one, reading one. Does not belong here: when a new one is fetched
(`follower`), and when a worker loads it (`model_store`).

A copy is a folder `models/<version>-<random>`; `champion.json` names the one that serves. It is replaced at once, and
only when the copy has been loaded and fits the API's columns, so that whoever reads it finds a model that works.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cxad_pipeline.detection.detector import Detector, DetectorFormatError
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.serving.batch import Batch
from cxad_pipeline.serving.state_folder import read_json, sync_folder, write_json

POINTER = "champion.json"
_MODELS = "models"
_UNFINISHED = ".new-"
_FOLDER = re.compile(r"\w[\w.-]*")


class RefusedModelError(ValueError):
    """A model that is not to serve: damaged, none of ours, or with columns that the API does not know.

    Attributes
    ----------
    identity
        Version and run of the model, where they are known.
    """

    def __init__(self, message: str, identity: tuple[str, str] | None = None) -> None:
        super().__init__(message)
        self.identity = identity


class ForeignCopyError(RefusedModelError):
    """A copy of another registered model, or from another registry, than this service's.

    Attributes
    ----------
    source
        What it is a copy of, as `model_source` gives it.
    """

    def __init__(self, message: str, source: str) -> None:
        super().__init__(message)
        self.source = source


@dataclass(frozen=True)
class LocalCopy:
    """The champion's copy, as `champion.json` names it.

    Attributes
    ----------
    version, run_id
        Its place in the registry. Both say which model it is: a registry that was wiped counts from 1 again.
    folder
        Name of the copy's folder in `models`.
    fetched_at
        When it was fetched, ISO 8601 in UTC.
    source
        Registered model and registry that it is from, as `model_source` gives it.
    """

    version: str
    run_id: str
    folder: str
    fetched_at: str
    source: str

    @property
    def identity(self) -> tuple[str, str]:
        """Version and run."""
        return self.version, self.run_id


def read_pointer(state: Path, source: str) -> LocalCopy | None:
    """The copy that is to serve; None where there is none yet.

    Parameters
    ----------
    state
        State folder.
    source
        What this service serves from, as `model_source` gives it.

    Raises
    ------
    ForeignCopyError
        If the copy is from elsewhere: another service has used the folder, or this one before it was configured anew.
    RefusedModelError
        If the pointer is damaged.
    """
    path = state / POINTER
    try:
        content = read_json(path)
    except ValueError as error:
        raise RefusedModelError(f"{error}; remove the file to have the champion fetched again") from error
    if content is None:
        return None
    for name in LocalCopy.__dataclass_fields__:
        value = content.get(name)
        if not isinstance(value, str) or (name == "folder" and not _FOLDER.fullmatch(value)):
            raise RefusedModelError(f"{path}: {name} is {value!r}; remove the file to have the champion fetched again")
    copy = LocalCopy(**{name: content[name] for name in LocalCopy.__dataclass_fields__})
    if copy.source != source:
        raise ForeignCopyError(
            f"{state} holds a copy of {copy.source}, and this service serves {source}: the copy does not serve here. "
            "If it is another service's, give each a serving.state of its own; if the configuration has changed, the "
            "champion is fetched as soon as MLflow answers",
            copy.source,
        )
    return copy


def load_copy(state: Path, copy: LocalCopy, schema: InteractionSchema) -> Detector:
    """The detector of a copy, its kernels loaded or compiled: the first request does not wait for them.

    Raises
    ------
    RefusedModelError
        If it can't be loaded, or wants columns that the API does not know.
    """
    return _loaded(_folder_of(state, copy), copy.identity, schema)


def keep(
    state: Path, schema: InteractionSchema, source: str, fetch: Callable[[Path], tuple[Path, str, str]]
) -> LocalCopy:
    """Fetch a model, make sure that it can serve, and let the pointer name it.

    Parameters
    ----------
    state
        State folder.
    schema
        Columns that the API knows.
    source
        Registered model and registry that it is fetched from, as `model_source` gives it.
    fetch
        Puts the model's files below an empty folder and gives the folder that they are in, version and run.

    Raises
    ------
    RefusedModelError
        If what was fetched is not to serve.
    OSError
        If the files can't be written, as on a full disk.

    Whatever is raised, the pointer and its copy stay as they were, and nothing half-written is left.
    """
    with _unfinished(state) as scratch:
        fetched, version, run_id = fetch(scratch)
        _loaded(fetched, (version, run_id), schema)
        _sync_files(fetched)
        name = f"{version}-{secrets.token_hex(4)}"
        copy = LocalCopy(version, run_id, name, dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), source)
        fetched.rename(_folder_of(state, copy))
    sync_folder(state / _MODELS)
    try:
        before = read_pointer(state, source)
    except RefusedModelError:
        before = None
    try:
        write_json(state / POINTER, asdict(copy))
    except OSError:
        shutil.rmtree(_folder_of(state, copy), ignore_errors=True)
        raise
    # A worker may be about to load the copy before this one.
    _prune(state, {copy.folder} | ({before.folder} if before else set()))
    return copy


def clean(state: Path) -> None:
    """Remove what a process that was killed has left; for the one process alone that makes copies."""
    for left in (state / _MODELS).glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in state.glob(".*.json.*"):  # of `write_json`
        left.unlink(missing_ok=True)


def _folder_of(state: Path, copy: LocalCopy) -> Path:
    return state / _MODELS / copy.folder


@contextmanager
def _unfinished(state: Path) -> Iterator[Path]:
    """A folder for files that are no copy yet; it goes when the block ends."""
    folder = state / _MODELS / f"{_UNFINISHED}{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _loaded(folder: Path, identity: tuple[str, str], schema: InteractionSchema) -> Detector:
    version = f"version {identity[0]}"
    try:
        detector = Detector.load(folder)
    except DetectorFormatError as error:
        what = str(error).replace(f"{folder}/", "").replace(f"{folder}: ", "")
        raise RefusedModelError(f"{version} is no detector that can serve: {what}", identity) from error
    config = detector.config
    wanted = [(name, "a number") for name in config.numeric] + [(name, "a text") for name in config.category_inputs]
    if config.timestamp is not None:
        wanted.append((config.timestamp, "a time"))
    for name, kind in wanted:
        if name not in schema:
            raise RefusedModelError(
                f"{version} scores the column {name!r} ({kind}), which the API does not know; describe it under "
                "interactions.extra_columns in the service's configuration, and start the service again",
                identity,
            )
        column = schema[name]
        known = "a number" if column.is_metric else "a time" if column.type == "timestamp" else "a text"
        if known != kind:
            raise RefusedModelError(
                f"{version} takes the column {name!r} for {kind}, and the API for {known} (type {column.type}); make "
                "interactions.extra_columns in the service's configuration that of the training, or train again",
                identity,
            )
    row = Batch(["warm-up"], {}, {}, lambda: np.zeros(1, dtype=np.int64)).table(config)
    try:
        detector.score(row)
        _ = detector.explain(row).reasons
    except MemoryError:  # no fault of the model
        raise
    except Exception as error:  # whatever it is, each request would end in it
        raise RefusedModelError(f"{version} can't score: {type(error).__name__}: {error}", identity) from error
    return detector


def _sync_files(folder: Path) -> None:
    """Have the files' content on disk before anything names them."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    sync_folder(folder)


def _prune(state: Path, kept: set[str]) -> None:
    for folder in (state / _MODELS).iterdir():
        if folder.name not in kept and not folder.name.startswith(_UNFINISHED):
            shutil.rmtree(folder, ignore_errors=True)
