"""Every detector whose ranking is judged: ours and the peers, each as scores of test rows by training rows.

Belongs here: how each is set up and what matrix a peer gets. Does not belong here: data (`labelled_data.py`), metrics
and tables (`quality.py`).

Ours get the table as a user gives it, a contact centre's with the settings that the product has for it. Peers get what
their users would make of it: medians for missing numbers, standardised numbers, one-hot categories, constant columns
dropped; parameters are the library's defaults. `krcf` and Fair-Cut Forest have none that fit: the first gets our number
and size of trees, the second `ndim` 2, `ntry` 1 and `prob_pick_pooled_gain` 1, which make isotree's forest that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from labelled_data import LabelledData
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from cxad_pipeline.detection import DetectorConfig, EnsembleConfig, ModelConfig
from cxad_pipeline.detection.detector import FeatureSet, assemble, fit_member
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.registry.detector_config import detector_config
from cxad_pipeline.settings import Settings

Scores = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
MatrixRanker = Callable[[Matrix, Matrix, int], Scores]

DEFAULT = "ours: default ensemble"
OURS = (
    *("ours: iforest", "ours: rcf depth", "ours: rcf codisp"),
    *(DEFAULT, "ours: ensemble, max", "ours: ensemble with fcf"),
)


class MissingPeerError(RuntimeError):
    """A peer that is not installed or not part of this version; says so in its row."""


def config_for(train: LabelledData, seed: int) -> DetectorConfig:
    """The defaults: those of the product's settings for a contact centre's table, else those of the library."""
    if train.contact_centre:
        return replace(detector_config(Settings(), InteractionSchema(), train.columns), random_state=seed)
    return DetectorConfig(numeric=train.numeric, categorical=train.categorical, random_state=seed)


def our_scores(train: LabelledData, test: LabelledData, seed: int) -> dict[str, Scores | MissingPeerError]:
    """Scores of our models and ensembles, by the names in `OURS`.

    Members are fitted once and put together to each ensemble; a `Detector` fitted with the same configuration is the
    same to the bit.
    """
    plain = config_for(train, seed)
    codisp = ModelConfig("rcf", "random_cut_forest", {"scoring": "codisp"})
    features = FeatureSet.fit(train.columns, plain)
    members = [fit_member(model, features, seed) for model in plain.models]
    default = assemble(features, members, plain).score(test.columns)
    maximum = replace(plain, ensemble=EnsembleConfig(strategy="max"))
    alone = replace(plain, models=(codisp,))
    found: dict[str, Scores | MissingPeerError] = {
        "ours: iforest": default.raw["iforest"],
        "ours: rcf depth": default.raw["rcf"],
        "ours: rcf codisp": assemble(features, [fit_member(codisp, features, seed)], alone)
        .score(test.columns)
        .raw["rcf"],
        DEFAULT: default.ensemble,
        "ours: ensemble, max": assemble(features, members, maximum).score(test.columns).ensemble,
    }
    three = replace(plain, models=(*plain.models, ModelConfig("fcf", "fcf")))
    try:
        fcf = fit_member(three.models[-1], features, seed)
        found["ours: ensemble with fcf"] = assemble(features, [*members, fcf], three).score(test.columns).ensemble
    except (ValueError, ImportError) as error:
        found["ours: ensemble with fcf"] = MissingPeerError(str(error))
    return found


def peer_matrices(train: LabelledData, test: LabelledData) -> tuple[Matrix, Matrix]:
    """What peers are fitted on and what they score."""
    encoder = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), train.numeric),
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), train.categorical),
        ),
        VarianceThreshold(),
    )
    return encoder.fit_transform(pd.DataFrame(train.columns)), encoder.transform(pd.DataFrame(test.columns))


def _scikit_learn(train: Matrix, test: Matrix, seed: int) -> Scores:
    return -IsolationForest(random_state=seed).fit(train).score_samples(test)


def _krcf(train: Matrix, test: Matrix, seed: int) -> Scores:
    forest = grown_krcf(train, 100, 256, seed)
    return np.array([forest.score(point) for point in test.tolist()])


def grown_krcf(points: Matrix, trees: int, tree_size: int, seed: int) -> Any:
    """A forest of `krcf` that has seen the points, with no decay, so that each tree is a uniform sample of them.

    Raises
    ------
    MissingPeerError
        If krcf is not installed.
    """
    options = {
        "dimensions": points.shape[1],
        "shingle_size": 1,
        "num_trees": trees,
        "sample_size": tree_size,
        "output_after": 1,
        "random_seed": seed,
        "parallel_execution_enabled": False,
        "lambda": 0.0,
    }
    forest = imported("krcf", "krcf").RandomCutForest(options)
    for point in points.tolist():
        forest.update(point)
    return forest


def _pyod(module: str, **parameters: object) -> MatrixRanker:
    def rank(train: Matrix, test: Matrix, seed: int) -> Scores:
        kind = getattr(imported(f"pyod.models.{module}", "pyod"), module.upper())
        own = parameters | ({"random_state": seed} if module == "cblof" else {})
        return np.asarray(kind(**own).fit(train).decision_function(test))

    return rank


def _fair_cut_forest(train: Matrix, test: Matrix, seed: int) -> Scores:
    kind = imported("isotree", "isotree").IsolationForest
    model = kind(ndim=2, ntry=1, prob_pick_pooled_gain=1, random_seed=seed + 1, nthreads=1)
    return np.asarray(model.fit(train).predict(test))


def imported(module: str, package: str) -> Any:
    """A peer's module.

    Raises
    ------
    MissingPeerError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPeerError(f"{package} is not installed ({error})") from error


PEERS: Mapping[str, MatrixRanker] = {
    "scikit-learn IsolationForest": _scikit_learn,
    "krcf": _krcf,
    "PyOD ECOD": _pyod("ecod"),
    "PyOD COPOD": _pyod("copod"),
    "PyOD HBOS": _pyod("hbos"),
    "PyOD KNN": _pyod("knn"),
    "PyOD CBLOF": _pyod("cblof"),
    "PyOD LOF": _pyod("lof"),
}
"""The peers that the default ensemble has to reach."""

FURTHER: Mapping[str, MatrixRanker] = {"isotree Fair-Cut Forest": _fair_cut_forest}
"""Shown beside them: it can be a member of our ensemble."""

ALL_RANKERS: Sequence[str] = (*OURS, *PEERS, *FURTHER)
