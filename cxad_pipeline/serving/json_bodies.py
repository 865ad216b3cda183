"""Bodies of JSON, one array of objects, and of NDJSON, one object a line.

Belongs here: text to `Batch`, and the faults in it. Does not belong here: what a valid record is
(`interactions.record`), and how a fault is worded (`fault_words`).
"""

from __future__ import annotations

import codecs
import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NoReturn

import numpy as np
import pydantic_core
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.interactions.record import NOT_WHOLE, Record, record_adapter, single_record_adapter
from cxad_pipeline.interactions.schema import ID, TIMESTAMP, InteractionSchema
from cxad_pipeline.serving import fault_words
from cxad_pipeline.serving.batch import (
    LONGEST_IGNORED,
    MOST_FAULTS,
    MOST_IGNORED,
    Batch,
    Fault,
    TooManyRecordsError,
)
from cxad_pipeline.serving.fault_words import quoted
from cxad_pipeline.serving.moments import microseconds, utc_texts

# An empty array or object takes a hundred times as much memory as its two characters. A record is one object of a dozen
# values; its unknown fields may hold more, in a single record many more.
_OBJECTS_PER_RECORD, _VALUES_PER_RECORD = 10, 100
_FURTHER_OBJECTS, _FURTHER_VALUES = 1_000, 10_000
_ID_KEY = f'"{ID}"'.encode()


class JsonBodies:
    """Reads JSON and NDJSON.

    Parameters
    ----------
    schema
        The deployment's columns.
    zone
        Time zone of times without one.
    max_records
        Most interactions in one body.
    """

    def __init__(self, schema: InteractionSchema, zone: str, max_records: int) -> None:
        self._schema, self._zone, self._max_records = schema, zone, max_records
        self._validate_records = record_adapter(schema, max_records).validator.validate_json
        self._validate_record = single_record_adapter(schema).validator.validate_json
        self._values = itemgetter(*schema.names)

    def read(self, body: bytes) -> Batch:
        """The records of a JSON array; raises BodyError or TooManyRecordsError."""
        self._refuse_bombs(body)
        try:
            records = self._validate_records(body)
        except ValidationError as error:
            self._refuse(body, error)
        return self._batch(records)

    def read_lines(self, body: bytes) -> Batch:
        """The records of NDJSON, lines without text skipped; raises as `read`."""
        self._refuse_bombs(body)
        lines: list[tuple[int, bytes]] = []
        for number, line in enumerate(io.BytesIO(body), start=1):
            if line.strip():
                lines.append((number, line))
                if len(lines) > self._max_records:
                    raise self._too_many()
        validate = self._validate_record
        try:
            records = [validate(line) for _, line in lines]
        except ValidationError:
            found, n_found = self._faults((line for _, line in lines), [number for number, _ in lines])
            raise fault_words.bad_body(found, n_found) from None
        return self._batch(records)

    def _batch(self, records: Sequence[Record]) -> Batch:
        """Valid records as columns."""
        if not records:
            return Batch(ids=(), numbers={}, texts={}, moments=lambda: np.empty(0, dtype=np.int64))
        columns = dict(zip(self._schema.names, zip(*map(self._values, records), strict=True), strict=True))
        ids, times = columns.pop(ID), columns.pop(TIMESTAMP)
        numbers: dict[str, FloatArray] = {}
        texts: dict[str, Sequence[str | None]] = {}
        for name, values in columns.items():
            if values.count(None) == len(values):
                continue
            if self._schema[name].is_metric:
                numbers[name] = np.array(values, dtype=np.float64)
            elif self._schema[name].type == "timestamp":
                texts[name] = utc_texts(values, self._zone)
            elif any(values):
                texts[name] = tuple(text or None for text in values) if "" in values else values
        return Batch(
            ids=ids,
            numbers=numbers,
            texts=texts,
            moments=functools.cache(functools.partial(microseconds, times, self._zone)),
            ignored=self._ignored(records),
        )

    def _ignored(self, records: Iterable[Record]) -> Mapping[str, int]:
        """Unknown fields, and in how many records they stand."""
        n_known = len(self._schema.columns)
        counts: dict[str, int] = {}
        for record in records:
            if len(record) == n_known:
                continue
            for name in record:
                if name in counts:
                    counts[name] += 1
                elif name not in self._schema and len(counts) < MOST_IGNORED and len(name) <= LONGEST_IGNORED:
                    counts[name] = 1
        return counts

    def _refuse_bombs(self, body: bytes) -> None:
        """TooManyRecordsError for a body that would take far more memory, or time, than its length."""
        # As many records as there can be: one record with a million fields would keep the interpreter to itself.
        n_records = min(self._max_records, body.count(_ID_KEY)) if len(body) > _FURTHER_VALUES else 0
        objects = _OBJECTS_PER_RECORD * n_records + _FURTHER_OBJECTS
        values = _VALUES_PER_RECORD * n_records + _FURTHER_VALUES
        if len(body) > objects and body.count(b"{") + body.count(b"[") > objects:
            raise self._too_many(f"{objects:,} objects and arrays")
        if len(body) > values and body.count(b",") + body.count(b"\n") > values:
            raise self._too_many(f"{values:,} values and lines")

    def _too_many(self, things: str = "") -> TooManyRecordsError:
        things = things or f"{self._max_records:,} records"
        return TooManyRecordsError(f"The body has more than {things}; send at most {self._max_records:,} at once.")

    def _refuse(self, body: bytes, error: ValidationError) -> NoReturn:
        """Raise what says why an array is refused."""
        n_faults = error.error_count()
        if n_faults == 1:
            only = error.errors(include_url=False)[0]
            if only["type"] == "too_long" and not only["loc"]:
                raise self._too_many() from None
            if only["type"] == "json_invalid":
                raise fault_words.unreadable(_no_json("The body", body, only)) from None
            if only["type"] == "list_type":
                raise fault_words.unreadable(
                    f"The body must be an array of interactions; got {quoted(only['input'])}."
                ) from None
        # A hundred thousand faults take a third of a second to list; twenty do not.
        records = pydantic_core.from_json(body)
        again = (pydantic_core.to_json(record, inf_nan_mode="constants") for record in records)
        found, _ = self._faults(again, enough=MOST_FAULTS)
        raise fault_words.bad_body(found, n_faults) from None

    def _faults(
        self, records: Iterable[bytes], lines: Sequence[int] | None = None, enough: int | None = None
    ) -> tuple[list[Fault], int]:
        """The first faults of records, each given as JSON, `MOST_FAULTS` or a few more, and how many there are.

        Parameters
        ----------
        records
            Texts, n of them.
        lines
            Their lines, (n,); None where there is none.
        enough
            Look no further after so many faults.
        """
        found: list[Fault] = []
        n_found = 0
        for index, text in enumerate(records):
            try:
                self._validate_record(text)
            except ValidationError as error:
                n_found += error.error_count()
                if len(found) < MOST_FAULTS:
                    found += self._faults_of_record(text, error, index, lines[index] if lines else None)
                if enough is not None and n_found >= enough:
                    break
        return found, n_found

    def _faults_of_record(self, text: bytes, error: ValidationError, index: int, line: int | None) -> list[Fault]:
        details = error.errors(include_url=False)
        if details[0]["type"] == "json_invalid":
            return [Fault(_no_json("the line", text, details[0]), index=index, line=line)]
        record = pydantic_core.from_json(text)
        given = record.get(ID) if isinstance(record, dict) else None
        interaction_id = fault_words.readable_id(given)
        return [
            Fault(
                self._in_words(detail),
                index=index,
                interaction_id=interaction_id,
                field=str(detail["loc"][0]) if detail["loc"] else None,
                line=line,
            )
            for detail in details
        ]

    def _in_words(self, detail: ErrorDetails) -> str:
        """Pydantic's error of one field in our words."""
        kind, value = detail["type"], detail["input"]
        if kind == "dict_type":
            return f"{fault_words.NO_OBJECT}; got {quoted(value)}"
        if kind == "missing":
            return fault_words.REQUIRED
        column = self._schema[str(detail["loc"][0])]
        if kind in ("string_type", "float_type"):
            return fault_words.wrong_type(column, value)
        if kind == "string_too_short":
            return fault_words.EMPTY
        if kind == "string_too_long":
            return fault_words.too_long(len(value))
        if kind == "string_pattern_mismatch":
            return fault_words.no_time(value) if column.type == "timestamp" else fault_words.NO_NUL
        if kind == "finite_number":
            return fault_words.not_finite(value)
        if kind == NOT_WHOLE:
            return fault_words.not_whole(value)
        return fault_words.out_of_range(column, value)


def _no_json(what: str, text: bytes, detail: ErrorDetails) -> str:
    if not text.strip():
        return f"{what} is empty; it must be an array of interactions."
    if text.startswith(codecs.BOM_UTF8):
        return f"{what} begins with a byte order mark (U+FEFF), which JSON has not; send it without."
    return f"{what} is no valid JSON: {detail['ctx']['error']}"
