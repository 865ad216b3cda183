"""Score one file of any size, in batches that fit into memory.

Belongs here: batches in, two files out. Does not belong here: landing, windows and duplicates (`interactions.landing`),
progress on a terminal (`cli.scoring`).
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.detection.output import score_table
from cxad_pipeline.detection.tables import TableError
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.export import CsvExport
from cxad_pipeline.interactions.reading import read_file
from cxad_pipeline.interactions.sources import PROVENANCE, SourceError, reader_for, readers
from cxad_pipeline.registry.versions import RegisteredDetector
from cxad_pipeline.settings import Settings


@dataclass(frozen=True)
class FileScores:
    """What came of a file.

    Attributes
    ----------
    rows, rejected, anomalies
        Scored rows, rows that are no interactions or break the contract, flagged rows.
    threshold
        Of the model that was asked for.
    output
        Address of the scored file.
    rejected_output
        Address of the file of rejected rows; None where there are none.
    unknown
        Scored rows whose category was not seen in training, by category column; columns without any are left out.
    """

    rows: int
    rejected: int
    anomalies: int
    threshold: float
    output: str
    rejected_output: str | None
    unknown: dict[str, int]


def score_file(
    registered: RegisteredDetector,
    source: str,
    output: str,
    settings: Settings,
    *,
    model: str = ENSEMBLE,
    on_bytes: Callable[[int], None] | None = None,
) -> FileScores:
    """Score a CSV or Parquet file into another, in the order of its rows.

    Duplicates are not looked for: that would need all rows at once. Both files appear whole at the end, or not at all.

    Parameters
    ----------
    registered
        What scores.
    source, output
        Paths or s3:// addresses; an output that ends in `.parquet` is Parquet, any other CSV, packed where it ends in
        `.gz`.
    settings
        The sources.
    model
        `ensemble`, or the name of a member.
    on_bytes
        Called with the number of bytes read so far.

    Raises
    ------
    SourceError
        If the file can't be read, has none of the model's columns, or would be replaced by its own scores.
    UnknownModelError
        If the detector has no such model.
    """
    landed, name = split_address(source)
    if not landed.is_file(name):
        raise SourceError(f"{source}: no such file")
    target, target_name = split_address(output)
    rejected_name = f"{_stem(target_name)}.rejected.csv"
    for written in (target_name, rejected_name):
        if _location(target, written) == _location(landed, name):
            raise SourceError(f"{source}: the output would replace the input ({written}); give it another name")
    rows = rejected_rows = anomalies = 0
    unknown: Counter[str] = Counter()
    with ExitStack() as both:
        scored = both.enter_context(_sink(target, target_name))
        refused = both.enter_context(_sink_when_needed(target, rejected_name))
        for batch in read_file(
            landed, name, reader_for(_landed_as(source, name, settings), readers(settings)), on_bytes=on_bytes
        ):
            accepted = batch.table.filter(pa.array(batch.accepted))
            accepted = accepted.drop_columns([column for column in PROVENANCE if column in accepted.column_names])
            try:
                table = score_table(
                    registered.detector, accepted, model=model, model_version=registered.label, unknown=unknown
                )
            except TableError as error:
                raise SourceError(f"{source}: {error}") from error
            scored.write(table.combine_chunks())
            rows += table.num_rows
            anomalies += int(table[f"{model}_anomaly"].to_numpy().sum())
            if batch.rejected.num_rows:
                refused.write(batch.rejected.combine_chunks())
                rejected_rows += batch.rejected.num_rows
        if rows + rejected_rows == 0:
            raise SourceError(f"{source}: no rows in it")
    if not rejected_rows:
        target.delete(rejected_name)  # of an earlier pass, whose rows are no longer refused
    members = registered.detector.members
    threshold = registered.detector.threshold if model == ENSEMBLE else members[model].threshold
    rejected_output = target.address(rejected_name) if rejected_rows else None
    scored_output = target.address(target_name)
    return FileScores(rows, rejected_rows, anomalies, threshold, scored_output, rejected_output, dict(+unknown))


class _Writer(Protocol):
    def write(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class _ParquetWriter:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._stream, table.schema, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@contextmanager
def _sink(folder: Folder, name: str) -> Iterator[_Writer]:
    with folder.replacing(name) as stream, ExitStack() as packing:
        if name.lower().endswith(".parquet"):
            writer: _Writer = _ParquetWriter(stream)
        elif name.lower().endswith(".gz"):
            # No name and no time in the header: the bytes depend on the rows alone.
            packed = packing.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=stream, mtime=0))
            writer = CsvExport(cast(BinaryIO, packed))
        else:
            writer = CsvExport(stream)
        try:
            yield writer
        finally:
            writer.close()  # before its stream, also when the block raises


class _Deferred:
    """A writer that opens its file with the first table, so that no empty file is made."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name
        self._opened = ExitStack()
        self._writer: _Writer | None = None

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = self._opened.enter_context(_sink(self._folder, self._name))
        self._writer.write(table)

    def close(self) -> None:
        self._opened.close()

    def abandon(self, error: BaseException) -> None:
        self._opened.__exit__(type(error), error, error.__traceback__)


@contextmanager
def _sink_when_needed(folder: Folder, name: str) -> Iterator[_Writer]:
    writer = _Deferred(folder, name)
    try:
        yield writer
    except BaseException as error:
        writer.abandon(error)
        raise
    writer.close()


def _stem(name: str) -> str:
    return re.sub(r"(\.parquet|\.csv(\.gz)?)$", "", name, flags=re.IGNORECASE)


def _location(folder: Folder, name: str) -> str:
    """Where a file really lies: two paths may lead to the same one."""
    full = folder.full_path(name)
    return full if folder.is_remote else str(Path(full).resolve())


def _landed_as(source: str, name: str, settings: Settings) -> str:
    """The path by which sources know a file: below the landing folder where it lies in one, else its name."""
    for folder in (settings.paths.inference, settings.paths.training):
        prefix = folder.rstrip("/") + "/"
        if "://" not in source and "://" not in folder:
            prefix = f"{Path(folder).resolve()}/"
            source = str(Path(source).resolve())
        if source.startswith(prefix):
            return source.removeprefix(prefix)
    return name


def split_address(address: str) -> tuple[Folder, str]:
    """Folder and file name of an address."""
    if address.startswith("s3://"):
        parent, _, name = address.rpartition("/")
        return Folder(parent), name
    path = Path(address)
    return Folder(str(path.parent)), path.name
