"""What the tests found per segment and window, beside what was counted there.

Belongs here: writing findings, and counting what was tested. Does not belong here: testing (`incidents.monitor`), what
was counted (`segment_windows`), the listing for people (`window_listing`).

Many rows take long to put together and not so long to write; the two are apart, so that only writing needs a
transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, bindparam, func, select, update

from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.incident import segment_text
from cxad_pipeline.incidents.segments import Key, SegmentTree
from cxad_pipeline.incidents.states import State
from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.incident_tables import segment_windows, segments
from cxad_pipeline.store.segment_rows import numbers_of, within
from cxad_pipeline.store.window_listing import HIGHEST_SCORE

_NAMES = ("row", "state", "score", "leading_metric", "leading_kind", "observed", "expected", "metric_states")


def findings_rows(
    connection: Connection,
    tree: SegmentTree,
    findings: Findings,
    answered: Mapping[str, npt.NDArray[np.float64]],
    first: int,
    stop: int,
) -> list[dict[str, Any]]:
    """What `record_findings` is to write: the rows that there are, and what the tests found there.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    tree
        That of the findings.
    findings
        What was found.
    answered
        Usual share of contacts with a value, by metric in the order of the findings, (s, t) each.
    first, stop
        Positions of the windows that are wanted, half open. A cell without a row gets none.
    """
    windows = findings.windows.between(first, stop)
    position = {number: s for s, number in numbers_of(connection, tree.keys, add=False).items()}
    columns = segment_windows.c
    query = select(columns.id, columns.segment_id, columns.start, columns.contacts).where(*within(windows))
    rows = [row for row in connection.execute(query).all() if row.segment_id in position]
    if not rows:
        return []
    s = np.array([position[row.segment_id] for row in rows], dtype=np.int64)
    t = first + (np.array([row.start for row in rows], dtype=np.int64) - windows.start) // windows.seconds
    tested = ~np.isnan(findings.score[s, t])
    leading = findings.leading()[s, t]
    families = [one.family for one in findings.evidence]
    kinds = [one.kind for one in findings.evidence]
    found = zip(
        [row.id for row in rows],
        [State(state).name.lower() for state in findings.states[s, t].tolist()],
        _or_none(np.minimum(findings.score[s, t], HIGHEST_SCORE), tested),
        [families[i] if is_tested else None for i, is_tested in zip(leading, tested, strict=True)],
        [kinds[i] if is_tested else None for i, is_tested in zip(leading, tested, strict=True)],
        _or_none(_leading(findings, "observed", leading, s, t), tested),
        _or_none(_leading(findings, "expected", leading, s, t), tested),
        _metric_states(findings, answered, np.array([row.contacts for row in rows], dtype=np.float64), s, t),
        strict=True,
    )
    return [dict(zip(_NAMES, values, strict=True)) for values in found]


def record_findings(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write beside the rollups what the tests found.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    rows
        As `findings_rows` gave them; the rows must not have been replaced since then.
    """
    if rows:
        change = update(segment_windows).where(segment_windows.c.id == bindparam("row"))
        connection.execute(change.values({name: bindparam(name) for name in _NAMES[1:]}), rows)


def tested_windows(connection: Connection, segment: Key, after: int, before: int) -> int:
    """How many windows of a segment were tested, whatever their length.

    Parameters
    ----------
    connection
        `Store.reading` or `Store.writing`.
    segment
        The segment.
    after, before
        Windows that begin between these moments, seconds since 1970 UTC, neither included.
    """
    columns = segment_windows.c
    query = (
        select(func.count())
        .select_from(segment_windows.join(segments))
        .where(
            segments.c.digest == digest(segment_text(segment)),
            columns.start > after,
            columns.start < before,
            columns.state == State.TESTED.name.lower(),
        )
    )
    return connection.execute(query).scalar_one()


def _leading(
    findings: Findings, name: str, leading: npt.NDArray[np.int64], s: npt.NDArray[np.int64], t: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Of the leading test of each cell."""
    found = np.full(len(s), np.nan)
    for i, one in enumerate(findings.evidence):
        chosen = leading == i
        found[chosen] = getattr(one, name)[s[chosen], t[chosen]]
    return found


def _metric_states(
    findings: Findings,
    answered: Mapping[str, npt.NDArray[np.float64]],
    contacts: npt.NDArray[np.float64],
    s: npt.NDArray[np.int64],
    t: npt.NDArray[np.int64],
) -> list[dict[str, dict[str, Any]] | None]:
    """The metrics of each cell that were not tested though the segment was; None where all were, or it was not."""
    found: list[dict[str, dict[str, Any]] | None] = [None] * len(s)
    tested = findings.states[s, t] == State.TESTED
    for (metric, share), of_metric in zip(answered.items(), findings.metric_states, strict=True):
        states, usual = of_metric[s, t], contacts * share[s, t]
        for cell in np.flatnonzero(tested & (states != State.TESTED)).tolist():
            one = {"state": State(states[cell]).name.lower(), "usual": round(float(usual[cell]), 2)}
            found[cell] = {**(found[cell] or {}), metric: one}
    return found


def _or_none(values: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]) -> list[float | None]:
    known = chosen & np.isfinite(values)
    return [value if is_known else None for value, is_known in zip(values.tolist(), known, strict=True)]
