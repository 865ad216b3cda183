"""By which names the segments of the store are known: one of the same contacts may have several.

Belongs here: what the contacts of a segment share, and the name that a segment has in the store. Does not belong here:
their windows (`segment_windows`).

A segment is kept by one name, `SegmentTree.keys`; where all fax is in queue fax, `channel=fax` and `queue=fax` mean the
same contacts. What all of these share is its closure, which a calibration keeps with its baselines.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from cxad_pipeline.incidents.incident import contains, segment_of, segment_text
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.baselines import key_of
from cxad_pipeline.store.columns import digest, storable
from cxad_pipeline.store.incident_tables import baselines, segments

_NEWEST = select(baselines.c.calibration_id).order_by(baselines.c.calibration_id.desc()).limit(1).scalar_subquery()


def closures(connection: Connection) -> dict[Key, Key]:
    """All values that the contacts of each segment share, by its name, both as the store holds them.

    Of the newest calibration; where none is kept, the segments that were ever counted, by their names alone.
    """
    return calibrated(connection) or {name: name for name in counted(connection)}


def calibrated(connection: Connection) -> dict[Key, Key]:
    """All values that the contacts of each segment share by the newest calibration; empty where none is kept."""
    query = (
        select(segments.c.segment, baselines.c.known)
        .join_from(baselines, segments, segments.c.digest == baselines.c.segment_digest)
        .where(baselines.c.calibration_id == _NEWEST)
    )
    return {
        as_stored(segment_of(row.segment)): as_stored(key_of(row.known["closure"])) for row in connection.execute(query)
    }


def counted(connection: Connection) -> list[Key]:
    """The names of all segments that were ever counted, as the store holds them."""
    return [as_stored(segment_of(name)) for name in connection.scalars(select(segments.c.segment))]


def closure_of(connection: Connection, segment: Key) -> Key:
    """All values that the contacts of a segment share by the newest calibration; those of its name where it is new."""
    query = select(baselines.c.known).where(
        baselines.c.calibration_id == _NEWEST, baselines.c.segment_digest == digest(segment_text(segment))
    )
    known = connection.scalars(query).one_or_none()
    return segment if known is None else key_of(known["closure"])


def known_as(connection: Connection, segment: Key) -> Key:
    """The name that the store has for the contacts of a segment; as it is given where it has none for just these."""
    wanted = as_stored(segment)
    inside = {name: closure for name, closure in closures(connection).items() if contains(wanted, closure)}
    if wanted in inside or not inside:
        return segment
    # The widest of them holds all others, and so all contacts of the wanted segment, if any does.
    widest = min(inside, key=lambda name: len(inside[name]))
    return widest if all(contains(inside[widest], closure) for closure in inside.values()) else segment


def as_stored(segment: Key) -> Key:
    """The form that a database can hold."""
    return tuple((storable(name), storable(value)) for name, value in segment)
