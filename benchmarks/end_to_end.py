"""`cxad score` from Parquet to Parquet and training on many rows: time and memory, against a plain script.

Trains a champion on the committed sample in a scratch folder, simulates files of growing size, and scores each with
both models in a process of its own, as a user would; wall time includes the start of Python. The peer in the same run
is `plain_script.py` (pandas, scikit-learn, rrcf), on as few rows as it can do in reasonable time, timed from reading
to writing alone. Training is `Detector.fit`, calibration included, without MLflow and figures.

    python benchmarks/end_to_end.py [--quick] [--output FOLDER] [--five-million]

Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import report
from matplotlib.figure import Figure
from measuring import Process
from scratch_project import cxad, python, scratch_project

SIZES = (100_000, 300_000, 1_000_000)
FIVE_MILLION = 5_000_000
TRAINING_ROWS = 1_000_000
PLAIN_ROWS = 1_000
WEEKLY_ROWS = 25_000


def main() -> int:
    parser = report.arguments(__doc__)
    parser.add_argument("--five-million", action="store_true", help=f"score {FIVE_MILLION:,} rows as well")
    options = parser.parse_args()
    sizes = (500, 1_000) if options.quick else (*SIZES, *([FIVE_MILLION] if options.five_million else []))
    with scratch_project() as folder:
        cxad(folder, "train")
        scoring = scored(folder, sizes, 1 if options.quick else 2)
        plain = plain_run(folder, 5 if options.quick else PLAIN_ROWS)
        training = training_run(folder, 1_000 if options.quick else TRAINING_ROWS)
    found = report.Report("end_to_end", options.quick)
    for row in scoring:
        row["times plain script"] = report.rounded(row["rows/s"] / plain["rows/s"])
    found.tables["scoring"] = report.Table(
        "Parquet to Parquet, both models",
        ["what", "rows", "seconds", "processor s", "rows/s", "peak GB", "times plain script"],
        [*scoring, plain],
        f"{SLOPE_NOTE} {report.rounded(1 / slope(scoring)):,.0f} rows/s.",
    )
    found.tables["training"] = report.Table(
        "Training: Detector.fit with calibration", ["what", "rows", "seconds", "rows/s", "peak GB"], [training]
    )
    found.bars += [
        report.Bar(f"cxad score, {sizes[-1]:,} rows: rows/s", scoring[-1]["rows/s"], 30_000),
        report.Bar(f"cxad score, {sizes[-1]:,} rows: peak GB", scoring[-1]["peak GB"], 1.0, at_most=True),
        report.Bar("processor s per row, last step over first (time linear in rows)", bend(scoring), 1.2, at_most=True),
        report.Bar(f"training on {training['rows']:,} rows, s", training["seconds"], 30, at_most=True),
    ]
    return found.finish(drawn(scoring, plain), options.output)


SLOPE_NOTE = "Seconds include starting Python and loading the champion; by the slope of a straight line it scores"


def simulated_file(folder: Path, rows: int) -> Path:
    """A Parquet file of about four weeks of a centre that is as busy as the rows say; made once."""
    path = folder / f"calls-{rows}.parquet"
    if not path.exists():
        volume = max(rows / (4 * WEEKLY_ROWS), 0.01)
        cxad(folder, "simulate", "--output", path, "--rows", str(rows), "--volume", f"{volume:.3f}")
    return path


def scored(folder: Path, sizes: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """`cxad score` on files of these sizes, in turns: times of the best run, memory of the worst."""
    runs: dict[int, list[Process]] = {rows: [] for rows in sizes}
    for _ in range(repeats):
        for rows in sizes:
            source = simulated_file(folder, rows)
            runs[rows].append(cxad(folder, "score", "--input", source, "--output", folder / "scored.parquet"))
    return [
        {"what": "cxad score"}
        | _figures(rows, min(run.seconds for run in own), max(run.gigabytes for run in own))
        | {"processor s": report.rounded(min(run.processor_seconds for run in own))}
        for rows, own in runs.items()
    ]


def plain_run(folder: Path, rows: int) -> dict[str, Any]:
    """The plain script on so many rows."""
    source = simulated_file(folder, rows)
    training = folder / "data/input/training/mock_train.csv"
    return {"what": "plain script"} | _told(
        python(folder, "plain_script.py", training, source, folder / "plain.parquet")
    )


def training_run(folder: Path, rows: int) -> dict[str, Any]:
    """`Detector.fit` on so many rows."""
    return {"what": "Detector.fit"} | _told(python(folder, "training_run.py", simulated_file(folder, rows)))


def _told(process: Process) -> dict[str, Any]:
    """What a script says of itself in its last line, and its memory."""
    told = json.loads(process.output.splitlines()[-1])
    return _figures(told["rows"], told["seconds"], process.gigabytes)


def _figures(rows: int, seconds: float, gigabytes: float) -> dict[str, Any]:
    return {
        "rows": rows,
        "seconds": report.rounded(seconds),
        "rows/s": report.rounded(rows / seconds),
        "peak GB": round(gigabytes, 3),
    }


def slope(scoring: list[dict[str, Any]], seconds: str = "seconds") -> float:
    """Seconds per further row, of the straight line through the smallest and the largest."""
    first, last = scoring[0], scoring[-1]
    difference = max(float(last[seconds] - first[seconds]), 1e-3)  # a few rows more may take less, by chance
    return difference / float(last["rows"] - first["rows"])


def bend(scoring: list[dict[str, Any]]) -> float:
    """Processor seconds per further row up to the largest size, over those up to the second smallest.

    Not wall time: on a machine that does other things as well, that says more about them.
    """
    return report.rounded(slope(scoring[-2:], "processor s") / slope(scoring[:2], "processor s"))


def drawn(scoring: list[dict[str, Any]], plain: dict[str, Any]) -> Figure:
    """Time against rows, throughput against the plain script, memory against rows."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    figure.suptitle("Parquet to Parquet with both models, in a process of its own")
    rows = np.array([row["rows"] for row in scoring])
    time_axes, rate_axes, memory_axes = figure.subplots(1, 3)
    time_axes.plot(rows, [row["seconds"] for row in scoring], "o-", color="#c44e52", label="cxad score")
    start = scoring[0]["seconds"] - slope(scoring) * rows[0]
    time_axes.plot(rows, start + slope(scoring) * rows, "--", color="#8c8c8c", linewidth=1, label="straight line")
    time_axes.legend(fontsize=8, loc="upper left")
    time_axes.set_title("seconds by rows", fontsize=10)
    best = max(scoring, key=lambda row: row["rows/s"])
    rates = {f"plain script\n({plain['rows']:,} rows)": plain, f"cxad score\n({best['rows']:,} rows)": best}
    rate_axes.barh(list(rates), [row["rows/s"] for row in rates.values()], color=["#8c8c8c", "#c44e52"])
    for y, row in enumerate(rates.values()):
        rate_axes.text(row["rows/s"], y, f" {row['rows/s']:,.0f}", va="center", fontsize=9)
    rate_axes.set_xscale("log")
    rate_axes.set_xlim(right=rate_axes.get_xlim()[1] * 6)
    rate_axes.set_title("rows per second", fontsize=10)
    memory_axes.plot(rows, [row["peak GB"] for row in scoring], "o-", color="#c44e52")
    memory_axes.axhline(1.0, color="#8c8c8c", linestyle="--", linewidth=1)
    memory_axes.set_ylim(0, max(1.1, 1.1 * max(row["peak GB"] for row in scoring)))
    memory_axes.set_title("peak resident memory, GB, by rows (dashed: the bar)", fontsize=10)
    for axes in (time_axes, memory_axes):
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.tick_params(labelsize=8)
    for axes in (time_axes, rate_axes, memory_axes):
        axes.spines[["top", "right"]].set_visible(False)
    time_axes.set_ylim(bottom=0)
    return figure


if __name__ == "__main__":
    sys.exit(main())
