"""Which calls of an earlier calibration stand when their windows are judged again.

Belongs here: that rule. Does not belong here: making calls and what becomes of them (`incidents.life`), the order of
things (`judging`).
"""

from __future__ import annotations

from collections.abc import Sequence

from cxad_pipeline.incidents import Findings, Rollups, Windows
from cxad_pipeline.incidents.budget import LEAST_THRESHOLD
from cxad_pipeline.incidents.evidence import Evidence
from cxad_pipeline.incidents.incident import Call
from cxad_pipeline.incidents.incident_model import IncidentModel

_ENOUGH = 0.5
"""Of what was above the usual, or below it: calibrations differ by less, and other contacts seldom come to it."""
_STILL_SURPRISING = 2.0
"""The same for a drift, as -log10 p: one window in a hundred is without one. Untested, nothing speaks against it."""


def standing_calls(
    before: Sequence[Call],
    made: Sequence[Call],
    model: IncidentModel,
    findings: Findings,
    rollups: Rollups,
    judged: Windows,
) -> list[Call]:
    """Calls that another calibration made, and this one does not, of contacts that show what they showed.

    So nothing is changed retroactively: an incident is withdrawn when its contacts change, and not when the opinion
    about how rare they are does. A call of the present calibration does not stand: of the same contacts it would have
    been made again.

    Parameters
    ----------
    before
        All calls of the known incidents.
    made
        Those that are made now.
    model
        Of the present calibration; it is told from others by the threshold that a call had to reach.
    findings, rollups
        Of the same windows, by this model.
    judged
        Those of them that are judged.

    Returns
    -------
    list
        In the order in which they were given, no two of one segment and window.
    """
    taken = {(call.window, call.segment) for call in made}
    position = {key: number for number, key in enumerate(model.tree.keys)}
    thresholds = model.thresholds()
    tests = {(one.family, one.kind): e for e, one in enumerate(findings.evidence)}
    found = []
    for call in before:
        on_grid = judged.start <= call.window < judged.end and (call.window - judged.start) % judged.seconds == 0
        s = position.get(model.tree.named(call.segment))
        if not on_grid or s is None or (call.window, call.segment) in taken:
            continue
        # The least threshold is that of every calibration whose history is quiet enough, and says nothing.
        if call.threshold == thresholds[s] and model.threshold > LEAST_THRESHOLD:
            continue
        t = (call.window - rollups.windows.start) // judged.seconds
        e = tests.get((call.family, call.kind))
        if e is None or rollups.contacts[s, t] != call.contacts:
            continue
        if _shows(call, findings.evidence[e], float(findings.surprises[e, s, t]), s, t):
            taken.add((call.window, call.segment))
            found.append(call)
    return found


def _shows(call: Call, test: Evidence, surprise: float, s: int, t: int) -> bool:
    """Whether a cell shows what it showed when it called.

    Counts that no calibration has a say in are the same. A tail, and where long values are cut off, is of the
    calibration that counted; from which window on a mean has drifted is, too: there enough of it is to be left.

    Parameters
    ----------
    call
        As it was made.
    test, surprise
        The same test now, and -log10 of its p-value in this cell, NaN where it was not tested.
    s, t
        The cell.
    """
    if call.kind in ("volume", "complaints"):
        return float(test.observed[s, t]) == call.observed
    if call.kind in ("drift", "slow drift"):
        return not surprise < _STILL_SURPRISING
    before = call.observed - call.expected
    return before != 0 and float(test.observed[s, t] - test.expected[s, t]) / before >= _ENOUGH
