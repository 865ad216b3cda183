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
import sys

from scratch_project import cxad, scratch_project

SAMPLE_WEEKLY_ROWS = 25_000


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--memory-limit-gb", type=float, default=2.0)
    options = arguments.parse_args()
    with scratch_project() as folder:
        landed = folder / "data/input/inference/calls.csv"
        volume = options.rows / (4 * SAMPLE_WEEKLY_ROWS)
        cxad(folder, "simulate", "--output", landed, "--rows", str(options.rows), "--volume", f"{volume:.3f}")
        cxad(folder, "train")
        megabytes = landed.stat().st_size / 1e6
        direct = cxad(folder, "score", "--input", landed, "--output", folder / "direct.parquet")
        pipeline = cxad(folder, "score")
    rows = options.rows
    figures = {
        "rows": rows,
        "csv_megabytes": round(megabytes),
        "pipeline_seconds": round(pipeline.seconds, 1),
        "pipeline_rows_per_second": round(rows / pipeline.seconds),
        "pipeline_peak_gigabytes": round(pipeline.gigabytes, 2),
        "direct_seconds": round(direct.seconds, 1),
        "direct_rows_per_second": round(rows / direct.seconds),
        "direct_peak_gigabytes": round(direct.gigabytes, 2),
        "pipeline_over_direct": round(pipeline.seconds / direct.seconds, 2),
    }
    for name, value in figures.items():
        print(f"{name:28} {value:>12,}")
    print(json.dumps(figures))
    return int(pipeline.gigabytes > options.memory_limit_gb)


if __name__ == "__main__":
    sys.exit(main())
