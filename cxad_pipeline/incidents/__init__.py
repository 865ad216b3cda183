"""From scores and metrics of single interactions to segments that behave unusually: pure maths, numpy in, numpy out.

Belongs here: rollups, baselines, tests, their combination, the budget. Does not belong here: reading and storing
rollups, the life of an incident, settings, frameworks.

The way through it: `contacts_of` reads contacts; `IncidentModel.fit` learns from them, `.rollups` counts those of
windows, `.test` judges these, `.thresholds` says from which score on to call for a `Promise` to be kept. In it,
`SegmentTree.of` names the segments; `Tails.fit` learns the bad tails; `Rollups.of_contacts` counts; `Monitor.fit`
learns what is usual, `Monitor.test` judges; `incidents_of` merges what calls.

Sources: Spiegelhalter (2005), Statistics in Medicine 24, for overdispersed units side by side; Steiner et al. (2000),
Biostatistics 1, for cumulative sums; Noufaily et al. (2013), Statistics in Medicine 32, for thresholds of many
surveillance series; Brown et al. (2005), JASA 100, for call centres; Benjamini & Yekutieli (2001), Annals of Statistics
29; Liu & Xie (2020), JASA 115.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxad_pipeline.incidents.budget import Peaks, Promise, incidents_of, peaks_of, threshold_for
    from cxad_pipeline.incidents.contacts import Contacts, contacts_of
    from cxad_pipeline.incidents.evidence import Evidence
    from cxad_pipeline.incidents.findings import Findings
    from cxad_pipeline.incidents.incident_model import IncidentModel, LeftOut, Replay
    from cxad_pipeline.incidents.metrics import MetricRule, Tails
    from cxad_pipeline.incidents.monitor import WARM_UP, Monitor
    from cxad_pipeline.incidents.rollups import Rollups
    from cxad_pipeline.incidents.segments import SegmentTree, leaves_of
    from cxad_pipeline.incidents.states import State
    from cxad_pipeline.incidents.windows import Windows

__all__ = [
    "WARM_UP",
    "Contacts",
    "Evidence",
    "Findings",
    "IncidentModel",
    "LeftOut",
    "MetricRule",
    "Monitor",
    "Peaks",
    "Promise",
    "Replay",
    "Rollups",
    "SegmentTree",
    "State",
    "Tails",
    "Windows",
    "contacts_of",
    "incidents_of",
    "leaves_of",
    "peaks_of",
    "threshold_for",
]

_HOME = {
    "Contacts": "contacts",
    "Evidence": "evidence",
    "Findings": "findings",
    "IncidentModel": "incident_model",
    "LeftOut": "incident_model",
    "MetricRule": "metrics",
    "Monitor": "monitor",
    "Peaks": "budget",
    "Promise": "budget",
    "Replay": "incident_model",
    "Rollups": "rollups",
    "SegmentTree": "segments",
    "State": "states",
    "Tails": "metrics",
    "WARM_UP": "monitor",
    "Windows": "windows",
    "contacts_of": "contacts",
    "incidents_of": "budget",
    "leaves_of": "segments",
    "peaks_of": "budget",
    "threshold_for": "budget",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: who reads incidents from the store needs no statistics, and no library of theirs.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
