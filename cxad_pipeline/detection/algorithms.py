"""The algorithms that a model of the ensemble can have, by name.

Belongs here: for each its title, its parameters, how it is fitted and how it is loaded. Does not belong here: the
algorithms themselves. Every one is loaded and scores with numpy and numba alone; the libraries that fit are imported
when a model is fitted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.centre_distances import AxisDistance, ClusterDistance
from cxad_pipeline.detection.column_scores import ColumnScores
from cxad_pipeline.detection.estimator import ForestEstimator
from cxad_pipeline.detection.fair_cut_forest import FairCutTrees, fit_fair_cut_forest
from cxad_pipeline.detection.forests import IsolationTrees, RandomCutTrees
from cxad_pipeline.detection.frozen import FrozenModel
from cxad_pipeline.detection.isolation_forest import IsolationForest
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.neighbours import LocalOutlierFactor, NeighbourDistance
from cxad_pipeline.detection.pyod_model import (
    fit_cblof,
    fit_copod,
    fit_ecod,
    fit_hbos,
    fit_knn,
    fit_lof,
    fit_pca,
)
from cxad_pipeline.detection.random_cut_forest import RandomCutForest

SAMPLE_ROWS = 256
"""Rows of one tree in all forests unless said otherwise; a test holds it to their defaults."""


@dataclass(frozen=True)
class Implementation:
    """How an algorithm is fitted and loaded.

    Attributes
    ----------
    title
        Its name in words.
    library
        Import name of what fits it.
    parameters
        Names of its parameters.
    fit
        `fit(X, seed, **parameters)`: training rows (n, d) and a seed in [0, 2**32) to the frozen model. ValueError for
        a parameter that is refused, MissingExtraError for a library that is not installed.
    sample_parameter
        The parameter that says how many rows each tree learns from, where it is made of trees: with the same number
        scores keep their scale when there are more training rows. None for all others.
    load
        The frozen model of what its `to_arrays` gave. KeyError, TypeError or ValueError for other arrays.
    """

    title: str
    library: str
    parameters: tuple[str, ...]
    sample_parameter: str | None
    fit: Callable[..., FrozenModel]
    load: Callable[[Mapping[str, npt.NDArray[Any]]], FrozenModel]

    def sample_rows(self, parameters: Mapping[str, Any], n_rows: int) -> int:
        """Rows that each tree learns from, of so many training rows; for an algorithm with a `sample_parameter`."""
        given = parameters.get(self.sample_parameter or "", "auto")
        if isinstance(given, (float, np.floating)):
            return max(1, int(given * n_rows))
        return min(SAMPLE_ROWS if given == "auto" else int(given), n_rows)


def _estimator(
    title: str,
    library: str,
    kind: type[ForestEstimator],
    frozen: type[IsolationTrees] | type[RandomCutTrees],
    sample_parameter: str,
    **defaults: object,
) -> Implementation:
    """An estimator of ours; `defaults` stand for those of its own arguments that suit scaled features better."""

    def fit(X: FloatArray, seed: int, **parameters: object) -> FrozenModel:
        estimator = kind().set_params(**(defaults | parameters), random_state=seed)
        estimator.fit(X)
        return estimator.forest_

    parameters = tuple(name for name in kind.argument_names() if name != "random_state")
    return Implementation(title, library, parameters, sample_parameter, fit, frozen.from_arrays)


def _adapter(
    title: str,
    library: str,
    fit: Callable[..., FrozenModel],
    load: Callable[[Mapping[str, npt.NDArray[Any]]], FrozenModel],
    *,
    sample_parameter: str | None = None,
) -> Implementation:
    arguments = inspect.signature(fit).parameters.values()
    parameters = tuple(argument.name for argument in arguments if argument.kind is inspect.Parameter.KEYWORD_ONLY)
    return Implementation(title, library, parameters, sample_parameter, fit, load)


ALGORITHMS: Mapping[str, Implementation] = {
    "isolation_forest": _estimator(
        "Isolation Forest", "sklearn", IsolationForest, IsolationTrees, "max_samples", cut_scale="asinh"
    ),
    "random_cut_forest": _estimator("Robust Random Cut Forest", "rrcf", RandomCutForest, RandomCutTrees, "tree_size"),
    "ecod": _adapter("ECOD", "pyod", fit_ecod, ColumnScores.from_arrays),
    "copod": _adapter("COPOD", "pyod", fit_copod, ColumnScores.from_arrays),
    "hbos": _adapter("HBOS", "pyod", fit_hbos, ColumnScores.from_arrays),
    "knn": _adapter("KNN", "pyod", fit_knn, NeighbourDistance.from_arrays),
    "lof": _adapter("LOF", "pyod", fit_lof, LocalOutlierFactor.from_arrays),
    "cblof": _adapter("CBLOF", "pyod", fit_cblof, ClusterDistance.from_arrays),
    "pca": _adapter("PCA", "pyod", fit_pca, AxisDistance.from_arrays),
    "fcf": _adapter(
        "Fair-Cut Forest", "isotree", fit_fair_cut_forest, FairCutTrees.from_arrays, sample_parameter="max_samples"
    ),
}
