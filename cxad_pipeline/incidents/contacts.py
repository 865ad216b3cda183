"""Contacts as arrays: what incidents are counted from.

Belongs here: from tables to arrays of moments, leaves and values. Does not belong here: what is counted in them
(`rollups.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.local_time import MISSING_MOMENT
from cxad_pipeline.detection.tables import Columns, Table, columns_of
from cxad_pipeline.incidents.metrics import MetricRule
from cxad_pipeline.incidents.segments import SegmentTree, leaves_of
from cxad_pipeline.incidents.windows import Windows
from cxad_pipeline.interactions.schema import TIMESTAMP

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

COMPLAINTS, FLAG = "complaints", "ensemble_anomaly"
"""Columns that are read beside the metrics."""


@dataclass(frozen=True, eq=False)
class Contacts:
    """Contacts as arrays of (n,).

    Attributes
    ----------
    dimensions
        Names of the dimensions.
    leaves
        The leaves that occur, distinct, in the order of their values.
    leaf
        Position of each contact's leaf.
    moments
        Its start, seconds since 1970 UTC.
    values
        Column per metric, NaN where missing.
    complaints
        Complaints of each contact, NaN where missing; None where no contact has a number.
    flagged
        Whether the detector flagged it; None where none has been scored.
    """

    dimensions: tuple[str, ...]
    leaves: list[tuple[str, ...]]
    leaf: IntegerArray
    moments: IntegerArray
    values: Mapping[str, FloatArray]
    complaints: FloatArray | None = None
    flagged: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.leaf)

    def chosen(self, rows: npt.NDArray[np.generic]) -> Contacts:
        """Some of the contacts, by position or by a mask of (n,); all leaves stay."""
        return replace(
            self,
            leaf=self.leaf[rows],
            moments=self.moments[rows],
            values={name: column[rows] for name, column in self.values.items()},
            complaints=None if self.complaints is None else self.complaints[rows],
            flagged=None if self.flagged is None else self.flagged[rows],
        )

    def leaf_in(self, tree: SegmentTree) -> IntegerArray:
        """Position of each contact's leaf among those of a tree, (n,).

        Raises
        ------
        ValueError
            If the tree does not have one of them.
        """
        place = {leaf: position for position, leaf in enumerate(tree.leaves)}
        found = np.array([place.get(leaf, -1) for leaf in self.leaves], dtype=np.int64)[self.leaf]
        if (found < 0).any():
            unknown = dict(zip(self.dimensions, self.leaves[int(self.leaf[found < 0][0])], strict=True))
            raise ValueError(f"contacts of {unknown}, a segment that the incident model does not know yet")
        return found

    def within(self, windows: Windows) -> Contacts:
        """The contacts of some windows."""
        return self.chosen(windows.of_moments(self.moments) >= 0)


def contacts_of(table: Table, dimensions: Sequence[str], metrics: Sequence[MetricRule]) -> Contacts:
    """The contacts of a table.

    Parameters
    ----------
    table
        A pyarrow Table or whatever else `detection.tables` reads, (n, columns), with the columns `timestamp`, those of
        the dimensions and metrics, `complaints` and `ensemble_anomaly`. All but `timestamp` may be absent, which is the
        same as a column without a value; a table without rows needs no column at all.
    dimensions
        Names of the dimensions.
    metrics
        What is watched.

    Raises
    ------
    ValueError
        If the timestamp of a contact is missing, or a column is of a type that cannot be meant.
    """
    columns = columns_of(table)
    leaves, leaf = leaves_of(columns, dimensions)
    moments = columns.seconds(TIMESTAMP) if TIMESTAMP in columns.names else np.full(columns.n_rows, MISSING_MOMENT)
    timeless = int((moments == MISSING_MOMENT).sum())
    if timeless:
        raise ValueError(f"column {TIMESTAMP!r}: {timeless} of {columns.n_rows} contacts have none; leave them out")
    complaints, flags = _numbers(columns, COMPLAINTS), _numbers(columns, FLAG)
    return Contacts(
        dimensions=tuple(dimensions),
        leaves=leaves,
        leaf=leaf,
        moments=moments,
        values={metric.name: _numbers(columns, metric.name) for metric in metrics},
        complaints=None if np.isnan(complaints).all() else complaints,
        flagged=None if np.isnan(flags).all() else flags > 0,
    )


def joined(parts: Sequence[Contacts]) -> Contacts:
    """The contacts of several tables, one after the other.

    Where some parts know complaints or flags and others do not, the contacts of the others have none.

    Raises
    ------
    ValueError
        If there is no part, or two differ in their dimensions or metrics.
    """
    if len({(part.dimensions, tuple(part.values)) for part in parts}) != 1:
        found = sorted({f"{list(part.dimensions)} with {list(part.values)}" for part in parts})
        raise ValueError(f"contacts to be joined need one set of dimensions and metrics, got {found or 'no part'}")
    leaves = sorted({leaf for part in parts for leaf in part.leaves})
    place = {leaf: position for position, leaf in enumerate(leaves)}
    of_parts = [np.array([place[leaf] for leaf in part.leaves], dtype=np.int64)[part.leaf] for part in parts]
    complaints = [np.full(len(part), np.nan) if part.complaints is None else part.complaints for part in parts]
    flagged = [np.zeros(len(part), dtype=np.bool_) if part.flagged is None else part.flagged for part in parts]
    return Contacts(
        dimensions=parts[0].dimensions,
        leaves=leaves,
        leaf=np.concatenate(of_parts),
        moments=np.concatenate([part.moments for part in parts]),
        values={name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
        complaints=None if all(part.complaints is None for part in parts) else np.concatenate(complaints),
        flagged=None if all(part.flagged is None for part in parts) else np.concatenate(flagged),
    )


def _numbers(columns: Columns, name: str) -> FloatArray:
    return columns.numeric(name) if name in columns.names else np.full(columns.n_rows, np.nan)
