"""Tables as CSV files that people open in a spreadsheet.

Belongs here: text forms of values, and cells that a spreadsheet would run.
"""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

_RUNNABLE = r"^[=+\-@\t\r\n]"
_NUMBER = r"^[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?$"


class CsvExport:
    """Writes tables of one schema into a CSV file, batch by batch.

    Text that a spreadsheet would run as a formula, which starts with `=`, `+`, `-`, `@`, a tab or a line break, gets an
    apostrophe in front (OWASP, CSV injection), unless it is a number. Times are ISO 8601 in UTC, missing values empty.
    """

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._writer: pa.csv.CSVWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Append a table; the first one makes the header, also when it has no rows."""
        safe = _as_cells(table)
        if self._writer is None:
            options = pa.csv.WriteOptions(quoting_style="needed")
            self._writer = pa.csv.CSVWriter(self._sink, safe.schema, write_options=options)
        # One piece, and never an empty one: for that pyarrow writes a stale buffer (apache/arrow#36889).
        if safe.num_rows:
            self._writer.write_table(safe.combine_chunks())

    def close(self) -> None:
        """Finish the file; the sink stays open."""
        if self._writer is not None:
            self._writer.close()


def write_csv(table: pa.Table, sink: BinaryIO) -> None:
    """Write one table as CSV."""
    export = CsvExport(sink)
    export.write(table)
    export.close()


def _as_cells(table: pa.Table) -> pa.Table:
    return pa.table([_cells(values) for values in table.columns], names=[_cell(name) for name in table.column_names])


def _cells(values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = values.type
    if pa.types.is_timestamp(kind):
        moments = pc.cast(values, pa.timestamp("us", tz="UTC"), safe=False)
        micros = pc.add(pc.microsecond(moments), pc.millisecond(moments))
        if not pc.any(pc.greater(micros, 0)).as_py():
            moments = pc.cast(moments, pa.timestamp("s", tz="UTC"))
        return pc.strftime(moments, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_dictionary(kind):
        return _cells(pc.cast(values, kind.value_type))
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        return values
    texts = pc.cast(values, pa.string())
    runnable = pc.and_(pc.match_substring_regex(texts, _RUNNABLE), pc.invert(pc.match_substring_regex(texts, _NUMBER)))
    return pc.if_else(runnable, pc.binary_join_element_wise("'", texts, ""), texts)


def _cell(text: str) -> str:
    return str(_cells(pa.chunked_array([[text]], pa.string()))[0])
