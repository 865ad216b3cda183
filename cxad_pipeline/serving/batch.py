"""The interactions of one request as columns, and what may be wrong with a body.

Belongs here: the form that every kind of body is read into. Does not belong here: reading one (`json_bodies`,
`arrow_bodies`), scoring it (`scoring`).
"""

from __future__ import annotations

import datetime as dt
import functools
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

MOST_IGNORED, LONGEST_IGNORED = 100, 100
"""How many unknown fields are counted, and how long their names may be, so that a caller cannot fill the memory."""


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
        By field that the schema does not know, in how many records it stood; the first `MOST_IGNORED` of them, without
        names longer than `LONGEST_IGNORED` characters.
    """

    ids: Sequence[str]
    numbers: Mapping[str, FloatArray]
    texts: Mapping[str, Sequence[str | None]]
    moments: Callable[[], npt.NDArray[np.int64]]
    ignored: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "moments", functools.cache(self.moments))  # every anomaly of the batch asks for them

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
            # Objects: numpy's own texts lose a NUL at their end, and one long text would make all of them as long.
            numbers = self.numbers.get(name)  # a count such as transfers may be taken as a category
            texts = self.texts.get(name) or [None] * self.n_rows
            table[name] = np.array(texts, dtype=object) if numbers is None else numbers
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
        return self.interactions([row])[0]

    def interactions(self, chosen: Sequence[int]) -> list[dict[str, Any]]:
        """Some records as `interaction` gives them, in the order given."""
        index = np.asarray(chosen, dtype=np.int64)
        records: list[dict[str, Any]] = [
            {ID: self.ids[row], TIMESTAMP: iso(moment)}
            for row, moment in zip(chosen, self.moments()[index].tolist(), strict=True)
        ]
        for name, values in self.numbers.items():
            for record, value in zip(records, values[index].tolist(), strict=True):
                if value == value:  # not NaN
                    record[name] = value
        for name, texts in self.texts.items():
            for record, row in zip(records, chosen, strict=True):
                if texts[row] is not None:
                    record[name] = texts[row]
        return records


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def iso(microseconds: int) -> str:
    """A moment as the product writes it: ISO 8601 in UTC with microseconds and `Z`."""
    moment = _EPOCH + dt.timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
