"""A logger that shows a run as a person follows it: a line when an asset starts, its own lines, and how it ended."""

from __future__ import annotations

import logging
import time
from typing import Any

import click
import dagster as dg

from cxad_pipeline.standard_streams import standard_error

_STEP_EVENTS = {"STEP_START", "STEP_SUCCESS", "STEP_FAILURE"}


class _ProgressHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._started: dict[str, float] = {}
        self._read = True

    def emit(self, record: logging.LogRecord) -> None:
        """Show what matters of a record: steps, warnings, and what assets log themselves."""
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        step = str(meta.get("step_key") or "")
        if event is None:
            # Dagster's own remark on steps that will not run follows from the failure above it.
            if not step or record.levelno < logging.INFO or "Dependencies for step" in record.getMessage():
                return
            line, warning = str(meta.get("orig_message", record.getMessage())), record.levelno >= logging.WARNING
            self._show(f"    {line}", fg="yellow" if warning else None, dim=not warning)
            return
        if event.event_type_value not in _STEP_EVENTS:
            return
        if event.event_type_value == "STEP_START":
            self._started[step] = time.monotonic()
            self._show(f"  {step} ...", bold=True)
        else:
            seconds = time.monotonic() - self._started.get(step, time.monotonic())
            failed = event.event_type_value == "STEP_FAILURE"
            word, colour = ("failed", "red") if failed else ("done", "green")
            self._show(f"  {step} {word} in {seconds:.1f} s", fg=colour)

    def _show(self, line: str, **style: Any) -> None:
        if not self._read:
            return
        try:
            click.secho(line, file=standard_error(), **style)
        except BrokenPipeError:
            self._read = False  # who read it has left; the run goes on, and Dagster has its events


@dg.logger(config_schema={}, description="Progress for people at a terminal; the CLI uses it.")
def progress_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    """A logger with a single handler that writes to standard error."""
    logger = logging.Logger("cxad.progress", level=logging.DEBUG)
    logger.addHandler(_ProgressHandler())
    return logger
