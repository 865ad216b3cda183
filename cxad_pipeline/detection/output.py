"""Scores as columns beside the interactions: the one table that batch scoring, files and MLflow give.

Belongs here: names and order of the output columns. Does not belong here: how scores come about (`detector`). A service
that scores without tables takes its names and errors from here, so pyarrow is imported where a table is made.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.detection.detector import Detector, Scores

if TYPE_CHECKING:
    import pyarrow as pa

REASONS = 3


class UnknownModelError(ValueError):
    """A model was asked for that the detector does not have; the message lists those it has."""


def choices(detector: Detector) -> list[str]:
    """Names that may be given as `model`: the ensemble and each member."""
    return [ENSEMBLE, *detector.member_names]


def output_columns(members: list[str], model: str = ENSEMBLE) -> list[str]:
    """Names of the columns that scoring adds, in their order."""
    named = [ENSEMBLE, *members] if model == ENSEMBLE else [model]
    scores = [f"{name}_{part}" for name in named for part in ("score", "anomaly", "threshold")]
    return [*scores, "severity", "top_reasons", "model_version"]


def score_table(
    detector: Detector,
    table: pa.Table,
    *,
    model: str = ENSEMBLE,
    model_version: str = "",
    explain_all: bool = False,
    unknown: Counter[str] | None = None,
) -> pa.Table:
    """Append scores to interactions.

    Parameters
    ----------
    detector
        What scores.
    table
        Interactions; shape (n, ...).
    model
        `ensemble` for all columns, or a member's name for that member alone.
    model_version
        Written beside each row.
    explain_all
        Give reasons for every row. By default only flagged rows have them: reasons cost more than scores.
    unknown
        Where rows are counted whose category was not seen in training, by category column.

    Returns
    -------
    Table
        The input columns, then `output_columns`; flags are 0 or 1.

    Raises
    ------
    UnknownModelError
        If the detector has no such model.
    """
    import pyarrow as pa

    if model not in choices(detector):
        raise UnknownModelError(f"unknown model {model!r}; this detector has: {', '.join(choices(detector))}")
    names = [ENSEMBLE, *detector.member_names] if model == ENSEMBLE else [model]
    if table.num_rows == 0:
        return _empty(table, names, model, detector)
    scores = detector.score(table)
    if unknown is not None:
        unknown.update(scores.unknown_counts)
    added: dict[str, Any] = {}
    for name in names:
        added[f"{name}_score"] = pa.array(_raw(scores, name), pa.float64())
        added[f"{name}_anomaly"] = pa.array(scores.flags[name].astype(np.int8), pa.int8())
        added[f"{name}_threshold"] = pa.array(np.full(table.num_rows, scores.thresholds[name]), pa.float64())
    severity = scores.severity if model == ENSEMBLE else scores.severities[model]
    added["severity"] = pa.array(np.round(severity, 1), pa.float64())
    rows = np.arange(table.num_rows) if explain_all else np.flatnonzero(scores.flags[model])
    added["top_reasons"] = pa.array(_reasons(detector, table, rows, model), pa.string())
    added["model_version"] = pa.array([model_version], pa.string()).take(pa.array(np.zeros(table.num_rows, np.int64)))
    return _with_columns(table, detector, {name: added[name] for name in output_columns(detector.member_names, model)})


def _raw(scores: Scores, name: str) -> np.ndarray:
    return scores.ensemble if name == ENSEMBLE else scores.raw[name]


def _reasons(detector: Detector, table: pa.Table, rows: np.ndarray, model: str) -> list[str]:
    import pyarrow as pa

    texts = [""] * table.num_rows
    if len(rows):
        explained = detector.explain(table.take(pa.array(rows)), top=REASONS)
        for row, reasons in zip(rows, explained.texts(model), strict=True):
            texts[row] = "; ".join(reasons)
    return texts


def _empty(table: pa.Table, names: list[str], model: str, detector: Detector) -> pa.Table:
    import pyarrow as pa

    parts = {"score": pa.float64(), "anomaly": pa.int8(), "threshold": pa.float64()}
    types = {f"{name}_{part}": kind for name in names for part, kind in parts.items()}
    types |= {"severity": pa.float64(), "top_reasons": pa.string(), "model_version": pa.string()}
    names = output_columns(detector.member_names, model)
    return _with_columns(table, detector, {name: pa.array([], types[name]) for name in names})


def _with_columns(table: pa.Table, detector: Detector, added: dict[str, pa.Array]) -> pa.Table:
    """Append columns. Scores of an earlier pass give way, also those of models that are not asked for now.

    Left in place they would stand beside the version that did not give them.
    """
    earlier = output_columns(detector.member_names)
    table = table.drop_columns([name for name in earlier if name in table.column_names])
    for name, values in added.items():
        table = table.append_column(name, values)
    return table
