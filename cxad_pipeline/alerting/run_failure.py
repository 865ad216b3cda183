"""The message about a failed run.

Belongs here: its words, and the notice that takes it to the outbox. Does not belong here: taking job, run and errors
out of Dagster's objects (`defs`), and sending (`delivery`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cxad_pipeline.alerting import mail_html
from cxad_pipeline.alerting.block_kit import code, context, header, links_section, section
from cxad_pipeline.alerting.message import Block, Message
from cxad_pipeline.alerting.redaction import redact
from cxad_pipeline.alerting.wording import address, one_line
from cxad_pipeline.store.outbox import Notice

STEPS_SHOWN = 5

_NAME, _ERROR = 80, 240


@dataclass(frozen=True)
class FailedStep:
    """A step that failed and its error text: a message or a whole traceback, of which one line is told."""

    step: str
    error: str


@dataclass(frozen=True)
class RunFailure:
    """A failed run.

    Attributes
    ----------
    job, run_id
        Names in Dagster.
    steps
        The steps that failed, in their order. Empty when the run failed outside its steps.
    link
        Address of the run's page, None where no UI is configured.
    error
        The run's own error, told when no step failed.
    """

    job: str
    run_id: str
    steps: tuple[FailedStep, ...] = ()
    link: str | None = None
    error: str = ""


def run_failure_notice(failure: RunFailure, *, now: datetime, secrets: Iterable[str] = ()) -> Notice:
    """The message about a failed run as the outbox takes it, due at once; its key is the run, which fails once.

    Parameters
    ----------
    failure, secrets
        As in `run_failure_message`.
    now
        Present time.
    """
    name = f"run:{failure.run_id}"
    content = run_failure_message(failure, secrets=secrets).to_dict()
    return Notice(key=name, kind="run_failure", topic=name, content=content, due_at=now)


def run_failure_message(failure: RunFailure, *, secrets: Iterable[str] = ()) -> Message:
    """What is said about a failed run.

    Parameters
    ----------
    failure
        The run. The errors may be of any length and may quote secrets.
    secrets
        Values that must not appear in the message, such as passwords from the settings. What looks like a secret is
        hidden as well (`redaction.redact`).

    Returns
    -------
    Message
        Job and run, up to `STEPS_SHOWN` failed steps with one line each, and the link.
    """
    hidden = tuple(secrets)

    def told(text: str, limit: int) -> str:
        return one_line(redact(text, hidden), limit)

    job, run_id = told(failure.job, _NAME), told(failure.run_id, _NAME)
    headline = f"Run of {job} failed"
    if failure.steps:
        count = len(failure.steps)
        headline += f": {count} {'step' if count == 1 else 'steps'}"
    errors = [
        (told(step.step, _NAME), told(_last_word(redact(step.error, hidden)), _ERROR) or "no error text")
        for step in failure.steps[:STEPS_SHOWN]
    ]
    own = told(_last_word(redact(failure.error, hidden)), _ERROR) or "The run gave no error; see its page or its log."
    more = len(failure.steps) - len(errors)
    rest = [f"and {more} more"] if more else []

    lines = [headline, f"Run {run_id}"]
    lines += [f"  {step}: {error}" for step, error in errors] or [f"  {own}"]
    lines += [f"  {text}" for text in rest]
    blocks: list[Block] = [header(headline), section(f"Run {code(run_id, _NAME)}")]
    for step, error in errors:
        blocks += [section(code(step, _NAME)), context(error)]
    parts = [mail_html.paragraph(f"Run {run_id}")]
    if errors:
        parts.append(mail_html.table("Failed steps", errors))
    else:
        blocks.append(context(own))
        parts.append(mail_html.paragraph(own))
    blocks += [context(text) for text in rest]
    parts += [mail_html.paragraph(text, quiet=True) for text in rest]
    if failure.link:
        link = redact(failure.link, hidden)
        lines.append(f"Open the run: {address(link)}")
        blocks.append(links_section({"Open the run": link}))
        parts.append(mail_html.links_line({"Open the run": link}))
    return Message(headline, "\n".join(lines), blocks, mail_html.page(headline, parts))


def _last_word(error: str) -> str:
    """The line of an error that says what happened: of a traceback the first line after its frames, else the first."""
    lines = [line for line in error.splitlines() if line.strip()]
    if not lines:
        return ""
    if not any(line.startswith("Traceback (most recent call last)") for line in lines):
        return lines[0]
    # The last unindented line of a traceback that looks like "package.Error: text".
    ends = [line for line in lines if not line[0].isspace() and not line.startswith("Traceback (")]
    return ends[-1] if ends else lines[-1]
