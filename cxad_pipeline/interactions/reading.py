"""The rows of one CSV or Parquet file, in batches, each with its place in the file.

Belongs here: formats, compression and encodings. Does not belong here: what the columns mean (`sources`), which files
there are and which windows they touch (`landing`).
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
# how `surrogateescape` writes a byte that is no text
_UNDECODABLE = re.compile("[\udc80-\udcff]")


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
        If the file, or the rest of it, can't be read: header, damaged compression or Parquet. The rows before the
        damage have been given by then.
    """
    for batch, malformed in _batches(folder, file, reader, on_bytes):
        converted = reader.convert(file, batch)
        if malformed:
            rejected = pa.concat_tables([converted.rejected, _malformed_table(file, malformed)])
            converted = ConvertedBatch(converted.table, converted.accepted, rejected.sort_by("source_line"))
        yield converted


def _batches(
    folder: Folder, file: str, reader: SourceReader, on_bytes: Callable[[int], None] | None
) -> Iterator[tuple[RawBatch, list[MalformedRow]]]:
    try:
        if file.lower().endswith(".parquet"):
            for batch in _read_parquet(folder, file, reader, on_bytes):
                yield batch, []
        else:
            yield from _read_csv(folder, file, reader, on_bytes)
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{file}: not text in {error.encoding} ({error.reason}); set sources.{reader.source.name}.encoding"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SourceError(f"{file}: damaged or incomplete gzip file ({error}); land it again") from error
    except csv.Error as error:
        raise SourceError(f"{file}: the header is not CSV ({error})") from error
    except (pa.ArrowInvalid, OSError) as error:
        # Arrow's word for damaged pages is OSError without a number; a store that can't be reached is no such thing.
        if isinstance(error, OSError) and (error.errno is not None or "AWS Error" in str(error)):
            raise
        raise SourceError(f"{file}: damaged file ({str(error).strip()}); land it again") from error


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
    with folder.open_stream(file) as stream:
        raw = _CountedStream(stream)
        buffered = io.BufferedReader(raw, 1 << 20)
        binary = _unpacked(buffered) if file.lower().endswith(".gz") else buffered
        # Bytes that are no text in this encoding cost their row, not the file.
        text = io.TextIOWrapper(binary, encoding=reader.source.encoding, errors="surrogateescape", newline="")
        lines = _Lines(text)
        records = csv.reader(lines, delimiter=reader.source.delimiter)
        header = _next_header(records)
        if header is None:
            return
        if lines.undecodable():
            raise SourceError(
                f"{file}: the header is not text in {reader.source.encoding}; set sources.{reader.source.name}.encoding"
            )
        reader.check_header(file, header)
        rows: list[tuple[str, ...]] = []
        places: list[int] = []
        malformed: list[MalformedRow] = []
        damage: Exception | None = None
        while True:
            lines.begin()
            start = lines.number
            try:
                row = next(records)
                reason = f"{len(row)} fields where the header has {len(header)}" if len(row) != len(header) else ""
            except StopIteration:
                break
            except csv.Error as error:
                row, reason = [""], f"not a CSV record: {error}"
            except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
                damage = error  # the rows before it are good
                if begun := lines.text(reader.source.encoding):
                    malformed.append(MalformedRow(start, "the file is damaged within this record", begun))
                break
            if lines.undecodable():
                reason = f"not text in {reader.source.encoding}; set sources.{reader.source.name}.encoding"
            if not reason:
                reason = lines.quote_fault(reader.source.delimiter)
            if not reason:
                rows.append(tuple(row))  # tuples of texts are no work for the garbage collector, unlike lists
                places.append(start)
            elif row:
                # A quote that is never closed swallows the lines below: only the first one is given up.
                malformed.append(MalformedRow(start, reason, lines.text(reader.source.encoding, 1)))
                lines.again_from_second()
            if len(rows) + len(malformed) == BATCH_ROWS:
                yield _raw_batch(header, rows, places), malformed
                rows, places, malformed = [], [], []
                if on_bytes is not None:
                    on_bytes(raw.count)
        if rows or malformed:
            yield _raw_batch(header, rows, places), malformed
        if on_bytes is not None:
            on_bytes(raw.count)
        if damage is not None:
            raise damage


class _CountedStream(io.RawIOBase):
    """A stream that says how many bytes were read from it; pyarrow's own can't tell its position."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        """Say yes, as the interface asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; give the number of bytes."""
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


def _unpacked(packed: Any) -> Any:
    """Content of a gzip file; of one that was packed twice, as some object stores do to names in .gz, too."""
    content = io.BufferedReader(gzip.GzipFile(fileobj=packed, mode="rb"), 1 << 16)
    return gzip.GzipFile(fileobj=content, mode="rb") if content.peek(2).startswith(b"\x1f\x8b") else content


class _Lines:
    """Lines of a text for `csv.reader`, with those of the current record at hand, to be read again if need be."""

    def __init__(self, text: Iterable[str]) -> None:
        self._text = iter(text)
        self._again: deque[str] = deque()
        self._record: list[str] = []
        self.number = 1
        """Number of the line on which the current record begins."""
        self._undecodable = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._text)
        self._record.append(line)
        if not line.isascii() and _UNDECODABLE.search(line):
            self._undecodable = True
        return line

    def begin(self) -> None:
        """Begin a record."""
        self.number += len(self._record)
        self._record.clear()
        self._undecodable = False

    def undecodable(self) -> bool:
        """Whether the record holds bytes that are no text in the file's encoding."""
        return self._undecodable

    def text(self, encoding: str, limit: int | None = None) -> str:
        """The record's lines as they were read, bytes that are no text written as \\x.."""
        text = "".join(self._record[:limit]).rstrip("\r\n")
        if not _UNDECODABLE.search(text):
            return text
        return text.encode(encoding, "surrogateescape").decode(encoding, "backslashreplace")

    def quote_fault(self, delimiter: str) -> str:
        """What is wrong with the quotes of a record over several lines; empty where nothing is.

        `csv.reader` lets a quote pass that is closed in the middle of a later row's field, or never. Such a record may
        have swallowed good rows.
        """
        if len(self._record) > 1:
            try:
                list(csv.reader(self._record, delimiter=delimiter, strict=True))
            except csv.Error as error:
                return f"not a CSV record: {error}"
        return ""

    def again_from_second(self) -> None:
        """Give the record's lines again, but for the first."""
        self._again.extendleft(reversed(self._record[1:]))
        del self._record[1:]


def _next_header(records: Iterator[list[str]]) -> list[str] | None:
    for row in records:
        if row:
            return [name.strip().strip("\ufeff") for name in row]
    return None


def _raw_batch(header: list[str], rows: list[tuple[str, ...]], lines: list[int]) -> RawBatch:
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
