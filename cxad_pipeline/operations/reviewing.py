"""The flagged interactions of scored windows, into the store that reviewers read.

Belongs here: from a table of scores to stored anomalies. Does not belong here: anomalies that the API found
(`serving`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.detection.detector import Detector
from cxad_pipeline.detection.output import REASONS
from cxad_pipeline.interactions.schema import ID, TIMESTAMP, InteractionSchema
from cxad_pipeline.store.anomalies import iso, replace_batch_anomalies
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.records import AnomalyRecord

_AT_ONCE = 2_000


def record_flagged(
    store: Store,
    detector: Detector | None,
    scored: pa.Table,
    schema: InteractionSchema,
    start: dt.datetime,
    end: dt.datetime,
    now: dt.datetime,
) -> int:
    """Replace the stored anomalies of a scoring window by those that its scores flag.

    Parameters
    ----------
    store
        Where to.
    detector
        Of the version that scored the window: it gives the reasons; None where the window has no row.
    scored
        The window's scores, (n, columns).
    schema
        Columns beyond it are not stored.
    start, end
        The window, UTC.
    now
        The present time.

    Returns
    -------
    int
        How many were added or replaced.

    Raises
    ------
    StoreError
        If the store can't be written; nothing is changed then.
    """
    records = [] if detector is None else list(_records(detector, scored, schema, now))
    with store.writing() as connection:
        return replace_batch_anomalies(connection, start, end, records)


def _records(
    detector: Detector, scored: pa.Table, schema: InteractionSchema, now: dt.datetime
) -> Iterator[AnomalyRecord]:
    flagged = np.flatnonzero(scored[f"{ENSEMBLE}_anomaly"].to_numpy())
    names = [ENSEMBLE, *detector.member_names]
    shown = [name for name in schema.names if name in scored.column_names]
    for first in range(0, len(flagged), _AT_ONCE):
        table = scored.take(pa.array(flagged[first : first + _AT_ONCE]))
        reasons = detector.explain(table, top=REASONS).reasons
        for row, why in zip(table.to_pylist(), reasons, strict=True):
            yield AnomalyRecord(
                interaction_id=row[ID],
                timestamp=iso(row[TIMESTAMP]),
                scored_at=iso(now),
                model=ENSEMBLE,
                model_version=row["model_version"],
                severity=row["severity"],
                scores={name: row[f"{name}_score"] for name in names},
                is_anomaly={name: int(row[f"{name}_anomaly"]) for name in names},
                reasons=[asdict(reason) for reason in why],
                interaction={name: _plain(row[name]) for name in shown if row[name] is not None},
            )


def _plain(value: Any) -> Any:
    return iso(value) if isinstance(value, dt.datetime) else value
