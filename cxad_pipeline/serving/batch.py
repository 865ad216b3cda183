"""The interactions of one request as columns, and what may be wrong with a body.

Belongs here: the form that every kind of body is read into. Does not belong here: reading one (`json_bodies`,
`arrow_bodies`), scoring it (`scoring`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.config import DetectorConfig
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.interactions.schema import ID, TIMESTAMP


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a body.

    Attributes
    ----------
    message
        What is wrong and what is expected, in words.
    index
        Position of the record in the request, from 0; None where the body as a whole is meant.
    interaction_id
        The record's, where it has a readable one.
    field
        The column; None where the record as a whole is meant.
    line
        Line of an NDJSON body, from 1.
    """

    message: str
    index: int | None = None
    interaction_id: str | None = None
    field: str | None = None
    line: int | None = None


class BodyError(ValueError):
    """A body that cannot be scored.

    Attributes
    ----------
    faults
        The first of them, at most `MOST_FAULTS`, in the order of the records.
    n_faults
        How many there are in all.
    """

    def __init__(self, message: str, faults: Sequence[Fault] = (), n_faults: int | None = None) -> None:
        super().__init__(message)
        self.faults = list(faults)
        self.n_faults = len(self.faults) if n_faults is None else n_faults


class TooManyRecordsError(ValueError):
    """More interactions than one request may hold; the message says how many it may."""


MOST_FAULTS = 20


@dataclass(frozen=True, eq=False)
class Batch:
    """Valid interactions, n of them.

    Attributes
    ----------
    ids
        `interaction_id` by row.
    numbers
        Metrics that at least one record has, (n,) float64, NaN where missing.
    texts
        Categories and other texts that at least one record has, None where missing.
    moments
        Start of the contact by row as microseconds since 1970 UTC, (n,) int64. A function, since few requests need
        them; call `seconds` or `moment`.
    ignored
        By field that the schema does not know, in how many records it stood.
    """

    ids: Sequence[str]
    numbers: Mapping[str, FloatArray]
    texts: Mapping[str, Sequence[str | None]]
    moments: Callable[[], npt.NDArray[np.int64]]
    ignored: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Number of interactions."""
        return len(self.ids)

    def seconds(self) -> npt.NDArray[np.int64]:
        """Start of the contacts in whole seconds since 1970 UTC, (n,)."""
        return self.moments() // 1_000_000

    def table(self, config: DetectorConfig) -> dict[str, Any]:
        """The columns that a detector looks at, those that no record has filled with missing values."""
        table: dict[str, Any] = {}
        for name in config.numeric:
            values = self.numbers.get(name)
            table[name] = np.full(self.n_rows, np.nan) if values is None else values
        for name in config.category_inputs:
            table[name] = self.texts.get(name) or [None] * self.n_rows
        if config.timestamp is not None:
            table[config.timestamp] = self.seconds()
        return table

    def rows(self, chosen: Sequence[int]) -> Batch:
        """Some of the interactions, in the order given."""
        index = np.asarray(chosen, dtype=np.int64)
        return Batch(
            ids=[self.ids[row] for row in chosen],
            numbers={name: values[index] for name, values in self.numbers.items()},
            texts={name: [values[row] for row in chosen] for name, values in self.texts.items()},
            moments=lambda: self.moments()[index],
        )

    def interaction(self, row: int) -> dict[str, Any]:
        """One record as plain JSON: the columns that it has, the time in UTC."""
        record: dict[str, Any] = {ID: self.ids[row], TIMESTAMP: iso(int(self.moments()[row]))}
        for name, values in self.numbers.items():
            if not np.isnan(values[row]):
                record[name] = float(values[row])
        for name, texts in self.texts.items():
            if texts[row] is not None:
                record[name] = texts[row]
        return record


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def iso(microseconds: int) -> str:
    """A moment as the product writes it: ISO 8601 in UTC with microseconds and `Z`."""
    moment = _EPOCH + dt.timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
