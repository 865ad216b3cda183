"""Checks of what is given to an estimator.

Belongs here: one function per kind of argument, and the check of X; each raises one clear error. Does not belong
here: what the values are used for. X is not copied if it is an array of float32 or float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_CHUNK_ROWS = 65_536


def checked_points(X: object) -> npt.NDArray[Any]:
    """X as an array (n, d) of float32 or float64.

    Raises
    ------
    TypeError
        If X is sparse, or holds something that is no number.
    ValueError
        If X is not a table of real numbers, has no column, or holds NaN or infinity.
    """
    points = _as_floats(X)
    if points.ndim != 2:
        raise ValueError(
            f"X has shape {points.shape}; a table (n, d) is expected. Reshape your data with X.reshape(-1, 1) if it "
            "has one feature, or with X.reshape(1, -1) if it is one row"
        )
    if points.shape[1] == 0:
        raise ValueError(f"X has no columns: 0 feature(s) (shape={points.shape}) while a minimum of 1 is required.")
    for start in range(0, len(points), _CHUNK_ROWS):
        chunk = points[start : start + _CHUNK_ROWS]
        finite = np.isfinite(chunk)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            value = "NaN" if np.isnan(chunk[row, column]) else str(chunk[row, column])
            raise ValueError(f"X holds {value} in row {start + row}, column {column}; fill or drop it first")
    return points


def checked_training_points(X: object) -> npt.NDArray[Any]:
    """X as `checked_points` has it, with at least one row."""
    points = checked_points(X)
    if len(points) == 0:
        raise ValueError(
            f"X has no rows to fit on: 0 sample(s) (shape={points.shape}) while a minimum of 1 is required."
        )
    return points


def _as_floats(X: object) -> npt.NDArray[Any]:
    if hasattr(X, "tocsr") or hasattr(X, "toarray"):
        raise TypeError("X is sparse; dense data is required: use X.toarray()")
    array = np.asarray(X)
    if array.dtype.kind == "c":
        raise ValueError("Complex data not supported: X holds complex numbers")
    if array.dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        return array
    if array.dtype.kind not in "biufO":
        raise TypeError(f"X holds {array.dtype.name}, not numbers; convert it first")
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"X holds a number beyond all floats ({error}); scale it") from error


def checked_columns(X: object) -> npt.NDArray[np.object_] | None:
    """Names of the columns of a data frame; None if X has none, or not only strings.

    Raises
    ------
    TypeError
        If some names are strings and some are not.
    """
    columns = getattr(X, "columns", None)
    if columns is None:
        return None
    names = list(columns)
    strings = [isinstance(name, str) for name in names]
    if all(strings):
        return np.array(names, dtype=object)
    if any(strings):
        raise TypeError(
            "X has columns with names that are strings and others that are not; feature names must be all strings"
        )
    return None


def check_count(name: str, value: object, least: int) -> int:
    """The value of an argument that must be an integer of at least `least`.

    Raises
    ------
    ValueError
        If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} is {value!r}; an integer >= {least} is allowed")
    return int(value)


def check_seed(value: object) -> int | None:
    """The value of `random_state`; a generator is asked for a seed.

    Raises
    ------
    ValueError
        If it is neither None, nor an integer in [0, 2**32), nor a numpy RandomState.
    """
    if value is None:
        return None
    if isinstance(value, np.random.RandomState):
        return int(value.randint(0, 2**32, dtype=np.uint32))
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**32:
        raise ValueError(
            f"random_state is {value!r}; None, an integer from 0 to 2**32 - 1 or a numpy RandomState is allowed"
        )
    return int(value)


def check_jobs(value: object) -> int | None:
    """The value of `n_jobs`.

    Raises
    ------
    ValueError
        If it is neither None nor an integer other than 0.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value == 0:
        raise ValueError(f"n_jobs is {value!r}; None, a number of processes, or -1 for all is allowed")
    return int(value)


def check_contamination(value: object) -> float | None:
    """The value of `contamination`: a share, or None for `auto`.

    Raises
    ------
    ValueError
        If it is neither 'auto' nor a number in (0, 0.5].
    """
    if isinstance(value, str) and value == "auto":
        return None
    number = isinstance(value, (float, int, np.floating, np.integer)) and not isinstance(value, bool)
    if not number or not 0.0 < float(value) <= 0.5:  # type: ignore[arg-type]
        raise ValueError(f"contamination is {value!r}; 'auto' or a share in (0, 0.5] is allowed")
    return float(value)  # type: ignore[arg-type]
