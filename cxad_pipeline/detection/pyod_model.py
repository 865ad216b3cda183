"""Models that PyOD fits: ECOD, COPOD, HBOS, KNN, LOF, CBLOF, PCA.

Belongs here: one function for each that checks its parameters, has PyOD fit a sample of the training rows, and freezes
what it learned. Does not belong here: scoring, which the frozen models do without PyOD. That keeps PyOD off the
machines that only score, and it keeps every row's score its own: PyOD's ECOD and COPOD put the scored rows among the
training rows, so that a row's score depends on those beside it.

A frozen model scores as PyOD scores one row alone; where it does not, its function says so.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from cxad_pipeline.detection.centre_distances import AxisDistance, ClusterDistance
from cxad_pipeline.detection.checks import check_count
from cxad_pipeline.detection.column_scores import ColumnScores, Steps
from cxad_pipeline.detection.extras import library_of
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.neighbours import (
    DISTANCES,
    LEAST_DENSITY,
    Distance,
    LocalOutlierFactor,
    NeighbourDistance,
    mean_over_columns,
)

SAMPLE_SIZE = 10_000
"""Rows that PyOD learns from unless said otherwise: enough for every score, and few enough to search and to keep."""

_LEAST_SHARE = 1e-10


def fit_ecod(X: FloatArray, seed: int, *, sample_size: int = SAMPLE_SIZE) -> ColumnScores:
    """ECOD: sum over the columns of -log of the smaller tail probability, or of that on the side of the skew.

    The signs of the columns' skewness are those of the training rows; PyOD takes them again with the scored row among
    these.

    Parameters
    ----------
    X
        Training rows, (n, d).
    seed
        Draws the rows that are learned from, where there are more than `sample_size`.
    sample_size
        Most rows to learn from.

    Raises
    ------
    MissingExtraError
        If PyOD is not installed.
    ValueError
        If a parameter is not as described.

    References
    ----------
    Li, Zhao, Hu, Botta, Ionescu & Chen (2022), ECOD: unsupervised outlier detection using empirical cumulative
    distribution functions, IEEE TKDE.
    """
    return _tail_scores("ecod", X, seed, sample_size)


def fit_copod(X: FloatArray, seed: int, *, sample_size: int = SAMPLE_SIZE) -> ColumnScores:
    """COPOD: as ECOD, with the mean of both tails' -log in the place of the larger. Arguments and errors as there.

    References
    ----------
    Li, Zhao, Botta, Ionescu & Hu (2020), COPOD: copula-based outlier detection, ICDM.
    """
    return _tail_scores("copod", X, seed, sample_size)


def _tail_scores(algorithm: Literal["ecod", "copod"], X: FloatArray, seed: int, sample_size: int) -> ColumnScores:
    module = library_of(algorithm, "PyOD", f"pyod.models.{algorithm}")
    sample = _sample(X, seed, sample_size)
    _fitted(module.ECOD() if algorithm == "ecod" else module.COPOD(), sample)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy warns of columns that are almost constant
        skewness = np.sign(module.skew(sample, axis=0))
    n, columns = len(sample), []
    for column, sign in zip(sample.T, skewness, strict=True):
        breakpoints, counts = np.unique(column, return_counts=True)
        below = np.concatenate([[0], np.cumsum(counts)])  # rows below the gap before each breakpoint
        gaps = _tail_value(algorithm, below, n - below, n, sign)
        at = _tail_value(algorithm, below[1:], n - below[:-1], n, sign)
        columns.append(Steps(breakpoints, gaps, at))
    return ColumnScores.of(columns, np.median(sample, axis=0))


def _tail_value(algorithm: str, up_to: Any, from_on: Any, n: int, skewness: float) -> FloatArray:
    """A column's value from the numbers of training rows up to x and from x on, the scored row itself counted too."""
    left, right = -np.log((up_to + 1) / (n + 1)), -np.log((from_on + 1) / (n + 1))
    skewed = left if skewness < 0 else right if skewness > 0 else left + right
    both = np.maximum(left, right) if algorithm == "ecod" else (left + right) / 2
    return np.asarray(np.maximum(skewed, both))


def fit_hbos(
    X: FloatArray,
    seed: int,
    *,
    n_bins: int | Literal["auto"] = 10,
    alpha: float = 0.1,
    tol: float = 0.5,
    sample_size: int = SAMPLE_SIZE,
) -> ColumnScores:
    """HBOS: sum over the columns of -log2 of the density in the row's bin.

    Parameters
    ----------
    X, seed, sample_size
        As for ECOD.
    n_bins
        Bins of each column, or `auto` (Birge and Rozenholc's rule).
    alpha
        Added to densities before the logarithm, in (0, 1).
    tol
        Share of a bin's width, in (0, 1), by which a value may lie outside all bins and still count to the last one.

    Raises
    ------
    MissingExtraError, ValueError
        As for ECOD.

    References
    ----------
    Goldstein & Dengel (2012), Histogram-based outlier score (HBOS), KI.
    """
    module = library_of("hbos", "PyOD", "pyod.models.hbos")
    if n_bins != "auto" and (isinstance(n_bins, bool) or not isinstance(n_bins, (int, np.integer)) or n_bins < 2):
        raise ValueError(f"n_bins is {n_bins!r}; auto or an integer >= 2 is allowed")
    bins = n_bins if n_bins == "auto" else int(n_bins)
    alpha, tol = _between(alpha, 0, 1, "alpha"), _between(tol, 0, 1, "tol")
    sample = _sample(X, seed, sample_size)
    model = _fitted(module.HBOS(n_bins=bins, alpha=alpha, tol=tol), sample)
    columns = []
    for column in range(sample.shape[1]):
        auto = n_bins == "auto"
        edges = np.asarray(model.bin_edges_[column] if auto else model.bin_edges_[:, column])
        score = -np.log2(np.asarray(model.hist_[column] if auto else model.hist_[:, column]) + alpha)
        lowest, highest = edges[0] - tol * (edges[1] - edges[0]), edges[-1] + tol * (edges[-1] - edges[-2])
        breakpoints = np.concatenate([[lowest], edges, [highest]])
        # The right edge belongs to its bin; beyond the tolerance a value counts as in the emptiest bin.
        gaps = np.concatenate([[score.max(), score[0]], score, [score[-1], score.max()]])
        at = np.concatenate([[score[0], score[0]], score, [score[-1]]])
        columns.append(Steps(breakpoints, gaps, at))
    return ColumnScores.of(columns, np.median(sample, axis=0))


def fit_knn(
    X: FloatArray, seed: int, *, n_neighbors: int = 5, method: Distance = "largest", sample_size: int = SAMPLE_SIZE
) -> NeighbourDistance:
    """KNN: the distance to the nearest training rows.

    Parameters
    ----------
    X, seed, sample_size
        As for ECOD.
    n_neighbors
        How many; fewer where there are too few rows.
    method
        Which of their distances counts: `largest`, `mean` or `median`.

    Raises
    ------
    MissingExtraError, ValueError
        As for ECOD.

    References
    ----------
    Ramaswamy, Rastogi & Shim (2000), Efficient algorithms for mining outliers from large data sets, SIGMOD.
    """
    module = library_of("knn", "PyOD", "pyod.models.knn")
    k = check_count("n_neighbors", n_neighbors, 1)
    if method not in DISTANCES:
        raise ValueError(f"method is {method!r}; allowed: {', '.join(DISTANCES)}")
    sample = _sample(X, seed, sample_size)
    model = _fitted(module.KNN(n_neighbors=_neighbours(k, sample), method=method), sample)
    return NeighbourDistance(sample, int(model.n_neighbors), method, np.median(sample, axis=0))


def fit_lof(X: FloatArray, seed: int, *, n_neighbors: int = 20, sample_size: int = SAMPLE_SIZE) -> LocalOutlierFactor:
    """LOF: how much denser the neighbours of a row lie than the row itself.

    Parameters
    ----------
    X, seed, sample_size
        As for ECOD.
    n_neighbors
        How many; fewer where there are too few rows.

    Raises
    ------
    MissingExtraError, ValueError
        As for ECOD.
    """
    module = library_of("lof", "PyOD", "pyod.models.lof")
    k = check_count("n_neighbors", n_neighbors, 1)
    sample = _sample(X, seed, sample_size)
    model = _fitted(module.LOF(n_neighbors=_neighbours(k, sample), novelty=True), sample)
    distances, positions = model.detector_.kneighbors()  # of each training row among the others
    reach = np.ascontiguousarray(distances[:, -1])
    density = 1.0 / (mean_over_columns(np.maximum(distances, reach[positions])) + LEAST_DENSITY)
    return LocalOutlierFactor(sample, int(model.n_neighbors_), reach, density, np.median(sample, axis=0))


def fit_cblof(
    X: FloatArray,
    seed: int,
    *,
    n_clusters: int = 8,
    alpha: float = 0.9,
    beta: float = 5.0,
    sample_size: int = SAMPLE_SIZE,
) -> ClusterDistance:
    """CBLOF: the distance to the centre of the nearest large cluster; the clusters are those of k-means.

    Parameters
    ----------
    X, sample_size
        As for ECOD.
    seed
        Draws the sample and starts k-means.
    n_clusters
        How many.
    alpha
        Share of the rows, in (0, 1), that the large clusters hold at least.
    beta
        Large clusters end where the next one is smaller by this factor, above 1.

    Raises
    ------
    MissingExtraError, ValueError
        As for ECOD; also if there are fewer rows than clusters, or none of them is large.
    """
    module = library_of("cblof", "PyOD", "pyod.models.cblof")
    k = check_count("n_clusters", n_clusters, 2)
    alpha, beta = _between(alpha, 0, 1, "alpha"), _between(beta, 1, np.inf, "beta")
    sample = _sample(X, seed, sample_size)
    model = _fitted(module.CBLOF(n_clusters=k, alpha=alpha, beta=beta, random_state=seed), sample)
    large = np.ascontiguousarray(model.cluster_centers_[model.large_cluster_labels_], dtype=np.float64)
    return ClusterDistance(large, np.median(sample, axis=0))


def fit_pca(X: FloatArray, seed: int, *, sample_size: int = SAMPLE_SIZE) -> AxisDistance:
    """PCA: distances to the ends of the principal axes, each over the axis' share of the variance.

    Axes with less than 1e-10 of the variance are left out; there is one for every column that becomes one-hot features.
    PyOD divides by that share, which is rounding error there.

    Parameters
    ----------
    X, seed, sample_size
        As for ECOD.

    Raises
    ------
    MissingExtraError, ValueError
        As for ECOD.
    """
    module = library_of("pca", "PyOD", "pyod.models.pca")
    sample = _sample(X, seed, sample_size)
    model = _fitted(module.PCA(random_state=seed), sample)
    kept = model.selected_w_components_ > _LEAST_SHARE
    if not kept.any():
        raise ValueError("all training rows are the same; pca finds no axis in them")
    return AxisDistance(
        mean=np.asarray(model.scaler_.mean_),
        scale=np.asarray(model.scaler_.scale_),
        axes=np.ascontiguousarray(model.selected_components_[kept]),
        shares=np.ascontiguousarray(model.selected_w_components_[kept]),
        typical=np.median(sample, axis=0),
    )


def _sample(X: FloatArray, seed: int, sample_size: int) -> FloatArray:
    """At most `sample_size` of the rows, in their order."""
    size = check_count("sample_size", sample_size, 2)
    if len(X) < 2:
        raise ValueError(f"{len(X)} training rows; at least 2 are needed")
    if len(X) > size:
        X = X[np.sort(np.random.default_rng(seed).choice(len(X), size, replace=False))]
    return np.ascontiguousarray(X, dtype=np.float64)


def _fitted(model: Any, sample: FloatArray) -> Any:
    """The model, fitted in one thread: sums over several would differ in the last bits from one fit to the next."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy on columns that are almost constant
        warnings.filterwarnings("ignore", message="Duplicate values are leading to incorrect results")
        return model.fit(sample)


def _neighbours(n_neighbors: int, sample: FloatArray) -> int:
    return min(n_neighbors, len(sample) - 1)


def _between(value: float, least: float, most: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not least < value < most:
        bounds = f"above {least:g}" if np.isinf(most) else f"between {least:g} and {most:g}"
        raise ValueError(f"{name} is {value!r}; a number {bounds} is allowed")
    return float(value)
