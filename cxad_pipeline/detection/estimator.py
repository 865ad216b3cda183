"""What both forest estimators share: scikit-learn's manners without scikit-learn.

Belongs here: reading and setting constructor arguments, scores and predictions, the state before fit. Does not
belong here: anything about forests, and the checks of arguments and of X (`checks.py`). Scoring must not import
scikit-learn, so its base classes are not used.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.checks import check_contamination, checked_columns, checked_points
from cxad_pipeline.detection.forests import Forest
from cxad_pipeline.detection.kernels import FloatArray

Contamination = Literal["auto"] | float


class NotFittedError(ValueError, AttributeError):
    """An estimator was asked for scores before `fit`; the same bases as scikit-learn's own."""


class ForestEstimator(ABC):
    """Base of the estimators: arguments are stored as given and checked in `fit`.

    Attributes
    ----------
    forest_
        The frozen forest, after `fit`.
    offset_
        What `decision_function` takes from `score_samples`: rows below it are outliers.
    n_features_in_
        Columns of X in `fit`.
    feature_names_in_
        Their names, where X had names and all are strings.
    """

    contamination: Contamination
    n_jobs: int | None
    forest_: Forest
    offset_: float
    n_features_in_: int
    feature_names_in_: npt.NDArray[np.object_]

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

    def fit_predict(self, X: npt.ArrayLike, y: object = None) -> npt.NDArray[np.int64]:
        """`fit(X)`, then `predict(X)`."""
        return self.fit(X, y).predict(X)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({arguments})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of an estimator, which it does when it is there."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(estimator_type="outlier_detector", target_tags=TargetTags(required=False), input_tags=InputTags())

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

    def decision_function(self, X: npt.ArrayLike) -> FloatArray:
        """`score_samples` - `offset_`, negative for outliers, (n,). Raises as `anomaly_score`."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Tell outliers (-1) from inliers (1), (n,). Raises as `anomaly_score`."""
        return np.where(self.decision_function(X) < 0.0, -1, 1).astype(np.int64)

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
            raise _not_fitted(f"this {type(self).__name__} is not fitted yet: call fit first")
        return self.forest_

    def _keep_columns(self, X: object, points: npt.NDArray[Any]) -> None:
        """Remember how many columns there were in `fit`, and their names where they have some."""
        self.n_features_in_ = points.shape[1]
        names = checked_columns(X)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _set_offset(self, points: npt.NDArray[Any], automatic: float) -> None:
        """Set `offset_` as `contamination` says; `automatic` is what `auto` stands for."""
        share = check_contamination(self.contamination)
        if share is None:
            self.offset_ = automatic
            return
        scores = -self.forest_.anomaly_score(points, self.n_jobs_for_scoring())
        self.offset_ = float(np.percentile(scores, 100.0 * share))

    def _checked(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        points = checked_points(X)
        name = type(self).__name__
        if points.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {points.shape[1]} features, but {name} is expecting {self.n_features_in_} features as input"
            )
        names, known = checked_columns(X), getattr(self, "feature_names_in_", None)
        if names is not None and known is not None and list(names) != list(known):
            raise ValueError(
                f"the feature names should match those that were passed during fit: {name} was fitted with "
                f"{', '.join(known)}, in this order; X has {', '.join(names)}"
            )
        return points


def _not_fitted(message: str) -> NotFittedError:
    """Our error, and scikit-learn's where a caller can know it: then scikit-learn is imported already."""
    theirs = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", None)
    if theirs is None:
        return NotFittedError(message)
    both: type[NotFittedError] = type("NotFittedError", (NotFittedError, theirs), {"__doc__": NotFittedError.__doc__})
    return both(message)
