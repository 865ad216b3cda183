"""What to simulate, and the stream of simulated days as tables with labels.

Belongs here: the configuration, the seeds, days put together and cut into chunks. Does not belong here: how a
normal day looks (`simulated_day`), what goes wrong (`simulated_faults`), files (`simulation`).

Each calendar day is drawn from a seed of its own, so a day is the same whichever period it is part of and however
the stream is cut into chunks, and nothing needs more memory than one day and one chunk. The background does not
depend on `anomaly_rate` and `incidents`: simulating twice, with and without, shows exactly what they changed.

Same configuration, same bytes, for one version of numpy: numpy may change how its generators draw (NEP 19).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.interactions.arrow_schema import arrow_schema
from cxad_pipeline.interactions.schema import ID, TIMESTAMP, InteractionSchema
from cxad_pipeline.interactions.simulated_day import (
    CHANNELS,
    EXPECTED_WEEK,
    LANGUAGES,
    QUEUES,
    Contacts,
    Integers,
    Outcomes,
    draw_contacts,
    outcomes_of,
)
from cxad_pipeline.interactions.simulated_faults import (
    KINDS,
    Incident,
    apply_causes,
    apply_to_records,
    draw_anomalies,
    random_incidents,
)

CHUNK_ROWS = 50_000

INTERACTIONS_SCHEMA = arrow_schema(InteractionSchema())
LABELS_SCHEMA = pa.schema([(ID, pa.string()), ("kind", pa.string()), ("detail", pa.string())])
INCIDENTS_SCHEMA = pa.schema(
    [
        ("incident", pa.string()),
        ("queue", pa.string()),
        ("channel", pa.string()),
        ("language", pa.string()),
        ("metric", pa.string()),
        ("start", pa.timestamp("us", tz="UTC")),
        ("end", pa.timestamp("us", tz="UTC")),
        ("effect", pa.string()),
    ]
)
# While a day is in the making, its labels travel beside its rows, so that cutting keeps them together.
_LABELLED_SCHEMA = pa.schema([*INTERACTIONS_SCHEMA, pa.field("kind", pa.string()), pa.field("detail", pa.string())])

# First element of a seed's spawn key: what the stream of random numbers is for.
_DAY_STREAM, _ANOMALY_STREAM, _INCIDENT_STREAM = range(3)


@dataclass(frozen=True)
class SimulationConfig:
    """What to simulate.

    Attributes
    ----------
    start
        First moment, in UTC.
    end
        Moment after the last, in UTC. Give this or `interactions`.
    interactions
        Number of interactions to make, from `start` on, for as many days as that takes.
    seed
        Seed of everything.
    anomaly_rate
        Share of contacts outside incidents that become a single anomaly, 0 to 0.5.
    incidents
        Mean number of random incidents per week, or the incidents themselves.
    volume_scale
        Factor on the centre's volume; 1 is about 25,000 contacts a week. Waits do not depend on it.
    first_id
        Number of the first interaction of each day, the last part of `I-20261005-000001`.

    Raises
    ------
    ValueError
        If a value is out of its range, or two incidents claim the same contacts.
    """

    start: datetime
    end: datetime | None = None
    interactions: int | None = None
    seed: int = 0
    anomaly_rate: float = 0.01
    incidents: float | tuple[Incident, ...] = 1.0
    volume_scale: float = 1.0
    first_id: int = 1

    def __post_init__(self) -> None:
        if (self.end is None) == (self.interactions is None):
            raise ValueError("give either end or interactions of a simulation, not both and not neither")
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment is not None and moment.utcoffset() != timedelta(0):
                raise ValueError(f"{name} of a simulation must be in UTC, got {moment!r}")
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"a simulation from {self.start} cannot end at {self.end}")
        if self.interactions is not None and self.interactions < 1:
            raise ValueError(f"interactions must be at least 1, got {self.interactions}")
        if self.seed < 0 or self.first_id < 0:
            raise ValueError(f"seed and first_id must not be negative, got {self.seed} and {self.first_id}")
        if not 0 <= self.anomaly_rate <= 0.5:
            raise ValueError(f"anomaly_rate must be between 0 and 0.5, got {self.anomaly_rate}")
        if not 0.001 <= self.volume_scale <= 1000:
            raise ValueError(f"volume_scale must be between 0.001 and 1000, got {self.volume_scale}")
        if isinstance(self.incidents, tuple):
            self._check_incidents(self.incidents)
        elif not 0 <= self.incidents <= 20:
            raise ValueError(f"incidents per week must be between 0 and 20, got {self.incidents}")

    @staticmethod
    def _check_incidents(incidents: tuple[Incident, ...]) -> None:
        for position, incident in enumerate(incidents):
            for earlier in incidents[:position]:
                if incident.name == earlier.name:
                    raise ValueError(f"two incidents are named {incident.name!r}")
                if incident.overlaps(earlier):
                    raise ValueError(
                        f"incidents {earlier.name!r} and {incident.name!r} claim the same contacts; "
                        "move one in time or to another segment"
                    )


@dataclass(frozen=True)
class SimulatedChunk:
    """The next interactions in time order, with the labels of the unusual ones among them."""

    interactions: pa.Table
    labels: pa.Table


@dataclass(frozen=True)
class Simulation:
    """A whole simulation: tables of `INTERACTIONS_SCHEMA`, `LABELS_SCHEMA` and `INCIDENTS_SCHEMA`."""

    interactions: pa.Table
    labels: pa.Table
    incidents: pa.Table


def expected_interactions(config: SimulationConfig) -> int:
    """How many interactions to expect, exact where `config.interactions` says so; for progress bars."""
    if config.end is None:
        return cast(int, config.interactions)
    by_hour = EXPECTED_WEEK.sum(axis=(0, 1)).ravel()
    monday = _monday(config.start.date())
    origin = datetime(monday.year, monday.month, monday.day, tzinfo=UTC)
    first, last = ((moment - origin) / timedelta(hours=1) for moment in (config.start, config.end))
    weeks = np.concatenate([[0.0], np.cumsum(by_hour)])

    def until(hours: float) -> float:
        week, rest = divmod(hours, 168)
        return float(week * weeks[-1] + np.interp(rest, np.arange(169), weeks))

    return round((until(last) - until(first)) * config.volume_scale)


def simulate(config: SimulationConfig, chunk_rows: int = CHUNK_ROWS) -> Iterator[SimulatedChunk]:
    """Simulate in time order, in chunks.

    Parameters
    ----------
    config
        What to simulate.
    chunk_rows
        Rows of each chunk; the last one may be shorter. The rows themselves do not depend on it.

    Yields
    ------
    SimulatedChunk
        The next `chunk_rows` interactions and their labels.

    Raises
    ------
    ValueError
        If `chunk_rows` is below 1.
    """
    if chunk_rows < 1:
        raise ValueError(f"chunk_rows must be at least 1, got {chunk_rows}")
    waiting: pa.Table | None = None
    for day in _days(config):
        waiting = day if waiting is None else pa.concat_tables([waiting, day])
        whole = waiting.num_rows // chunk_rows * chunk_rows
        for begin in range(0, whole, chunk_rows):
            yield _split_labels(waiting.slice(begin, chunk_rows))
        if whole:
            waiting = waiting.slice(whole)
    if waiting is not None and waiting.num_rows:
        yield _split_labels(waiting)


def simulate_table(config: SimulationConfig) -> Simulation:
    """Simulate into memory: what `simulate` gives, in one piece, and the incidents."""
    labelled = pa.concat_tables([_LABELLED_SCHEMA.empty_table(), *_days(config)])
    chunk = _split_labels(labelled)
    times = chunk.interactions[TIMESTAMP]
    last = times[-1].as_py() if len(times) else None
    return Simulation(chunk.interactions.combine_chunks(), chunk.labels.combine_chunks(), incident_table(config, last))


def incident_table(config: SimulationConfig, last: datetime | None) -> pa.Table:
    """The incidents that touch the simulated period, as a table of `INCIDENTS_SCHEMA`.

    Parameters
    ----------
    config
        What was simulated.
    last
        Time of the last interaction, which ends the period where `config.end` does not; None if there was none.
    """
    end = config.end or (last + timedelta(seconds=1) if last is not None else config.start)
    incidents: list[Incident] = []
    monday = _monday(config.start.date())
    while monday < end.date() + timedelta(days=1):
        incidents += [one for one in _incidents_of_week(config, monday) if one not in incidents]
        monday += timedelta(days=7)
    rows = [
        {**vars(one), "incident": one.name, "effect": one.effect}
        for one in sorted(incidents, key=lambda one: (one.start, one.name))
        if one.start < end and config.start < one.end
    ]
    return pa.Table.from_pylist(
        [{name: row[name] for name in INCIDENTS_SCHEMA.names} for row in rows], schema=INCIDENTS_SCHEMA
    )


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _rng(config: SimulationConfig, stream: int, day: date) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(stream, day.toordinal())))


def _incidents_of_week(config: SimulationConfig, monday: date) -> list[Incident]:
    if isinstance(config.incidents, tuple):
        return list(config.incidents)
    return random_incidents(_rng(config, _INCIDENT_STREAM, monday), monday, config.incidents)


def _days(config: SimulationConfig) -> Iterator[pa.Table]:
    """The simulated days as labelled tables, cut to the configured period or number."""
    day, left = config.start.date(), config.interactions
    week: date | None = None
    incidents: list[Incident] = []
    while (config.end is None or day <= config.end.date()) and (left is None or left > 0):
        if week != _monday(day):
            week = _monday(day)
            incidents = _incidents_of_week(config, week)
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        begins = (config.start - midnight).total_seconds()
        ends = (config.end - midnight).total_seconds() if config.end is not None else np.inf
        if ends > 0:
            table, seconds = _simulate_day(config, day, incidents)
            first, stop = np.searchsorted(seconds, [begins, ends])
            table = table.slice(first, stop - first)
            if left is not None:
                table = table.slice(0, left)
                left -= table.num_rows
            yield table
        day += timedelta(days=1)


def _simulate_day(config: SimulationConfig, day: date, incidents: list[Incident]) -> tuple[pa.Table, Integers]:
    contacts = draw_contacts(_rng(config, _DAY_STREAM, day), day.weekday(), config.volume_scale)
    kind, detail = np.full((2, len(contacts)), None, dtype=object)
    in_incident = np.zeros(len(contacts), dtype=bool)
    for incident in incidents:
        members = incident.members(contacts, day)
        if members.any():
            incident.apply(contacts, members, day)
            kind[members], detail[members] = "incident", incident.name
            in_incident |= members
    free = ~in_incident
    anomalies = draw_anomalies(_rng(config, _ANOMALY_STREAM, day), contacts, config.anomaly_rate, free)
    apply_causes(anomalies, contacts)
    # Whole seconds from here on: what the records say is what the outcomes follow from.
    contacts.aht, contacts.hold = np.rint(contacts.aht), np.rint(contacts.hold)
    outcomes = outcomes_of(contacts)
    apply_to_records(anomalies, contacts, outcomes)
    kind[anomalies.rows] = [KINDS[code] for code in anomalies.kind]
    detail[anomalies.rows] = anomalies.details
    table = _table_of_day(day, config.first_id, contacts, outcomes)
    table = table.append_column("kind", pa.array(kind, pa.string()))
    return table.append_column("detail", pa.array(detail, pa.string())), contacts.second


def _table_of_day(day: date, first_id: int, contacts: Contacts, outcomes: Outcomes) -> pa.Table:
    numbers = pc.cast(pa.array(np.arange(first_id, first_id + len(contacts))), pa.string())
    ids = pc.binary_join_element_wise(f"I-{day:%Y%m%d}-", pc.utf8_lpad(numbers, 6, "0"), "")
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    columns = {
        ID: ids,
        TIMESTAMP: pa.array((midnight + contacts.second) * 1_000_000),
        "csat": pa.array(outcomes.csat, from_pandas=True),
        "ies": pa.array(outcomes.ies),
        "complaints": pa.array(outcomes.complaints),
        "aht_seconds": pa.array(contacts.aht),
        "hold_time_seconds": pa.array(contacts.hold),
        "transfers": pa.array(contacts.transfers),
        "channel": pa.array(CHANNELS).take(pa.array(contacts.channel)),
        "language": pa.array(LANGUAGES).take(pa.array(contacts.language)),
        "queue": pa.array(QUEUES).take(pa.array(contacts.queue)),
    }
    return pa.table([columns[name] for name in INTERACTIONS_SCHEMA.names], names=INTERACTIONS_SCHEMA.names).cast(
        INTERACTIONS_SCHEMA
    )


def _split_labels(labelled: pa.Table) -> SimulatedChunk:
    labels = labelled.select(LABELS_SCHEMA.names).filter(pc.is_valid(labelled["kind"])).cast(LABELS_SCHEMA)
    return SimulatedChunk(labelled.select(INTERACTIONS_SCHEMA.names), labels)
