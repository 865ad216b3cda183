"""The kinds of table that a detector takes, seen as columns.

Belongs here: reading a column of numbers, categories or moments out of a pyarrow Table, a pandas DataFrame or a
mapping of arrays. Does not belong here: what becomes of a column (`features.py`). A mapping needs numpy alone, and
reading one row of it costs a few microseconds per column.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.local_time import MISSING_MOMENT

Table: TypeAlias = Any
"""A pyarrow Table, a pandas DataFrame, or a mapping from column name to a numpy array or list of (n,)."""

CodeArray: TypeAlias = npt.NDArray[np.int64]

MISSING, UNKNOWN = -1, -2
"""Codes of a row without a category, and of one whose category is not in the index that was asked for."""

# The end of year 9999 in seconds. Milliseconds of any recent year are far beyond it.
_LAST_SECOND = 253_402_300_800


class TableError(ValueError):
    """A table that cannot be used: which column, what is wrong, what is expected."""


@dataclass(frozen=True)
class Categories:
    """One category column.

    Attributes
    ----------
    codes
        Position in `values` per row, -1 where missing, (n,).
    values
        The categories that occur, as strings, each once. An empty string counts as missing.
    """

    codes: CodeArray
    values: list[str]

    def text(self, row: int) -> str | None:
        """The category of one row, None where missing."""
        code = int(self.codes[row])
        return self.values[code] if code >= 0 else None


class Columns(Protocol):
    """A table, seen as columns."""

    names: list[str]
    n_rows: int

    def numeric(self, name: str) -> FloatArray:
        """The column as floats (n,), NaN where missing or infinite; TableError if it is no number."""
        ...

    def floats(self, name: str) -> FloatArray:
        """As `numeric`, with infinite values left as they are; not to be written to."""
        ...

    def categories(self, name: str) -> Categories:
        """The column as categories."""
        ...

    def codes(self, name: str, index: Mapping[str, int]) -> CodeArray:
        """The column as positions in a known list, (n,): `index[value]`, `MISSING` or `UNKNOWN`."""
        ...

    def seconds(self, name: str) -> CodeArray:
        """The column as seconds since 1970 UTC (n,), `MISSING_MOMENT` where missing; TableError if it is no time.

        Times without a zone are taken as UTC; numbers are seconds since 1970 UTC.
        """
        ...


def columns_of(table: Table | Columns) -> Columns:
    """See a table as columns; what is seen as columns already is given back.

    Raises
    ------
    TableError
        If the table is of no kind that is known, or its columns differ in length.
    """
    if isinstance(table, (ChosenRows, _ArrowColumns, _ArrayColumns)):
        return table
    if isinstance(table, Mapping):
        return _ArrayColumns(table)
    library = type(table).__module__.partition(".")[0]
    if library == "pyarrow" and hasattr(table, "column"):
        return _ArrowColumns(table)
    if library == "pandas" and hasattr(table, "columns"):
        return _FrameColumns(table)
    raise TableError(
        f"a table of type {type(table).__name__}; give a pyarrow Table, a pandas DataFrame or a mapping of arrays"
    )


class ChosenRows:
    """Some rows of a table, seen as columns; to all appearances a table of these rows alone.

    Parameters
    ----------
    columns
        The whole table.
    chosen
        Whether a row is one of them, (n,).
    """

    def __init__(self, columns: Columns, chosen: npt.NDArray[np.bool_]) -> None:
        self._columns, self._chosen = columns, chosen
        self.names: list[str] = columns.names
        self.n_rows: int = int(np.count_nonzero(chosen))

    def numeric(self, name: str) -> FloatArray:
        """As `Columns.numeric`."""
        return self._columns.numeric(name)[self._chosen]

    def floats(self, name: str) -> FloatArray:
        """As `Columns.floats`."""
        return self._columns.floats(name)[self._chosen]

    def categories(self, name: str) -> Categories:
        """As `Columns.categories`."""
        whole = self._columns.categories(name)
        codes, n_values = whole.codes[self._chosen], len(whole.values)
        # Where each category first occurs: of a repeated index numpy keeps the last value. Missing has the last place.
        first = np.full(n_values + 1, self.n_rows)
        first[codes[::-1]] = np.arange(self.n_rows - 1, -1, -1)
        order = np.argsort(first[:n_values], kind="stable")[: np.count_nonzero(first[:n_values] < self.n_rows)]
        position = np.full(n_values + 1, MISSING, dtype=np.int64)
        position[order] = np.arange(len(order))
        return Categories(position[codes], [whole.values[code] for code in order])

    def codes(self, name: str, index: Mapping[str, int]) -> CodeArray:
        """As `Columns.codes`."""
        return self._columns.codes(name, index)[self._chosen]

    def seconds(self, name: str) -> CodeArray:
        """As `Columns.seconds`."""
        return self._columns.seconds(name)[self._chosen]


class _ArrowColumns:
    """Columns of a pyarrow Table."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.names: list[str] = [str(name) for name in table.column_names]
        self.n_rows: int = table.num_rows

    def _place(self, name: str) -> int:
        if self.names.count(name) > 1:
            raise TableError(f"the table has {self.names.count(name)} columns {name!r}; rename all but one")
        return self.names.index(name)

    def numeric(self, name: str) -> FloatArray:
        return _finite(self.floats(name))

    def floats(self, name: str) -> FloatArray:
        return _arrow_floats(name, self._column(name))

    def categories(self, name: str) -> Categories:
        return _arrow_categories(name, self._column(name))

    def codes(self, name: str, index: Mapping[str, int]) -> CodeArray:
        found = self.categories(name)
        # One extra entry at the end, which code -1 (missing) finds.
        positions = np.array([index.get(value, UNKNOWN) for value in found.values] + [MISSING], dtype=np.int64)
        return positions[found.codes]

    def seconds(self, name: str) -> CodeArray:
        return _arrow_seconds(name, self._column(name))

    def _column(self, name: str) -> Any:
        import pyarrow as pa

        column = self._table.column(self._place(name))
        return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])  # of a RecordBatch


class _FrameColumns(_ArrowColumns):
    """Columns of a pandas DataFrame, turned into Arrow one by one, as they are asked for."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names = [str(name) for name in frame.columns]
        self.n_rows = len(frame)

    def _column(self, name: str) -> Any:
        import pyarrow as pa

        try:
            # By place, since the names of a frame may be numbers.
            place = self._place(name)
            frame = self._frame.iloc[:, place : place + 1]
            return pa.Table.from_pandas(frame, preserve_index=False).column(0)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TableError(f"column {name!r} mixes types: {error}") from error


class _ArrayColumns:
    """Columns of a mapping from name to numpy array."""

    def __init__(self, arrays: Mapping[str, npt.ArrayLike]) -> None:
        self._arrays = {str(name): _array_of(str(name), values) for name, values in arrays.items()}
        self.names: list[str] = list(self._arrays)
        shapes = {array.shape for array in self._arrays.values()}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            found = {name: array.shape for name, array in self._arrays.items()}
            raise TableError(f"columns must be arrays (n,) of one length; got {found}")
        self.n_rows: int = shapes.pop()[0] if shapes else 0

    def numeric(self, name: str) -> FloatArray:
        return _finite(self.floats(name))

    def floats(self, name: str) -> FloatArray:
        array = self._arrays[name]
        if array.dtype == np.float64:
            return array
        if array.dtype.kind == "O":
            values = array.tolist()
            if any(isinstance(value, (str, bytes)) for value in values):
                raise _not_a_number(name, "text")
            try:
                return np.array([np.nan if _is_missing(value) else float(value) for value in values], dtype=np.float64)
            except OverflowError as error:
                raise _not_a_number(name, "an integer beyond all floats") from error
            except (TypeError, ValueError) as error:
                kinds = sorted({type(value).__name__ for value in values if value is not None})
                raise _not_a_number(name, ", ".join(kinds)) from error
        if array.dtype.kind not in "biuf":
            raise _not_a_number(name, str(array.dtype))
        return array.astype(np.float64)

    def categories(self, name: str) -> Categories:
        known: dict[str, int] = {}
        codes = [known.setdefault(text, len(known)) if text else MISSING for text in self._texts(name)]
        return Categories(np.array(codes, dtype=np.int64), list(known))

    def codes(self, name: str, index: Mapping[str, int]) -> CodeArray:
        codes = [index.get(text, UNKNOWN) if text else MISSING for text in self._texts(name)]
        return np.array(codes, dtype=np.int64)

    def seconds(self, name: str) -> CodeArray:
        array = self._arrays[name]
        kind = array.dtype.kind
        if kind == "M":
            return np.asarray(array.astype("datetime64[s]").view(np.int64))
        if kind in "iu":
            return _plausible(name, array.astype(np.int64))
        if kind == "f":
            return _plausible(name, _whole_seconds(array.astype(np.float64)))
        if kind == "O":
            return _plausible(name, np.array([_second_of(name, value) for value in array.tolist()], dtype=np.int64))
        raise _not_a_time(name, "text" if kind in "US" else str(array.dtype))

    def _texts(self, name: str) -> list[str]:
        """The values as text, empty where missing."""
        array = self._arrays[name]
        values: list[Any] = array.tolist()
        if array.dtype.kind == "U":
            return values
        return [value if type(value) is str else _text_of(value) for value in values]


def _arrow_floats(name: str, column: Any) -> FloatArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.types
    allowed = (kind.is_integer, kind.is_floating, kind.is_boolean, kind.is_decimal, kind.is_null)
    if not any(test(column.type) for test in allowed):
        raise _not_a_number(name, str(column.type))
    if kind.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _arrow_categories(name: str, column: Any) -> Categories:
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)
    try:
        encoded = pc.dictionary_encode(pc.cast(array, pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableError(
            f"column {name!r} is to be a category and holds {array.type} that is no text: {error}; convert it"
        ) from error
    codes = np.asarray(encoded.indices.fill_null(MISSING).to_numpy(zero_copy_only=False), dtype=np.int64)
    values = encoded.dictionary.to_pylist()
    if "" in values:
        codes = np.where(codes == values.index(""), MISSING, codes)
    return Categories(codes, values)


def _arrow_seconds(name: str, column: Any) -> CodeArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.types
    if kind.is_floating(column.type):
        return _plausible(name, _whole_seconds(_arrow_floats(name, column)))
    if kind.is_timestamp(column.type) or kind.is_date(column.type):
        column = pc.cast(pc.cast(column, pa.timestamp("s"), safe=False), pa.int64())
    elif kind.is_null(column.type) or kind.is_integer(column.type):
        column = pc.cast(column, pa.int64(), safe=False)
    else:
        raise _not_a_time(name, str(column.type))
    return _plausible(name, np.asarray(pc.fill_null(column, MISSING_MOMENT).to_numpy(), dtype=np.int64))


def _array_of(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        if isinstance(values, (list, tuple)) and any(isinstance(value, str) for value in values):
            # Left to itself, numpy makes every text as long as the longest, and drops NULs at their ends.
            return np.asarray(values, dtype=object)
        return np.asarray(values)
    except ValueError as error:
        raise TableError(f"column {name!r} is no array (n,): {error}") from error


def _is_missing(value: Any) -> bool:
    """Whether a Python object stands for no value: None, NaN, NaT, or pandas' NA, which equals nothing at all."""
    if value is None:
        return True
    different = value != value
    return bool(different) if isinstance(different, (bool, np.bool_)) else True


def _text_of(value: Any) -> str:
    """A category that is no string as text, empty where missing; as Arrow writes it, so that tables agree."""
    if _is_missing(value):
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (float, np.floating)):
        return repr(float(value)).removesuffix(".0")
    return str(value)


def _whole_seconds(values: FloatArray) -> CodeArray:
    """Seconds without their fraction; beyond every calendar where the number is too large for it."""
    present = np.isfinite(values)
    limit = 2.0 * _LAST_SECOND
    whole = np.floor(np.clip(np.where(present, values, 0.0), -limit, limit)).astype(np.int64)
    return np.where(present, whole, MISSING_MOMENT)


def _second_of(name: str, value: Any) -> int:
    if _is_missing(value):
        return MISSING_MOMENT
    if isinstance(value, dt.datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp())
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[s]").astype(np.int64))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(min(max(value, -2.0 * _LAST_SECOND), 2.0 * _LAST_SECOND))
    raise _not_a_time(name, "text" if isinstance(value, str) else type(value).__name__)


def _plausible(name: str, seconds: CodeArray) -> CodeArray:
    """Refuse what no calendar holds, since milliseconds would pass for seconds and give a wrong hour."""
    wild = (seconds != MISSING_MOMENT) & ((seconds > _LAST_SECOND) | (seconds < -_LAST_SECOND))
    if wild.any():
        raise TableError(
            f"column {name!r} holds {int(seconds[wild][0])} as seconds since 1970, which is beyond the year 9999; "
            "convert it from milliseconds or a finer unit"
        )
    return seconds


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)


def _not_a_number(name: str, found: str) -> TableError:
    return TableError(f"column {name!r} is to be numeric and holds {found}; convert it, or name it under categorical")


def _not_a_time(name: str, found: str) -> TableError:
    return TableError(
        f"column {name!r} is to be a timestamp and holds {found}; give datetimes, or seconds since 1970 in UTC"
    )
