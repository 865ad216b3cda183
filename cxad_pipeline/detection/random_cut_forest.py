"""Robust Random Cut Forest: grow with `rrcf`, freeze, score exactly.

Belongs here: the estimator. Does not belong here: growing and freezing a tree (`random_cut_growth.py`), the arrays'
meaning (`random_cut_trees.py`) and the walk (`kernels.py`).
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.checks import (
    check_contamination,
    check_count,
    check_jobs,
    check_seed,
    checked_training_points,
)
from cxad_pipeline.detection.estimator import Contamination, ForestEstimator
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.random_cut_growth import ATTEMPTS, freeze_forest, grow_tree
from cxad_pipeline.detection.random_cut_trees import SCORINGS, RandomCutTrees, Scoring, centre_and_scale, scaled


class RandomCutForest(ForestEstimator):
    """Robust Random Cut Forest with the exact expected score of inserting a point.

    Each tree is grown by `rrcf` on a random sample and then frozen. The score of a point is the expectation,
    over the random cuts that inserting it could make, of a displacement; no random number is drawn and no tree
    changes. Scale matters: a column is cut in proportion to its range, so bring columns to one scale first.

    Parameters
    ----------
    n_estimators
        Trees.
    tree_size
        Points of one tree; all of them where X has fewer.
    scoring
        `depth`: the form of the AWS forest; in one tree of N points, unseen 1 / (depth + 1), seen
        1 / (depth + log2(n + 1)) damped by 1 - n / (2 N), times log2(N + 1). It ranks better on most data.
        `codisp`: expected collusive displacement, from near 0 to N.
    random_state
        Seed; None for a new one each time.
    n_jobs
        Processes to grow with (joblib) and threads to score with. None grows in this process and scores with
        one thread per processor. It never changes a score.
    contamination
        Share of the training rows that `predict` calls outliers, in (0, 0.5], or `auto`. For `depth` that is every
        score above 1: a point gets 1 that parts at level log2(N + 1) - 1, where the leaves of a balanced tree are,
        and more if it parts above. A displacement has no such mark; for `codisp` it is Tukey's outer fence, the
        upper quartile plus three times the interquartile range of the scores of the points in the trees.

    Attributes
    ----------
    forest_
        The frozen forest.
    offset_
        What `decision_function` takes from `score_samples`.
    n_features_in_
        Columns of X in `fit`.

    Notes
    -----
    Points and boxes are float32, relative to the median of each column: two points of a tree that differ by less
    than 2**-24 of their distance from it are one. Points as far as 1e30 times the extent of the training data are
    told apart, farther ones are taken to be there.

    `attribution(X)` adds up to `anomaly_score(X)` in each row. Terms of parting are split by how far the point
    sticks out of a box in each dimension. A point that joins an equal leaf sticks out nowhere there: that
    remainder goes to the dimensions in proportion to what they have already, equally if that is nothing.

    References
    ----------
    Guha, Mishra, Roy & Schrijvers (2016), Robust random cut forest based anomaly detection on streams, ICML.
    """

    forest_: RandomCutTrees

    def __init__(
        self,
        n_estimators: int = 100,
        tree_size: int = 256,
        scoring: Scoring = "depth",
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        contamination: Contamination = "auto",
    ) -> None:
        self.n_estimators = n_estimators
        self.tree_size = tree_size
        self.scoring = scoring
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.contamination = contamination

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Grow the forest.

        Parameters
        ----------
        X
            Points, (n, d), finite.
        y
            Ignored.

        Raises
        ------
        ValueError
            If an argument or X is not as described.
        """
        del y
        from joblib import Parallel, delayed

        n_trees = check_count("n_estimators", self.n_estimators, 1)
        tree_size = check_count("tree_size", self.tree_size, 1)
        if self.scoring not in SCORINGS:
            raise ValueError(f"scoring is {self.scoring!r}; allowed: {', '.join(SCORINGS)}")
        jobs = check_jobs(self.n_jobs)
        check_contamination(self.contamination)
        seeds = np.random.SeedSequence(check_seed(self.random_state))
        points = checked_training_points(X)
        drawn, attempts = [], []
        for sequence in seeds.spawn(n_trees):
            random = np.random.default_rng(sequence)
            drawn.append(random.choice(len(points), size=min(tree_size, len(points)), replace=False))
            attempts.append([int(seed) for seed in random.integers(0, 2**31, size=ATTEMPTS)])
        used = points[np.unique(np.concatenate(drawn))].astype(np.float64)
        centre, scale = centre_and_scale(used)
        trees = Parallel(n_jobs=jobs)(
            delayed(grow_tree)(scaled(points[rows], centre, scale), spare)
            for rows, spare in zip(drawn, attempts, strict=True)
        )
        self.forest_ = freeze_forest(trees, centre, scale, self.scoring)
        self._keep_columns(X, points)
        self._set_offset(points, self._automatic_offset(used))
        return self

    def _automatic_offset(self, points: FloatArray) -> float:
        if self.scoring == "depth":
            return -1.0
        lower, upper = np.percentile(self.forest_.anomaly_score(points, self.n_jobs_for_scoring()), [25, 75])
        return -float(upper + 3.0 * (upper - lower))
