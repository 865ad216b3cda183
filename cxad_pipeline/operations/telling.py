"""From a change of an incident to notices in the outbox, in the transaction of the change.

Belongs here: what a message needs to know beyond the incident (links, budget, silences), and to whom a notice goes.
Does not belong here: whether something is told (`alerting.notices`), in which words (`alerting.incident_messages`), and
sending (`rounds`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from cxad_pipeline.alerting.channels import Channel
from cxad_pipeline.alerting.decisions import Decision, Wording, receivers, waiting_keys
from cxad_pipeline.alerting.incident_messages import MessageContext, incident_message
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.alerting.notices import notices_of, repeats
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.operations.watched import filled
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.budget import budget_status
from cxad_pipeline.store.incidents import StoredIncident, Told
from cxad_pipeline.store.outbox import Notice, queue, was_tried, withdraw
from cxad_pipeline.store.segment_names import closure_of
from cxad_pipeline.store.silences import find_silences, silencing


class Teller:
    """Writes notices to the outbox.

    Parameters
    ----------
    settings
        The configuration.
    channels
        Where messages go.
    window_key
        The scoring window, as its key, that a moment lies in: for links.
    """

    def __init__(
        self, settings: Settings, channels: Sequence[Channel], window_key: Callable[[dt.datetime], str]
    ) -> None:
        self._settings = settings
        self._channels = tuple(channels)
        self._window_key = window_key
        self._schema = schema_of(settings)

    def tell(
        self, connection: Connection, before: Incident | None, after: Incident, told: Told, now: dt.datetime
    ) -> Told:
        """Queue what is to be said of a change.

        Parameters
        ----------
        connection
            In the transaction that saves the change.
        before, after
            The incident; None for a new one.
        told
            What people were last told of it.
        now
            The present time.

        Returns
        -------
        Told
            To be saved with the incident.
        """
        if not self._settings.alerts.enabled:
            return told
        if told.at is not None and self._taken(connection, after, told, now):
            now = told.at  # it was due, by the clock of whoever took it
        silences = find_silences(connection, active_at=now)
        silence = silencing(silences, closure_of(connection, after.segment), after.metric)
        decision = notices_of(
            before,
            after,
            told,
            silenced=silence is not None,
            policy=self._settings.alerts,
            now=now,
            make=lambda incident, kind: self._message(connection, incident, told, kind),
        )
        self._carry_out(connection, decision, now)
        return decision.told

    def repeat(
        self, connection: Connection, known: Sequence[StoredIncident], now: dt.datetime
    ) -> list[tuple[StoredIncident, Told]]:
        """Queue what is to be told only because time has passed; gives the incidents with what is to be saved of it."""
        if not self._settings.alerts.enabled:
            return []
        silences = find_silences(connection, active_at=now)
        # People hear of those that were taken just now.
        known = [stored for stored in known if not self._taken(connection, stored.incident, stored.told, now)]
        by_id = {stored.incident.id: stored for stored in known}
        decisions = repeats(
            [(stored.incident, stored.told) for stored in known],
            silenced=lambda incident: (
                silencing(silences, closure_of(connection, incident.segment), incident.metric) is not None
            ),
            policy=self._settings.alerts,
            now=now,
            make=lambda incident, kind: self._message(connection, incident, by_id[incident.id].told, kind),
        )
        for _, decision in decisions:
            self._carry_out(connection, decision, now)
        return [(by_id[incident.id], decision.told) for incident, decision in decisions]

    def queue(self, connection: Connection, notices: Sequence[Notice], now: dt.datetime) -> None:
        """Put notices into the outbox; edits go to channels that can edit."""
        for notice in notices:
            queue(connection, notice, receivers(notice, self._channels), at=now)

    @staticmethod
    def _taken(connection: Connection, incident: Incident, told: Told, now: dt.datetime) -> bool:
        """Whether a channel has begun to take the message that waits, so that it can't be replaced any more."""
        return was_tried(connection, waiting_keys(incident.id, told, now))

    def _carry_out(self, connection: Connection, decision: Decision, now: dt.datetime) -> None:
        for key in decision.withdrawn:
            withdraw(connection, key)
        self.queue(connection, decision.notices, now)

    def context(
        self,
        connection: Connection,
        links: dict[str, str] | None = None,
        told_severity: float | None = None,
    ) -> MessageContext:
        """What a message knows beside what it is about."""
        budget = budget_status(connection, self._settings.incidents.budget_per_week)
        return MessageContext(
            schema=self._schema,
            zone=ZoneInfo(self._settings.timezone),
            links=links or {},
            told_severity=told_severity,
            budget_used=budget.used,
            budget_per_week=budget.promised_per_week,
            budget_until=budget.until,
        )

    def digest_context(self, connection: Connection) -> MessageContext:
        """What the digest knows: its links lead to the latest scoring window with data, and to no single incident."""
        context = self.context(connection)
        until = context.budget_until
        window = {} if until is None else {"window": self._window_key(until - dt.timedelta(seconds=1))}
        return replace(context, links=filled(self._settings.alerts.links, self._settings, **window))

    def _message(self, connection: Connection, incident: Incident, told: Told, kind: Wording) -> Message:
        last = incident.ended_at - dt.timedelta(seconds=1)
        links = filled(self._settings.alerts.links, self._settings, window=self._window_key(last), incident=incident.id)
        context = self.context(connection, links, told_severity=told.severity or None)
        return incident_message(incident, kind, context=context)
