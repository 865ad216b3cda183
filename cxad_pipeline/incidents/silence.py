"""Segments that have fallen silent while others have contacts, for longer than chance and their quiet times explain.

Belongs here: how surprising it is that nothing comes, and from when on that is a state. Does not belong here: the other
states (`states.py`), and what is said of them (`operations.digests`).

The windows since the last contact are put together: a large segment shows in its first silent window, a small one after
some. What is usual in an hour is drawn towards larger segments, so one that is closed at an hour when others are open
surprises every time. That is why the silences of its history are compared with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.distributions import surprise_of_none
from cxad_pipeline.incidents.segments import SegmentTree

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SILENCE = 6.0
"""Powers of ten by which a silence is less likely than those of the history."""
_LEAST_EXPECTED = 1.0
"""Contacts that are usual in a window, for their absence in it to be told: at night nobody is missed."""


def adds_up(tree: SegmentTree, contacts: FloatArray) -> BoolArray:
    """Cells whose contacts are those of their leaves, in windows in which all contacts are, (s, t).

    Windows that were counted with other segments may lack rows: that a segment has none there says nothing. A leaf may
    have no segment of its own after others were added; until the next calibration nothing adds up then.

    Parameters
    ----------
    tree
        The segments.
    contacts
        (s, t).
    """
    alone = tree.members.sum(axis=1) == 1
    of_leaves = np.zeros((len(tree.leaves), contacts.shape[1]))
    of_leaves[tree.members[alone].argmax(axis=1)] = contacts[alone]
    found = tree.members.astype(np.float64) @ of_leaves == contacts
    return np.asarray(found & found[:1])  # where all contacts do not add up, some leaf has no row


def surprise_of_silence(
    contacts: FloatArray, usual: FloatArray, dispersion: FloatArray, unknown: BoolArray
) -> FloatArray:
    """-log10 of the probability that there is no contact since the last one, (s, t); 0 in windows with contacts.

    Parameters
    ----------
    contacts, usual
        Contacts, and how many are usual, (s, t).
    dispersion
        Of the contacts, (s, 1): each window is negative binomial, and they are taken as independent.
    unknown
        Cells that say nothing of a segment: windows in which nobody has a contact, special days, cells that do not add
        up; (s, t) or (1, t).
    """
    none = contacts == 0
    total = np.where(none & ~unknown, surprise_of_none(usual, dispersion), 0.0).cumsum(axis=1)
    at_last_contact = np.maximum.accumulate(np.where(none, 0.0, total), axis=1)
    return np.asarray(total - at_last_contact)


def ordinary_silence(contacts: FloatArray, surprise: FloatArray) -> FloatArray:
    """The surprise that silences of a history came to, (s, 1): the second highest, as one may have been an outage.

    Parameters
    ----------
    contacts
        Contacts of the history, (s, t).
    surprise
        As `surprise_of_silence` gives it, by what is usual on the other days, (s, t).
    """
    ends = np.ones(contacts.shape, dtype=np.bool_)
    ends[:, :-1] = contacts[:, 1:] > 0
    peaks = np.sort(np.where(ends, surprise, 0.0), axis=1)
    return peaks[:, -2:-1] if peaks.shape[1] > 1 else np.zeros((len(peaks), 1))


def silences(contacts: FloatArray, usual: FloatArray, surprise: FloatArray, ordinary: FloatArray) -> BoolArray:
    """Cells in which the contacts of a segment are missing, (s, t).

    Parameters
    ----------
    contacts, usual
        Contacts, and how many are usual, (s, t).
    surprise
        As `surprise_of_silence` gives it, (s, t).
    ordinary
        As `ordinary_silence` gave it, (s, 1).
    """
    return np.asarray((contacts == 0) & (usual >= _LEAST_EXPECTED) & (surprise >= ordinary + SILENCE))
