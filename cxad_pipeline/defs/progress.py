"""A logger that shows a run as a person follows it: a line when an asset starts, its own lines, and how it ended."""

from __future__ import annotations

import logging
import time

import click
import dagster as dg

_STEP_EVENTS = {"STEP_START", "STEP_SUCCESS", "STEP_FAILURE"}


class _ProgressHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._started: dict[str, float] = {}

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
            click.secho(f"    {line}", err=True, fg="yellow" if warning else None, dim=not warning)
            return
        if event.event_type_value not in _STEP_EVENTS:
            return
        if event.event_type_value == "STEP_START":
            self._started[step] = time.monotonic()
            click.secho(f"  {step} ...", err=True, bold=True)
        else:
            seconds = time.monotonic() - self._started.get(step, time.monotonic())
            failed = event.event_type_value == "STEP_FAILURE"
            word, colour = ("failed", "red") if failed else ("done", "green")
            click.secho(f"  {step} {word} in {seconds:.1f} s", err=True, fg=colour)


@dg.logger(config_schema={}, description="Progress for people at a terminal; the CLI uses it.")
def progress_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    """A logger with a single handler that writes to standard error."""
    logger = logging.Logger("cxad.progress", level=logging.DEBUG)
    logger.addHandler(_ProgressHandler())
    return logger
