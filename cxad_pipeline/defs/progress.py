"""A logger that shows a run as a person follows it: a line when an asset starts, its own lines, and how it ended."""

from __future__ import annotations

import logging
import time

import dagster as dg
from rich.console import Console

_STEP_EVENTS = {"STEP_START", "STEP_SUCCESS", "STEP_FAILURE"}


class _ProgressHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._console = Console(stderr=True, highlight=False)
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
            style = "yellow" if record.levelno >= logging.WARNING else "dim"
            self._console.print(f"    {meta.get('orig_message', record.getMessage())}", style=style, markup=False)
            return
        if event.event_type_value not in _STEP_EVENTS:
            return
        if event.event_type_value == "STEP_START":
            self._started[step] = time.monotonic()
            self._console.print(f"  {step} ...", style="bold", markup=False)
        else:
            seconds = time.monotonic() - self._started.get(step, time.monotonic())
            failed = event.event_type_value == "STEP_FAILURE"
            word, style = ("failed", "red") if failed else ("done", "green")
            self._console.print(f"  {step} {word} in {seconds:.1f} s", style=style, markup=False)


@dg.logger(config_schema={}, description="Progress for people at a terminal; the CLI uses it.")
def progress_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    """A logger with a single handler that writes to standard error."""
    logger = logging.Logger("cxad.progress", level=logging.DEBUG)
    logger.addHandler(_ProgressHandler())
    return logger
