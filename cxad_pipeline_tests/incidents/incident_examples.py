"""Made-up contacts for the tests of incidents."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from cxad_pipeline.incidents import Contacts, MetricRule, Monitor, Rollups, SegmentTree, Tails, Windows, leaves_of

METRICS = (MetricRule("aht", "high", True), MetricRule("csat", "low"))
MONDAY = 1_788_739_200  # 7 September 2026, 00:00 UTC


@dataclass
class Centre:
    """Contacts of some weeks from a Monday on: three queues, two channels; no incident."""

    weeks: int = 6
    seed: int = 0
    per_hour: float = 12.0
    answered: float = 0.4
    between: float = 0.08
    metrics: tuple[MetricRule, ...] = METRICS
    columns: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        hours = self.weeks * 168
        of_day = np.arange(hours) % 24
        usual = self.per_hour * (1.2 + np.sin((of_day - 6) / 24 * 2 * np.pi))
        moments, queue, channel, aht = [], [], [], []
        for name, share, length in (("a", 1.0, 300), ("b", 0.6, 500), ("c", 0.3, 200)):
            for way, part in (("voice", 1.0), ("chat", 0.5)):
                counts = random.poisson(usual * share * part * random.gamma(50, 1 / 50, size=hours))
                hour = np.repeat(np.arange(hours), counts)
                moments.append(MONDAY + 3_600 * hour + random.integers(0, 3_600, size=len(hour)))
                queue += [name] * len(hour)
                channel += [way] * len(hour)
                level = (
                    np.log(length) + 0.2 * np.cos(of_day / 24 * 2 * np.pi) + self.between * random.normal(size=hours)
                )
                aht.append(np.exp(level[hour] + 0.6 * random.normal(size=len(hour))))
        number = len(queue)
        csat = np.clip(np.rint(random.normal(4.2, 1.0, size=number)), 1, 5)
        self.moments = np.concatenate(moments)
        self.leaves, self.leaf = leaves_of({"queue": queue, "channel": channel})
        self.tree = SegmentTree.of(("queue", "channel"), self.leaves)
        self.columns = {
            "aht": np.concatenate(aht),
            "csat": np.where(random.random(number) < self.answered, csat, np.nan),
        }
        self.complaints = (random.random(number) < 0.02).astype(float)
        self.windows = Windows(MONDAY, hours)

    def inside(self, first: int, stop: int, **segment: str) -> np.ndarray:
        """Contacts of a segment in windows `first` to `stop`."""
        window = self.windows.of_moments(self.moments)
        wanted = self.tree.members[self.tree.keys.index(tuple(segment.items()))][self.leaf]
        return wanted & (window >= first) & (window < stop)

    def without(self, gone: np.ndarray) -> Centre:
        """The centre without some contacts."""
        other = replace(self)
        keep = ~gone
        other.moments, other.leaf, other.complaints = self.moments[keep], self.leaf[keep], self.complaints[keep]
        other.columns = {name: column[keep] for name, column in self.columns.items()}
        return other

    def tails(self, stop: int = 336) -> Tails:
        """Tails of the first hours."""
        chosen = self.windows.of_moments(self.moments) < stop
        values = {name: column[chosen] for name, column in self.columns.items()}
        return Tails.fit(self.tree, self.metrics, self.leaf[chosen], values)

    def rollups(self, tails: Tails) -> Rollups:
        """Everything counted."""
        return Rollups.of_contacts(
            self.tree, self.metrics, tails, self.windows, self.moments, self.leaf, self.columns, self.complaints
        )

    def contacts(self, start: int = 0, stop: int = 2_000) -> Contacts:
        """The contacts of windows `start` to `stop`."""
        every = Contacts(
            ("queue", "channel"), self.leaves, self.leaf, self.moments, dict(self.columns), self.complaints
        )
        return every.chosen(self.inside(start, stop))

    def monitor(self) -> Monitor:
        """Fitted to the first two weeks."""
        return Monitor.fit(self.tree, self.metrics, self.rollups(self.tails()).between(0, 336))
