"""Calibration fits into the memory of a laptop: little beside what it gives back."""

from __future__ import annotations

import tracemalloc

import numpy as np
from incident_examples import METRICS, MONDAY

from cxad_pipeline.incidents import Monitor, Rollups, SegmentTree, Windows
from cxad_pipeline.incidents.rollups import over_leaves

MOST_BYTES = 64
"""Of a test of a cell: its statistic and its surprise, what was observed and expected, and half of that on the way."""


def history(segments: int) -> tuple[SegmentTree, Rollups]:
    """Two weeks of hours with twelve contacts a leaf, all of which have values; one in ten is bad in every way."""
    random = np.random.default_rng(0)
    tree = SegmentTree.of(("queue",), [(f"q{number}",) for number in range(segments - 1)])
    windows = Windows(MONDAY, 14 * 24)
    calls = random.poisson(12.0, size=(segments - 1, windows.number)).astype(np.float64)
    sums = random.normal(5.0 * calls, 0.5 * np.sqrt(calls))
    of_squares = sums**2 / np.maximum(calls, 1) + 0.25 * np.maximum(calls - 1, 0)
    contacts, bad = over_leaves(tree, calls), over_leaves(tree, random.binomial(calls.astype(int), 0.1).astype(float))
    count, total, squares, beyond = (
        np.stack([cells] * len(METRICS))
        for cells in (contacts, over_leaves(tree, sums), over_leaves(tree, of_squares), bad)
    )
    return tree, Rollups(windows, contacts, bad, bad, bad, count, total, squares, np.stack([beyond, beyond], axis=1))


def test_calibration_and_replay_take_little_memory_beside_what_they_give_back() -> None:
    tree, rollups = history(3)
    Monitor.fit(tree, METRICS, rollups)  # compiled once, which takes memory of its own
    tree, rollups = history(30)
    tracemalloc.start()
    try:
        _, replay = Monitor.fit_and_replay(tree, METRICS, rollups)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tests = len(replay.evidence) * rollups.contacts.size
    assert len(replay.evidence) == 13
    assert 8 * 2 * tests < kept, "what is measured are the arrays"
    assert peak < MOST_BYTES * tests, f"{peak / tests:.0f} bytes for each test of a cell"
    assert peak < 1.5 * kept
