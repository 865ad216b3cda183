"""Incidents, windows, messages and a calibration in a store, for tests of routes and commands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cxad_pipeline.incidents import MetricRule, Rollups, SegmentTree, Windows
from cxad_pipeline.incidents.evidence import Evidence
from cxad_pipeline.incidents.findings import Findings
from cxad_pipeline.incidents.incident import Call, Cause, Example, Incident, Reason
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.incidents.states import State
from cxad_pipeline.store.calibrations import CalibrationRecord, record_calibration
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incidents import Told, save_incident
from cxad_pipeline.store.outbox import Notice, claim, queue, settle_dead, settle_sent
from cxad_pipeline.store.segment_findings import findings_rows, record_findings
from cxad_pipeline.store.segment_windows import replace_rollups

HOUR = 3_600
MONDAY = 1_772_409_600  # 2 March 2026, 00:00 UTC
BILLING: Key = (("queue", "billing"), ("channel", "voice"), ("language", "de"))
SALES: Key = (("queue", "sales"),)
METRICS = (MetricRule("aht_seconds", "high", True), MetricRule("csat", "low"))


def at(hours: float) -> dt.datetime:
    """So many hours after Monday, 2 March 2026."""
    return dt.datetime.fromtimestamp(MONDAY, dt.UTC) + dt.timedelta(hours=hours)


def incident(hour: int, **changes: Any) -> Incident:
    """An incident of one hour; its id tells which."""
    made = Incident(
        id=f"20260302-{hour:06x}",
        status="open",
        segment=BILLING,
        metric="hold_time_seconds",
        direction="high",
        kind="shift",
        started_at=at(hour),
        ended_at=at(hour + 1),
        score=6.1,
        severity=70.0,
        alert_score=5.4,
        alert_severity=61.0,
        critical=True,
        observed=191.4,
        expected=62.0,
        affected=41,
        expected_affected=6.2,
        contacts=55,
        causes=(Cause((("language", "de"),), 7.5, 2.5, float("inf"), 30, 33, 0.73),),
        reasons=(Reason("hold_time_seconds", "shift", 191.4, 62.0, 9.1),),
        examples=(Example("I-1", at(hour + 0.5), 640.0, 71.2, "hold time 640 s, typically 10-140 s"),),
        model_version="v3",
        threshold=4.5,
        opened_at=at(hour + 2),
        updated_at=at(hour + 2),
    )
    return replace(made, **changes)


def call_of(one: Incident) -> Call:
    """The call that an incident of one hour is made of."""
    return Call(
        one.segment, int(one.started_at.timestamp()), one.score, one.threshold, one.metric, one.kind, one.observed,
        one.expected, one.affected, one.expected_affected, one.contacts,
    )  # fmt: skip


def save(store: Store, *incidents: Incident) -> None:
    """Write incidents, each with its one call."""
    with store.writing() as connection:
        for one in incidents:
            save_incident(connection, one, [call_of(one)], Told(at(3), one.alert_severity, one.critical, 1))


def save_messages(store: Store, one: Incident) -> None:
    """A message of an incident: sent to the console, given up by e-mail; and one that waits for Slack."""
    now = dt.datetime.now(dt.UTC)
    with store.writing() as connection:
        topic = f"incident:{one.id}"
        content = {"headline": f"Trouble in {one.id}", "text": "the whole message, which is nobody's here"}
        queue(connection, Notice(f"{topic}:opened", "opened", topic, content, now), ["console", "email"], at=now)
        later = Notice("digest:1", "digest", "digest", {**content, "headline": "The digest"}, now)
        queue(connection, later, ["slack"], at=now)
    with store.writing() as connection:
        lease = dt.timedelta(minutes=1)
        claims = {one.channel: one for one in claim(connection, ["console", "email"], now=now, lease=lease, limit=9)}
        settle_sent(connection, claims["console"], {}, now)
        settle_dead(connection, claims["email"], "550 no such user", now)


def save_calibration(store: Store) -> None:
    """A calibration that promises 5 incidents a week."""
    record = CalibrationRecord(at(0), at(-24), at(0), 900, 7, ["aht_seconds"], 4.5, 5.0, 4.25, 4.0, {})
    with store.writing() as connection:
        record_calibration(connection, record)


def save_windows(store: Store, number: int, *, seconds: int = HOUR, not_answered: Sequence[int] = ()) -> SegmentTree:
    """Windows from Monday on: 10 contacts an hour in billing, 20 in sales; the last one of billing scores highest.

    In some of them `csat` is in the state "not answered" everywhere.
    """
    tree = SegmentTree.of(
        ("queue", "channel", "language"),
        [("billing", "voice", "de"), ("billing", "chat", "de"), ("sales", "chat", "en"), ("sales", "voice", "en")],
    )
    windows = Windows(MONDAY, number, seconds)
    shape = (len(tree), number)
    contacts = tree.members.astype(float) @ np.array([[10.0], [0.0], [20.0], [0.0]]) * np.ones((1, number))
    values = np.stack([contacts, contacts])
    total = np.stack([contacts * np.log1p(300.0 / 60.0), contacts * 4.0])  # 300 s, and 4 points
    rollups = Rollups(
        windows, contacts, contacts / 10, contacts / 5, contacts * 0, values, total, total**2,
        np.stack([np.stack([contacts * 0] * 2)] * 2),
    )  # fmt: skip
    billing = tree.keys.index((("queue", "billing"),))
    states = np.full(shape, State.TESTED, dtype=np.int8)
    score = np.zeros(shape)
    score[billing, -1] = 6.5
    states[0, 0], score[0, 0] = State.COLD_START, np.nan
    observed, expected = np.full(shape, 400.0), np.full(shape, 300.0)
    evidence = [Evidence("aht_seconds", "shift", score, True, observed, expected, np.ones(shape, dtype=np.bool_))]
    of_metrics = np.zeros((2, *shape), np.int8)
    of_metrics[1][:, list(not_answered)] = State.NOT_ANSWERED
    findings = Findings(windows, score, 10.0**-score, np.ones((1, *shape)), evidence, states, of_metrics)
    with store.writing() as connection:
        replace_rollups(connection, tree, METRICS, rollups, at=at(number))
        answered = {metric.name: np.full(shape, 0.5) for metric in METRICS}
        record_findings(connection, findings_rows(connection, tree, findings, answered, 0, number))
    return tree
