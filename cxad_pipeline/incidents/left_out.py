"""Cells of history that feedback takes out of what is learned.

Belongs here: what is left out, and which cells that is. Does not belong here: which verdict leaves out what
(`operations`), and how a fit goes around cells (`profiles.py`, `monitor.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.segments import Key, SegmentTree
from cxad_pipeline.incidents.windows import Windows

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LeftOut:
    """Cells of history that teach nothing.

    Attributes
    ----------
    segment
        The segment. Those inside it are left out too; for a confirmed incident all that share contacts with it.
    start, stop
        The period, half open, seconds since 1970 UTC; every window that overlaps it is left out.
    reason
        Why. The replay counts what people were called for in confirmed incidents; what was before a new trend it does
        not count, and until there is enough after it the segment is a cold start.
    """

    segment: Key
    start: int
    stop: int
    reason: Literal["confirmed", "new trend"]


def left_out_cells(tree: SegmentTree, windows: Windows, left_out: Sequence[LeftOut]) -> tuple[BoolArray, BoolArray]:
    """The cells that teach nothing, and those among them that the replay does not count either, (s, t) each.

    Segments are found by their leaves: one that has no name of its own any more still is where it was, and one whose
    contacts are gone leaves out nothing.
    """
    silent = np.zeros((len(tree), windows.number), dtype=np.bool_)
    forgotten = np.zeros_like(silent)
    for one in left_out:
        leaves = tree.leaves_in(one.segment)
        shares = tree.members[:, leaves].any(axis=1)
        inside = shares & ~tree.members[:, ~leaves].any(axis=1)
        during = (windows.starts < one.stop) & (windows.starts + windows.seconds > one.start)
        new = one.reason == "new trend"
        silent |= np.outer(inside if new else shares, during)
        if new:
            forgotten |= np.outer(inside, during)
    return silent, forgotten
