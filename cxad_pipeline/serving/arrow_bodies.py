"""Bodies of Arrow's IPC stream format.

Belongs here: columns of a stream to a `Batch`, and the faults in them. Does not belong here: what a stream may hold at
all (`arrow_messages`), what a valid value is (`interactions.record`), and how a fault is worded (`fault_words`).

Arrow's own conversions between its arrays and numpy's are not used: where pandas is installed, they import it, and with
it 60 MB. A column's memory is read as it is, after Arrow has checked it.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.interactions.record import LONGEST_TEXT, TIMESTAMP_PATTERN, limits
from cxad_pipeline.interactions.schema import ID, TIMESTAMP, Column, InteractionSchema
from cxad_pipeline.serving import fault_words
from cxad_pipeline.serving.arrow_messages import broken, refuse_bombs
from cxad_pipeline.serving.batch import LONGEST_IGNORED, MOST_FAULTS, MOST_IGNORED, Batch, Fault, iso
from cxad_pipeline.serving.moments import microseconds, utc_texts

Mask: TypeAlias = npt.NDArray[np.bool_]
Moments: TypeAlias = npt.NDArray[np.int64]

_EPOCH = dt.datetime(1970, 1, 1)
_SECONDS = [int((dt.datetime(year, 1, 1) - _EPOCH).total_seconds()) for year in (1900, 2200)]
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def read_arrow(body: bytes, schema: InteractionSchema, zone: str, max_records: int) -> Batch:
    """The rows of a stream.

    Columns go by name. A metric may be any integer or floating-point type and is missing where it is null; NaN is a
    fault. Texts are strings, categories also dictionaries of them; the time is a timestamp or a string.

    Parameters
    ----------
    body
        The stream, uncompressed.
    schema
        The deployment's columns.
    zone
        Time zone of times without one.
    max_records
        Most rows.

    Raises
    ------
    BodyError
        If the stream is broken or refused, or a column or row has a fault.
    TooManyRecordsError
        If it has more rows.
    """
    refuse_bombs(body, max_records)
    try:
        given = pa.ipc.open_stream(body).schema
        _refuse_columns(given, schema)
        names = given.names
        known = [position for position, name in enumerate(names) if name in schema]
        options = pa.ipc.IpcReadOptions(included_fields=known, use_threads=False)
        table = pa.ipc.open_stream(body, options=options).read_all()
        table.validate(full=True)
        _refuse_long_dictionaries(table)
        columns = {name: _Column(table.column(name), schema[name], zone) for name in table.column_names}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise broken(error) from error
    _refuse_rows(columns, schema)
    unknown = [name for name in names if name not in schema and len(name) <= LONGEST_IGNORED]
    return _batch(columns, dict.fromkeys(unknown[:MOST_IGNORED], table.num_rows) if table.num_rows else {}, zone)


class _Column:
    """A column as numpy and Python have it, with the faults of its rows.

    Attributes
    ----------
    numbers, texts, moments
        Values by row, (n,); None for what the column is not.
    faults
        Rows and words for each, every row at most once.
    """

    def __init__(self, values: pa.ChunkedArray, column: Column, zone: str) -> None:
        self._values, self._column = values, column
        self._valid: Mask = _true(values.is_valid()) if values.null_count else np.ones(len(values), bool)
        self._broken = np.zeros(len(values), bool)
        self.numbers: FloatArray | None = None
        self.texts: list[str | None] | None = None
        self.moments: Moments | None = None
        self.faults: list[tuple[Moments, Callable[[int], str]]] = []
        if column.required:
            self._fault(~self._valid, lambda _row: fault_words.REQUIRED)
        if pa.types.is_null(values.type):
            return
        if column.is_metric:
            self._read_numbers()
        elif pa.types.is_timestamp(values.type):
            self._read_moments(zone)
        else:
            self._read_texts()

    @property
    def empty(self) -> bool:
        """Whether no row has a value."""
        return not self._valid.any()

    @property
    def is_time(self) -> bool:
        """Whether its values are times."""
        return self._column.type == "timestamp"

    def microseconds(self, zone: str) -> Moments:
        """Times that are all there as microseconds since 1970 UTC, (n,)."""
        if self.moments is not None:
            return self.moments
        return microseconds([text for text in self.texts or [] if text], zone)

    def times(self, zone: str) -> list[str | None]:
        """A time beside `timestamp` as text, ISO 8601 in UTC; (n,), None where missing."""
        if self.texts is not None:
            return utc_texts(self.texts, zone)
        if self.moments is None:
            return [None] * len(self._valid)
        return [
            iso(moment) if valid else None for moment, valid in zip(self.moments.tolist(), self._valid, strict=True)
        ]

    def _fault(self, rows: Mask, words: Callable[[int], str]) -> None:
        new = rows & ~self._broken
        if new.any():
            self._broken |= new
            self.faults.append((np.flatnonzero(new), words))

    def _value(self, row: int) -> Any:
        return self._values[row].as_py()

    def _read_numbers(self) -> None:
        column = self._column
        self.numbers = _stored(self._values.cast(pa.float64(), safe=False), np.float64)
        self.numbers[~self._valid] = np.nan
        self._fault(self._valid & ~np.isfinite(self.numbers), lambda row: fault_words.not_finite(self._value(row)))
        low, high = limits(column)
        outside = np.zeros(len(self.numbers), bool)
        if low is not None:
            outside |= self.numbers < low
        if high is not None:
            outside |= self.numbers > high
        self._fault(outside, lambda row: fault_words.out_of_range(column, self._value(row)))
        if column.type == "integer":
            fraction = self._valid & (self.numbers != np.rint(self.numbers))
            self._fault(fraction, lambda row: fault_words.not_whole(self._value(row)))

    def _read_texts(self) -> None:
        values = self._values.cast(pa.string())
        self.texts = values.to_pylist()
        if self._column.type == "timestamp":
            right = _true(pc.match_substring_regex(values, TIMESTAMP_PATTERN))
            self._fault(self._valid & ~right, lambda row: fault_words.no_time(self._value(row)))
            return
        lengths = np.where(self._valid, _stored(pc.utf8_length(values), np.int32), -1)
        self._fault(lengths > LONGEST_TEXT, lambda row: fault_words.too_long(int(lengths[row])))
        if self._column.required:
            self._fault(lengths == 0, lambda _row: fault_words.EMPTY)
        if "\0" in "".join(filter(None, self.texts)):
            nul = np.array([text is not None and "\0" in text for text in self.texts])
            self._fault(nul, lambda _row: fault_words.NO_NUL)

    def _read_moments(self, zone: str) -> None:
        kind = self._values.type
        stored = _stored(self._values.cast(pa.int64()), np.int64)
        low, high = (seconds * _PER_SECOND[kind.unit] for seconds in _SECONDS)
        sane = (stored >= low) & (stored < high)
        self._fault(self._valid & ~sane, lambda row: fault_words.no_time(int(stored[row])))
        if kind.tz is not None:
            usable = np.where(sane & self._valid, stored, 0)
            self.moments = usable // 1_000 if kind.unit == "ns" else usable * (1_000_000 // _PER_SECOND[kind.unit])
        elif not self._broken.any():
            clock = self._values.cast(pa.timestamp("us"), safe=False)
            # as files are read; of summer time after 2037 Arrow knows nothing
            there = pc.assume_timezone(clock, zone, ambiguous="earliest", nonexistent="latest")
            self.moments = _stored(there.cast(pa.int64()), np.int64)


def _stored(values: pa.ChunkedArray, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Numbers as they are stored, whatever stands where one is missing; (n,)."""
    parts = [
        np.frombuffer(chunk.buffers()[1], kind)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in values.chunks
        if len(chunk)
    ]
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _true(values: pa.ChunkedArray) -> Mask:
    """Truth values, (n,); any where one is missing."""
    return np.asarray(_stored(values.cast(pa.uint8()), np.uint8) != 0)


def _refuse_columns(given: pa.Schema, schema: InteractionSchema) -> None:
    """BodyError for columns that are missing, there twice or of a type that is not read."""
    faults = []
    for column in schema.columns:
        found = given.get_all_field_indices(column.name)
        if not found and column.required:
            faults.append(Fault(fault_words.REQUIRED, field=column.name))
        elif len(found) > 1:
            faults.append(Fault(f"must be there once; the stream has it {len(found):,} times", field=column.name))
        elif found and (expected := _unread(given.field(found[0]).type, column)):
            shown = str(given.field(found[0]).type)
            shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
            hint = " (polars: compat_level=CompatLevel.oldest())" if shown == "string_view" else ""
            faults.append(Fault(f"must be a column of the type {expected}; got {shown}{hint}", field=column.name))
    if faults:
        raise fault_words.bad_body(faults, len(faults))


def _unread(kind: pa.DataType, column: Column) -> str:
    """The types that a column may have, where it is of none of them; else nothing."""
    if pa.types.is_null(kind):
        return ""
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if column.is_metric:
        return "" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "integer or float"
    if column.type == "timestamp":
        return "" if text or pa.types.is_timestamp(kind) else "timestamp or string"
    if column.required:
        return "" if text else "string"
    listed = pa.types.is_dictionary(kind) and (
        pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)
    )
    return "" if text or listed else "string, or dictionary of strings"


def _refuse_long_dictionaries(table: pa.Table) -> None:
    """BodyError for a dictionary with a text so long that, repeated by every row, it could fill the memory."""
    for name, values in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_dictionary(values.type):
            continue
        for chunk in values.chunks:
            longest = pc.max(pc.utf8_length(chunk.dictionary)).as_py() or 0
            if longest > LONGEST_TEXT:
                raise fault_words.bad_body([Fault(fault_words.too_long(longest), field=name)], 1)


def _refuse_rows(columns: dict[str, _Column], schema: InteractionSchema) -> None:
    """BodyError if any row has a fault; the first faults in the order of rows, then of columns."""
    n_faults = sum(len(rows) for column in columns.values() for rows, _ in column.faults)
    if n_faults == 0:
        return
    first = sorted(
        (
            (int(row), position, words)
            for position, name in enumerate(schema.names)
            if name in columns
            for rows, words in columns[name].faults
            for row in rows[:MOST_FAULTS]
        ),
        key=lambda fault: fault[:2],
    )
    ids = columns[ID].texts
    faults = [
        Fault(
            words(row),
            index=row,
            interaction_id=fault_words.readable_id(ids[row]) if ids else None,
            field=schema.names[position],
        )
        for row, position, words in first[:MOST_FAULTS]
    ]
    raise fault_words.bad_body(faults, n_faults)


def _batch(columns: dict[str, _Column], ignored: dict[str, int], zone: str) -> Batch:
    """Columns without faults as a batch."""
    numbers: dict[str, FloatArray] = {}
    texts: dict[str, Sequence[str | None]] = {}
    for name, column in columns.items():
        if name in (ID, TIMESTAMP) or column.empty:
            continue
        if column.numbers is not None:
            numbers[name] = column.numbers
        elif column.is_time:
            texts[name] = column.times(zone)
        elif column.texts is not None and any(column.texts):
            texts[name] = [text or None for text in column.texts]
    return Batch(
        ids=[text for text in columns[ID].texts or [] if text],
        numbers=numbers,
        texts=texts,
        moments=functools.cache(functools.partial(columns[TIMESTAMP].microseconds, zone)),
        ignored=ignored,
    )
