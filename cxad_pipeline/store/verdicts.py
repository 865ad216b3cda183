"""What somebody said of an interaction or an incident, as it is read back.

Belongs here: its form. Does not belong here: adding one (`feedback`).
"""

from __future__ import annotations

import datetime as dt
from typing import Any, NotRequired

from sqlalchemy import Row
from typing_extensions import TypedDict  # which Pydantic wants before Python 3.12

from cxad_pipeline.store.pages import iso

SAID = ("verdict", "by", "at", "note", "until")
"""The columns of it, which `verdict_of` wants under the names `said_...`."""


class StoredVerdict(TypedDict):
    """What somebody said.

    Attributes
    ----------
    verdict
        `confirmed`, `expected`, `false_alarm` or `new_trend`.
    by
        Name of the API key, or of whoever said it.
    at
        ISO 8601 in UTC with `Z`, microseconds.
    note
        In their own words; may be empty.
    until
        End of the silence that `expected` brought about, likewise; absent where there is none.
    """

    verdict: str
    by: str
    at: str
    note: str
    until: NotRequired[str]


def stored_verdict(verdict: str, by: str, at: dt.datetime, note: str, until: dt.datetime | None) -> StoredVerdict:
    """The record of a verdict."""
    said: StoredVerdict = {"verdict": verdict, "by": by, "at": iso(at), "note": note}
    return said if until is None else {**said, "until": iso(until)}


def verdict_of(row: Row[Any]) -> StoredVerdict | None:
    """The verdict in the columns of `SAID` of a row; None where they are empty."""
    said = [row._mapping[f"said_{name}"] for name in SAID]
    return None if said[0] is None else stored_verdict(*said)
