"""What went wrong in a step, without Dagster's wrapping."""

from __future__ import annotations

import dagster as dg


def step_error(event: dg.DagsterEvent) -> str:
    """The message of the error that a failed step began with: its own description, else the innermost cause."""
    failure = event.step_failure_data
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return event.message or "failed"
    # Our own errors speak for themselves; the class of any other says what kind of fault it is.
    name, _, message = error.message.strip().partition(": ")
    return message if name.startswith("cxad_pipeline.") else error.message.strip()
