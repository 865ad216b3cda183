"""What both forest estimators share: scikit-learn's manners without scikit-learn.

Belongs here: reading and setting constructor arguments, the check of X, the state before fit. Does not belong
here: anything about forests. Scoring must not import scikit-learn, so its base classes are not used.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.forests import Forest
from cxad_pipeline.detection.kernels import FloatArray


class NotFittedError(ValueError, AttributeError):
    """An estimator was asked for scores before `fit`; the same bases as scikit-learn's own."""


class ForestEstimator(ABC):
    """Base of the estimators: arguments are stored as given and checked in `fit`.

    Attributes
    ----------
    forest_
        The frozen forest, after `fit`.
    n_features_in_
        Columns of X in `fit`.
    """

    n_jobs: int | None
    forest_: Forest
    n_features_in_: int

    @classmethod
    def argument_names(cls) -> list[str]:
        """Names of the constructor's arguments."""
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments by name; `deep` is accepted for scikit-learn's sake."""
        del deep
        return {name: getattr(self, name) for name in self.argument_names()}

    def set_params(self, **params: object) -> Self:
        """Set constructor arguments by name.

        Raises
        ------
        ValueError
            If a name is not an argument.
        """
        for name, value in params.items():
            if name not in self.argument_names():
                raise ValueError(
                    f"{type(self).__name__} has no argument {name!r}; it has {', '.join(self.argument_names())}"
                )
            setattr(self, name, value)
        return self

    @abstractmethod
    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Grow the forest; each class says on what."""

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({arguments})"

    def anomaly_score(self, X: npt.ArrayLike) -> FloatArray:
        """Score each row, higher = more anomalous.

        Parameters
        ----------
        X
            Points, (n, n_features_in_).

        Returns
        -------
        numpy.ndarray
            Scores, (n,).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has another width or holds NaN or infinity.
        """
        return self._fitted_forest().anomaly_score(self._checked(X), self.n_jobs_for_scoring())

    def score_samples(self, X: npt.ArrayLike) -> FloatArray:
        """Score each row with scikit-learn's sign, lower = more abnormal; else as `anomaly_score`."""
        return -self.anomaly_score(X)

    def attribution(self, X: npt.ArrayLike) -> FloatArray:
        """Contribution of each feature to the score of each row, (n, n_features_in_).

        What the rows add up to is said by the class. Raises as `anomaly_score`.
        """
        return self._fitted_forest().attribution(self._checked(X), self.n_jobs_for_scoring())

    def n_jobs_for_scoring(self) -> int | None:
        """Threads for scoring: `n_jobs` where it is a positive number, else one per processor."""
        return self.n_jobs if self.n_jobs is not None and self.n_jobs > 0 else None

    def _fitted_forest(self) -> Forest:
        if not hasattr(self, "forest_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first")
        return self.forest_

    def _checked(self, X: npt.ArrayLike) -> FloatArray:
        points = checked_points(X)
        if points.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {points.shape[1]} features, but {type(self).__name__} was fitted with {self.n_features_in_}"
            )
        return points


def checked_points(X: npt.ArrayLike) -> FloatArray:
    """X as a float array (n, d).

    Raises
    ------
    ValueError
        If X is not a table of numbers, has no column, or holds NaN or infinity.
    """
    points = np.asarray(X, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"X has shape {points.shape}; a table (n, d) is expected")
    if points.shape[1] == 0:
        raise ValueError("X has no columns")
    finite = np.isfinite(points)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(f"X holds {points[row, column]} in row {row}, column {column}; fill or drop it first")
    return points


def checked_training_points(X: npt.ArrayLike) -> FloatArray:
    """X as `checked_points` has it, with at least one row."""
    points = checked_points(X)
    if len(points) == 0:
        raise ValueError("X has no rows to fit on")
    return points


def check_count(name: str, value: object, least: int) -> int:
    """The value of an argument that must be an integer of at least `least`.

    Raises
    ------
    ValueError
        If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} is {value!r}; an integer >= {least} is allowed")
    return int(value)


def check_seed(value: object) -> int | None:
    """The value of `random_state`.

    Raises
    ------
    ValueError
        If it is neither None nor an integer in [0, 2**32).
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**32:
        raise ValueError(f"random_state is {value!r}; None or an integer from 0 to 2**32 - 1 is allowed")
    return int(value)


def check_jobs(value: object) -> int | None:
    """The value of `n_jobs`.

    Raises
    ------
    ValueError
        If it is neither None nor an integer other than 0.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value == 0:
        raise ValueError(f"n_jobs is {value!r}; None, a number of processes, or -1 for all is allowed")
    return int(value)
