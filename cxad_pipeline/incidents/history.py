"""What of a calibration period teaches: its days, its gaps, how long it is, which segments it says enough about.

Belongs here: the calendar of a history. Does not belong here: what is learned from it (`profiles.py`), and the states
of cells that are judged (`states.py`).

A day without any contact is a gap, in which data is missing or nobody worked, and no history of no contacts. Where
a day of the week never has any, the centre is closed on it, and a week has fewer days.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.baselines import DAYS
from cxad_pipeline.incidents.budget import WEEK
from cxad_pipeline.incidents.states import LEAST_DAYS, LEAST_WINDOWS
from cxad_pipeline.incidents.windows import Windows

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LEAST_WEEKS = 2
"""Weeks of history that calibration needs."""
_EPOCH = dt.date(1970, 1, 1)


def windows_of_days(windows: Windows, days: Sequence[dt.date]) -> BoolArray:
    """Windows that begin on one of some local days, (t,)."""
    return np.isin(windows.day, [(day - _EPOCH).days for day in days])


def is_long_enough(contacts: FloatArray, windows: Windows, special: BoolArray) -> bool:
    """Whether a history has as many days with contacts as two weeks have on which the centre is open.

    Parameters
    ----------
    contacts
        All contacts, (t,).
    windows
        The windows.
    special
        Windows of special days, (t,); these days count although nothing is learned of them, but a segment's least
        number of days has to be there without them.
    """
    there = days_with_contacts(contacts, windows)
    days, ordinary = (len(np.unique(windows.day[chosen])) for chosen in (there | special, there & ~special))
    needed = LEAST_WEEKS * int((~closed_weekdays(contacts, windows, special)).sum())
    return days >= needed and ordinary >= LEAST_DAYS


def days_with_contacts(contacts: FloatArray, windows: Windows) -> BoolArray:
    """Windows of local days on which there is any contact, (t,).

    Parameters
    ----------
    contacts
        Contacts that count, (t,).
    windows
        The windows.
    """
    _, day = np.unique(windows.day, return_inverse=True)
    return np.asarray(np.bincount(day, contacts)[day] > 0)


def closed_weekdays(contacts: FloatArray, windows: Windows, special: BoolArray) -> BoolArray:
    """Days of the week, from Monday on, that never have a contact although one or more were no special days, (7,)."""
    weekday = windows.slot // windows.per_day
    closed = np.zeros(DAYS, dtype=np.bool_)
    for number in range(DAYS):
        own = (weekday == number) & ~special
        closed[number] = own.any() and not contacts[own].any()
    return closed


def length_in_weeks(teaches: BoolArray, contacts: FloatArray, windows: Windows, special: BoolArray) -> float:
    """How many weeks the windows that teach make, (t,) each; a week is as many days as the centre is open."""
    open_days = int((~closed_weekdays(contacts, windows, special)).sum())
    return float(teaches.sum() * windows.seconds * DAYS / (WEEK * open_days))


def share_judged(tested: BoolArray, there: BoolArray, left_out: BoolArray) -> float:
    """The share of a history that is judged, above 0, at most 1: where less is, fewer peaks are to be expected.

    What is left out would have had as many tested cells, segment by segment, as the rest has: its own are not counted,
    since an outage changes how many contacts there are.

    Parameters
    ----------
    tested
        Cells that are tested, (s, t).
    there
        Windows of the history's length, (t,).
    left_out
        Cells, (s, t) or (1, t).
    """
    share = (there & ~left_out).sum(axis=1) / max(int(there.sum()), 1)
    number = tested.sum(axis=1)
    whole = np.divide(number, share, out=np.zeros(len(number)), where=np.broadcast_to(share > 0, number.shape)).sum()
    return float(number.sum() / whole) if whole else 1.0


def median_by_slot(contacts: FloatArray, windows: Windows, special: BoolArray, left_out: BoolArray) -> FloatArray:
    """Median contacts by window of the week over the days with contacts, (slots,).

    Where a window of the week has none of its own, that by window of the day; on closed days 0.

    Parameters
    ----------
    contacts
        Contacts of all segments, (t,).
    windows
        The windows.
    special, left_out
        Windows of special days, and others that teach nothing, (t,).
    """
    known = days_with_contacts(contacts, windows) & ~special & ~left_out
    closed = closed_weekdays(contacts, windows, special)
    of_day = windows.slot % windows.per_day
    found = np.zeros(DAYS * windows.per_day)
    for slot in range(len(found)):
        own = contacts[known & (windows.slot == slot)]
        if not len(own) and not closed[slot // windows.per_day]:
            own = contacts[known & (of_day == slot % windows.per_day)]
        found[slot] = np.median(own) if len(own) else 0.0
    return found


def without_history(contacts: FloatArray, windows: Windows, teaches: BoolArray) -> BoolArray:
    """Segments with contacts in too few windows or on too few days, (s,).

    Parameters
    ----------
    contacts
        (s, t).
    windows
        The windows.
    teaches
        Cells that teach, (s, t) or (1, t).
    """
    there = (contacts > 0) & teaches
    _, day = np.unique(windows.day, return_inverse=True)
    bounds = [*np.flatnonzero(np.diff(day, prepend=-1)), len(day)]
    days = sum(there[:, low:high].any(axis=1).astype(int) for low, high in pairwise(bounds))
    least = min(LEAST_WINDOWS, DAYS * windows.per_day)
    return np.asarray((there.sum(axis=1) < least) | (days < LEAST_DAYS))
