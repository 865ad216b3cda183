"""What each calibration found usual in each segment: baselines by slot of the week, to draw bands with.

Belongs here: writing, reading, which calibration a window goes by, and which are too old. Does not belong here: bands
(`incidents.bands`) and calibrating.

A row holds a segment by one calibration: in `known` names and single numbers, as JSON; in `slots` little-endian floats
of four bytes, for each mean its expected values and their variances by slot, then for each count its rates.

A window goes by the calibration that was the newest when it was counted, for that is the one that judged it. Where
none was, or its baselines are not kept any more, it goes by the earliest that is kept.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Select, insert, select

from cxad_pipeline.incidents.bands import CountBaseline, MeanBaseline, Reach, SegmentBaselines
from cxad_pipeline.incidents.incident import segment_text
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.store.columns import digest
from cxad_pipeline.store.incident_rows import json_number
from cxad_pipeline.store.incident_tables import baselines, calibrations

_FLOAT = np.dtype("<f4")
_AT_ONCE = 200
"""Rows of one statement: some megabytes."""


def record_baselines(connection: Connection, calibration: int, found: Iterable[tuple[Key, SegmentBaselines]]) -> None:
    """Write the baselines of a calibration.

    Parameters
    ----------
    connection
        In the transaction that has recorded the calibration.
    calibration
        What `record_calibration` gave.
    found
        Every segment of the calibration, all contacts among them; also those of which nothing is known.
    """
    rows = ({"calibration_id": calibration, **_row(segment, known)} for segment, known in found)
    while some := list(islice(rows, _AT_ONCE)):
        connection.execute(insert(baselines), some)


def baselines_at(connection: Connection, segment: Key, moments: Sequence[dt.datetime]) -> list[SegmentBaselines | None]:
    """What was known of a segment when windows were counted, for each moment; None where nothing was.

    Parameters
    ----------
    connection
        `Store.reading`.
    segment
        The segment.
    moments
        When each window was counted.
    """
    kept = connection.execute(
        select(calibrations.c.id, calibrations.c.at)
        .join_from(baselines, calibrations)
        .where(baselines.c.segment_digest == digest(segment_text(())))
        .order_by(calibrations.c.at, calibrations.c.id)
    ).all()
    if not kept:
        return [None] * len(moments)
    since = [row.at for row in kept]
    numbers = [kept[max(bisect_right(since, moment) - 1, 0)].id for moment in moments]
    query = select(baselines).where(
        baselines.c.segment_digest == digest(segment_text(segment)), baselines.c.calibration_id.in_(set(numbers))
    )
    known = {row.calibration_id: _baselines(row.known, row.slots) for row in connection.execute(query)}
    return [known.get(number) for number in numbers]


def outdated(before: dt.datetime) -> Select[tuple[int]]:
    """Calibrations by whose baselines no window goes that was counted at a moment or later."""
    newest = select(calibrations.c.at).where(calibrations.c.at <= before).order_by(calibrations.c.at.desc()).limit(1)
    return select(calibrations.c.id).where(calibrations.c.at < newest.scalar_subquery())


def _row(segment: Key, known: SegmentBaselines) -> dict[str, Any]:
    document = {
        "seconds": known.seconds,
        "timezone": known.timezone,
        "closure": known.closure,
        "means": [
            {
                "name": name,
                "logarithmic": mean.logarithmic,
                "within": json_number(mean.within),
                "reach": list(mean.reach),
                "bounds": [json_number(bound) for bound in mean.bounds],
            }
            for name, mean in known.means.items()
        ],
        "counts": [{"name": name, "dispersion": json_number(count.dispersion)} for name, count in known.counts.items()],
    }
    arrays = [part for mean in known.means.values() for part in (mean.value, mean.variance)]
    arrays += [count.rate for count in known.counts.values()]
    with np.errstate(over="ignore"):
        slots = b"".join(array.astype(_FLOAT).tobytes() for array in arrays)
    return {"segment_digest": digest(segment_text(segment)), "known": document, "slots": slots}


def _baselines(document: dict[str, Any], slots: bytes) -> SegmentBaselines:
    means, counts = document["means"], document["counts"]
    arrays: Iterator[npt.NDArray[np.float64]] = iter(
        np.frombuffer(slots, _FLOAT).astype(np.float64).reshape(2 * len(means) + len(counts), -1) if slots else ()
    )
    return SegmentBaselines(
        document["seconds"],
        document["timezone"],
        {
            mean["name"]: MeanBaseline(
                mean["logarithmic"],
                next(arrays),
                next(arrays),
                float(mean["within"]),
                Reach(*mean["reach"]),
                (float(mean["bounds"][0]), float(mean["bounds"][1])),
            )
            for mean in means
        },
        {count["name"]: CountBaseline(count["name"], next(arrays), float(count["dispersion"])) for count in counts},
        key_of(document["closure"]),
    )


def key_of(pairs: Iterable[Sequence[str]]) -> Key:
    """A segment from its JSON."""
    return tuple((name, value) for name, value in pairs)
