"""Which segments there are: every combination of the dimensions' values, each single value, and all contacts.

Belongs here: segments, which finest segments (leaves) each is made of, parents, overlap. Does not belong here: what is
counted in them (`rollups.py`).

Two segments that hold the same leaves are one: where all calls are voice calls, `channel=voice` is `all`. Otherwise
the same evidence would be tested, and pay for its tests, twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Key = tuple[tuple[str, str], ...]
"""A segment by name: pairs of dimension and value; empty for all contacts."""

IntegerArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

UNKNOWN = "unknown"
"""Stands for a missing value of a dimension, which makes segments of its own: a contact never disappears."""


@dataclass(frozen=True, eq=False)
class SegmentTree:
    """The segments of some dimensions; parents come before their children, all contacts first.

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
    parents
        Positions of the segments of a single value that a segment lies in, (s, dimensions); -1 where there is none.
        Those of a single value have all contacts as their parent; all contacts have none.
    level
        0 for all contacts, 1 for a single value, 2 for a leaf, (s,).
    """

    dimensions: tuple[str, ...]
    leaves: list[tuple[str, ...]]
    keys: list[Key]
    members: BoolArray
    parents: IntegerArray
    level: IntegerArray

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
        columns = [np.array([leaf[d] for leaf in leaves], dtype=object) for d in range(len(names))]
        keys: list[Key] = [()]
        members = [np.ones(len(leaves), dtype=np.bool_)]
        parents = [[-1] * len(names)]
        level = [0]
        known = {members[0].tobytes(): 0}
        single: dict[tuple[int, str], int] = {}
        for d, name in enumerate(names):
            for value in sorted(set(columns[d])):
                inside = columns[d] == value
                position = known.setdefault(inside.tobytes(), len(keys))
                single[d, value] = position
                if position == len(keys):
                    keys.append(((name, value),))
                    members.append(inside)
                    parents.append([0] + [-1] * (len(names) - 1))
                    level.append(1)
        for i, leaf in enumerate(leaves):
            inside = np.zeros(len(leaves), dtype=np.bool_)
            inside[i] = True
            if known.setdefault(inside.tobytes(), len(keys)) == len(keys):
                keys.append(tuple(zip(names, leaf, strict=True)))
                members.append(inside)
                parents.append([single[d, value] for d, value in enumerate(leaf)])
                level.append(2)
        return cls(names, list(leaves), keys, np.array(members), np.array(parents), np.array(level))

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def overlap(self) -> BoolArray:
        """Whether two segments share a contact, (s, s)."""
        as_numbers = self.members.astype(np.float32)
        return np.asarray(as_numbers @ as_numbers.T > 0)


def leaves_of(columns: Mapping[str, Sequence[str | None]]) -> tuple[list[tuple[str, ...]], IntegerArray]:
    """The leaves that occur in a table, and the leaf of each row.

    Parameters
    ----------
    columns
        A column of values per dimension, each (n,); None counts as `UNKNOWN`.

    Returns
    -------
    list
        The leaves, in the order of their values.
    IntegerArray
        Position of each row's leaf, (n,).
    """
    codes: list[IntegerArray] = []
    names: list[npt.NDArray[np.str_]] = []
    for values in columns.values():
        filled = np.array([UNKNOWN if value is None else value for value in values], dtype=np.str_)
        distinct, code = np.unique(filled, return_inverse=True)
        names.append(distinct)
        codes.append(code.astype(np.int64))
    widths = [len(distinct) for distinct in names]
    flat, of_row = np.unique(np.ravel_multi_index(tuple(codes), widths), return_inverse=True)
    positions = np.unravel_index(flat, widths)
    leaves = [tuple(str(names[d][place[d]]) for d in range(len(names))) for place in zip(*positions, strict=True)]
    return leaves, of_row.astype(np.int64)
