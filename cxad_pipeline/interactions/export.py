"""Tables as CSV files that people open in a spreadsheet.

Belongs here: text forms of values, and cells that a spreadsheet would run.
"""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

_RUNNABLE = r"^[=+\-@\t\r\n]"


class CsvExport:
    """Writes tables of one schema into a CSV file, batch by batch.

    Text that a spreadsheet would run as a formula, which starts with `=`, `+`, `-`, `@`, a tab or a line break, gets an
    apostrophe in front (OWASP, CSV injection). Times are ISO 8601 in UTC, missing values are empty.
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
        self._writer.write_table(safe)

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
    columns = []
    for values in table.columns:
        if pa.types.is_timestamp(values.type):
            values = pc.strftime(values, format="%Y-%m-%dT%H:%M:%SZ")
        elif pa.types.is_string(values.type):
            runnable = pc.match_substring_regex(values, _RUNNABLE)
            values = pc.if_else(runnable, pc.binary_join_element_wise("'", values, ""), values)
        columns.append(values)
    names = [f"'{name}" if name[:1] in "=+-@" else name for name in table.column_names]
    return pa.table(columns, names=names)
