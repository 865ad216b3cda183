"""Seconds and memory, measured so that figures of one run compare.

Belongs here: the clock, turns, processes of their own. Does not belong here: what is measured, what is said about it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


def best_in_turns(tasks: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each task, the best of several times.

    Tasks take turns, so that whatever else the machine does hits all of them alike, and the best counts, because a
    disturbance only ever adds time.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            seconds[name].append(elapsed(task))
    return {name: min(times) for name, times in seconds.items()}


def elapsed(task: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def median_of_calls(call: Callable[[int], object], n_calls: int) -> float:
    """Median seconds of `call(0)`, `call(1)`, ..., each timed by itself, after a tenth of them as a warm-up."""
    for position in range(max(1, n_calls // 10)):
        call(position)
    seconds = np.empty(n_calls)
    for position in range(n_calls):
        started = time.perf_counter()
        call(position)
        seconds[position] = time.perf_counter() - started
    return float(np.median(seconds))


@dataclass(frozen=True)
class Process:
    """A process that has ended: wall time, processor time of all its threads, peak resident memory, what it printed."""

    seconds: float
    processor_seconds: float
    gigabytes: float
    output: str


def run_process(command: Sequence[str | Path], folder: Path, variables: Mapping[str, str]) -> Process:
    """Run a command to its end; the operating system says how much memory it took.

    Raises
    ------
    SystemExit
        If it fails, with what it printed.
    """
    log = folder / "process.log"
    with log.open("w", encoding="utf-8") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env=os.environ | dict(variables),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    printed = log.read_text(encoding="utf-8")
    if process.returncode != 0:
        sys.exit(f"{' '.join(str(word) for word in command)} failed:\n{printed}")
    return Process(seconds, usage.ru_utime + usage.ru_stime, _gigabytes(usage), printed)


def _gigabytes(usage: resource.struct_rusage) -> float:
    """Peak resident memory; Linux counts kilobytes, macOS bytes."""
    return usage.ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
