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

from cxad_pipeline.incidents.budget import Unsaid
from cxad_pipeline.incidents.history import without_history
from cxad_pipeline.incidents.segments import Key, SegmentTree
from cxad_pipeline.incidents.windows import Windows

FloatArray = npt.NDArray[np.float64]
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
        Why: people confirmed an incident, or have said nothing of it yet; or a new trend began, and until there is
        enough after it the segment is a cold start.
    called
        Other segments in which the incident called. It is named by the one where it is seen best, and what it did in
        those that share no contacts with that would teach how much is usual all the same.
    """

    segment: Key
    start: int
    stop: int
    reason: Literal["confirmed", "unsaid", "new trend"]
    called: tuple[Key, ...] = ()


def left_out_cells(
    tree: SegmentTree, windows: Windows, contacts: FloatArray, left_out: Sequence[LeftOut]
) -> tuple[BoolArray, Unsaid]:
    """The cells that neither teach nor count in the replay, (s, t), and how many incidents they are unsaid of.

    Segments are found by their leaves: one that has no name of its own any more still is where it was, and one whose
    contacts are gone leaves out nothing. In a segment that incidents, however long, would leave too little history,
    they teach like all else: what has been there for nearly all of it is what is usual, and a cold start is blind.

    Parameters
    ----------
    contacts
        Those that would teach, (s, t).
    """
    forgotten = np.zeros((len(tree), windows.number), dtype=np.bool_)
    silent, incidents, names = forgotten.copy(), [], set(tree.keys)
    for one in left_out:
        leaves = tree.leaves_in(one.segment)
        shares = tree.members[:, leaves].any(axis=1)
        during = (windows.starts < one.stop) & (windows.starts + windows.seconds > one.start)
        if one.reason == "new trend":
            forgotten |= np.outer(shares & ~tree.members[:, ~leaves].any(axis=1), during)
        else:
            called = {segment if segment in names else tree.named(segment) for segment in one.called}
            shares |= np.array([key in called for key in tree.keys])
            silent |= np.outer(shares, during)
        if one.reason == "unsaid":
            incidents.append((shares, during))
    silent |= forgotten
    short = without_history(contacts, windows, ~silent) & ~without_history(contacts, windows, ~forgotten)
    silent[short] = forgotten[short]
    begins = [int(during.argmax()) for shares, during in incidents if silent[np.ix_(shares, during)].any()]
    share = 1 - min(begins) / windows.number if begins else 0.0
    return silent, Unsaid(len(begins), share)
