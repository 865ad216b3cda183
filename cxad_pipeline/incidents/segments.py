"""Which segments there are: all contacts, each value of a dimension, each pair of two, every combination of all.

Belongs here: segments, which finest segments (leaves) each is made of, what lies above each, overlap. Does not belong
here: what is counted in them (`rollups.py`).

Two segments that hold the same leaves are one: where all calls are voice calls, `channel=voice` is `all`. Otherwise
the same evidence would be tested, and pay for its tests, twice. It has the name of a single value, else of a leaf, else
of a pair; `closure` says what else its contacts share.

Between pairs and leaves there are none, however many dimensions: the number of segments would grow by a power with
each of them, and a cause is told with two dimensions at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.tables import Columns, Table, columns_of

Key = tuple[tuple[str, str], ...]
"""A segment by name: pairs of dimension and value; empty for all contacts."""

IntegerArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

UNKNOWN = "unknown"
"""Stands for a missing value of a dimension, which makes segments of its own: a contact never disappears."""


@dataclass(frozen=True, eq=False)
class SegmentTree:
    """The segments of some dimensions, all contacts first.

    Attributes
    ----------
    dimensions
        Names of the dimensions.
    leaves
        Values of each leaf, one per dimension.
    keys
        The segments, (s,).
    members
        Which leaves each segment consists of, (s, leaves).
    """

    dimensions: tuple[str, ...]
    leaves: list[tuple[str, ...]]
    keys: list[Key]
    members: BoolArray

    @classmethod
    def of(cls, dimensions: Sequence[str], leaves: Sequence[tuple[str, ...]]) -> SegmentTree:
        """The segments above some leaves.

        Parameters
        ----------
        dimensions
            Names, one or more.
        leaves
            Distinct tuples with a value per dimension.

        Raises
        ------
        ValueError
            If there is no dimension or no leaf, or a leaf is named twice or has too few values.
        """
        names = tuple(dimensions)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"segments need one or more distinct dimensions, got {list(names)}")
        if not leaves or len(set(leaves)) < len(leaves) or any(len(leaf) != len(names) for leaf in leaves):
            raise ValueError(f"segments need one or more distinct leaves with {len(names)} values each")
        return cls(names, [], [()], np.ones((1, 0), dtype=np.bool_)).extended(leaves)

    def extended(self, leaves: Sequence[tuple[str, ...]]) -> SegmentTree:
        """The tree with more leaves: known segments keep name and place, and gain the leaves that have their values.

        Every value and pair never seen before and every new leaf becomes a segment, after the known ones. A segment
        that was the same as another, and so has no name, gets none when a new leaf parts them: nothing is known of it
        apart from the other.

        Parameters
        ----------
        leaves
            Distinct tuples with a value per dimension that are no leaves yet.
        """
        old, names = len(self.leaves), self.dimensions
        whole = [*self.leaves, *leaves]
        keys = list(self.keys)
        members = [np.append(inside, self._holds(key, leaves)) for key, inside in zip(keys, self.members, strict=True)]
        known = {inside.tobytes() for inside in members}
        for of in self._combinations():
            holders: dict[tuple[str, ...], list[int]] = {}
            for i, leaf in enumerate(whole):
                holders.setdefault(tuple(leaf[d] for d in of), []).append(i)
            for values in sorted(values for values, inside in holders.items() if inside[0] >= old):
                inside = np.zeros(len(whole), dtype=np.bool_)
                inside[holders[values]] = True
                if inside.tobytes() not in known:
                    known.add(inside.tobytes())
                    keys.append(tuple((names[d], value) for d, value in zip(of, values, strict=True)))
                    members.append(inside)
        return SegmentTree(names, whole, keys, np.array(members))

    def _combinations(self) -> list[tuple[int, ...]]:
        """The positions of the dimensions that a segment may name: one, all of them, or two."""
        every = tuple(range(len(self.dimensions)))
        sizes = dict.fromkeys((1, len(every), min(2, len(every))))
        return [of for size in sizes for of in combinations(every, size)]

    def _holds(self, key: Key, leaves: Sequence[tuple[str, ...]]) -> BoolArray:
        """Which leaves have all values of a name, (leaves,)."""
        place = {name: d for d, name in enumerate(self.dimensions)}
        return np.array([all(leaf[place[name]] == value for name, value in key) for leaf in leaves], dtype=np.bool_)

    def leaves_in(self, key: Key) -> BoolArray:
        """Which leaves a segment consists of, by its name, (leaves,); none where the tree knows no such dimension."""
        if any(name not in self.dimensions for name, _ in key):
            return np.zeros(len(self.leaves), dtype=np.bool_)
        return self._holds(key, self.leaves)

    def closure(self, s: int) -> Key:
        """All values that the leaves of a segment share: where all fax is in queue fax, that of `queue=fax` is both."""
        inside = [leaf for leaf, held in zip(self.leaves, self.members[s].tolist(), strict=True) if held]
        return tuple(
            (name, inside[0][d])
            for d, name in enumerate(self.dimensions)
            if inside and all(leaf[d] == inside[0][d] for leaf in inside)
        )

    def named(self, key: Key) -> Key:
        """The name by which the tree knows the contacts of a segment; as it is given where it knows none of the kind.

        Which of two names a segment of the same contacts has may change with the contacts of a history.
        """
        return self._of_leaves.get(self.leaves_in(key).tobytes(), key)

    @cached_property
    def _of_leaves(self) -> dict[bytes, Key]:
        return {inside.tobytes(): key for key, inside in zip(self.keys, self.members, strict=True)}

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def level(self) -> IntegerArray:
        """How many dimensions each segment names, (s,)."""
        return np.array([len(key) for key in self.keys])

    def above(self, s: int) -> list[int]:
        """The segments, but for all contacts, that name a part of the values that a segment names."""
        key = self.keys[s]
        parts = (part for number in range(1, len(key)) for part in combinations(key, number))
        return [self._place[part] for part in parts if part in self._place]

    @cached_property
    def _place(self) -> dict[Key, int]:
        return {key: s for s, key in enumerate(self.keys)}

    @cached_property
    def overlap(self) -> BoolArray:
        """Whether two segments share a contact, (s, s)."""
        as_numbers = self.members.astype(np.float32)
        return np.asarray(as_numbers @ as_numbers.T > 0)


def leaves_of(
    table: Table | Columns, dimensions: Sequence[str] | None = None
) -> tuple[list[tuple[str, ...]], IntegerArray]:
    """The leaves that occur in a table, and the leaf of each row.

    Parameters
    ----------
    table
        Whatever `detection.tables` reads, (n, columns). A missing value counts as `UNKNOWN`, and so does every one of a
        column that is absent.
    dimensions
        Columns that are dimensions; None says all.

    Returns
    -------
    list
        The leaves, in the order of their values.
    IntegerArray
        Position of each row's leaf, (n,).
    """
    columns = columns_of(table)
    leaves: list[tuple[str, ...]] = [()]
    of_row = np.zeros(columns.n_rows, dtype=np.int64)
    for name in columns.names if dimensions is None else dimensions:
        values, code = _filled(columns, name)
        distinct, of_row = np.unique(of_row * len(values) + code, return_inverse=True)
        leaves = [(*leaves[number // len(values)], values[number % len(values)]) for number in distinct.tolist()]
    return leaves, of_row.astype(np.int64)


def _filled(columns: Columns, name: str) -> tuple[list[str], IntegerArray]:
    """The values of a column with `UNKNOWN` for missing ones, ascending, and the position of each row's, (n,)."""
    if name not in columns.names:
        return [UNKNOWN], np.zeros(columns.n_rows, dtype=np.int64)
    found = columns.categories(name)
    values = sorted({*found.values, UNKNOWN})
    place = {value: position for position, value in enumerate(values)}
    # The last one is what code -1, a missing value, finds.
    return values, np.array([place[value] for value in [*found.values, UNKNOWN]])[found.codes]
