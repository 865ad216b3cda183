"""The rows of one CSV or Parquet file, in batches, each with its place in the file.

Belongs here: formats, compression and encodings. Does not belong here: what the columns mean (`sources`), which files
there are and which windows they touch (`landing`).
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.sources import (
    REJECTED_SCHEMA,
    ConvertedBatch,
    RawBatch,
    SourceError,
    SourceReader,
)

BATCH_ROWS = 50_000
# One field this long is an unclosed quote that swallows the file, not a value.
csv.field_size_limit(1 << 20)


@dataclass(frozen=True)
class MalformedRow:
    """A line that is no record: it has too few or too many fields, or can't be decoded."""

    line: int
    reason: str
    text: str


def read_file(
    folder: Folder, file: str, reader: SourceReader, *, on_bytes: Callable[[int], None] | None = None
) -> Iterator[ConvertedBatch]:
    """Read a file in batches of typed rows with a verdict each.

    Parameters
    ----------
    folder, file
        Where the file lies. `.parquet` is read as Parquet, anything else as CSV; `.gz` is unpacked.
    reader
        The file's source.
    on_bytes
        Called with the number of bytes of the file read so far, for progress bars.

    Yields
    ------
    ConvertedBatch
        Up to `BATCH_ROWS` rows, in file order. A file without rows yields nothing.

    Raises
    ------
    SourceError
        If the file as a whole can't be read: header, encoding, damaged compression or Parquet.
    """
    try:
        if file.endswith(".parquet"):
            for batch in _read_parquet(folder, file, reader, on_bytes):
                yield reader.convert(file, batch)
            return
        for batch, malformed in _read_csv(folder, file, reader, on_bytes):
            converted = reader.convert(file, batch)
            if malformed:
                rejected = pa.concat_tables([converted.rejected, _malformed_table(file, malformed)])
                converted = ConvertedBatch(converted.table, converted.accepted, rejected.sort_by("source_line"))
            yield converted
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{file}: not text in {error.encoding} ({error.reason}); set sources.{reader.source.name}.encoding"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SourceError(f"{file}: damaged or incomplete gzip file ({error}); land it again") from error
    except pa.ArrowInvalid as error:
        raise SourceError(f"{file}: damaged file ({error}); land it again") from error


def _read_parquet(
    folder: Folder, file: str, reader: SourceReader, on_bytes: Callable[[int], None] | None
) -> Iterator[RawBatch]:
    with folder.open(file) as stream:
        if stream.size() == 0:
            return
        parquet = pq.ParquetFile(stream)
        reader.check_header(file, parquet.schema_arrow.names)
        total, first = parquet.metadata.num_rows, 1
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
            lines = np.arange(first, first + batch.num_rows, dtype=np.int64)
            first += batch.num_rows
            yield RawBatch(dict(zip(batch.schema.names, batch.columns, strict=True)), lines)
            if on_bytes is not None:
                on_bytes(int(stream.size() * (first - 1) / total))


def _read_csv(
    folder: Folder, file: str, reader: SourceReader, on_bytes: Callable[[int], None] | None
) -> Iterator[tuple[RawBatch, list[MalformedRow]]]:
    with folder.open(file) as raw:
        binary: Any = gzip.GzipFile(fileobj=raw) if file.endswith(".gz") else raw
        text = io.TextIOWrapper(binary, encoding=reader.source.encoding, newline="")
        records = csv.reader(text, delimiter=reader.source.delimiter)
        header = _next_header(records)
        if header is None:
            return
        reader.check_header(file, header)
        width = len(header)
        rows: list[list[str]] = []
        lines: list[int] = []
        malformed: list[MalformedRow] = []
        start = records.line_num + 1
        while True:
            try:
                row = next(records)
            except StopIteration:
                break
            except csv.Error as error:
                malformed.append(MalformedRow(start, f"not a CSV record: {error}", ""))
                start = records.line_num + 1
                continue
            if len(row) == width:
                rows.append(row)
                lines.append(start)
            elif row:
                reason = f"{len(row)} fields where the header has {width}"
                malformed.append(MalformedRow(start, reason, reader.source.delimiter.join(row)))
            start = records.line_num + 1
            if len(rows) + len(malformed) == BATCH_ROWS:
                yield _raw_batch(header, rows, lines), malformed
                rows, lines, malformed = [], [], []
                if on_bytes is not None:
                    on_bytes(raw.tell())
        if rows or malformed:
            yield _raw_batch(header, rows, lines), malformed
        if on_bytes is not None:
            on_bytes(raw.tell())


def _next_header(records: Any) -> list[str] | None:
    for row in records:
        if row:
            return [name.strip() for name in row]
    return None


def _raw_batch(header: list[str], rows: list[list[str]], lines: list[int]) -> RawBatch:
    values = zip(*rows, strict=True) if rows else ([] for _ in header)
    columns = {name: pa.array(column, pa.string()) for name, column in zip(header, values, strict=True)}
    return RawBatch(columns, np.asarray(lines, np.int64))


def _malformed_table(file: str, malformed: list[MalformedRow]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "kind": "malformed",
                "reason": row.reason,
                "source_file": file,
                "source_line": row.line,
                "interaction_id": None,
                "filed_under": None,
                "record": row.text,
            }
            for row in malformed
        ],
        REJECTED_SCHEMA,
    )
