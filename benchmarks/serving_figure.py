"""The picture of the serving benchmark.

Belongs here: drawing. Does not belong here: numbers and their bars (`serving`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import report
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OURS, PEER = "#c44e52", "#8c8c8c"


def drawn(
    latencies: Mapping[str, npt.NDArray[np.float64]],
    bulk: Sequence[report.Row],
    memory: Sequence[report.Row],
    growth: Sequence[report.Row],
) -> Figure:
    """Latency of one record as a distribution, interactions a second, memory by stage and over many requests.

    Parameters
    ----------
    latencies
        Milliseconds by name of the row; a name that begins with `ours` is drawn as ours, one with a rate dashed.
    bulk, memory, growth
        Rows of the tables of these names; without growth its panel is left out.
    """
    figure = Figure(figsize=(17 if growth else 13, 4.2), layout="constrained")
    figure.suptitle("Serving: ours and mlflow models serve of the same version, loopback, in one run")
    panels = figure.subplots(1, 4 if growth else 3)
    _distributions(panels[0], latencies)
    _throughput(panels[1], bulk)
    _memory(panels[2], memory)
    if growth:
        requests, megabytes = ([row[name] for row in growth] for name in ("requests", "MB"))
        panels[3].plot(requests, megabytes, color=OURS)
        panels[3].set_ylim(0, max(megabytes) * 1.2)
        panels[3].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        panels[3].set_title("resident memory of the worker, MB, by requests", fontsize=10)
    for axes in panels:
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _distributions(axes: Axes, latencies: Mapping[str, npt.NDArray[np.float64]]) -> None:
    for name, values in latencies.items():
        ordered = np.sort(values)
        shares = np.arange(1, len(ordered) + 1) / len(ordered)
        style = "--" if "/s" in name else "-"
        axes.plot(ordered, 100 * shares, style, color=OURS if name.startswith("ours") else PEER, label=name)
    axes.set_xscale("log")
    axes.set_ylim(0, 101)
    axes.set_title("one record: % of answers within so many ms", fontsize=10)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(fontsize=7, loc="lower right")


def _throughput(axes: Axes, bulk: Sequence[report.Row]) -> None:
    rows = list(bulk)[::-1]
    colours = [OURS if str(row["body"]).startswith("ours") else PEER for row in rows]
    axes.barh([str(row["body"]) for row in rows], [row["interactions/s"] for row in rows], color=colours)
    for y, row in enumerate(rows):
        axes.text(row["interactions/s"], y, f" {row['interactions/s']:,.0f}", va="center", fontsize=8)
    axes.set_xlim(0, 1.25 * max(row["interactions/s"] for row in rows))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title("posts of 1,000: interactions per second", fontsize=10)


def _memory(axes: Axes, memory: Sequence[report.Row]) -> None:
    rows = list(memory)[::-1]
    for y, row in enumerate(rows):
        colour = PEER if str(row["stage"]).startswith("MLflow") else OURS
        axes.barh(y, row["worker MB"], color=colour)
        axes.barh(y, row["others MB"], left=row["worker MB"], color=colour, alpha=0.35)
        axes.text(row["worker MB"] + row["others MB"], y, f" {row['worker MB']:,.0f}", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [str(row["stage"]).replace(", ", "\n", 1) for row in rows])
    axes.set_xlim(0, 1.2 * max(row["worker MB"] + row["others MB"] for row in rows))
    axes.set_title("resident memory, MB: worker (light: beside it)", fontsize=10)
