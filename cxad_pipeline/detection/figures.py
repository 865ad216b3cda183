"""Pictures of scores for the evaluation report.

Belongs here: drawing, with matplotlib's objects and none of its global state. Does not belong here: saving.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxad_pipeline.detection.detector import Scores
from cxad_pipeline.detection.evaluation import correlations, scores_by_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NORMAL, _FLAGGED, _INK = "#5b7f95", "#c8553d", "#333333"


def report_figures(scores: Scores) -> dict[str, Figure]:
    """All figures of the evaluation report, by the name of their file."""
    return {
        "score_distribution": distribution_figure(scores),
        "score_boxplots": boxplot_figure(scores),
        "score_correlation": correlation_figure(scores),
    }


def held_out_figure(name: str, values: np.ndarray, threshold: float) -> Figure:
    """Histogram of one model's held-out scores with its threshold; counts on a log scale."""
    figure, (axis,) = _row_of_axes(1)
    _histogram(axis, name, values, values >= threshold, threshold)
    axis.set_ylabel("interactions")
    return figure


def distribution_figure(scores: Scores) -> Figure:
    """Histograms of each model's scores side by side, with its threshold; counts on a log scale."""
    by_model = scores_by_model(scores)
    figure, axes = _row_of_axes(len(by_model))
    for axis, (name, values) in zip(axes, by_model.items(), strict=True):
        _histogram(axis, name, values, scores.flags[name], scores.thresholds[name])
    axes[0].set_ylabel("interactions")
    axes[0].legend(frameon=False)
    return figure


def boxplot_figure(scores: Scores) -> Figure:
    """Box plots of each model's scores, rows that the ensemble flags against the others."""
    by_model = scores_by_model(scores)
    flagged = scores.flags["ensemble"]
    figure, axes = _row_of_axes(len(by_model))
    for axis, (name, values) in zip(axes, by_model.items(), strict=True):
        groups, labels = [values[~flagged]], ["not flagged"]
        if flagged.any():
            groups, labels = [*groups, values[flagged]], [*labels, "flagged"]
        boxes = axis.boxplot(groups, tick_labels=labels, patch_artist=True, widths=0.6, flierprops={"markersize": 2})
        for box, colour in zip(boxes["boxes"], (_NORMAL, _FLAGGED), strict=False):
            box.set_facecolor(colour)
        axis.axhline(scores.thresholds[name], color=_INK, linewidth=1, linestyle="--")
        axis.set_title(f"{name}, by the ensemble's flag")
    axes[0].set_ylabel("score")
    return figure


def correlation_figure(scores: Scores) -> Figure:
    """Rank correlation of the models, beside a scatter of the first two members."""
    names, matrix = correlations(scores)
    figure, (grid, scatter) = _row_of_axes(2)
    image = grid.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu")
    grid.set_xticks(range(len(names)), names)
    grid.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(matrix):
        grid.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if abs(value) > 0.6 else _INK)
    grid.set_title("Spearman rank correlation")
    figure.colorbar(image, ax=grid, shrink=0.8)
    members = [name for name in names if name != "ensemble"]
    first, second = members[0], members[min(1, len(members) - 1)]
    flagged = scores.flags["ensemble"]
    for rows, colour, label in ((~flagged, _NORMAL, "not flagged"), (flagged, _FLAGGED, "flagged")):
        scatter.scatter(scores.raw[first][rows], scores.raw[second][rows], s=4, alpha=0.5, color=colour, label=label)
    scatter.set_xlabel(f"{first} score")
    scatter.set_ylabel(f"{second} score")
    scatter.set_title("by the ensemble's flag")
    scatter.legend(frameon=False, markerscale=3)
    return figure


def _histogram(axis: Any, name: str, values: np.ndarray, flagged: np.ndarray, threshold: float) -> None:
    bins = np.histogram_bin_edges(values, bins=60)
    axis.hist(values[~flagged], bins=bins, color=_NORMAL, label="not flagged")
    axis.hist(values[flagged], bins=bins, color=_FLAGGED, label="flagged")
    axis.axvline(threshold, color=_INK, linewidth=1, linestyle="--")
    axis.set_yscale("log")
    axis.set_title(f"{name}: {int(flagged.sum()):,} of {len(values):,} beyond {threshold:.3g}")
    axis.set_xlabel("score")


def _row_of_axes(count: int) -> tuple[Figure, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * count, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(1, count)))
