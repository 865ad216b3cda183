"""Rows per second and peak memory of the whole way: one large CSV landed, and scored in all its windows.

Trains on the committed sample, simulates a CSV of a million rows over about four weeks, and runs `cxad score` as a user
would, in a process of its own, whose time and peak memory the operating system reports. The peer in the same run is the
same file scored directly by `cxad score --input`, without Dagster, windows, export or alerts.

    python benchmarks/landing_to_scores.py [--rows N] [--memory-limit-gb G]

Prints a table and, as the last line, the same as JSON. Exit code 1 if the peak memory is above the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SAMPLE_WEEKLY_ROWS = 25_000


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--memory-limit-gb", type=float, default=2.0)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(REPOSITORY / "configs", folder / "configs")
        training = folder / "data/input/training"
        training.mkdir(parents=True)
        shutil.copy(REPOSITORY / "data/input/training/mock_train.csv", training)
        landed = folder / "data/input/inference/calls.csv"
        volume = options.rows / (4 * SAMPLE_WEEKLY_ROWS)
        cxad(folder, "simulate", "--output", str(landed), "--rows", str(options.rows), "--volume", f"{volume:.3f}")
        cxad(folder, "train")
        megabytes = landed.stat().st_size / 1e6
        direct = cxad(folder, "score", "--input", str(landed), "--output", str(folder / "direct.parquet"))
        pipeline = cxad(folder, "score")
    rows = options.rows
    figures = {
        "rows": rows,
        "csv_megabytes": round(megabytes),
        "pipeline_seconds": round(pipeline[0], 1),
        "pipeline_rows_per_second": round(rows / pipeline[0]),
        "pipeline_peak_gigabytes": round(pipeline[1], 2),
        "direct_seconds": round(direct[0], 1),
        "direct_rows_per_second": round(rows / direct[0]),
        "direct_peak_gigabytes": round(direct[1], 2),
        "pipeline_over_direct": round(pipeline[0] / direct[0], 2),
    }
    for name, value in figures.items():
        print(f"{name:28} {value:>12,}")
    print(json.dumps(figures))
    return int(pipeline[1] > options.memory_limit_gb)


def cxad(folder: Path, *arguments: str) -> tuple[float, float]:
    """Run a command; give its wall time in seconds and its own peak memory in gigabytes."""
    variables = {
        "ENABLE_ALERTS": "false",
        "CXAD_SCHEDULE__FIRST_WINDOW": "2026-09-01",
        "DAGSTER_HOME": str(folder / "dagster"),
    }
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("cxad")), *arguments],
        cwd=folder,
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"cxad {' '.join(arguments)} failed:\n{errors}")
    return seconds, memory_in_gigabytes(usage)


def memory_in_gigabytes(usage: resource.struct_rusage) -> float:
    """Peak resident memory; Linux counts kilobytes, macOS bytes."""
    return usage.ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)


if __name__ == "__main__":
    sys.exit(main())
