"""What an Arrow IPC stream holds, found out before anything in it is decoded.

Belongs here: reading the headers of messages that a stranger sent, and refusing what could grow when it is decoded.
Does not belong here: columns and their values (`arrow_bodies`).

A header is a flatbuffer of the table `Message`, or of one of the tables inside it, as Arrow's `Message.fbs` and
`Schema.fbs` define them; pyarrow verifies its form when it reads a message, but does not show what is in it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa

from cxad_pipeline.serving.batch import BodyError, TooManyRecordsError
from cxad_pipeline.serving.fault_words import unreadable

MOST_MESSAGES = 1_000
"""Most record batches and dictionaries in one stream."""

# Values of the union `MessageHeader`, and positions of fields in their tables.
_SCHEMA, _DICTIONARY, _RECORDS = 1, 2, 3
_HEADER_TYPE, _HEADER = 1, 2
_SCHEMA_FIELDS = 1
_DICTIONARY_DATA, _DICTIONARY_IS_DELTA = 1, 2
_N_ROWS, _COMPRESSION = 0, 3

_MOST_COLUMNS = 10_000
_FILE_MAGIC = b"ARROW1"


def refuse_bombs(body: bytes, max_records: int) -> None:
    """Look at the headers of a stream.

    Refused are compressed bodies and dictionaries that grow or are longer than a request may have records: a few bytes
    of them may stand for gigabytes. What is left takes no more memory than the body has.

    Raises
    ------
    BodyError
        If it is no stream, is broken or holds something that is refused.
    TooManyRecordsError
        If it has more than `max_records` rows.
    """
    if not body:
        raise unreadable("The body is empty; it must be an Arrow IPC stream.")
    if body.startswith(_FILE_MAGIC):
        raise unreadable(
            "The body is an Arrow file (Feather); send a stream, as pyarrow.ipc.new_stream or polars' write_ipc_stream "
            "write it."
        )
    source = pa.BufferReader(pa.py_buffer(body))
    try:
        n_rows = 0
        for n_messages, header in enumerate(_headers(source)):
            if n_messages > MOST_MESSAGES:
                raise unreadable(f"The stream has more than {MOST_MESSAGES:,} batches; send fewer and larger ones.")
            n_rows += _rows_of(header, max_records)
            if n_rows > max_records:
                raise TooManyRecordsError(
                    f"The body has more than {max_records:,} records; send at most {max_records:,} at once."
                )
    except (pa.ArrowException, OSError, struct.error, IndexError) as error:
        raise broken(error) from error
    if source.tell() < len(body):
        raise unreadable("The body goes on after the end of the stream; send one stream.")


def broken(error: Exception) -> BodyError:
    """The error of a body that is no stream, or a damaged one."""
    return unreadable(f"The body is no valid Arrow IPC stream: {str(error)[:200]}")


class _Table:
    """A table of a flatbuffer."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position
        (back,) = struct.unpack_from("<i", data, position)
        self._vtable = position - back
        (self._vtable_size,) = struct.unpack_from("<H", data, self._vtable)

    def has(self, field: int) -> bool:
        return self._at(field) is not None

    def number(self, field: int, form: str) -> int:
        """A number, 0 where it is left out."""
        at = self._at(field)
        return 0 if at is None else int(struct.unpack_from(form, self._data, at)[0])

    def table(self, field: int) -> _Table:
        """A table inside this one; struct.error where there is none."""
        return _Table(self._data, self._target(field))

    def length(self, field: int) -> int:
        """How many elements a vector has."""
        return int(struct.unpack_from("<I", self._data, self._target(field))[0]) if self.has(field) else 0

    def _at(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry >= self._vtable_size:
            return None
        (distance,) = struct.unpack_from("<H", self._data, self._vtable + entry)
        return self._position + distance if distance else None

    def _target(self, field: int) -> int:
        at = self._at(field)
        if at is None:
            raise struct.error("a header without content")
        return at + int(struct.unpack_from("<I", self._data, at)[0])


def _headers(source: pa.BufferReader) -> Iterator[_Table]:
    reader = pa.ipc.MessageReader.open_stream(source)
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        data = message.metadata.to_pybytes()
        yield _Table(data, struct.unpack_from("<I", data, 0)[0])


def _rows_of(message: _Table, max_records: int) -> int:
    """Rows of a record batch, 0 for other messages; BodyError for what is refused."""
    kind = message.number(_HEADER_TYPE, "<B")
    header = message.table(_HEADER)
    if kind == _SCHEMA:
        if header.length(_SCHEMA_FIELDS) > _MOST_COLUMNS:
            raise unreadable(f"The stream has more than {_MOST_COLUMNS:,} columns.")
        return 0
    if kind not in (_DICTIONARY, _RECORDS):
        raise unreadable("The stream holds something else than records.")
    batch = header.table(_DICTIONARY_DATA) if kind == _DICTIONARY else header
    if batch.has(_COMPRESSION):
        raise unreadable("The stream is compressed; send it without compression.")
    n_rows = batch.number(_N_ROWS, "<q")
    if n_rows < 0:
        raise unreadable("The body is no valid Arrow IPC stream: a batch with a negative length")
    if kind == _RECORDS:
        return n_rows
    if header.number(_DICTIONARY_IS_DELTA, "<B"):
        raise unreadable("The stream adds to a dictionary; send each dictionary whole.")
    if n_rows > max_records:
        raise unreadable(f"The stream has a dictionary of more than {max_records:,} values.")
    return 0
