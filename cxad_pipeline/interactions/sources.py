"""An export's own column names, units and codes -> ours.

Belongs here: which of our columns comes from which of theirs, rows that are no interactions, the verdict on each row.
Does not belong here: opening files (`landing`), parsing values (`conversion`).
"""

from __future__ import annotations

import fnmatch
import json
import math
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.interactions.arrow_schema import ARROW_TYPES, arrow_field
from cxad_pipeline.interactions.conversion import (
    Fault,
    apply_codes,
    as_python,
    as_text,
    blank_to_null,
    missing_to_null,
    to_metric,
    to_timestamp,
)
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.interactions.schema import ID, TIMESTAMP, Column, InteractionSchema
from cxad_pipeline.settings import ColumnMapping, Settings, Source

SOURCE_FILE = "source_file"
SOURCE_LINE = "source_line"
PROVENANCE = (SOURCE_FILE, SOURCE_LINE)
FILED_UNDER = "filed_under"

REJECTED_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field(SOURCE_FILE, pa.string(), nullable=False),
        pa.field(SOURCE_LINE, pa.int64(), nullable=False),
        pa.field(ID, pa.string()),
        pa.field(FILED_UNDER, ARROW_TYPES["timestamp"]),
        pa.field("record", pa.string(), nullable=False),
    ]
)
"""Rejected rows.

`kind` is malformed (not a record), unreadable (not a file, or no more of it can be read), contract (a value is
refused), dropped (no interaction, by a rule of the source) or duplicate (a later row has the same id). `record` is the
row as JSON; for malformed rows it is the text of the line."""


class SourceError(ValueError):
    """A file does not fit its source; the message names both and what is missing."""


@dataclass(frozen=True)
class RawBatch:
    """Rows of a file as they are written there.

    Attributes
    ----------
    columns
        Column of the export -> its values, text or typed; each of shape (n,).
    lines
        Line (CSV) or record number (Parquet) of each row, counted from 1; shape (n,).
    """

    columns: Mapping[str, pa.Array]
    lines: np.ndarray


@dataclass(frozen=True)
class ConvertedBatch:
    """Rows with a verdict each.

    Attributes
    ----------
    table
        Our columns, then those passed through, then file and line; shape (n, ...). Rows that are not accepted hold
        what could be converted.
    accepted
        Mask of shape (n,).
    rejected
        The other rows, in `REJECTED_SCHEMA`, in file order; `filed_under` is null where the time is not known.
    """

    table: pa.Table
    accepted: np.ndarray
    rejected: pa.Table


class SourceReader:
    """Turns the rows of one kind of file into interactions.

    Parameters
    ----------
    source
        How the export is written.
    schema
        The deployment's columns.
    timezone
        Zone of times that carry none, where the source names no other.
    """

    def __init__(self, source: Source, schema: InteractionSchema, timezone: str) -> None:
        self.source = source
        self.schema = schema
        self.timezone = source.timezone or timezone
        unknown = sorted(set(source.columns) - set(schema.names))
        if unknown:
            raise SourceError(
                f"source {source.name}: {', '.join(unknown)} is no column of the schema; "
                f"add it to interactions.extra_columns (known: {', '.join(schema.names)})"
            )
        reserved = sorted(set(schema.names) & set(PROVENANCE))
        if reserved:
            raise SourceError(f"interactions.extra_columns: the name {reserved[0]} is taken; choose another")
        lacking = [name for name in schema.required if source.columns and name not in source.columns]
        if lacking:
            raise SourceError(f"source {source.name}: {' and '.join(lacking)} has no origin; add it under its columns")

    def check_header(self, file: str, header: Sequence[str]) -> None:
        """Refuse a file that lacks what the source needs.

        Raises
        ------
        SourceError
            If a column is named twice, or one is absent that the source needs.
        """
        twice = sorted({name for name in header if list(header).count(name) > 1})
        if twice:
            raise SourceError(f"{file}: the header names {', '.join(map(repr, twice))} more than once")
        absent = [name for name in self.needed if name not in header]
        if absent:
            raise SourceError(
                f"{file}: no column {', '.join(absent)}, which source {self.source.name} needs "
                f"(the file has: {', '.join(header)}); map the export's names under sources in the configuration"
            )

    @property
    def needed(self) -> list[str]:
        """Columns of the export without which a file can't be read."""
        if not self.source.columns:
            return [*self.schema.required, *(rule.column for rule in self.source.drop)]
        names = [name for mapping in self.source.columns.values() for name in _origins(mapping)]
        return list(dict.fromkeys([*names, *self.source.keep, *(rule.column for rule in self.source.drop)]))

    def convert(self, file: str, batch: RawBatch) -> ConvertedBatch:
        """Give every row of a batch its verdict."""
        n = len(batch.lines)
        faults: list[Fault] = []
        columns: dict[str, pa.Array] = {}
        fields: list[pa.Field] = []
        for column in self.schema.columns:
            mapping = self._mapping(column, batch)
            if mapping is None:
                continue
            values, found = self._column(column, mapping, file, batch)
            if column.required:
                found.append(Fault(values.is_null().to_numpy(zero_copy_only=False) & ~_any(found, n), _missing(column)))
            columns[column.name] = values
            fields.append(arrow_field(column).with_nullable(True))
            faults += found
        for name in self._passed_through(batch):
            columns[name] = as_text(batch.columns[name])
            fields.append(pa.field(name, pa.string()))
        columns[SOURCE_FILE] = pa.array([file], pa.string()).take(pa.array(np.zeros(n, np.int64)))
        columns[SOURCE_LINE] = pa.array(batch.lines, pa.int64())
        fields += [pa.field(SOURCE_FILE, pa.string()), pa.field(SOURCE_LINE, pa.int64())]
        table = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))
        dropped = self._dropped(batch)
        accepted = ~_any(faults, n)
        accepted[list(dropped)] = False
        verdicts: list[tuple[str, str]] = []
        for row in map(int, np.flatnonzero(~accepted)):
            if row in dropped:
                verdicts.append(("dropped", dropped[row]))
            else:
                verdicts.append(("contract", "; ".join(fault.describe(row) for fault in faults if fault.rows[row])))
        return ConvertedBatch(table, accepted, _rejected(table, batch, np.flatnonzero(~accepted), verdicts))

    def _mapping(self, column: Column, batch: RawBatch) -> ColumnMapping | None:
        if self.source.columns:
            return self.source.columns.get(column.name)
        return ColumnMapping(column=column.name) if column.name in batch.columns else None

    def _passed_through(self, batch: RawBatch) -> list[str]:
        names = self.source.keep if self.source.columns else list(batch.columns)
        return [name for name in names if name not in self.schema and name not in PROVENANCE]

    def _column(
        self, column: Column, mapping: ColumnMapping, file: str, batch: RawBatch
    ) -> tuple[pa.Array, list[Fault]]:
        values = _gather(mapping, file, batch)
        values = missing_to_null(values, mapping.missing)
        if pa.types.is_string(values.type) or column.type == "string" or mapping.codes:
            values = blank_to_null(as_text(values), mapping.missing)
            values, faults = apply_codes(values, column, mapping.codes, mapping.other, strict=mapping.strict)
        else:
            faults = []
        if column.type == "string":
            return values, faults
        if column.type == "timestamp":
            moments, found = to_timestamp(values, column, pattern=mapping.format, zone=self.timezone)
        else:
            moments, found = to_metric(values, column, unit=mapping.unit, decimal=mapping.decimal)
        return moments, faults + found

    def _dropped(self, batch: RawBatch) -> dict[int, str]:
        reasons: dict[int, str] = {}
        for rule in self.source.drop:
            values = pc.utf8_trim_whitespace(as_text(batch.columns[rule.column]))
            hit = pc.is_in(values, value_set=pa.array(rule.equals, pa.string())).to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(hit):
                reasons.setdefault(int(row), f"{rule.reason} ({rule.column} = {values[int(row)].as_py()!r})")
        return reasons


def readers(settings: Settings) -> list[SourceReader]:
    """One reader for each configured source, in their order."""
    schema = schema_of(settings)
    return [SourceReader(source, schema, settings.timezone) for source in settings.sources]


def reader_for(file: str, available: Sequence[SourceReader]) -> SourceReader:
    """The first source whose pattern fits a file.

    Raises
    ------
    SourceError
        If none fits.
    """
    for reader in available:
        if fnmatch.fnmatch(file, reader.source.files) or fnmatch.fnmatch(file.rsplit("/", 1)[-1], reader.source.files):
            return reader
    patterns = ", ".join(f"{reader.source.name}: {reader.source.files}" for reader in available)
    raise SourceError(f"{file}: no source reads it (patterns: {patterns}); add one under sources in the configuration")


def _origins(mapping: ColumnMapping) -> list[str]:
    if mapping.column is not None:
        return [mapping.column]
    if mapping.columns is not None:
        return mapping.columns
    fields = [name for _, name, _, _ in string.Formatter().parse(mapping.template or "") if name]
    return [name for name in fields if name not in ("file", "line")]


def _gather(mapping: ColumnMapping, file: str, batch: RawBatch) -> pa.Array:
    n = len(batch.lines)
    if mapping.column is not None:
        return batch.columns[mapping.column]
    if mapping.constant is not None:
        return pa.repeat(pa.scalar(mapping.constant, pa.string()), n)
    if mapping.columns is not None:
        parts = [blank_to_null(as_text(batch.columns[name]), mapping.missing) for name in mapping.columns]
        return pc.binary_join_element_wise(*parts, " ", null_handling="emit_null")
    pieces: list[pa.Array] = []
    for text, name, _, _ in string.Formatter().parse(mapping.template or ""):
        pieces.append(pa.repeat(pa.scalar(text, pa.string()), n))
        if name == "file":
            pieces.append(pa.repeat(pa.scalar(file, pa.string()), n))
        elif name == "line":
            pieces.append(pc.cast(pa.array(batch.lines, pa.int64()), pa.string()))
        elif name:
            pieces.append(blank_to_null(as_text(batch.columns[name]), mapping.missing))
    return pc.binary_join_element_wise(*pieces, "", null_handling="emit_null")


def _any(faults: Sequence[Fault], n: int) -> np.ndarray:
    broken = np.zeros(n, bool)
    for fault in faults:
        broken |= fault.rows
    return broken


def _missing(column: Column) -> Callable[[int], str]:
    return lambda _row: f"{column.name}: missing"


def _rejected(table: pa.Table, batch: RawBatch, rows: np.ndarray, verdicts: Sequence[tuple[str, str]]) -> pa.Table:
    """The given rows in `REJECTED_SCHEMA`, with a kind and a reason each."""
    if len(rows) == 0:
        return REJECTED_SCHEMA.empty_table()
    chosen = pa.array(rows, pa.int64())
    values = {name: as_python(column.take(chosen)) for name, column in batch.columns.items()}
    records = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    place = table.select([SOURCE_FILE, SOURCE_LINE]).take(chosen)
    known = {name: table[name].take(chosen) for name in (ID, TIMESTAMP) if name in table.column_names}
    return pa.table(
        [
            pa.array([kind for kind, _ in verdicts], pa.string()),
            pa.array([reason for _, reason in verdicts], pa.string()),
            place[SOURCE_FILE],
            place[SOURCE_LINE],
            known.get(ID, pa.nulls(len(rows), pa.string())),
            known.get(TIMESTAMP, pa.nulls(len(rows), ARROW_TYPES["timestamp"])),
            pa.array([as_json(record) for record in records], pa.string()),
        ],
        schema=REJECTED_SCHEMA,
    )


def as_json(record: Mapping[str, Any]) -> str:
    """A row as JSON; what JSON has no form for, such as NaN and bytes, is written as text."""
    plain = {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }
    return json.dumps(plain, default=str, ensure_ascii=False)
