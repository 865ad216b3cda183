"""What people say of anomalies, in the store.

Belongs here: adding a verdict. Does not belong here: reading the latest beside an anomaly (`anomalies`), and what a
verdict brings about.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Connection, exists, insert, select

from cxad_pipeline.store.anomalies import StoredVerdict, iso
from cxad_pipeline.store.tables import VERDICTS, anomalies, digest, feedback


def add_feedback(
    connection: Connection,
    interaction_id: str,
    verdict: str,
    *,
    by: str,
    note: str = "",
    at: dt.datetime | None = None,
) -> StoredVerdict | None:
    """Add a verdict on an interaction; earlier ones stay, the latest counts.

    Parameters
    ----------
    connection
        In a transaction, `Store.writing`.
    interaction_id
        Of an interaction with a stored anomaly.
    verdict
        `confirmed`, `expected`, `false_alarm` or `new_trend`.
    by
        Who says so.
    note
        In their own words.
    at
        When; now by default.

    Returns
    -------
    StoredVerdict or None
        What was added; None, and nothing is added, where no anomaly of that interaction is stored.

    Raises
    ------
    ValueError
        If the verdict is none of the four.
    """
    if verdict not in VERDICTS:
        raise ValueError(f"verdict = {verdict!r}: must be one of {', '.join(VERDICTS)}")
    key = digest(interaction_id)
    if not connection.execute(select(exists().where(anomalies.c.interaction_digest == key))).scalar_one():
        return None
    at = dt.datetime.now(dt.UTC) if at is None else at
    row = {"interaction_digest": key, "interaction_id": interaction_id, "verdict": verdict, "by": by, "at": at}
    connection.execute(insert(feedback), [{**row, "note": note}])
    return {"verdict": verdict, "by": by, "at": iso(at), "note": note}
