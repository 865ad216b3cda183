"""Pictures of scores for the evaluation report.

Belongs here: drawing, with matplotlib's objects and none of its global state. Does not belong here: saving.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.detection.detector import Scores
from cxad_pipeline.detection.evaluation import correlations, scores_by_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NORMAL, _FLAGGED, _INK = "#5b7f95", "#c8553d", "#333333"
_BINS = 60
_COLUMNS = 3


def report_figures(scores: Scores) -> dict[str, Figure]:
    """All figures of the evaluation report, by the name of their file."""
    return {
        "score_distribution": distribution_figure(scores),
        "score_boxplots": boxplot_figure(scores),
        "score_correlation": correlation_figure(scores),
    }


def held_out_figure(name: str, values: np.ndarray, threshold: float) -> Figure:
    """Histogram of one model's held-out scores with its threshold; counts on a log scale."""
    figure, (axis,) = _axes(1)
    _histogram(axis, name, values, values >= threshold, threshold)
    axis.set_ylabel("interactions")
    axis.legend(frameon=False, loc="upper right")
    return figure


def distribution_figure(scores: Scores) -> Figure:
    """Histograms of each model's scores side by side, with its threshold; counts on a log scale."""
    by_model = scores_by_model(scores)
    figure, axes = _axes(len(by_model))
    for axis, (name, values) in zip(axes, by_model.items(), strict=True):
        _histogram(axis, name, values, scores.flags[name], scores.thresholds[name])
    axes[0].set_ylabel("interactions")
    axes[0].legend(frameon=False, loc="upper right")
    figure.suptitle("Scores by model, each by its own flag; dashed: threshold", fontsize=11)
    return figure


def boxplot_figure(scores: Scores) -> Figure:
    """Box plots of each model's scores, rows that the ensemble flags against the others."""
    by_model = scores_by_model(scores)
    flagged = scores.flags[ENSEMBLE]
    groups = [
        (rows, f"{words}\n{int(rows.sum()):,}", colour)
        for rows, words, colour in ((~flagged, "not flagged", _NORMAL), (flagged, "flagged", _FLAGGED))
        if rows.any()
    ]
    figure, axes = _axes(len(by_model))
    for axis, (name, values) in zip(axes, by_model.items(), strict=True):
        boxes = axis.boxplot(
            [values[rows] for rows, _, _ in groups],
            tick_labels=[words for _, words, _ in groups],
            patch_artist=True,
            widths=0.6,
            medianprops={"color": _INK, "linewidth": 1.8},
            flierprops={"markersize": 2, "alpha": 0.4, "markeredgecolor": _INK},
        )
        for box, (_, _, colour) in zip(boxes["boxes"], groups, strict=True):
            box.set(facecolor=colour, edgecolor=_INK)
        axis.axhline(scores.thresholds[name], color=_INK, linewidth=1, linestyle="--")
        axis.set_title(name, fontsize=10)
        _bare(axis)
    axes[0].set_ylabel("score")
    figure.suptitle("Scores by the ensemble's flag; dashed: the model's own threshold", fontsize=11)
    return figure


def correlation_figure(scores: Scores) -> Figure:
    """Rank correlation of the models, beside a scatter of the first two members, or of ensemble and only member."""
    names, matrix = correlations(scores)
    figure, (grid, scatter) = _axes(2)
    grid.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu")
    grid.set_xticks(range(len(names)), names)
    grid.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(matrix):
        grid.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if abs(value) > 0.6 else _INK)
    grid.set_title("Spearman rank correlation", fontsize=10)
    by_model = scores_by_model(scores)
    first, second = (names[1:] if len(names) > 2 else names)[:2]
    flagged = scores.flags[ENSEMBLE]
    for rows, colour, label, size in ((~flagged, _NORMAL, "not flagged", 4), (flagged, _FLAGGED, "flagged", 10)):
        scatter.scatter(
            by_model[first][rows], by_model[second][rows], s=size, alpha=0.6, linewidths=0, color=colour, label=label
        )
    scatter.axvline(scores.thresholds[first], color=_INK, linewidth=1, linestyle="--")
    scatter.axhline(scores.thresholds[second], color=_INK, linewidth=1, linestyle="--")
    scatter.set_xlabel(f"{first} score")
    scatter.set_ylabel(f"{second} score")
    scatter.set_title("Colour: the ensemble's flag; dashed: thresholds", fontsize=10)
    scatter.legend(frameon=False, markerscale=2.5, loc="upper left")
    _bare(scatter)
    return figure


def _histogram(axis: Any, name: str, values: np.ndarray, flagged: np.ndarray, threshold: float) -> None:
    bins = _bins(values, threshold)
    axis.hist(values[~flagged], bins=bins, color=_NORMAL, label="not flagged")
    axis.hist(values[flagged], bins=bins, color=_FLAGGED, label="flagged")
    axis.axvline(threshold, color=_INK, linewidth=1, linestyle="--")
    axis.set_yscale("log")
    axis.set_ylim(bottom=0.7)  # so that a bar of one interaction has a height
    axis.set_title(f"{name}: {int(flagged.sum()):,} of {len(values):,} flagged (≥ {threshold:.3g})", fontsize=10)
    axis.set_xlabel("score")
    _bare(axis)


def _bins(values: np.ndarray, threshold: float) -> np.ndarray:
    """Edges of equal width with one at the threshold, so that no bar holds both kinds of rows."""
    width = float(np.ptp(values)) / _BINS
    if width == 0:
        return np.histogram_bin_edges(values, bins=_BINS)
    below, above = np.floor((values.min() - threshold) / width), np.floor((values.max() - threshold) / width) + 1
    if above - below > 4 * _BINS:  # the threshold lies far from all scores
        return np.histogram_bin_edges(values, bins=_BINS)
    return threshold + width * np.arange(below, above + 1)


def _axes(count: int) -> tuple[Figure, list[Any]]:
    """Axes side by side, at most three to a row, in a size whose text can be read at 1,000 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 2 if count == 4 else min(count, _COLUMNS)
    rows = -(-count // columns)
    width = {1: 6.0, 2: 9.6, 3: 10.8}[columns]
    figure = Figure(figsize=(width, 4.0 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.ravel(figure.subplots(rows, columns)))
    for axis in axes:
        axis.tick_params(labelsize=9)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _bare(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
