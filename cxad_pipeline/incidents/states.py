"""What there was to test in a cell: a missing thing is a state of its own, not a zero.

Belongs here: the states and how they are told apart. Does not belong here: the tests.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.distributions import beta_binomial_tail
from cxad_pipeline.incidents.profiles import as_share

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
StateArray = npt.NDArray[np.int8]

LEAST_CONTACTS = 5
"""Contacts, and values of a metric, from which on a window is tested, unless a configuration says otherwise."""
LEAST_WINDOWS = 48
"""Windows with contacts from which on a segment has a history; where a week has fewer windows, those of a week."""
LEAST_DAYS = 7
"""Days with contacts from which on a segment has a history."""
EXPECTED_IN_A_GAP = 10.0
"""Contacts of all segments that history has in a window of that hour, for an empty one to be a gap in the data."""
ANSWERED_ENOUGH = 0.8
"""Of the values that usually come: from so many on they speak for most contacts, however surely some are missing."""
_SILENCE = 1e-4


class State(IntEnum):
    """State of a cell: a segment, or a metric of it, in a window."""

    TESTED = 0
    EMPTY = 1
    """No contact, nor many expected: closed."""
    TOO_FEW = 2
    """Fewer contacts than are asked for."""
    MISSING = 3
    """No contact when there always are some, in any segment or, for long enough, in this one while others have some."""
    COLD_START = 4
    """The segment has too little history to know what is usual."""
    LATE = 5
    """The window had not ended, or its data was not in, when this was computed."""
    NOT_ANSWERED = 6
    """Of a metric: far fewer contacts than usual have a value, so those that do speak for few."""
    NO_METRIC = 7
    """Of a metric: the history has no value of it in this segment, so nothing says what is usual."""
    SPECIAL_DAY = 8
    """A holiday or the like: unlike other days, and announced."""


def gaps(contacts: FloatArray, usual: FloatArray) -> BoolArray:
    """Windows in which the data is missing, (t,).

    Parameters
    ----------
    contacts
        Contacts of all segments together, (t,).
    usual
        What is usual for such windows, (t,).
    """
    return np.asarray((contacts == 0) & (usual >= EXPECTED_IN_A_GAP))


def segment_states(
    contacts: FloatArray,
    silent: BoolArray,
    missing: BoolArray,
    late: BoolArray,
    special: BoolArray,
    cold: BoolArray,
    least: int = LEAST_CONTACTS,
) -> StateArray:
    """State of each segment in each window, (s, t).

    Parameters
    ----------
    contacts, silent
        Contacts, and whether their absence is no chance (`silence`), (s, t).
    missing, late, special
        Gaps, windows whose data is not complete yet, and those of special days, (t,).
    cold
        Segments with too little history, (s, 1) or (s, t).
    least
        Contacts from which on a window is tested.
    """
    states = np.full(contacts.shape, State.TESTED, dtype=np.int8)
    states[contacts < least] = State.TOO_FEW
    states[contacts == 0] = State.EMPTY
    states[silent] = State.MISSING
    states[np.broadcast_to(cold, states.shape)] = State.COLD_START
    states[:, missing] = State.MISSING
    states[:, late] = State.LATE
    states[:, special] = State.SPECIAL_DAY
    return states


def metric_states(
    segment: StateArray,
    count: FloatArray,
    contacts: FloatArray,
    answered: FloatArray,
    dispersion: FloatArray,
    least: int = LEAST_CONTACTS,
) -> StateArray:
    """State of a metric in each cell, (s, t).

    Parameters
    ----------
    segment
        States of the segments, (s, t).
    count, contacts
        Values that are there, and contacts, (s, t).
    answered
        Usual share of contacts with a value, (s, t); 0 where the history has no value at all.
    dispersion
        Of that share, (s, 1).
    least
        Values from which on it is tested.
    """
    states = segment.copy()
    tested = states == State.TESTED
    share = as_share(answered)
    states[tested & (count < least)] = State.TOO_FEW
    # At most so many values are there as missing ones are many.
    silent = beta_binomial_tail(contacts - count, contacts, 1 - share, dispersion) < _SILENCE
    states[tested & silent & (count < ANSWERED_ENOUGH * contacts * share)] = State.NOT_ANSWERED
    states[tested & (answered == 0)] = State.NO_METRIC
    return states
