"""The life of incidents: opened, updated, merged, resolved, withdrawn.

Belongs here: what becomes of the known incidents when windows are judged, for the first time or again. Does not belong
here: which calls belong together (`grouping.py`), what an incident says of itself (`description.py`), what is stored
and told.

The partition of calls into incidents is computed anew from all calls at hand, so it does not depend on the order in
which windows came: neither when old ones are filled in, nor when one in the middle is scored again and then scored back
as it was. Only names do: of incidents that become one the oldest goes on, and of one that falls apart the part with the
oldest call.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.grouping import Group, Grouping, Overlap, Tested, in_order, place
from cxad_pipeline.incidents.impact import impact_of
from cxad_pipeline.incidents.incident import Call, Incident, Status, highest, segment_text
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.incidents.rollups import Rollups
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.incidents.windows import Windows

Describe = Callable[[Sequence[Call], Incident | None], Incident]
Stored = Callable[[str], Incident | None]

_DIGITS = 6
_ALIVE = ("open", "resolved")


@dataclass(frozen=True)
class Known:
    """An incident as it is stored, with its calls; one that was merged or withdrawn has none."""

    incident: Incident
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Change:
    """What became of an incident; `before` is None for a new one, `calls` are all that it is made of now."""

    before: Incident | None
    after: Incident
    calls: tuple[Call, ...]


def live(
    known: Sequence[Known],
    calls: Sequence[Call],
    judged: Windows,
    *,
    overlap: Overlap,
    tested: Tested,
    resolve_after: int,
    describe: Describe,
    now: dt.datetime,
    stored: Stored = lambda _: None,
    until: int = 0,
) -> list[Change]:
    """What becomes of incidents when windows are judged.

    The windows are judged as a whole: the calls that incidents had in them are dropped, and `calls` take their place.
    The same windows with the same calls change nothing.

    An incident is resolved when so many windows of its segment were tested after its last call, by all that was ever
    tested; where it paused and went on, also of the segments that its episodes are known by. It is open again when it
    gets another call, which happens only where windows are scored again or filled in. One whose calls are all gone goes
    on where a new call overlaps them, within neighbouring windows; else it is withdrawn, and open again when its first
    call comes back.

    Parameters
    ----------
    known
        All incidents with a call near the judged windows: before them as long ago as one may pause, and also after
        them, where old windows are judged. Those that were merged or withdrawn take part only by their ids.
    calls
        What reached its threshold in the judged windows.
    judged
        The windows.
    overlap
        Whether two segments share contacts.
    tested
        How many windows of a segment that begin after one moment and before another were tested, these included.
    resolve_after
        So many tested windows without a call end an incident.
    describe
        Everything that an incident says of itself, from its calls in their order and what it was before. Status, id,
        times of the pipeline and what it was when it was found are set here.
    now
        The present time, UTC.
    stored
        The incident of an id that is not among the known ones; None where there is none. A new incident does not take
        the id of another; one that was merged or withdrawn comes back where it begins with the same call.
    until
        End of the latest window that is known, seconds since 1970 UTC, where it is later than that of the judged ones.

    Returns
    -------
    list
        The incidents that changed: first those that lost their calls, then known ones, then new ones.

    Raises
    ------
    ValueError
        If a call is not in the judged windows, or two are of one segment and window.
    """
    _check(calls, judged)
    rule = Grouping(judged.seconds, cache(overlap), cache(tested), resolve_after)
    alive = [one for one in known if one.incident.status in _ALIVE]
    kept = {place(call): call for one in alive for call in one.calls if not judged.start <= call.window < judged.end}
    groups = rule.groups([*kept.values(), *calls])
    heirs, lost = _heirs(alive, groups, {place(call) for call in calls}, rule)
    taken = {one.incident.id: one.incident for one in known}
    gone, updated, new = [], [], []
    for one in alive:
        if one.incident.id in lost:
            taker = lost[one.incident.id]
            into = heirs[taker].incident.id if taker is not None else None
            status: Status = "withdrawn" if into is None else "merged"
            after = replace(one.incident, status=status, merged_into=into, updated_at=now)
            gone.append(Change(one.incident, after, ()))
    for position, group in enumerate(groups):
        heir = heirs.get(position)
        if heir is not None:
            change = _updated(heir, group, max(until, judged.end), rule, describe, now)
            if change is not None:
                updated.append(change)
        else:
            new.append(_opened(group, taken, stored, max(until, judged.end), rule, describe, now))
            taken[new[-1].after.id] = new[-1].after
    return [*gone, *updated, *new]


def calls_of(model: IncidentModel, findings: Findings, rollups: Rollups, first: int, stop: int) -> list[Call]:
    """The cells whose score reaches the threshold of their segment.

    Parameters
    ----------
    model
        Knows the thresholds.
    findings, rollups
        Of the same windows.
    first, stop
        Positions of the windows that are judged, half open; those before them only warm the sums up.

    Returns
    -------
    list
        By window, then in the order of the segments.
    """
    thresholds = model.thresholds()
    score = np.nan_to_num(findings.score[:, first:stop], nan=-np.inf)
    leading = findings.leading()
    impact = cache(
        lambda e: impact_of(
            model.metrics, findings.evidence, rollups, findings.evidence[e].family, findings.evidence[e].kind
        )
    )
    found = []
    for t, s in np.argwhere((score >= thresholds[:, None]).T):
        t += first
        test = findings.evidence[leading[s, t]]
        shown = impact(int(leading[s, t]))
        assert shown is not None, "the evidence and the rollups have the same metrics"
        found.append(
            Call(
                segment=model.tree.keys[s],
                window=int(findings.windows.starts[t]),
                score=float(findings.score[s, t]),
                threshold=float(thresholds[s]),
                family=test.family,
                kind=test.kind,
                observed=float(test.observed[s, t]),
                expected=float(test.expected[s, t]),
                affected=round(float(shown.affected[s, t])),
                expected_affected=float(shown.expected[s, t]),
                contacts=round(float(shown.contacts[s, t])),
            )
        )
    return found


def _check(calls: Iterable[Call], judged: Windows) -> None:
    seen: set[tuple[int, Key]] = set()
    for call in calls:
        if not judged.start <= call.window < judged.end:
            raise ValueError(
                f"the call of {segment_text(call.segment)} at {call.window} is outside the judged windows, "
                f"{judged.start} to {judged.end}"
            )
        if place(call) in seen:
            raise ValueError(f"two calls of {segment_text(call.segment)} in the window at {call.window}; one is due")
        seen.add(place(call))


def _heirs(
    alive: Sequence[Known], groups: Sequence[Group], fresh: set[tuple[int, Key]], rule: Grouping
) -> tuple[dict[int, Known], dict[str, int | None]]:
    """The known incident that each group is now, and for those that are none the group that took them in.

    Parameters
    ----------
    alive
        The incidents.
    groups
        A group is named by its position.
    fresh
        Places of the calls that are new.
    """
    group_of = {place(call): position for position, group in enumerate(groups) for call in group.calls}
    heirs: dict[int, Known] = {}
    lost: dict[str, int | None] = {}
    bereft: list[Known] = []
    for one in sorted(alive, key=_age):
        parts = list(dict.fromkeys(group_of[at] for at in map(place, in_order(one.calls)) if at in group_of))
        if not parts:
            bereft.append(one)
            continue
        part = next((part for part in parts if part not in heirs), None)
        if part is None:
            lost[one.incident.id] = parts[0]
        else:
            heirs[part] = one
    for one in bereft:
        part = next(
            (
                position
                for position, group in enumerate(groups)
                if position not in heirs
                and any(place(call) in fresh and _replaces(call, one, rule) for call in group.calls)
            ),
            None,
        )
        if part is None:
            lost[one.incident.id] = None
        else:
            heirs[part] = one
    return heirs, lost


def _replaces(call: Call, one: Known, rule: Grouping) -> bool:
    return any(rule.near(call.window, old.window) and rule.overlap(call.segment, old.segment) for old in one.calls)


def _updated(
    one: Known, group: Group, until: int, rule: Grouping, describe: Describe, now: dt.datetime
) -> Change | None:
    before = one.incident
    if tuple(in_order(one.calls)) == group.calls:
        # What was resolved with these calls stays so, also where windows after it can't be tested any more.
        if before.status == "resolved" or not rule.has_ended(group, until):
            return None
        return Change(before, replace(before, status="resolved", resolved_at=now, updated_at=now), group.calls)
    return Change(
        before,
        _standing(describe(group.calls, before), before, before.id, rule.has_ended(group, until), now),
        group.calls,
    )


def _opened(
    group: Group,
    taken: Mapping[str, Incident],
    stored: Stored,
    until: int,
    rule: Grouping,
    describe: Describe,
    now: dt.datetime,
) -> Change:
    """A new incident, or one that was withdrawn or merged and begins with the same call."""
    first = group.calls[0].window
    beginning = highest(call for call in group.calls if call.window == first)
    day = dt.datetime.fromtimestamp(first, dt.UTC).strftime("%Y%m%d")
    digest = hashlib.sha256(f"{segment_text(beginning.segment)} {beginning.window}".encode()).hexdigest()
    digits = _DIGITS
    while (before := taken.get(name := f"{day}-{digest[:digits]}") or stored(name)) and before.status in _ALIVE:
        digits += 1
    resolved = rule.has_ended(group, until)
    return Change(before, _standing(describe(group.calls, before), before, name, resolved, now), group.calls)


def _standing(
    described: Incident,
    before: Incident | None,
    name: str,
    resolved: bool,
    now: dt.datetime,
) -> Incident:
    """The description with what is set here: name, status, times, and what it was when it was found."""
    resolved_at = (before.resolved_at if before is not None else None) or now
    first = before or replace(described, alert_score=described.score, alert_severity=described.severity, opened_at=now)
    return replace(
        described,
        id=name,
        status="resolved" if resolved else "open",
        resolved_at=resolved_at if resolved else None,
        merged_into=None,
        opened_at=first.opened_at,
        alert_score=first.alert_score,
        alert_severity=first.alert_severity,
        updated_at=now,
    )


def _age(one: Known) -> tuple[dt.datetime, str]:
    return one.incident.started_at, one.incident.id
