"""What is said of an incident: as plain text, for Slack and as an HTML e-mail, the same in all three.

Belongs here: which lines a message about an incident has. Does not belong here: the sentences on what is wrong
(`incidents.incident_words`), whether and when it is told (`notices`), layout (`block_kit`, `mail_html`).

Nothing personal: segments, counts, values of metrics and the ids of interactions, which only those can look up who may.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cxad_pipeline.alerting import block_kit, mail_html
from cxad_pipeline.alerting.decisions import Wording
from cxad_pipeline.alerting.message import Block, Message
from cxad_pipeline.alerting.message_context import MessageContext as MessageContext
from cxad_pipeline.alerting.wording import (
    LABEL,
    commands_in_words,
    commands_of,
    examples_in_lines,
    length_in_words,
    links_in_words,
    moment_in_words,
    one_line,
    span_in_words,
)
from cxad_pipeline.incidents.incident import Example, Incident
from cxad_pipeline.incidents.incident_words import (
    affected_words,
    cause_words,
    figure_words,
    further_reasons,
    reason_words,
    segment_words,
    what,
)

REASONS, EXAMPLES = 3, 3
"""Most of each that are told."""

# Longest foreign texts, in characters.
SEGMENT, ID, SENTENCE = 60, 64, 240


def incident_message(incident: Incident, kind: Wording, *, context: MessageContext) -> Message:
    """What is said of an incident.

    Parameters
    ----------
    incident
        As it is now.
    kind
        Which notice it is for: it decides how the first line begins, and the news. `edit` is the same as `opened`
        without being news; `changed` is an update of what is known by another name now.
    context
        Words, zone, links, budget.

    Returns
    -------
    Message
        At most 16 lines of text; blocks within Slack's limits; a whole HTML document. Foreign texts are cut, on one
        line and escaped for each of the three.
    """
    told = _Told(incident, kind, context)
    return Message(told.headline, told.text(), told.blocks(), told.html(), told.news)


def incident_line(incident: Incident, context: MessageContext) -> str:
    """An incident in one line: severity, segment, what, since when, or from when to when if it is over."""
    told = _Told(incident, "edit", context)
    since = told.moment(incident.started_at)
    period = f"since {since}" if incident.status == "open" else f"{since}, {told.length}, {told.state_word.lower()}"
    return f"{incident.severity:.0f} · {told.segment} · {told.what} · {period}"


def example_words(example: Example, context: MessageContext, metric: str = "") -> str:
    """Why an interaction stands out: its reasons, else its value of the incident's metric, else nothing."""
    if example.reasons or example.value is None or not metric:
        return one_line(example.reasons, SENTENCE)
    value = f"{context.schema.words(metric)} {figure_words(example.value)} {context.unit(metric)}"
    return one_line(value, SENTENCE)


@dataclass(frozen=True)
class _Told:
    """One incident, on its way into words."""

    incident: Incident
    kind: Wording
    context: MessageContext

    @property
    def segment(self) -> str:
        return one_line(segment_words(self.incident.segment), SEGMENT)

    @property
    def what(self) -> str:
        return one_line(what(self.incident, self.context.schema.words, self.context.unit), SENTENCE)

    @property
    def state_word(self) -> str:
        return {"open": "Open", "resolved": "Over", "merged": "Merged", "withdrawn": "Withdrawn"}[self.incident.status]

    @property
    def told_severity(self) -> float:
        told = self.context.told_severity
        return self.incident.alert_severity if told is None else told

    @property
    def is_worse(self) -> bool:
        return round(self.incident.severity) > round(self.told_severity)

    @property
    def beginning(self) -> str:
        """How the first line begins: what has become of the incident."""
        if self.incident.status != "open":
            return f"{self.state_word}: "
        news = {
            "update": "Worse: " if self.is_worse else "Open again: ",
            "changed": "Changed: ",
            "repeat": "Still open: ",
        }
        return news.get(self.kind, "")

    @property
    def title(self) -> str:
        severity = f"severity {self.incident.severity:.0f}"
        first = f"{self.beginning}{severity if self.beginning else severity.capitalize()}"
        return f"{first} · {self.segment}"

    @property
    def headline(self) -> str:
        return f"{self.title} · {self.what}"

    @property
    def length(self) -> str:
        return length_in_words(self.incident.ended_at - self.incident.started_at)

    def moment(self, moment: datetime) -> str:
        """A moment, with its year where that is not the year in which the incident last changed."""
        return moment_in_words(moment, self.context.zone, self.incident.updated_at)

    @property
    def change(self) -> str:
        """How much worse it is than people were told; all else that is new is in the headline and the state."""
        if self.kind not in ("update", "changed") or self.incident.status != "open" or not self.is_worse:
            return ""
        return f"Severity {self.told_severity:.0f} → {self.incident.severity:.0f}"

    @property
    def news(self) -> str:
        """What changed since people were told, for a thread; empty for what is new in itself and for edits."""
        count = affected_words(self.incident)
        if self.kind in ("opened", "edit"):
            return ""
        if self.incident.status == "withdrawn":
            return "Withdrawn: after its contacts were scored again, nothing is left of it."
        if self.incident.status == "merged":
            return f"Taken in by incident {one_line(self.incident.merged_into or '?', ID)}, which tells how it goes on."
        if self.incident.status == "resolved":
            return f"Over after {self.length}; {count}; severity {self.incident.severity:.0f}."
        if self.kind == "repeat":
            return f"Still open after {self.length}; {count}; severity {self.incident.severity:.0f}."
        if self.kind == "changed":
            severity = self.change.replace("S", "s", 1) or f"severity {self.incident.severity:.0f}"
            return f"Now {self.segment} · {self.what}; {severity}."
        if self.change:
            return f"{self.change}; {count}."
        return f"Open again; {count}; severity {self.incident.severity:.0f}."

    @property
    def state(self) -> list[str]:
        """What changed, since when, until when, and the severity then and now where they differ."""
        incident, zone = self.incident, self.context.zone
        lines = [self.change] if self.change else []
        if incident.status == "open":
            start, found = self.moment(incident.started_at), self.moment(incident.opened_at)
            lines.append(f"Since {start} {zone.key}, {self.length} so far; found {found}")
        else:
            span = span_in_words(incident.started_at, incident.ended_at, zone, incident.updated_at)
            lines.append(f"{span}, {self.length}")
        if incident.status == "merged":
            lines.append(f"Taken in by incident {one_line(incident.merged_into or '?', ID)}")
        if incident.status == "withdrawn":
            lines.append("After its contacts were scored again, nothing is left of it")
        if round(incident.alert_severity) != round(self.told_severity if self.change else incident.severity):
            lines.append(f"Severity {incident.alert_severity:.0f} when it was found, {incident.severity:.0f} now")
        return lines

    @property
    def reasons(self) -> list[str]:
        """What else is unusual there, beside what the headline says."""
        words, unit = self.context.schema.words, self.context.unit
        found = further_reasons(self.incident)[:REASONS]
        return [one_line(reason_words(reason, words, unit), SENTENCE) for reason in found]

    @property
    def cause(self) -> list[str]:
        """The root cause, where one was found."""
        return [one_line(cause_words(cause, self.incident.kind), SENTENCE) for cause in self.incident.causes[:1]]

    @property
    def examples(self) -> list[tuple[str, str, str, str]]:
        """Severity, start, id, why."""
        return [
            (
                f"{example.severity:.0f}",
                self.moment(example.timestamp),
                one_line(example.interaction_id, ID) or "?",
                example_words(example, self.context, self.incident.metric),
            )
            for example in self.incident.examples[:EXAMPLES]
        ]

    @property
    def facts(self) -> list[str]:
        model = [f"model {one_line(self.incident.model_version, LABEL)}"] if self.incident.model_version else []
        return [*model, self.context.budget_words(self.incident.updated_at)]

    @property
    def commands(self) -> dict[str, str]:
        return commands_of(one_line(self.incident.id, ID), stands=self.incident.status in ("open", "resolved"))

    def text(self) -> str:
        lines = [self.headline, *self.state]
        lines += [f"Also: {reason}" if place == 0 else f"      {reason}" for place, reason in enumerate(self.reasons)]
        lines += [f"Mostly in {cause}" for cause in self.cause]
        if self.examples:
            lines += ["Examples (severity, start, interaction)", *examples_in_lines(self.examples)]
        lines.append(" · ".join(self.facts))
        if self.context.links:
            lines.append(links_in_words(self.context.links))
        return "\n".join([*lines, commands_in_words(self.commands)])

    def blocks(self) -> list[Block]:
        # In two, for Slack cuts a header.
        title, what = block_kit.header(self.title), block_kit.plain_section(self.what[:1].upper() + self.what[1:])
        blocks = [title, what, block_kit.context(*self.state)]
        if self.reasons:
            blocks.append(block_kit.plain_section("Also", *(f"• {reason}" for reason in self.reasons)))
        blocks += [block_kit.plain_section(f"Mostly in {cause}") for cause in self.cause]
        if self.examples:
            blocks.append(block_kit.context("Examples: severity, interaction, start"))
        for severity, start, name, why in self.examples:
            blocks.append(block_kit.section(f"*{severity}* · {block_kit.code(name, ID)} · {start}"))
            blocks += [block_kit.context(why)] if why else []
        blocks.append(block_kit.context(" · ".join(self.facts)))
        if self.context.links:
            blocks.append(block_kit.links_section(self.context.links))
        blocks.append(block_kit.commands_section(self.commands))
        return blocks

    def html(self) -> str:
        parts = [mail_html.paragraph(line) for line in self.state]
        if self.reasons:
            parts.append(mail_html.table("Also", [(reason,) for reason in self.reasons]))
        if self.cause:
            parts.append(mail_html.table("Mostly in", [(cause,) for cause in self.cause]))
        if self.examples:
            parts.append(mail_html.examples("Examples", self.examples))
        parts.append(mail_html.links_line(self.context.links) if self.context.links else "")
        parts += [mail_html.paragraph(" · ".join(self.facts), quiet=True), mail_html.commands_line(self.commands)]
        accent = "#c4314b" if self.incident.status == "open" else "#7a7a7a"
        return mail_html.page(self.headline, [part for part in parts if part], accent=accent)
