"""What goes wrong in the simulated centre: single anomalies of named kinds, and incidents of a segment.

Belongs here: how an anomaly or an incident changes contacts, and what its label says. Does not belong here: the
normal day (`simulated_day`), nor tables and files (`simulation`). Every value stays inside the ranges of the
schema: a record out of range is rejected by the contract, so no detector ever sees it.

Kinds of anomaly
----------------
`extreme`
    Far out in one metric or in several, but it could have happened: an hour on hold, eight transfers.
`contextual`
    Usual somewhere in the centre, but not in this queue and channel: a chat that was handled for as long as an
    e-mail, a chat customer kept waiting like a caller, an e-mail on hold, a sales call as long as the technical
    queue's longest.
`data_fault`
    Nothing happened but the record is wrong: stuck timer, milliseconds, swapped columns, a share for a percentage.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxad_pipeline.interactions.simulated_day import (
    CHANNELS,
    CHAT,
    EMAIL,
    EXPECTED_WEEK,
    HANDLE_MEDIAN,
    HANDLE_SIGMA,
    LANGUAGES,
    QUEUES,
    TECHNICAL,
    VOICE,
    WAIT_MEDIAN,
    Contacts,
    Floats,
    Integers,
    Outcomes,
)

IncidentMetric = Literal["hold_time_seconds", "aht_seconds", "csat", "complaints"]
KINDS = ("extreme", "contextual", "data_fault", "incident")
KIND_SHARE = (0.4, 0.4, 0.2)

#: A wrap-up timer that nobody stopped ends with the automatic log-off after eight hours.
STUCK_SECONDS = 28_800.0
#: Handle times that are usual in the centre as a whole (inside its 1% and 99%), in s, whichever the queue and channel.
USUAL_SHORT, USUAL_LONG = 112.0, 2_050.0


@dataclass(frozen=True)
class Incident:
    """A segment that behaves differently for some hours.

    Attributes
    ----------
    name
        Letters, digits, `-`, `_`, `.`; it is the label of the members.
    metric
        What the incident moves. What follows from it follows: longer holds lower the satisfaction too.
    size
        Mean seconds added to `hold_time_seconds`; factor on `aht_seconds`; points taken from `csat`; complaints
        added per contact, at most 1.
    start, end
        UTC, half open.
    queue, channel, language
        The segment; None takes all.
    shape
        `break`: the full size from the first minute; `drift`: it grows evenly from nothing to `size` at the end.

    Raises
    ------
    ValueError
        If a value is none of the above.
    """

    name: str
    metric: IncidentMetric
    size: float
    start: datetime
    end: datetime
    queue: str | None = None
    channel: str | None = None
    language: str | None = None
    shape: Literal["break", "drift"] = "break"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ValueError(f"incident name {self.name!r}: use letters, digits, '-', '_' and '.'")
        where = f"incident {self.name!r}"
        if self.metric not in ("hold_time_seconds", "aht_seconds", "csat", "complaints"):
            raise ValueError(
                f"{where}: metric {self.metric!r} is none of hold_time_seconds, aht_seconds, csat, complaints"
            )
        if self.shape not in ("break", "drift"):
            raise ValueError(f"{where}: shape {self.shape!r} is neither 'break' nor 'drift'")
        if not (np.isfinite(self.size) and self.size > 0) or (self.metric == "complaints" and self.size > 1):
            raise ValueError(f"{where}: size {self.size!r} must be above 0, and at most 1 for complaints")
        if self.start.utcoffset() != timedelta(0) or self.end.utcoffset() != timedelta(0):
            raise ValueError(f"{where}: start and end must be in UTC")
        if self.end <= self.start:
            raise ValueError(f"{where}: it ends at {self.end} and begins at {self.start}")
        for value, allowed in ((self.queue, QUEUES), (self.channel, CHANNELS), (self.language, LANGUAGES)):
            if value is not None and value not in allowed:
                raise ValueError(f"{where}: {value!r} is none of {', '.join(allowed)}")
        if self.metric == "hold_time_seconds" and self.channel == "email":
            raise ValueError(f"{where}: e-mails have no hold time; choose voice, chat or all channels")

    @property
    def effect(self) -> str:
        """The change in words, such as `aht_seconds x1.6`, with the shape where it is a drift."""
        form = {
            "hold_time_seconds": "hold_time_seconds +{:g} s",
            "aht_seconds": "aht_seconds x{:g}",
            "csat": "csat -{:g}",
            "complaints": "complaints +{:g} per contact",
        }[self.metric]
        return form.format(self.size) + (" by its end" if self.shape == "drift" else "")

    def members(self, contacts: Contacts, day: date) -> NDArray[np.bool_]:
        """Which contacts of that day belong to the segment in its hours, shape (n,)."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        begins, ends = (self.start - midnight).total_seconds(), (self.end - midnight).total_seconds()
        inside = (contacts.second >= begins) & (contacts.second < ends)
        for value, codes, names in (
            (self.queue, contacts.queue, QUEUES),
            (self.channel, contacts.channel, CHANNELS),
            (self.language, contacts.language, LANGUAGES),
        ):
            if value is not None:
                inside &= codes == names.index(value)
        if self.metric == "hold_time_seconds":
            inside &= contacts.channel != EMAIL
        return inside

    def apply(self, contacts: Contacts, members: NDArray[np.bool_], day: date) -> None:
        """Change the members in place, before satisfaction and complaints are derived from them."""
        amount: Floats = np.ones(int(members.sum()))
        if self.shape == "drift":
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            since = contacts.second[members] - (self.start - midnight).total_seconds()
            amount *= since / (self.end - self.start).total_seconds()
        if self.metric == "hold_time_seconds":
            contacts.hold[members] += self.size * amount * contacts.surge[members]
        elif self.metric == "aht_seconds":
            contacts.aht[members] *= 1 + (self.size - 1) * amount
        elif self.metric == "csat":
            contacts.csat_shift[members] += self.size * amount
        else:
            contacts.complaint_excess[members] += self.size * amount

    def overlaps(self, other: Incident) -> bool:
        """Whether some contact could belong to both."""
        segments = ((self.queue, other.queue), (self.channel, other.channel), (self.language, other.language))
        return (
            self.start < other.end
            and other.start < self.end
            and all(mine is None or theirs is None or mine == theirs for mine, theirs in segments)
        )


def random_incidents(rng: np.random.Generator, monday: date, per_week: float) -> list[Incident]:
    """Draw the incidents of one week: a Poisson number, in opening hours, in segments chosen by their volume.

    A second incident that would overlap an earlier one is left out, so that each member has one label.
    """
    volume = EXPECTED_WEEK.sum(axis=(2, 3))
    found: list[Incident] = []
    for _ in range(rng.poisson(per_week)):
        queue, channel = divmod(int(rng.choice(volume.size, p=(volume / volume.sum()).ravel())), len(CHANNELS))
        metrics: list[IncidentMetric] = ["aht_seconds", "csat", "complaints"]
        if channel != EMAIL:
            metrics.append("hold_time_seconds")
        metric = metrics[int(rng.integers(len(metrics)))]
        low, high = {
            "hold_time_seconds": (120, 300) if channel == VOICE else (60, 180),
            "aht_seconds": (1.4, 2.0),
            "csat": (1.0, 2.0),
            "complaints": (0.15, 0.4),
        }[metric]
        size = round(float(rng.uniform(low, high)), 0 if metric == "hold_time_seconds" else 2)
        start = datetime(monday.year, monday.month, monday.day, tzinfo=UTC)
        start += timedelta(days=int(rng.integers(5)), hours=int(rng.integers(8, 16)))
        incident = Incident(
            name=f"{start:%Y%m%dT%H}-{QUEUES[queue]}-{CHANNELS[channel]}-{metric}",
            metric=metric,
            size=size,
            start=start,
            end=start + timedelta(hours=int(rng.integers(3, 8))),
            queue=QUEUES[queue],
            channel=CHANNELS[channel],
            shape="drift" if rng.random() < 0.3 else "break",
        )
        if not any(incident.overlaps(earlier) for earlier in found):
            found.append(incident)
    return sorted(found, key=lambda incident: (incident.start, incident.name))


@dataclass
class Anomalies:
    """The single anomalies of one day: positions in it, the kind and form of each, and their labels.

    Attributes
    ----------
    rows
        Positions in the day, rising, shape (m,).
    kind
        Positions in `KINDS`, shape (m,).
    form
        Uniform number that chooses among the forms of a kind, shape (m,).
    strength
        Uniform number that says how far out, shape (m,).
    details
        The label of each, filled in as it is applied.
    """

    rows: Integers
    kind: Integers
    form: Floats
    strength: Floats
    details: list[str]


def draw_anomalies(rng: np.random.Generator, contacts: Contacts, rate: float, free: NDArray[np.bool_]) -> Anomalies:
    """Choose which contacts become anomalies; members of an incident (`free` False) never do."""
    draw, kind, form, strength = rng.random((4, len(contacts)))
    rows = np.flatnonzero((draw < rate) & free)
    kinds = np.searchsorted(np.cumsum(KIND_SHARE), kind[rows] * sum(KIND_SHARE), side="right")
    # Calls in retention are as long as anything else in the centre, so no handle time is strange there alone.
    no_context = (contacts.channel[rows] == VOICE) & (contacts.queue[rows] == QUEUES.index("retention"))
    kinds = np.where(no_context & (kinds == 1), 0, kinds)
    return Anomalies(rows, kinds, form[rows], strength[rows], [""] * len(rows))


def _handle_time(queue: int, channel: int, deviations: float) -> float:
    """Handle time so many standard deviations of its logarithm from the median of queue and channel, in s."""
    return float(HANDLE_MEDIAN[queue, channel] * np.exp(deviations * HANDLE_SIGMA[queue, channel]))


def apply_causes(anomalies: Anomalies, contacts: Contacts) -> None:
    """Change handle time, hold and transfers of extreme and contextual anomalies, in place.

    Satisfaction, complaints and efficiency are derived afterwards, so they follow as they would in life.
    """
    for position, row in enumerate(anomalies.rows):
        form, strength = anomalies.form[position], anomalies.strength[position]
        queue, channel = int(contacts.queue[row]), int(contacts.channel[row])
        if anomalies.kind[position] == 0:
            anomalies.details[position] = _make_extreme(contacts, int(row), queue, channel, form, strength)
        elif anomalies.kind[position] == 1:
            anomalies.details[position] = _misplace(contacts, int(row), queue, channel, form, strength)


def _make_extreme(contacts: Contacts, row: int, queue: int, channel: int, form: float, strength: float) -> str:
    said = []
    several = form < 0.2
    if several or form < 0.5 or (form < 0.7 and channel == EMAIL):
        contacts.aht[row] = _handle_time(queue, channel, 3.1) * (1.4 + 1.6 * strength)
        said.append(f"aht_seconds x{contacts.aht[row] / HANDLE_MEDIAN[queue, channel]:.0f}")
    if channel != EMAIL and (several or 0.5 <= form < 0.7):
        contacts.hold[row] = (1500 if channel == VOICE else 700) * (1 + 1.4 * strength)
        said.append(f"hold_time_seconds x{contacts.hold[row] / WAIT_MEDIAN[channel]:.0f}")
    if several or 0.7 <= form < 0.85:
        contacts.transfers[row] = 5 + round(3 * strength)
        contacts.aht[row] = max(contacts.aht[row], HANDLE_MEDIAN[queue, channel] * 1.5)
        said.append(f"transfers {contacts.transfers[row]}")
    if several or form >= 0.85:
        said.append("complaints")  # set by apply_to_records, once the others are known
    return " + ".join(said)


def _misplace(contacts: Contacts, row: int, queue: int, channel: int, form: float, strength: float) -> str:
    if channel == CHAT and form < 0.5:
        contacts.hold[row] = 180 + 180 * strength
        return "hold_time_seconds like voice"
    if channel == EMAIL and form < 0.5:
        contacts.hold[row] = 60 + 240 * strength
        return "hold_time_seconds like voice"
    if channel == EMAIL or queue == TECHNICAL:
        contacts.aht[row] = min(USUAL_SHORT + 25 * strength, _handle_time(queue, channel, -3.0))
        contacts.transfers[row] = 0
        return "aht_seconds like a short sales call"
    low = _handle_time(queue, channel, 2.6)
    contacts.aht[row] = low + (USUAL_LONG - low) * (0.3 + 0.7 * strength)
    contacts.transfers[row] = 0
    return f"aht_seconds like {'email' if channel == CHAT else 'technical'}"


def apply_to_records(anomalies: Anomalies, contacts: Contacts, outcomes: Outcomes) -> None:
    """Change what does not flow from the contact, in place: bursts of complaints, and records that are wrong."""
    for position, row in enumerate(anomalies.rows):
        form, strength = anomalies.form[position], anomalies.strength[position]
        if anomalies.kind[position] == 2:
            anomalies.details[position] = _falsify(contacts, outcomes, int(row), form, strength)
        elif anomalies.details[position].endswith("complaints"):
            outcomes.complaints[row] = 4 + round(3 * strength)
            if not np.isnan(outcomes.csat[row]):
                outcomes.csat[row] = 1
            anomalies.details[position] += f" {outcomes.complaints[row]}"


def _falsify(contacts: Contacts, outcomes: Outcomes, row: int, form: float, strength: float) -> str:
    if form < 0.25:
        contacts.aht[row] = STUCK_SECONDS
        return f"aht_seconds stuck at {STUCK_SECONDS:.0f}"
    if form < 0.5:
        outcomes.ies[row] = round(outcomes.ies[row] / 100, 1)
        return "ies as a share of 1"
    # Swapping two numbers of the same size would leave nothing to find.
    if form < 0.75 and contacts.aht[row] > 4 * contacts.hold[row]:
        contacts.aht[row], contacts.hold[row] = contacts.hold[row], contacts.aht[row]
        return "aht_seconds and hold_time_seconds swapped"
    contacts.aht[row] = np.rint(1000 * (contacts.aht[row] + strength - 0.5))
    return "aht_seconds in milliseconds"
