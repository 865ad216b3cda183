"""Standard output and standard error, as they were when a run began.

Dagster points both at files while steps run and shows these on the terminal by a process, `tail`, which it ends with
the run: what a run writes last may never be seen (dagster issue 23336). So what somebody waits for is written to these.

Belongs here: where the two lead. Does not belong here: what is written (`defs.progress`, `alerting.channels.console`).
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

_kept: dict[str, TextIO] = {}


@contextmanager
def standard_streams_kept() -> Iterator[None]:
    """Within it, `standard_output` and `standard_error` lead where they led before it."""
    before = dict(_kept)
    with ExitStack() as copies:
        for name, stream in (("output", standard_output()), ("error", standard_error())):
            if stream is None:
                continue
            try:
                descriptor = os.dup(stream.fileno())
            except io.UnsupportedOperation:
                continue  # one without a descriptor, which nothing can point elsewhere
            copy = os.fdopen(descriptor, "w", encoding=stream.encoding, errors=stream.errors, buffering=1)
            _kept[name] = copies.enter_context(copy)
        try:
            yield
        finally:
            _kept.clear()
            _kept.update(before)


def standard_output() -> TextIO | None:
    """Where results go: the kept standard output, or else `sys.stdout`; None where the process has none."""
    return _kept.get("output") or _output()


def standard_error() -> TextIO | None:
    """Where progress goes: the kept standard error, or else `sys.stderr`; None where the process has none."""
    return _kept.get("error") or _error()


def _output() -> TextIO | None:
    return sys.stdout


def _error() -> TextIO | None:
    return sys.stderr
