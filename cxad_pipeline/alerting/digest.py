"""The digest: once a day, what did not have to be told at once.

Belongs here: its figures and its words. Does not belong here: reading them from the store (`operations`), when it is
sent (`alerts.digest_cron`), layout (`block_kit`, `mail_html`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cxad_pipeline.alerting import mail_html
from cxad_pipeline.alerting.block_kit import code, context, header, links_section, plain_section, section
from cxad_pipeline.alerting.incident_messages import ID, SEGMENT, MessageContext, example_words, incident_line
from cxad_pipeline.alerting.message import Block, Message
from cxad_pipeline.alerting.wording import (
    examples_in_lines,
    links_in_words,
    moment_in_words,
    one_line,
    percent,
    plural,
    span_in_words,
)
from cxad_pipeline.incidents.incident import Example, Incident
from cxad_pipeline.incidents.incident_words import count_words, segment_words
from cxad_pipeline.store.judged_windows import NotJudged
from cxad_pipeline.store.silent_windows import SilentSegment
from cxad_pipeline.store.unanswered_metrics import UnansweredMetric

INCIDENTS, SILENT, UNANSWERED, ANOMALIES = 15, 5, 5, 5
"""Most of each that are listed; the rest is counted."""
_SILENT_TITLE = "No contacts where there always are some: missing data, or nobody gets through"
_UNANSWERED_TITLE = "Far fewer values than usual: surveys without answers, or missing data"


@dataclass(frozen=True)
class Digest:
    """What became known between two digests.

    Attributes
    ----------
    since, until
        Moments of the digest before and of this one, UTC.
    incidents
        Those opened meanwhile that nobody was told of, the most severe first.
    told
        How many incidents were told at once meanwhile.
    silenced
        How many incidents a silence kept quiet.
    windows, windows_without_data
        Windows that were judged and that no digest has told yet, and those of them in which contacts are missing.
    not_judged
        Windows before or between these that nobody has judged though they usually have contacts; None: there are none.
    silent_segments
        Segments whose contacts are missing in some of these windows while others have some, the largest first.
    unanswered
        Metrics with far fewer values than usual in some of these windows, the one that misses most first.
    first, last
        Start of the first of these windows, and end of the last one; None where there are none.
    contacts, anomalies
        Contacts in them, and those of them that are anomalies.
    silent_since
        When the last window was counted, where that is too long ago; else None.
    most_severe
        Single anomalies, the most severe first.
    dead_letters
        Messages that could not be delivered and wait to be revived.
    """

    since: datetime
    until: datetime
    incidents: tuple[Incident, ...] = ()
    told: int = 0
    silenced: int = 0
    windows: int = 0
    windows_without_data: int = 0
    not_judged: NotJudged | None = None
    silent_segments: tuple[SilentSegment, ...] = ()
    unanswered: tuple[UnansweredMetric, ...] = ()
    first: datetime | None = None
    last: datetime | None = None
    contacts: int = 0
    anomalies: int = 0
    silent_since: datetime | None = None
    most_severe: tuple[Example, ...] = ()
    dead_letters: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say: that contacts were scored and all was well is no news."""
        return not (
            self.incidents
            or self.told
            or self.silenced
            or self.anomalies
            or self.windows_without_data
            or self.not_judged
            or self.silent_segments
            or self.unanswered
            or self.silent_since
            or self.most_severe
            or self.dead_letters
        )


def digest_message(digest: Digest, context: MessageContext) -> Message | None:
    """What the digest says.

    Parameters
    ----------
    digest
        The figures.
    context
        Words, zone, links and the budget; links may not be about a single incident.

    Returns
    -------
    Message or None
        None where there is nothing to say.
    """
    if digest.is_empty:
        return None
    told = _Told(digest, context)
    return Message(told.headline, told.text(), told.blocks(), told.html())


@dataclass(frozen=True)
class _Told:
    """One digest, on its way into words."""

    digest: Digest
    context: MessageContext

    @property
    def headline(self) -> str:
        found = plural(len(self.digest.incidents), "further incident")
        if self.digest.silent_since is not None:
            parts = [f"NOTHING SCORED since {self._moment(self.digest.silent_since)}"]
        elif self.digest.windows_without_data and not self.digest.contacts:
            parts = ["NO DATA came"]
        else:
            parts = [plural(self.digest.anomalies, "anomaly", "anomalies")]
        if self.digest.incidents or self.digest.contacts:
            parts.insert(0, found)
        if self.digest.not_judged is not None:
            parts.append(f"{plural(self.digest.not_judged.windows, 'window')} NEVER JUDGED")
        if self.digest.silent_segments:
            parts.append(f"{plural(len(self.digest.silent_segments), 'segment')} WITHOUT CONTACTS")
        if self.digest.unanswered:
            metrics = {one.metric for one in self.digest.unanswered}
            which = self._metric(*metrics) if len(metrics) == 1 else plural(len(metrics), "metric")
            parts.append(f"FEW VALUES of {which}")
        if self.digest.dead_letters:
            parts.append(f"{plural(self.digest.dead_letters, 'message')} NOT DELIVERED")
        span = span_in_words(self.digest.since, self.digest.until, self.context.zone, self.digest.until)
        return f"Digest: {', '.join(parts)} · {span}"

    def _metric(self, name: str) -> str:
        return one_line(self.context.schema.words(name), SEGMENT)

    def _moment(self, moment: datetime) -> str:
        return moment_in_words(moment, self.context.zone, self.digest.until)

    @property
    def figures(self) -> list[str]:
        digest = self.digest
        lines = []
        if digest.contacts:
            share = percent(digest.anomalies / digest.contacts)
            scored = f"{plural(digest.contacts, 'contact')} scored, {digest.anomalies:,} of them anomalous ({share})"
            if digest.first is not None and digest.last is not None:
                scored = f"{span_in_words(digest.first, digest.last, self.context.zone, digest.until)}: {scored}"
            lines.append(scored)
        else:
            lines.append("No contact was scored")
        if digest.silent_since is not None:
            since = self._moment(digest.silent_since)
            lines.append(f"No window was scored since {since}: not quiet, but unknown; see why no run scores")
        if digest.windows_without_data:
            windows = plural(digest.windows, "window")
            lines.append(f"{digest.windows_without_data:,} of {windows} without data: missing, not quiet")
        if digest.not_judged is not None:
            missed = digest.not_judged
            lines.append(
                f"{plural(missed.windows, 'window')} of {self._span(missed.first, missed.last)} never judged: "
                "not quiet, but unknown; see what did not land"
            )
        lines.append(f"Told at once: {plural(digest.told, 'incident')}; {self.context.budget_words(digest.until)}")
        if digest.silenced:
            lines.append(f"Silenced: {plural(digest.silenced, 'incident')}")
        if digest.dead_letters:
            lines.append("What was not delivered: cxad alerts --dead")
        return lines

    @property
    def incidents(self) -> list[str]:
        found = self.digest.incidents
        lines = [incident_line(incident, self.context) for incident in found[:INCIDENTS]]
        return lines + ([f"and {len(found) - INCIDENTS:,} more"] if len(found) > INCIDENTS else [])

    @property
    def silent_segments(self) -> list[str]:
        found = self.digest.silent_segments
        lines = [
            f"{one_line(segment_words(one.segment), SEGMENT)} · none in {plural(one.windows, 'window')} of "
            f"{self._span(one.first, one.last)}, usually {count_words(one.expected)}"
            for one in found[:SILENT]
        ]
        return lines + ([f"and {len(found) - SILENT:,} more"] if len(found) > SILENT else [])

    @property
    def unanswered(self) -> list[str]:
        found = self.digest.unanswered
        lines = [
            f"{self._metric(one.metric)} · {one_line(segment_words(one.segment), SEGMENT)} · "
            f"{plural(one.values, 'value')} in {plural(one.windows, 'window')} of {self._span(one.first, one.last)}, "
            f"usually {count_words(one.usual)}"
            for one in found[:UNANSWERED]
        ]
        return lines + ([f"and {len(found) - UNANSWERED:,} more"] if len(found) > UNANSWERED else [])

    def _span(self, first: int, last: int) -> str:
        start, end = (datetime.fromtimestamp(moment, UTC) for moment in (first, last))
        return span_in_words(start, end, self.context.zone, self.digest.until)

    @property
    def anomalies(self) -> list[tuple[str, str, str, str]]:
        """Severity, start, id, why."""
        return [
            (
                f"{one.severity:.0f}",
                self._moment(one.timestamp),
                one_line(one.interaction_id, ID) or "?",
                example_words(one, self.context),
            )
            for one in self.digest.most_severe[:ANOMALIES]
        ]

    def text(self) -> str:
        lines = [self.headline, *self.figures]
        if self.incidents:
            lines += ["Incidents (severity, segment, what, since)", *(f"  {line}" for line in self.incidents)]
        if self.silent_segments:
            lines += [_SILENT_TITLE, *(f"  {line}" for line in self.silent_segments)]
        if self.unanswered:
            lines += [_UNANSWERED_TITLE, *(f"  {line}" for line in self.unanswered)]
        if self.anomalies:
            title = "Most severe single contacts (severity, start, interaction)"
            lines += [title, *examples_in_lines(self.anomalies)]
        if self.context.links:
            lines.append(links_in_words(self.context.links))
        return "\n".join(lines)

    def blocks(self) -> list[Block]:
        blocks = [header(self.headline), plain_section(*self.figures)]
        if self.incidents:
            blocks.append(context("Incidents: severity, segment, what, since"))
            # One block each: fifteen long lines do not fit into one.
            blocks += [plain_section(line) for line in self.incidents]
        if self.silent_segments:
            blocks += [context(_SILENT_TITLE), *(plain_section(line) for line in self.silent_segments)]
        if self.unanswered:
            blocks += [context(_UNANSWERED_TITLE), *(plain_section(line) for line in self.unanswered)]
        if self.anomalies:
            blocks.append(context("Most severe single contacts: severity, interaction, start"))
        for severity, start, name, why in self.anomalies:
            blocks.append(section(f"*{severity}* · {code(name, ID)} · {start}"))
            blocks += [context(why)] if why else []
        if self.context.links:
            blocks.append(links_section(self.context.links))
        return blocks

    def html(self) -> str:
        parts = [mail_html.paragraph(line) for line in self.figures]
        if self.incidents:
            parts.append(mail_html.table("Incidents", [(line,) for line in self.incidents]))
        if self.silent_segments:
            parts.append(mail_html.table(_SILENT_TITLE, [(line,) for line in self.silent_segments]))
        if self.unanswered:
            parts.append(mail_html.table(_UNANSWERED_TITLE, [(line,) for line in self.unanswered]))
        if self.anomalies:
            parts.append(mail_html.examples("Most severe single contacts", self.anomalies))
        if self.context.links:
            parts.append(mail_html.links_line(self.context.links))
        return mail_html.page(self.headline, parts)
