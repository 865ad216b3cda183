"""Figures of the report: for any number of members, with none, some or all rows flagged, and true to the scores."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from cxad_pipeline.detection.detector import Scores
from cxad_pipeline.detection.figures import (
    boxplot_figure,
    correlation_figure,
    distribution_figure,
    held_out_figure,
    report_figures,
)

N = 500


def scores_with(members: int, threshold: float, *, constant: bool = False) -> Scores:
    random = np.random.default_rng(members)
    names = ["ensemble", *(f"model_{index}" for index in range(members))]
    arrays = {name: np.full(N, 0.5) if constant else random.random(N) for name in names}
    return Scores(
        raw={name: arrays[name] for name in names[1:]},
        thresholds=dict.fromkeys(names, threshold),
        ensemble=arrays["ensemble"],
        severity=arrays["ensemble"],
        severities=arrays,
        flags={name: values >= threshold for name, values in arrays.items()},
        unknown_counts={},
        missing_counts={},
    )


def pixels(figure: Figure) -> tuple[int, int]:
    from matplotlib.image import imread

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    buffer.seek(0)
    height, width, _ = imread(buffer).shape
    return width, height


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("members", "threshold", "constant"),
    [
        pytest.param(1, 0.9, False, id="one member"),
        pytest.param(3, 0.9, False, id="three members"),
        pytest.param(2, -1.0, False, id="all flagged"),
        pytest.param(2, 1e9, False, id="none flagged"),
        pytest.param(1, 0.9, True, id="constant scores"),
        pytest.param(1, 0.5, True, id="constant scores at the threshold"),
    ],
)
def test_every_figure_is_made_without_a_warning(members: int, threshold: float, constant: bool):
    figures = report_figures(scores_with(members, threshold, constant=constant))
    assert list(figures) == ["score_distribution", "score_boxplots", "score_correlation"]
    for figure in figures.values():
        width, height = pixels(figure)
        assert 900 <= width <= 1300
        assert 400 <= height <= 900


@pytest.mark.filterwarnings("error")
def test_the_bars_count_every_row_once_and_no_bar_holds_both_kinds():
    scores = scores_with(2, 0.9)
    for axis, values in zip(distribution_figure(scores).axes, (scores.ensemble, *scores.raw.values()), strict=True):
        bars = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in axis.patches]
        assert sum(height for _, _, height in bars) == N
        beyond = sum(height for left, _, height in bars if left >= 0.9 - 1e-9)
        assert beyond == (values >= 0.9).sum()
        assert not [bar for bar in bars if bar[0] < 0.9 - 1e-9 and bar[1] > 0.9 + 1e-9]
        assert f"{int(beyond)} of {N} flagged" in axis.get_title()


def test_no_text_of_a_figure_lies_over_other_text():
    for members in (1, 2, 3):
        for name, figure in report_figures(scores_with(members, 0.9)).items():
            figure.canvas.draw()
            titles = [axis.title for axis in figure.axes] + ([figure._suptitle] if figure._suptitle else [])
            boxes = [title.get_window_extent() for title in titles]
            for index, box in enumerate(boxes):
                assert not any(box.overlaps(other) for other in boxes[index + 1 :]), name
                assert 0 <= box.x0 < box.x1 <= figure.bbox.width, name


def test_boxes_are_the_quartiles_of_flagged_and_other_rows():
    scores = scores_with(2, 0.9)
    flagged = scores.flags["ensemble"]
    axis = boxplot_figure(scores).axes[2]
    assert [label.get_text() for label in axis.get_xticklabels()] == [
        f"not flagged\n{int((~flagged).sum())}",
        f"flagged\n{int(flagged.sum())}",
    ]
    for box, rows in zip(axis.patches, (~flagged, flagged), strict=True):
        heights = box.get_path().vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx(np.percentile(scores.raw["model_1"][rows], [25, 75]))


def test_a_group_without_rows_has_no_box():
    for threshold, label in ((-1.0, f"flagged\n{N}"), (1e9, f"not flagged\n{N}")):
        for axis in boxplot_figure(scores_with(1, threshold)).axes:
            assert [tick.get_text() for tick in axis.get_xticklabels()] == [label]


def test_the_scatter_compares_two_members_or_the_only_one_with_the_ensemble():
    for members, axes in ((1, ("ensemble score", "model_0 score")), (3, ("model_0 score", "model_1 score"))):
        scatter = correlation_figure(scores_with(members, 0.9)).axes[1]
        assert (scatter.get_xlabel(), scatter.get_ylabel()) == axes
        assert sum(len(points.get_offsets()) for points in scatter.collections) == N


def test_the_held_out_figure_shows_threshold_and_count():
    values = np.arange(100.0)
    (axis,) = held_out_figure("rcf", values, 95).axes
    assert axis.get_title() == "rcf: 5 of 100 flagged (≥ 95)"
    assert axis.lines[0].get_xdata()[0] == 95
