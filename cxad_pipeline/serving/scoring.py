"""From interactions to scores: what was asked for, how unusual each one is, and which are anomalies.

Belongs here: the choice of model, flags, severity and reasons of a request's rows, and what is kept and shown of them.
Does not belong here: the maths (`detection`), the form of an answer (`answers`), reading a request (`json_bodies`,
`arrow_bodies`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.attribution import Reason
from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.detection.detector import Detector
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.output import REASONS, UnknownModelError
from cxad_pipeline.detection.tables import Table, columns_of
from cxad_pipeline.detection.typical import TypicalRanges
from cxad_pipeline.interactions.schema import ID, TIMESTAMP
from cxad_pipeline.serving.batch import Batch, iso
from cxad_pipeline.serving.snapshot import Snapshot
from cxad_pipeline.store.records import AnomalyRecord

BOTH = "both"
"""All members, and a flag where at least one of them flags."""

MOST_EXPLAINED = 200
"""Anomalies of one request that are kept with reasons, the most severe ones; a request waits for them, 0.1 ms each."""

Ranges = Mapping[str, Any]
"""What is typical for a row: `segment`, and by number column `low` and `high`."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of the n interactions of a request.

    Attributes
    ----------
    ids
        `interaction_id` by row.
    model, label
        What was asked for, and the label of the version that scored.
    scores
        The model's own score by model, (n,) each; `ensemble` only where it was asked for.
    flags
        Whether a row is flagged, by model, (n,) each. Of `both`, `ensemble` says whether any member flags.
    decisive
        Whether a row counts as an anomaly, (n,): the flag of `ensemble` where there is one, else the member's.
    severity
        0 to 100, rounded to one decimal as in batch scoring, (n,): the ensemble's, or that of the one member.
    segments
        Category columns that name a segment, from coarse to fine.
    unknown_categories
        By category column, rows whose category was not seen in training.
    ignored
        By field that the schema does not know, in how many records it stood.
    explained
        The reasons by row, highest share first; None where nobody asked.
    typical
        What is typical by row; None where nobody asked.
    """

    ids: Sequence[str]
    model: str
    label: str
    scores: dict[str, FloatArray]
    flags: dict[str, npt.NDArray[np.bool_]]
    decisive: npt.NDArray[np.bool_]
    severity: FloatArray
    segments: Sequence[str]
    unknown_categories: dict[str, int]
    ignored: Mapping[str, int]
    explained: Sequence[Sequence[Reason]] | None = None
    typical: Sequence[Ranges] | None = None

    @cached_property
    def n_anomalies(self) -> int:
        """Number of rows that count as anomalies."""
        return int(np.count_nonzero(self.decisive))


def choices(detector: Detector) -> list[str]:
    """What may be given as `model`: all members together, the ensemble, or one member."""
    return list(dict.fromkeys([BOTH, ENSEMBLE, *detector.member_names]))


def score(snapshot: Snapshot, batch: Batch, model: str = BOTH, explain: bool = False) -> Answer:
    """Score the interactions of a request.

    Parameters
    ----------
    snapshot
        What scores.
    batch
        The interactions, n of them.
    model
        `both`: every member's score and flag, and whether any of them flags. `ensemble`: the members as well, and the
        ensemble's score and flag by its strategy, as in batch scoring. A member's name: that member alone.
    explain
        Also give reasons and typical ranges, of every row.

    Raises
    ------
    UnknownModelError
        If the detector has no such model; the message lists what it has.
    """
    detector = snapshot.detector
    if model not in choices(detector):
        raise UnknownModelError(f"unknown model {model!r}; allowed: {', '.join(choices(detector))}")
    table = batch.table(detector.config)
    found = detector.score(table)
    alone = model not in (BOTH, ENSEMBLE)
    members = [model] if alone else detector.member_names
    scores = {name: found.raw[name] for name in members}
    flags = {name: found.flags[name] for name in members}
    if model == ENSEMBLE:
        scores[ENSEMBLE], flags[ENSEMBLE] = found.ensemble, found.flags[ENSEMBLE]
    elif model == BOTH:
        flags[ENSEMBLE] = np.logical_or.reduce(list(flags.values()))
    return Answer(
        ids=batch.ids,
        model=model,
        label=snapshot.label,
        scores=scores,
        flags=flags,
        decisive=flags[model if alone else ENSEMBLE],
        severity=np.round(found.severities[model] if alone else found.severity, 1),
        segments=detector.config.segments,
        unknown_categories=found.unknown_counts,
        ignored=batch.ignored,
        explained=_reasons(detector, table, model) if explain else None,
        typical=_typical(detector.typical, table) if explain else None,
    )


def anomaly_records(snapshot: Snapshot, batch: Batch, answer: Answer, scored_at: dt.datetime) -> list[AnomalyRecord]:
    """The anomalies of an answer, as they are kept, in the order of the request.

    Where there are more than `MOST_EXPLAINED`, the others have no reasons, unless the request asked for them: those of
    ten thousand rows would hold up the answer for most of a second.

    Parameters
    ----------
    snapshot, batch
        What `score` had.
    answer
        What it gave.
    scored_at
        The moment, with a zone.
    """
    rows = np.flatnonzero(answer.decisive)
    if not len(rows):
        return []
    at, chosen = _utc(scored_at), rows.tolist()
    reasons = _reasons_of_anomalies(snapshot, batch, answer, rows)
    scores, flags = _by_row(answer.scores, rows), _by_row(answer.flags, rows)
    return [
        AnomalyRecord(
            interaction_id=interaction[ID],
            timestamp=interaction[TIMESTAMP],
            scored_at=at,
            model=answer.model,
            model_version=answer.label,
            severity=severity,
            scores=own_scores,
            is_anomaly={name: int(flag) for name, flag in own_flags.items()},
            reasons=[_as_dict(reason) for reason in reasons.get(row, ())],
            interaction=interaction,
        )
        for row, interaction, severity, own_scores, own_flags in zip(
            chosen, batch.interactions(chosen), answer.severity[rows].tolist(), scores, flags, strict=True
        )
    ]


def live_event(
    batch: Batch, answer: Answer, row: int, record: AnomalyRecord | None, scored_at: dt.datetime
) -> dict[str, Any]:
    """One scored interaction as the live stream shows it, anomaly or not: plain JSON of a few hundred bytes.

    Parameters
    ----------
    batch, answer
        The request and what `score` gave.
    row
        Which of its interactions.
    record
        What `anomaly_records` made of the row; None where it is no anomaly.
    scored_at
        The moment, with a zone.
    """
    event: dict[str, Any] = {}
    for name in answer.segments:
        if name in batch.texts and batch.texts[name][row] is not None:
            event[name] = batch.texts[name][row]
    return event | {
        "interaction_id": answer.ids[row],
        "timestamp": iso(int(batch.moments()[row])),
        "scored_at": _utc(scored_at),
        "model_version": answer.label,
        "severity": float(answer.severity[row]),
        "scores": {name: float(values[row]) for name, values in answer.scores.items()},
        "is_anomaly": {name: int(flags[row]) for name, flags in answer.flags.items()},
        "anomaly": bool(answer.decisive[row]),
        "reasons": [] if record is None else [reason["text"] for reason in record["reasons"]],
    }


def _reasons(detector: Detector, table: Table, model: str) -> list[list[Reason]]:
    return detector.explain(table, top=REASONS).reasons_of(ENSEMBLE if model == BOTH else model)


def _reasons_of_anomalies(
    snapshot: Snapshot, batch: Batch, answer: Answer, rows: npt.NDArray[np.int64]
) -> dict[int, Sequence[Reason]]:
    """Reasons by row, of as many rows as have them."""
    if answer.explained is not None:
        return {row: answer.explained[row] for row in rows.tolist()}
    if len(rows) > MOST_EXPLAINED:
        rows = rows[np.argsort(-answer.severity[rows], kind="stable")[:MOST_EXPLAINED]]
    chosen = rows.tolist()
    detector = snapshot.detector
    table = batch.rows(chosen).table(detector.config)
    return dict(zip(chosen, _reasons(detector, table, answer.model), strict=True))


def _typical(typical: TypicalRanges, table: Table) -> list[Ranges]:
    """What is typical for each row; rows of one segment share one object."""
    groups = typical.of_rows(columns_of(table)).tolist()
    found = {group: _ranges(typical, group) for group in set(groups)}
    return [found[group] for group in groups]


def _ranges(typical: TypicalRanges, group: int) -> Ranges:
    low, high = typical.low[group].tolist(), typical.high[group].tolist()
    known = {
        name: {"low": least, "high": most}
        for name, least, most in zip(typical.columns, low, high, strict=True)
        if not np.isnan(least)  # never given in training
    }
    return {"segment": "/".join(typical.keys[group]) if group < len(typical.keys) else "", "columns": known}


def _by_row(columns: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    values = zip(*(column[rows].tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, own, strict=True)) for own in values]


_REASON_KEYS = tuple(entry.name for entry in fields(Reason))


def _as_dict(reason: Reason) -> dict[str, Any]:
    return {name: getattr(reason, name) for name in _REASON_KEYS}


def _utc(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
