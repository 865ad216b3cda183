"""The kinds of table that a detector takes, seen as columns.

Belongs here: reading a number or category column out of a pyarrow Table, a pandas DataFrame or a mapping of
arrays. Does not belong here: what becomes of a column (`features.py`). A mapping needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.kernels import FloatArray

Table: TypeAlias = Any
"""A pyarrow Table, a pandas DataFrame, or a mapping from column name to a numpy array of (n,)."""


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
        The categories that occur, as strings. An empty string counts as missing.
    """

    codes: npt.NDArray[np.int64]
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

    def categories(self, name: str) -> Categories:
        """The column as categories."""
        ...


def columns_of(table: Table) -> Columns:
    """See a table as columns.

    Raises
    ------
    TableError
        If the table is of no kind that is known, or its columns differ in length.
    """
    if isinstance(table, Mapping):
        return _ArrayColumns(table)
    library = type(table).__module__.partition(".")[0]
    if library == "pyarrow" and hasattr(table, "column"):
        return _ArrowColumns(table)
    if hasattr(table, "__dataframe__") or hasattr(table, "to_numpy"):
        return _FrameColumns(table)
    raise TableError(
        f"a table of type {type(table).__name__}; give a pyarrow Table, a pandas DataFrame or a mapping of arrays"
    )


class _ArrowColumns:
    """Columns of a pyarrow Table."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.names: list[str] = [str(name) for name in table.column_names]
        self.n_rows: int = table.num_rows

    def numeric(self, name: str) -> FloatArray:
        return _arrow_numeric(name, self._table.column(name))

    def categories(self, name: str) -> Categories:
        return _arrow_categories(self._table.column(name))


class _FrameColumns:
    """Columns of a pandas DataFrame, turned into Arrow one by one, as they are asked for."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names: list[str] = [str(name) for name in frame.columns]
        self.n_rows: int = len(frame)

    def numeric(self, name: str) -> FloatArray:
        return _arrow_numeric(name, self._arrow(name))

    def categories(self, name: str) -> Categories:
        return _arrow_categories(self._arrow(name))

    def _arrow(self, name: str) -> Any:
        import pyarrow as pa

        try:
            return pa.Table.from_pandas(self._frame[[name]], preserve_index=False).column(0)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TableError(f"column {name!r} mixes types: {error}") from error


class _ArrayColumns:
    """Columns of a mapping from name to numpy array."""

    def __init__(self, arrays: Mapping[str, npt.ArrayLike]) -> None:
        self._arrays = {str(name): np.asarray(values) for name, values in arrays.items()}
        self.names: list[str] = list(self._arrays)
        shapes = {name: array.shape for name, array in self._arrays.items()}
        if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
            raise TableError(f"columns must be arrays (n,) of one length; got {shapes}")
        self.n_rows: int = len(next(iter(self._arrays.values()))) if self._arrays else 0

    def numeric(self, name: str) -> FloatArray:
        array = self._arrays[name]
        if array.dtype.kind == "O":
            if any(isinstance(value, str) for value in array):
                raise _not_a_number(name, "text")
            array = np.array([np.nan if value is None else value for value in array], dtype=np.float64)
        if array.dtype.kind not in "biuf":
            raise _not_a_number(name, str(array.dtype))
        return _finite(array.astype(np.float64))

    def categories(self, name: str) -> Categories:
        array = self._arrays[name]
        if array.dtype.kind == "U":
            texts = array
        else:
            missing = [value is None or value != value for value in array]
            texts = np.array(["" if gone else str(value) for gone, value in zip(missing, array, strict=True)])
        if self.n_rows == 0:
            return Categories(np.empty(0, dtype=np.int64), [])
        values, codes = np.unique(texts, return_inverse=True)
        return _without_empty(codes.astype(np.int64), [str(value) for value in values])


def _arrow_numeric(name: str, column: Any) -> FloatArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.types
    allowed = (kind.is_integer, kind.is_floating, kind.is_boolean, kind.is_decimal, kind.is_null)
    if not any(test(column.type) for test in allowed):
        raise _not_a_number(name, str(column.type))
    if kind.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    floats = pc.cast(column, pa.float64(), safe=False).to_numpy()
    return _finite(np.array(floats, dtype=np.float64))


def _arrow_categories(column: Any) -> Categories:
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    encoded = pc.dictionary_encode(pc.cast(array, pa.string()))
    codes = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
    return _without_empty(codes, encoded.dictionary.to_pylist())


def _without_empty(codes: npt.NDArray[np.int64], values: list[str]) -> Categories:
    if "" in values:
        codes = np.where(codes == values.index(""), -1, codes)
    return Categories(codes, values)


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)


def _not_a_number(name: str, found: str) -> TableError:
    return TableError(f"column {name!r} is to be numeric and holds {found}; convert it, or name it under categorical")
