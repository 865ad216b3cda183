"""How many cells, and metrics in them, are in each state: what a run shows of what it could not test.

Belongs here: counting them by name. Does not belong here: the states (`incidents.states`).
"""

from __future__ import annotations

from collections import Counter

from cxad_pipeline.incidents import Findings, State
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.incidents.states import StateArray


def states_of(findings: Findings, first: int) -> dict[str, int]:
    """How many cells are in each state, from a window on."""
    return _counted(findings.states[:, first:])


def metrics_not_tested(model: IncidentModel, findings: Findings, first: int) -> dict[str, dict[str, int]]:
    """By metric, how many cells of tested segments have it in each other state, from a window on."""
    untested = (findings.states == State.TESTED) & (findings.metric_states != State.TESTED)
    untested[..., :first] = False
    counts = {
        metric.name: _counted(states[chosen])
        for metric, states, chosen in zip(model.metrics, findings.metric_states, untested, strict=True)
    }
    return {metric: of_states for metric, of_states in counts.items() if of_states}


def _counted(states: StateArray) -> dict[str, int]:
    """How often each state comes, by its name in lower case."""
    counts = Counter(states.ravel().tolist())
    return {State(value).name.lower(): number for value, number in sorted(counts.items())}
