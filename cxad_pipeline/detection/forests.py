"""Frozen forests, whichever they are.

Belongs here: what a detector needs of a forest, and the forests there are under one name. Does not belong here:
what is in them (`random_cut_trees.py`, `isolation_trees.py`) and growing them (the estimators).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from cxad_pipeline.detection.isolation_trees import IsolationTrees, average_path_length
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.random_cut_trees import SCORINGS, RandomCutTrees, Scoring
from cxad_pipeline.detection.tree_arrays import concatenate_trees

__all__ = [
    "SCORINGS",
    "Forest",
    "IsolationTrees",
    "RandomCutTrees",
    "Scoring",
    "average_path_length",
    "concatenate_trees",
]


class Forest(Protocol):
    """What a detector needs of a frozen forest, whichever it is."""

    @property
    def n_features(self) -> int:
        """Columns that the forest was grown on."""
        ...

    def anomaly_score(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Scores (n,), higher = more anomalous."""
        ...

    def attribution(self, X: npt.ArrayLike, threads: int | None = None) -> FloatArray:
        """Contributions of the features to the scores, (n, d)."""
        ...

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The forest as named arrays."""
        ...
