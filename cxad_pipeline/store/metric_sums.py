"""How the metrics of a segment in a window are written: the sums of `Rollups` by name, and the mean for people.

Belongs here: from arrays to JSON and back to what people read. Does not belong here: rows and queries
(`segment_windows`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from cxad_pipeline.incidents.metrics import FAR, NEAR, TAIL_SHARES, MetricRule
from cxad_pipeline.incidents.rollups import Rollups
from cxad_pipeline.store.incident_rows import json_number

TAILS = {FAR: "far", NEAR: "near"}
"""Name of each tail by its share."""
SUMS = ("count", "total", "squares", *(TAILS[share] for share in TAIL_SHARES))
"""What is kept of a metric, and makes `Rollups` again; the tails last, in the order of `TAIL_SHARES`."""


class MetricSums(TypedDict):
    """A metric of a segment in a window.

    Attributes
    ----------
    count
        Values.
    total, squares
        Sum and sum of squares on the working scale; None where beyond all numbers.
    far, near
        Values beyond the thresholds of the bad tail.
    mean
        In the metric's own unit, of the values bounded as `Rollups` bounds them; None where there is none.
    """

    count: int
    total: float | None
    squares: float | None
    far: int
    near: int
    mean: float | None


def cells_of(
    metrics: Sequence[MetricRule],
    rollups: Rollups,
    place: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> list[dict[str, dict[str, Any]]]:
    """The metrics of each cell, as JSON keeps them: floats to the last bit.

    Parameters
    ----------
    metrics
        Those of the rollups.
    rollups
        The sums.
    place
        Segments and windows of the cells.
    """
    cells: list[dict[str, dict[str, Any]]] = [{} for _ in place[0]]
    for m, metric in enumerate(metrics):
        count, total, squares = (array[m][place] for array in (rollups.count, rollups.total, rollups.squares))
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            means = metric.unworked(total / count)
        tails = [rollups.exceedances[m, tail][place].astype(np.int64).tolist() for tail in range(len(TAIL_SHARES))]
        columns = (
            count.astype(np.int64).tolist(),
            map(json_number, total.tolist()),
            map(json_number, squares.tolist()),
            *tails,
            (mean if math.isfinite(mean) else None for mean in means.tolist()),
        )
        for cell, values in zip(cells, zip(*columns, strict=True), strict=True):
            cell[metric.name] = dict(zip((*SUMS, "mean"), values, strict=True))
    return cells


def readable(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, MetricSums]:
    """The metrics of a cell as people read them: a number that is not finite is None."""
    return {
        name: {  # type: ignore[misc]
            part: None if isinstance(value, str) else value for part, value in cell.items()
        }
        for name, cell in cells.items()
    }
