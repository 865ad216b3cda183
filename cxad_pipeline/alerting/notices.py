"""Who is told what of an incident, and when: the rules that keep alerts few, without losing one.

Belongs here: the rules, as pure functions; the same arguments give the same notices with the same keys. Does not belong
here: what a decision is (`decisions`), words (`incident_messages`), the outbox (`store.outbox`), sending (`delivery`).

For each incident the rules remember one thing, `Told`: when people are told last, which may lie ahead while a message
waits, how severe it was said to be, and how many notices there were. From it follow

- the first message (`opened`), for what is critical, `wait_minutes` after it was found;
- another (`update`) only when it became materially worse, goes by another name (segment, metric, direction), or is
  open again after its end had been told;
- its end (`resolved`), or that it is withdrawn, to those who heard of it;
- that it still goes on (`repeat`), every `repeat_hours`;
- everything else as an `edit` of the message that people have, for channels that can edit: it rings nobody's phone.

Two messages of one incident are at least `update_minutes` apart. A first message, another name or an end that comes
sooner waits in the outbox under its key until the time has come, and is replaced there by what is newer: people are
told once, in the latest state. Whether an incident is worse is looked at again when the time has come (`repeats`). What
is not critical is left to the digest. What is merged or withdrawn while its first message waits was never told: should
it come back, it is new.

While a silence lasts, nothing new is told, and first messages and updates that wait are taken back; what is still open
when it has ended is told then. An end that was reached before the silence goes out all the same, to those who wait for
it, and so does what a channel was to have before and did not take.

Whoever decides makes sure that no channel takes what waits before the decision is stored (`operations.telling`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cxad_pipeline.alerting.decisions import Decision as Decision
from cxad_pipeline.alerting.decisions import Make, NoticeKind, Wording, key_of, topic_of, waiting_keys
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.settings.operations import AlertSettings
from cxad_pipeline.store.incidents import NOTHING_TOLD, Told
from cxad_pipeline.store.outbox import Notice

MATERIALLY_WORSE = 100 / 6
"""Points of severity: ten times rarer (severity 100 is one in a million, `detection.calibration`)."""


def notices_of(
    before: Incident | None,
    after: Incident,
    told: Told,
    *,
    silenced: bool,
    policy: AlertSettings,
    now: datetime,
    make: Make,
) -> Decision:
    """Decide what is told of a change of an incident.

    Parameters
    ----------
    before
        The incident before the change; None for one that was just found.
    after
        As it is now.
    told
        What people were last told of it.
    silenced
        Whether a silence covers it now.
    policy
        `wait_minutes`, `update_minutes`, `max_age_hours` are read.
    now
        Present time, taken inside the transaction that stores the decision.
    make
        Writes a message; called only for what is told or may have to be edited.

    Returns
    -------
    Decision
        Notices and withdrawn keys, and the new `Told`.
    """
    case = _Case(before, after, told, policy, now, make)
    if silenced:
        return case.quiet()
    if told.at is None:
        return case.first()
    if not told.critical:
        return case.risen() if after.status == "open" else case.nothing()
    if after.status == "open":
        return case.still_open()
    return case.ended()


def repeats(
    known: Iterable[tuple[Incident, Told]],
    *,
    silenced: Callable[[Incident], bool],
    policy: AlertSettings,
    now: datetime,
    make: Make,
) -> list[tuple[Incident, Decision]]:
    """What is to be told of incidents only because time has passed.

    An open critical incident that was told `repeat_hours` ago and has changed since is told again, and one that became
    materially worse within `update_minutes` of being told when they are over; one that a silence kept back is told when
    it has ended; and what waits while a silence has begun is withdrawn.

    Parameters
    ----------
    known
        Incidents with what people were told of them; those that are not open are passed over, and those that are not
        critical and of which no message waits.
    silenced
        Whether a silence covers an incident now.
    policy, now, make
        As in `notices_of`, and `repeat_hours`.

    Returns
    -------
    list of (Incident, Decision)
        Only those of which something is to be stored.
    """
    found = []
    for incident, told in known:
        case = _Case(incident, incident, told, policy, now, make)
        # What is critical no more may still have a message that waits, from when it was.
        if incident.status != "open" or not (incident.critical or case.waits):
            continue
        decision = case.quiet() if silenced(incident) else case.again()
        if decision != case.nothing():
            found.append((incident, decision))
    return found


def told_in_digest(incident: Incident, told: Told, now: datetime) -> Told:
    """What is remembered of an incident that the digest of `now` tells: one that is told already stays as it is."""
    if told.at is not None:
        return told
    return Told(at=now, severity=incident.severity, critical=False, number=told.number + 1)


@dataclass(frozen=True)
class _Case:
    """One change and what leads to a decision on it."""

    before: Incident | None
    after: Incident
    told: Told
    policy: AlertSettings
    now: datetime
    make: Make

    @property
    def waits(self) -> bool:
        """Whether a message of it lies in the outbox until its time has come."""
        return self.told.at is not None and self.told.at > self.now

    @property
    def waiting(self) -> tuple[str, ...]:
        return waiting_keys(self.after.id, self.told, self.now)

    @property
    def unheard(self) -> bool:
        """Whether what waits is the first message: nobody has heard of the incident."""
        return self.waits and self.told.number == 1

    @property
    def earliest(self) -> datetime:
        """When the next message may go out."""
        if self.told.at is None or self.waits:
            return self.told.at or self.now
        return max(self.now, self.told.at + timedelta(minutes=self.policy.update_minutes))

    @property
    def worse(self) -> bool:
        return self.after.severity >= self.told.severity + MATERIALLY_WORSE

    @property
    def end_waits(self) -> bool:
        return self.waits and self.before is not None and self.before.status != "open"

    @property
    def heard(self) -> Told:
        """What is remembered when the waiting message is taken back.

        The one before it came `update_minutes` before this one was due. How severe it said the incident to be is not
        remembered: nothing, so that what is still open is told as it is then.
        """
        if self.unheard:
            return NOTHING_TOLD
        before = self.told.at - timedelta(minutes=self.policy.update_minutes) if self.told.at else self.now
        return replace(self.told, at=min(self.now, before), severity=0.0)

    def nothing(self) -> Decision:
        return Decision((), (), self.told)

    def quiet(self) -> Decision:
        """A silence lasts: what waits is taken back, unless it is the end."""
        if not self.waits:
            return self.nothing()
        if self.end_waits and self.after.status != "open":
            return self._rewritten()
        return Decision(self.waiting, (), self.heard)

    def first(self) -> Decision:
        """Nobody was told of it yet. What ended unheard, in a silence, is not told when it is scored again."""
        news = self.before is None or self.before.status != "resolved" or not self.before.critical
        if not self.after.critical or self._too_old():
            return self.nothing()
        if self.after.status == "open":
            return self.tell("opened", due=self.now + timedelta(minutes=self.policy.wait_minutes))
        if self.after.status == "resolved" and news:
            return self.tell("opened", "resolved")
        return self.nothing()

    def again(self) -> Decision:
        """Time has passed over an open one."""
        if self.told.at is None:
            return self.first()
        changed = self.after.updated_at > self.told.at
        if not self.told.critical:
            return self.risen() if changed else self.nothing()
        if self.earliest > self.now:
            return self.nothing()
        if self.worse:
            return self.risen_further()
        goes_on = changed and self.now >= self.told.at + timedelta(hours=self.policy.repeat_hours)
        return self.tell("repeat") if goes_on else self.nothing()

    def risen(self) -> Decision:
        """An open one that the digest told."""
        return self.tell("update") if self.after.critical and self.earliest <= self.now else self.nothing()

    def risen_further(self) -> Decision:
        """Materially worse; or what it was to be told of it was taken back, its name maybe among that."""
        return self.tell("update", None if self.told.severity else "changed")

    def still_open(self) -> Decision:
        if self.before is not None and self.before.status != "open":
            # People were told that it is over; or were about to be, and then it goes on.
            return self.tell("update", "changed" if self.waits else "update")
        if self.waits:
            return self._rewritten()
        if self.before is not None and _name(self.before) != _name(self.after):
            return self.tell("update", "changed")
        return self.risen_further() if self.worse and self.earliest <= self.now else self.edit()

    def ended(self) -> Decision:
        """It is resolved, merged or withdrawn."""
        ends_now = self.before is None or self.before.status == "open"
        if not ends_now:
            return self._rewritten() if self.waits else self.edit()
        if self.after.status == "resolved" or (self.after.status == "withdrawn" and not self.unheard):
            return self.tell("resolved")
        if not self.waits:
            return self.edit()
        if self.unheard:
            return Decision(self.waiting, (), NOTHING_TOLD)
        return replace(replace(self, told=self.heard).edit(), withdrawn=self.waiting)

    def tell(self, kind: NoticeKind, wording: Wording | None = None, due: datetime | None = None) -> Decision:
        """A message of its own, in place of the one that waits."""
        due, number = due or self.earliest, self.told.number + 1
        notice = self._notice(key_of(self.after.id, kind, number), wording or kind, due)
        told = Told(at=due, severity=self.after.severity, critical=True, number=number)
        return Decision(self.waiting, (notice,), told)

    def edit(self) -> Decision:
        """A change of the message that people have, if it reads differently at all."""
        if self.before is None or _same(self.make(self.before, "edit"), self.make(self.after, "edit")):
            return self.nothing()
        number = self.told.number + 1
        notice = self._notice(key_of(self.after.id, "edit", number), "edit", self.now)
        return Decision((), (notice,), replace(self.told, number=number))

    def _rewritten(self) -> Decision:
        """The waiting message in the latest state, under its key and for the time that it had."""
        kind: NoticeKind = "opened" if self.unheard else "update" if self.after.status == "open" else "resolved"
        wording: Wording = "changed" if kind == "update" else kind
        notice = self._notice(key_of(self.after.id, kind, self.told.number), wording, self.earliest)
        return Decision((), (notice,), replace(self.told, severity=self.after.severity))

    def _notice(self, key: str, wording: Wording, due: datetime) -> Notice:
        kind = "update" if wording == "changed" else wording
        return Notice(key, kind, topic_of(self.after.id), self.make(self.after, wording).to_dict(), due)

    def _too_old(self) -> bool:
        hours = self.policy.max_age_hours
        return hours is not None and self.after.ended_at < self.now - timedelta(hours=hours)


def _name(incident: Incident) -> tuple[object, ...]:
    """What people know an incident by."""
    return incident.segment, incident.metric, incident.direction


def _same(one: Message, other: Message) -> bool:
    """Whether two messages read the same; what is news in them does not count."""
    return (one.text, one.html) == (other.text, other.html)
