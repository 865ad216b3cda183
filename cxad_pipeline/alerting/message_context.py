"""What a message needs to know beside what it is about.

Belongs here: the record, and the words that follow from it alone. Does not belong here: where it comes from
(`operations.telling`), and messages (`incident_messages`, `digest`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from cxad_pipeline.alerting.wording import moment_in_words
from cxad_pipeline.interactions.schema import InteractionSchema


@dataclass(frozen=True)
class MessageContext:
    """What a message needs to know beside the incident.

    Attributes
    ----------
    schema
        Words and units of the metrics.
    zone
        Times are told on its clock, with its name.
    links
        Label to address, with all placeholders filled.
    budget_used, budget_per_week, budget_until
        Incidents of the last week of data (`store.budget`), how many a week are promised at most, and the end of that
        week, None where there are no data yet.
    told_severity
        Severity that people were last told of this incident; None where they were told nothing.
    """

    schema: InteractionSchema
    zone: ZoneInfo
    links: Mapping[str, str] = field(default_factory=dict)
    budget_used: int = 0
    budget_per_week: float = 0.0
    budget_until: datetime | None = None
    told_severity: float | None = None

    def unit(self, name: str) -> str:
        """Unit of a column, empty where it has none."""
        return self.schema[name].unit if name in self.schema else ""

    def budget_words(self, now: datetime) -> str:
        """The promise and how much of it is used: "budget: 2 of 5 incidents in the week to 13 Oct 15:00"."""
        week = "a week"
        if self.budget_until is not None:
            week = f"in the week to {moment_in_words(self.budget_until, self.zone, now)}"
        noun = "incident" if self.budget_per_week == 1 else "incidents"
        return f"budget: {self.budget_used:,} of {self.budget_per_week:g} {noun} {week}"
