"""The forests whose speed is compared, behind one face: grow, score many rows, score one.

Belongs here: how each library is called, at its best. Does not belong here: clocks, sizes, tables (`speed.py`).

All have the same number of trees of the same size on the same points. Libraries that score one point per call (`krcf`,
`rrcf`) have one thread. `krcf` gets lists, which it takes faster than arrays.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from joblib import parallel_config
from rankers import grown_krcf, imported
from sklearn.ensemble import IsolationForest as ScikitLearnForest

from cxad_pipeline.detection import IsolationForest, RandomCutForest

Matrix = npt.NDArray[np.float64]


class Engine(ABC):
    """A forest. `share` is the part of the benchmark's rows that it is given, so that slow ones end, too."""

    name: ClassVar[str]
    model: ClassVar[str]
    threads: ClassVar[tuple[int, ...]] = (1, 2)
    share: ClassVar[float] = 1.0

    def __init__(self, trees: int, tree_size: int) -> None:
        self.trees, self.tree_size = trees, tree_size
        self.forest: Any = None
        self.points: Any = None

    @abstractmethod
    def fit(self, X: Matrix) -> None:
        """Grow the forest; MissingPeerError if the library is not installed."""

    def prepare(self, X: Matrix) -> None:
        """Take the points that will be scored, in the form that the library likes best."""
        self.points = X

    @abstractmethod
    def score(self, threads: int) -> object:
        """Score all the points."""

    @abstractmethod
    def score_row(self, row: int) -> object:
        """Score one of the points, alone."""


class OurForest(Engine):
    """What our two have in common: an estimator that holds a frozen forest."""

    def score(self, threads: int) -> object:
        return self.forest.forest_.anomaly_score(self.points, threads=threads)

    def score_row(self, row: int) -> object:
        return self.forest.forest_.anomaly_score(self.points[row : row + 1], threads=1)


class OurRandomCutForest(OurForest):
    """Depth form; `both_scores` gives the collusive displacement in the same pass."""

    name, model = "ours: RandomCutForest", "random cut forest"

    def fit(self, X: Matrix) -> None:
        self.forest = RandomCutForest(self.trees, self.tree_size, random_state=0).fit(X)


class OurIsolationForest(OurForest):
    """Grown by scikit-learn, scored by our kernel."""

    name, model = "ours: IsolationForest", "isolation forest"

    def fit(self, X: Matrix) -> None:
        self.forest = IsolationForest(self.trees, self.tree_size, random_state=0).fit(X)


class Krcf(Engine):
    """The AWS forest in Rust."""

    name, model = "krcf", "random cut forest"
    threads, share = (1,), 0.1

    def fit(self, X: Matrix) -> None:
        self.forest = grown_krcf(X, self.trees, self.tree_size, seed=0)

    def prepare(self, X: Matrix) -> None:
        self.points = X.tolist()

    def score(self, threads: int) -> object:
        del threads
        return [self.forest.score(point) for point in self.points]

    def score_row(self, row: int) -> object:
        return self.forest.score(self.points[row])


class Rrcf(Engine):
    """The library in Python: insert, collusive displacement, forget, in each tree."""

    name, model = "rrcf", "random cut forest"
    threads, share = (1,), 0.002

    def fit(self, X: Matrix) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pkg_resources.*")
            rrcf = imported("rrcf", "rrcf")
        random = np.random.default_rng(0)
        labels = np.arange(self.tree_size)
        self.forest = [
            rrcf.RCTree(X[random.choice(len(X), self.tree_size, replace=False)], index_labels=labels, random_state=seed)
            for seed in range(self.trees)
        ]

    def score(self, threads: int) -> object:
        del threads
        return [self.score_row(row) for row in range(len(self.points))]

    def score_row(self, row: int) -> object:
        total = 0.0
        for tree in self.forest:
            tree.insert_point(self.points[row], index="new")
            total += tree.codisp("new")
            tree.forget_point("new")
        return total / self.trees


class ScikitLearn(Engine):
    """scikit-learn's Isolation Forest; threads by joblib, as its documentation says."""

    name, model = "scikit-learn IsolationForest", "isolation forest"

    def fit(self, X: Matrix) -> None:
        self.forest = ScikitLearnForest(n_estimators=self.trees, max_samples=self.tree_size, random_state=0).fit(X)

    def score(self, threads: int) -> object:
        with parallel_config("threading", n_jobs=threads):
            return self.forest.score_samples(self.points)

    def score_row(self, row: int) -> object:
        return self.forest.score_samples(self.points[row : row + 1])


class Isotree(Engine):
    """isotree's Isolation Forest with one column per cut."""

    name, model = "isotree", "isolation forest"

    def fit(self, X: Matrix) -> None:
        kind = imported("isotree", "isotree").IsolationForest
        self.forest = kind(ntrees=self.trees, sample_size=self.tree_size, ndim=1, nthreads=1, random_seed=1).fit(X)

    def score(self, threads: int) -> object:
        self.forest.nthreads = threads
        return self.forest.predict(self.points)

    def score_row(self, row: int) -> object:
        self.forest.nthreads = 1
        return self.forest.predict(self.points[row : row + 1])


ENGINES: tuple[type[Engine], ...] = (OurRandomCutForest, Krcf, Rrcf, OurIsolationForest, ScikitLearn, Isotree)
