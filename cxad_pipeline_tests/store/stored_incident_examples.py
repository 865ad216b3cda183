"""Made-up incidents, rollups and findings for the tests of the store."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np

from cxad_pipeline.incidents import MetricRule, Rollups, SegmentTree, Windows
from cxad_pipeline.incidents.evidence import Evidence
from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.incident import Call, Cause, Example, Incident, Reason
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.incidents.states import State

MONDAY = 1_788_739_200  # 7 September 2026, 00:00 UTC
METRICS = (MetricRule("aht", "high", True), MetricRule("csat", "low"))
DIMENSIONS = ("queue", "channel")
VOICE: Key = (("queue", "billing"), ("channel", "voice"))
NASTY = "x\x00\ud800'; DROP TABLE incidents; -- \" ☎ ]]" + "long" * 3_000
"""A value as nobody would choose it: NUL, a lone surrogate, quotes, and longer than PostgreSQL's indexes take."""


def moment(hours: float = 0) -> dt.datetime:
    """So many hours after Monday, 7 September 2026."""
    return dt.datetime.fromtimestamp(MONDAY, dt.UTC) + dt.timedelta(hours=hours)


def tree_of(queues: int, channels: tuple[str, ...] = ("voice", "chat")) -> SegmentTree:
    """A tree of so many queues."""
    return SegmentTree.of(DIMENSIONS, [(f"queue {q}", channel) for q in range(queues) for channel in channels])


def rollups_of(
    tree: SegmentTree, windows: Windows, seed: int = 0, metrics: tuple[MetricRule, ...] = METRICS, empty: float = 0.3
) -> Rollups:
    """Random sums; a cell without contacts has none of anything."""
    random = np.random.default_rng(seed)
    shape = (len(tree), windows.number)
    some = random.random(shape) >= empty
    contacts = np.where(some, random.integers(1, 400, shape), 0).astype(float)

    def count() -> np.ndarray:
        return np.where(some, random.integers(0, 50, shape), 0).astype(float)

    def number() -> np.ndarray:
        return np.where(some, random.normal(size=shape) * 10.0 ** random.integers(-5, 12, shape), 0.0)

    every = range(len(metrics))
    return Rollups(
        windows,
        contacts,
        count(),
        count(),
        count(),
        np.array([count() for _ in every]),
        np.array([number() for _ in every]),
        np.array([number() for _ in every]),
        np.array([[count(), count()] for _ in every]),
    )


def findings_of(tree: SegmentTree, windows: Windows, states: np.ndarray, seed: int = 0) -> Findings:
    """Random findings with these states; only tested cells have a score."""
    random = np.random.default_rng(seed)
    shape = (len(tree), windows.number)
    score = np.where(states == State.TESTED, random.normal(size=shape), np.nan)
    large = np.ones(shape, dtype=np.bool_)
    kinds: tuple[tuple[str, Kind], ...] = (("aht", "shift"), ("aht", "far tail"), ("contacts", "volume"))
    evidence = [
        Evidence(family, kind, random.random(shape), True, random.random(shape), random.random(shape), large)
        for family, kind in kinds
    ]
    surprises = random.random((len(kinds), *shape))
    return Findings(
        windows, score, 10.0**-score, surprises, evidence, states.astype(np.int8), np.zeros((2, *shape), np.int8)
    )


def answered_of(findings: Findings) -> dict[str, np.ndarray]:
    """Half of the contacts usually have a value of each metric."""
    return {metric.name: np.full(findings.score.shape, 0.5) for metric in METRICS}


def call(segment: Key = VOICE, window: int = MONDAY, **changes: Any) -> Call:
    """A call."""
    return replace(Call(segment, window, 5.25, 4.5, "aht", "far tail", 41.0, 12.5, 41, 12.5, 55), **changes)


def incident(incident_id: str = "20260907-3f9a2c", **changes: Any) -> Incident:
    """An incident of Monday's first hour."""
    made = Incident(
        id=incident_id,
        status="open",
        segment=VOICE,
        metric="aht",
        direction="high",
        kind="far tail",
        started_at=moment(0),
        ended_at=moment(1),
        score=5.25,
        severity=48.1,
        alert_score=5.0,
        alert_severity=45.0,
        critical=True,
        observed=41.0,
        expected=12.5,
        affected=41,
        expected_affected=12.5,
        contacts=55,
        causes=(Cause((("language", "de"),), 7.5, 2.5, float("inf"), 30, 33, 0.73),),
        reasons=(Reason("aht", "far tail", 41.0, 12.5, 9.1), Reason("csat", "shift", 2.5, 4.1, 3.0)),
        examples=(
            Example("I-1", moment(0.5), 1840.0, 71.2, "handle time 1,840 s"),
            Example("I-2", moment(0.25) + dt.timedelta(microseconds=1), None, 60.0, ""),
        ),
        model_version="v3",
        threshold=4.5,
        opened_at=moment(2),
        updated_at=moment(3),
    )
    return replace(made, **changes)
