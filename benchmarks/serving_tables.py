"""Rows, tables and bars of the serving benchmark.

Belongs here: which of the measured values count, and what they have to be. Does not belong here: measuring (`serving`),
drawing (`serving_figure`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import report
from load_generator import Answers, percentile
from server_processes import Server

RATE = 100.0
GROWTH_TOLERANCE_MB = 2.0
PERCENTILES = {"p50 ms": 0.5, "p90 ms": 0.9, "p99 ms": 0.99, "max ms": 1.0}
FULL, ALONE = "full environment", "[serving] alone"


def start_row(what: str, seconds: list[float]) -> report.Row:
    """A row of the table of starts."""
    return {
        "start": what,
        "best s": report.rounded(min(seconds), 3),
        "all s": ", ".join(f"{value:.2f}" for value in seconds),
    }


def memory_row(stage: str, server: Server) -> report.Row:
    """A row of the table of memory: what a server holds now."""
    held = server.memory()
    return {
        "stage": stage,
        "worker MB": round(held.worker, 1),
        "others MB": round(sum(held.others.values()), 1),
        "others": "; ".join(f"{what}: {megabytes:.0f} MB" for what, megabytes in held.others.items()),
    }


def counted(name: str, turns: Sequence[Answers]) -> list[int]:
    """The latencies that count: of an open loop all, for its bar is about the slow ones; else of the best turn."""
    if "/s" in name:
        return [value for turn in turns for value in turn.latencies]
    return list(min(turns, key=lambda turn: percentile(turn.latencies, 0.5)).latencies)


def latency_rows(answers: Mapping[str, Sequence[Answers]]) -> list[report.Row]:
    """Percentiles of each load that is not a bulk one; of ours also how many times as fast it is as MLflow's."""
    rows: dict[str, dict[str, Any]] = {}
    for name, turns in answers.items():
        if "bulk" in name:
            continue
        values = counted(name, turns)
        row: dict[str, Any] = {"load": name, "requests": len(values)}
        row |= {column: _milliseconds(values, share) for column, share in PERCENTILES.items()}
        row["p50 of turns"] = ", ".join(f"{_milliseconds(turn.latencies, 0.5):.3g}" for turn in turns)
        if "/s" in name:
            row["p99 of turns"] = ", ".join(f"{_milliseconds(turn.latencies, 0.99):.3g}" for turn in turns)
            row["sent late p99 ms"] = _milliseconds((value for turn in turns for value in turn.lateness), 0.99)
        rows[name] = row
    for name, row in rows.items():
        if name.startswith("ours"):
            row["MLflow / ours"] = report.rounded(rows[name.replace("ours", "MLflow")]["p50 ms"] / row["p50 ms"])
    return [*rows.values()]


def _milliseconds(nanoseconds: Iterable[int], share: float) -> float:
    return report.rounded(percentile(nanoseconds, share) / 1e6)


def bulk_rows(answers: Mapping[str, Sequence[Answers]], post_bytes: Mapping[str, int]) -> list[report.Row]:
    """Interactions a second of each bulk load, the best turn; `post_bytes`: length of a request, by load."""
    rows: list[dict[str, Any]] = []
    for name, turns in answers.items():
        if "bulk" not in name:
            continue
        rates = [report.rounded(1_000 * turn.per_second) for turn in turns]
        row = {"body": name.replace("bulk ", ""), "interactions/s": max(rates)}
        row["times ours: JSON"] = report.rounded(max(rates) / (rows[0]["interactions/s"] if rows else max(rates)))
        row["all turns"] = ", ".join(f"{rate:,.0f}" for rate in rates)
        rows.append(row | {"KB a post": report.rounded(post_bytes[name] / 1e3)})
    return [*rows]


def tables(
    latency: Sequence[report.Row],
    bulk: Sequence[report.Row],
    memory: Sequence[report.Row],
    start: Sequence[report.Row],
    growth: Sequence[report.Row],
    *,
    connections: int,
) -> dict[str, report.Table]:
    """All tables."""
    of_turns = ["p50 of turns", "p99 of turns", "sent late p99 ms"]
    found = {
        "latency": report.Table(
            "Latency on loopback",
            ["load", "requests", *PERCENTILES, *of_turns, "MLflow / ours"],
            latency,
            "Closed loop: the best turn. With a rate: open loop, from when a request was due; all turns together.",
        ),
        "bulk": report.Table(
            f"Bulk: posts of 1,000 over {connections} connections, the generator on the same processors",
            ["body", "interactions/s", "all turns", "KB a post", "times ours: JSON"],
            bulk,
        ),
        "memory": report.Table(
            "Resident memory, in 1,000,000 bytes", ["stage", "worker MB", "others MB", "others"], memory
        ),
        "start": report.Table(
            "Start of the process until it says that it is ready", ["start", "best s", "all s"], start
        ),
    }
    if growth:
        note = f"From {warm(growth)[0]['requests']:,} requests on, a straight line rises by"
        note += f" {slope(growth):.2g} MB in 100,000 requests."
        title = "Growth: resident memory of the worker by requests answered, one record each"
        base = warm(growth)[0]["MB"]
        rows = [{**row, "MB since the warm-up": round(row["MB"] - base, 2)} for row in growth]
        found["growth"] = report.Table(title, ["requests", "MB", "MB since the warm-up"], rows, note)
    return found


def warm(growth: Sequence[report.Row]) -> Sequence[report.Row]:
    """What counts for growth: from a tenth of the requests on. Before, buffers and caches fill up."""
    return [row for row in growth if row["requests"] * 10 >= growth[-1]["requests"]]


def slope(growth: Sequence[report.Row]) -> float:
    """Megabytes in 100,000 requests after the warm-up, of the straight line with the least squares."""
    rows = warm(growth)
    return float(np.polyfit([row["requests"] for row in rows], [row["MB"] for row in rows], 1)[0] * 100_000)


def growth_bar(growth: Sequence[report.Row]) -> report.Bar:
    """That memory does not grow; the tolerance is what a heap moves by itself."""
    first, *_, last = warm(growth)
    what = f"worker's growth from {first['requests']:,} to {last['requests']:,} requests, MB"
    return report.Bar(what, report.rounded(last["MB"] - first["MB"]), GROWTH_TOLERANCE_MB, at_most=True)


def bars(
    latency: Sequence[report.Row],
    bulk: Sequence[report.Row],
    memory: Sequence[report.Row],
    local_start: report.Row,
) -> list[report.Bar]:
    """What the figures have to be."""
    rows = {str(row["load"]): row for row in latency}
    rates = {str(row["body"]): row for row in bulk}

    def below(what: str, load: str, column: str, bar: float) -> report.Bar:
        ours, peer = (rows[f"{server}: {load}"][column] for server in ("ours", "MLflow"))
        return report.Bar(f"{what}: {column}", ours, bar, at_most=True, peer=peer)

    def ratio(load: str, bar: float) -> report.Bar:
        return report.Bar(f"{load}: MLflow's p50 over ours", rows[f"ours: {load}"]["MLflow / ours"], bar)

    json, arrow, peer = (rates[name] for name in ("ours: JSON", "ours: Arrow", "MLflow: JSON"))
    return [
        below(f"1 record at {RATE:g} a second", f"1 record, {RATE:g}/s", "p50 ms", 3),
        below(f"1 record at {RATE:g} a second", f"1 record, {RATE:g}/s", "p99 ms", 12),
        ratio("1 record", 8),
        below("100 records", "100 records", "p50 ms", 12),
        ratio("1,000 records", 1),
        report.Bar("bulk JSON: interactions/s", json["interactions/s"], 15_000, peer=peer["interactions/s"]),
        report.Bar("bulk Arrow over JSON", arrow["times ours: JSON"], 1.5),
        report.Bar("start from a local copy, s", local_start["best s"], 4, at_most=True),
        *memory_bars(memory),
    ]


def memory_bars(memory: Sequence[report.Row]) -> Iterator[report.Bar]:
    """Memory of a worker: in the full environment at its highest, with the extra alone without pyarrow.

    pyarrow is imported with the first Arrow body; who posts none never has it in memory.
    """
    for where, bar in ((FULL, 300), (ALONE, 220)):
        held = [row["worker MB"] for row in memory if row["stage"].startswith(where)]
        if held and where == FULL:
            peer = next((row["worker MB"] for row in memory if row["stage"].startswith("MLflow")), None)
            yield report.Bar(f"worker, {where}: MB", max(held), bar, at_most=True, peer=peer)
        elif held:
            held = [
                row["worker MB"] for row in memory if row["stage"].startswith(where) and "Arrow" not in row["stage"]
            ]
            yield report.Bar(f"worker, {where}, before any Arrow body: MB", max(held), bar, at_most=True)
