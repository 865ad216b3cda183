"""Why the database of the store can't be used: the kinds of failure, and each in words.

Belongs here: our errors, what a driver's error means, what to do about it, and an address without a password. Does not
belong here: connecting (`database`).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import URL

NOT_WRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
"""Result codes of SQLite for a file or folder that does not take what is written."""


class StoreError(RuntimeError):
    """The database can't be used; the message says which, why, and what to do. It never holds a password."""


class NoStoreError(StoreError):
    """There is no store in the database yet, and who asks wants none made."""


class StoreAwayError(StoreError):
    """The database does not answer, is full or locked: the same may work later."""


class RefusedError(StoreError):
    """The database answers, and refuses the values that it was given; they will never do."""


def address_of(url: URL) -> str:
    """Where a database is, as people may read it."""
    if url.get_backend_name() == "sqlite":
        return f"SQLite file {Path(str(url.database)).absolute()}"
    place = f"{url.host or 'PGHOST'}{f':{url.port}' if url.port else ''}"
    return f"PostgreSQL database {url.database or 'of the user'} at {place}"


def in_words(error: Exception, url: URL) -> StoreError:
    """What failed: the first line of what the driver says, which names no values, and what to do."""
    cause, address = getattr(error, "orig", None) or error, address_of(url)
    first = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    if _refuses(cause):
        return RefusedError(f"{address} refuses a value ({type(cause).__name__} {_code(cause)})".rstrip())
    is_file = url.get_backend_name() == "sqlite"
    remedy = _sqlite_remedy(sqlite_code(cause)) if is_file else "check that it runs, and store.url"
    message = f"{address} can't be used: {first}; {remedy}"
    lasting = _code(cause)[:2] in ("28", "3D", "42")  # who is asking, the database's name, what it lacks
    return StoreError(message) if lasting else StoreAwayError(message)


def _sqlite_remedy(code: int | None) -> str:
    """What to do about a failure of SQLite."""
    if code in NOT_WRITABLE:
        return "it is not writable: let this user write the file and the folder that it is in"
    if code == sqlite3.SQLITE_CANTOPEN:
        return "it must be a file that this user may write, in a folder that they may write, too"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another process writes to it: try again"
    return "make room on its disk" if code == sqlite3.SQLITE_FULL else "check store.url"


def sqlite_code(cause: object) -> int | None:
    """The result code without its extension, https://www.sqlite.org/rescode.html; None where it is no such error."""
    code = getattr(cause, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def _refuses(cause: object) -> bool:
    """Whether the values are at fault, as class 22, 23 and 54 of PostgreSQL's codes say, or SQLite's own classes."""
    code = _code(cause)
    if code:
        return code[:2] in ("22", "23", "54")
    return isinstance(cause, ValueError | OverflowError) or type(cause).__name__ in ("DataError", "IntegrityError")


def _code(cause: object) -> str:
    return str(getattr(cause, "pgcode", None) or "")
