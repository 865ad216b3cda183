"""What a verdict brings about, in words, as `cxad feedback` says it.

Belongs here: the words. Does not belong here: bringing it about (`store.feedback`, calibration).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from cxad_pipeline.cli.moments import shown
from cxad_pipeline.cli.terminal import printable
from cxad_pipeline.settings import Settings

if TYPE_CHECKING:
    from cxad_pipeline.incidents.incident import Incident
    from cxad_pipeline.store.feedback import Said


def of_incident(one: Incident, said: Said, settings: Settings) -> str:
    """What a verdict on an incident brings about, and when."""
    from cxad_pipeline.incidents.incident_words import segment_words

    where, most = printable(segment_words(one.segment)), settings.incidents.max_threshold_shift
    return {
        "confirmed": "it counts as real (`cxad precision`); its windows teach nothing at the next calibration",
        "expected": f"nobody is told of {where}, {one.metric}, until {shown(_end(said), settings)} "
        f"({settings.timezone}); `cxad silences` has it, `cxad silence --end` ends it",
        "false_alarm": f"the threshold of {where} may rise at the next calibration, with all its false alarms by "
        f"{most:g} {'power' if most == 1 else 'powers'} of ten at most (incidents.max_threshold_shift)",
        "new_trend": f"the baseline of {where} starts again at the next calibration (`cxad calibrate`)",
    }[said.verdict["verdict"]]


def of_anomaly(said: Said, settings: Settings) -> str:
    """What a verdict on an interaction brings about."""
    if said.verdict["verdict"] == "expected":
        return (
            f"reviewers may hide its like until {shown(_end(said), settings)} ({settings.timezone}): same "
            "queue, channel and language, same first reason"
        )
    if said.verdict["verdict"] == "false_alarm":
        return "reviewers may hide it; calibration looks at verdicts on incidents alone"
    return "it is kept beside the anomaly; calibration looks at verdicts on incidents alone"


def released_words(said: Said, settings: Settings) -> str:
    """What becomes of the silences that earlier verdicts on the same had made; empty where there were none."""
    from cxad_pipeline.incidents.incident_words import segment_words

    lines = []
    for one in said.released:
        of = f"{one.id}, of {segment_words(one.segment)}, {one.metric or 'all metrics'}"
        if one.ended_by is None:
            until = f"until {shown(one.ends_at, settings)} ({settings.timezone})"
            lines.append(f"{of}, goes on {until}: others asked for it; `cxad silence --end {one.id}` ends it")
        else:
            lines.append(f"{of}, has ended with this verdict")
    return "\n".join(map(printable, lines))


def _end(said: Said) -> dt.datetime | None:
    """The end of the silence, which may be later than was asked for; None where there is none."""
    return None if said.silence is None else said.silence.ends_at
