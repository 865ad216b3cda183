"""Which anomalies a reviewer who asks for it does not see: those that are known to be nothing to look into.

Belongs here: what an anomaly's segment is, and which anomalies silences cover. Does not belong here: listing them
(`anomalies`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row

from cxad_pipeline.incidents.segments import UNKNOWN, Key
from cxad_pipeline.store.columns import storable
from cxad_pipeline.store.silences import find_silences, silencing

DIMENSIONS = ("queue", "channel", "language")
"""What the segment of an anomaly is made of."""


def leaf_of(row: Row[Any]) -> Key:
    """The segment of an anomaly, by its queue, channel and language."""
    return tuple((name, _value(getattr(row, name))) for name in DIMENSIONS)


def silenced_anomalies(connection: Connection, now: dt.datetime) -> Callable[[Row[Any]], bool]:
    """Whether a silence that holds now covers the anomaly of a row: its segment, and the column of its first reason.

    A silence may name other dimensions than an anomaly's segment has; those are looked up in the interaction.
    """
    silences = find_silences(connection, active_at=now, scope="anomalies")
    others = {name for silence in silences for name, _ in silence.segment}.difference(DIMENSIONS)

    def is_silenced(row: Row[Any]) -> bool:
        named = tuple((name, _value(row.interaction.get(name))) for name in others)
        column = row.reasons[0]["column"] if row.reasons else None
        return silencing(silences, leaf_of(row) + named, column, scope="anomalies") is not None

    return is_silenced


def _value(value: object) -> str:
    return UNKNOWN if value is None else storable(str(value))
