"""A picture of drift.

Belongs here: drawing, with matplotlib's objects and none of its global state. Does not belong here: which features are
drawn, and saving.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WITHIN, _BEYOND, _INK = "#5b7f95", "#c8553d", "#333333"


def drift_figure(names: Sequence[str], psi: Sequence[float], limits: Sequence[float]) -> Figure:
    """Bars of the population stability index, each with its limit; the first is on top.

    Parameters
    ----------
    names
        What each bar is, (b,).
    psi, limits
        Length of each bar, and where its limit is marked, (b,).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 1.2 + 0.4 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    places = range(len(names))
    colours = [_BEYOND if value > limit else _WITHIN for value, limit in zip(psi, limits, strict=True)]
    axis.barh(places, psi, color=colours, height=0.6)
    axis.vlines(
        limits, [place - 0.4 for place in places], [place + 0.4 for place in places], color=_INK, linestyle="--"
    )
    axis.set_yticks(places, names, fontsize=9)
    axis.invert_yaxis()
    axis.set_xlabel("population stability index; dashed: limit")
    axis.spines[["top", "right"]].set_visible(False)
    return figure
