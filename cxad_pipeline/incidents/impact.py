"""How many contacts show what a test found, and how many usually do.

Belongs here: from a test to the contacts that it speaks of. Does not belong here: which cells call (`life.py`), and the
sums over an incident (`description.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.evidence import Evidence
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.metrics import NEAR, TAIL_SHARES, MetricRule
from cxad_pipeline.incidents.rollups import Rollups

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Impact:
    """Contacts in every cell, all (s, t).

    Attributes
    ----------
    affected
        Contacts that show it. For volume the contacts themselves: all of them wait in a longer queue.
    expected
        How many usually do.
    contacts
        Of how many: those with a value of the metric, else all.
    """

    affected: FloatArray
    expected: FloatArray
    contacts: FloatArray


def counted_as(kind: Kind) -> Kind:
    """The test that counts the same contacts: a shift and a drift show in the near tail, which most contacts pass then.

    Only counts of the same contacts add up over windows.
    """
    return "near tail" if kind in ("shift", "drift", "slow drift") else kind


def impact_of(
    metrics: Sequence[MetricRule], evidence: Sequence[Evidence], rollups: Rollups, family: str, kind: Kind
) -> Impact | None:
    """The contacts that a test speaks of; None where nothing counts them, as the metric is not watched any more.

    Parameters
    ----------
    metrics
        The metrics of the rollups.
    evidence
        The tests of the same cells.
    rollups
        What was counted.
    family, kind
        The test.
    """
    counted = counted_as(kind)
    test = next((one for one in evidence if one.family == family and one.kind == counted), None)
    if counted in ("far tail", "near tail"):
        m = next((m for m, metric in enumerate(metrics) if metric.name == family), None)
        if m is None:
            return None
        tail = TAIL_SHARES.index(NEAR) if counted == "near tail" else 1 - TAIL_SHARES.index(NEAR)
        usual = test.expected if test is not None else rollups.count[m] * TAIL_SHARES[tail]
        return Impact(rollups.exceedances[m, tail], usual, rollups.count[m])
    if test is None:
        return None
    affected = {"together": rollups.together, "complaints": rollups.complaints}.get(counted, rollups.contacts)
    return Impact(affected, test.expected, rollups.contacts)
