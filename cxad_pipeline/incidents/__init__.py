"""From scores and metrics of single interactions to segments that behave unusually: pure maths, numpy in, numpy out.

Belongs here: rollups, baselines, tests, their combination, the budget. Does not belong here: reading and storing
rollups, the life of an incident, settings, frameworks.

The way through it: `leaves_of` and `SegmentTree.of` name the segments; `Tails.fit` learns the bad tails from the
contacts of a calibration period; `Rollups.of_contacts` counts; `Monitor.fit` learns what is usual; `Monitor.test`
judges windows; `Monitor.threshold` says from which score on to call for a `Promise` to be kept; `incidents_of` merges
what calls.

Sources: Spiegelhalter (2005), Statistics in Medicine 24, for overdispersed units side by side; Steiner et al. (2000),
Biostatistics 1, for cumulative sums; Noufaily et al. (2013), Statistics in Medicine 32, for thresholds of many
surveillance series; Brown et al. (2005), JASA 100, for call centres; Benjamini & Yekutieli (2001), Annals of Statistics
29; Liu & Xie (2020), JASA 115.
"""

from cxad_pipeline.incidents.budget import Peaks, Promise, incidents_of, peaks_of, threshold_for
from cxad_pipeline.incidents.evidence import Evidence
from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.metrics import MetricRule, Tails
from cxad_pipeline.incidents.monitor import WARM_UP, Monitor
from cxad_pipeline.incidents.rollups import Rollups
from cxad_pipeline.incidents.segments import SegmentTree, leaves_of
from cxad_pipeline.incidents.states import State
from cxad_pipeline.incidents.windows import Windows

__all__ = [
    "WARM_UP",
    "Evidence",
    "Findings",
    "MetricRule",
    "Monitor",
    "Peaks",
    "Promise",
    "Rollups",
    "SegmentTree",
    "State",
    "Tails",
    "Windows",
    "incidents_of",
    "leaves_of",
    "peaks_of",
    "threshold_for",
]
