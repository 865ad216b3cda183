"""Memory that large requests leave behind.

Belongs here: having the C library give freed memory back. Does not belong here: limits of requests (`limits`).

glibc keeps what is freed in an arena for each thread. After a few bodies of ten thousand records in several threads a
worker would hold a hundred megabytes that it does not use.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 2
LARGE_BODY = 1_000_000
"""Bytes of a body, or of an answer, after which it is worth a millisecond to give memory back."""


def limit_arenas() -> None:
    """Have all threads share two arenas, and pyarrow use the C library's memory; on other systems nothing."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # read when pyarrow is imported
    if _glibc is not None:
        _glibc.mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Give freed memory back to the system."""
    if _glibc is not None:
        _glibc.malloc_trim(0)


def _find_glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None


_glibc = _find_glibc()
