"""What verdicts were given for: the segment and the hours of an incident as it was when somebody judged it.

Belongs here: incidents as they were judged, for calibration. Does not belong here: which verdict counts
(`store.counted_verdicts`), and what it means (`calibration`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.store.counted_verdicts import CountedVerdict
from cxad_pipeline.store.incidents import StoredIncident


def as_judged(
    incidents: Iterable[StoredIncident], said: Mapping[str, CountedVerdict]
) -> list[tuple[StoredIncident, str | None]]:
    """Incidents with what was said of them, each in the segment and the hours that it was said of.

    While an incident keeps its name, a confirmed one is confirmed with all hours that it goes on. Of what an incident
    has become under another name nobody has said anything: it comes twice, as it was judged, and as it is now without
    a verdict.

    Parameters
    ----------
    incidents
        As they are now.
    said
        The verdict that counts for each, `counted_verdicts`.
    """
    judged: list[tuple[StoredIncident, str | None]] = []
    for stored in incidents:
        verdict = said.get(stored.incident.id)
        if verdict is None:
            judged.append((stored, None))
            continue
        judged.append((replace(stored, incident=_as_given(stored.incident, verdict)), verdict.verdict))
        if verdict.segment != stored.incident.segment:
            judged.append((stored, None))
    return judged


def _as_given(now: Incident, said: CountedVerdict) -> Incident:
    started_at, ended_at = said.started_at, said.ended_at
    if said.verdict == "confirmed" and said.segment == now.segment:
        started_at, ended_at = min(started_at, now.started_at), max(ended_at, now.ended_at)
    return replace(now, segment=said.segment, metric=said.metric, started_at=started_at, ended_at=ended_at)
