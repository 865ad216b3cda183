"""Segments and values that callers ask for: a misspelt one is 422 with the nearest names, and no empty answer.

Belongs here: how a caller is told, and which values the configuration knows. Does not belong here: what the store knows
(`store.known_segments`), silences, whose answer names their way out (`routes_review`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cxad_pipeline.serving.problems import ProblemError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cxad_pipeline.incidents.segments import Key
    from cxad_pipeline.settings import Settings


def configured_values(settings: Settings) -> dict[str, frozenset[str]]:
    """The values of each dimension that the sources give, whether or not any contact had them yet."""
    found: dict[str, frozenset[str]] = {}
    for name in settings.segments.dimensions:
        mappings = [source.columns[name] for source in settings.sources if name in source.columns]
        given = {value for mapping in mappings for value in (*mapping.codes.values(), mapping.other, mapping.constant)}
        found[name] = frozenset(value for value in given if value is not None)
    return found


def require_segment(connection: Connection, segment: Key) -> None:
    """Refuse a segment that has no window and is not watched, once anything was counted.

    Raises
    ------
    ProblemError
        422, with the nearest ones.
    """
    from cxad_pipeline.store.known_segments import UnknownSegmentError, check_segment
    from cxad_pipeline.store.window_listing import find_windows

    if find_windows(connection, since=None, until=None, segment=segment, limit=1):
        return  # it may have been watched earlier
    try:
        check_segment(connection, segment)
    except UnknownSegmentError as error:
        raise unknown("segment", str(error)) from error


def require_values(
    connection: Connection, pairs: Key, dimensions: Sequence[str], configured: Mapping[str, frozenset[str]]
) -> None:
    """Refuse a value of a dimension that no contact ever had, once anything was counted.

    Parameters
    ----------
    connection
        `Store.reading`.
    pairs
        Dimensions and the values that are asked for; each is looked up by itself.
    dimensions
        All that segments have.
    configured
        Values that are known without having been counted, by dimension.

    Raises
    ------
    ProblemError
        422, with the nearest ones.
    """
    from cxad_pipeline.store.known_segments import UnknownSegmentError, check_value

    for name, value in pairs:
        try:
            check_value(connection, name, value, dimensions=len(dimensions), configured=configured.get(name, ()))
        except UnknownSegmentError as error:
            raise unknown(name, str(error)) from error


def unknown(field: str, message: str) -> ProblemError:
    """What a caller is told of a query parameter with a name that nobody knows."""
    faults = [{"message": message, "field": field}]
    return ProblemError(422, f"The query parameter {field!r}: {message}", faults=faults, n_faults=1)
