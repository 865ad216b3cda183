"""Which rows of `segment_windows` are meant: the numbers of segments, and the conditions for windows.

Belongs here: what rollups and findings look up alike. Does not belong here: either of them (`segment_windows`,
`segment_findings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, ScalarSelect, select
from sqlalchemy.dialects import postgresql, sqlite

from cxad_pipeline.incidents.incident import segment_text
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.incidents.windows import Windows
from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.incident_tables import segment_windows, segments

_CHUNK = 5_000


def everyone() -> ScalarSelect[int]:
    """Number of the segment of all contacts, which has a row in every counted window."""
    return select(segments.c.id).where(segments.c.digest == digest(segment_text(()))).scalar_subquery()


def within(windows: Windows) -> tuple[Any, ...]:
    """Conditions: rows of these windows, by their grid and length."""
    columns = segment_windows.c
    return (
        columns.seconds == windows.seconds,
        columns.start >= windows.start,
        columns.start < windows.end,
        (columns.start - windows.start) % windows.seconds == 0,
    )


def numbers_of(connection: Connection, keys: Sequence[Key], *, add: bool) -> dict[int, int]:
    """Number of each segment in the store, by its place among the keys; those that are not there are left out."""
    texts = [segment_text(key) for key in keys]
    places = {digest(text): s for s, text in enumerate(texts)}
    known = _known(connection, places)
    if add and len(known) < len(keys):
        insertion = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(segments)
        # In the order of the key, or two writers could each hold a row that the other waits for.
        rows = [
            {"digest": name, "segment": texts[s], "level": len(keys[s])}
            for name, s in sorted(places.items())
            if name not in known
        ]
        connection.execute(insertion.on_conflict_do_nothing(index_elements=["digest"]), rows)
        known = _known(connection, places)
    return {places[name]: number for name, number in known.items()}


def _known(connection: Connection, digests: dict[str, int]) -> dict[str, int]:
    wanted = list(digests)
    found: dict[str, int] = {}
    for first in range(0, len(wanted), _CHUNK):
        query = select(segments.c.digest, segments.c.id).where(segments.c.digest.in_(wanted[first : first + _CHUNK]))
        found |= {row.digest: row.id for row in connection.execute(query)}
    return found
