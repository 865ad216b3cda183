"""What a detector is made of: columns, models, ensemble.

Belongs here: the frozen configuration of a `Detector`, its validation and its form in JSON. Does not belong
here: where a configuration comes from (files, environment), which is the business of the settings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

Algorithm = Literal[
    "isolation_forest", "random_cut_forest", "ecod", "copod", "hbos", "knn", "lof", "cblof", "pca", "fcf"
]
Strategy = Literal["average", "max", "voting"]
Imputation = Literal["median", "mean", "zero"]
Scaling = Literal["robust", "standard", "none"]

ENSEMBLE = "ensemble"
"""The name under which scores, thresholds and flags of the whole ensemble are found; no model may have it."""

_COLUMN_LISTS = ("numeric", "categorical", "segments", "relative_to")
_MODEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class ConfigError(ValueError):
    """A detector configuration that cannot be used: which field, which value, what is allowed."""


@dataclass(frozen=True)
class ModelConfig:
    """One member of the ensemble.

    Attributes
    ----------
    name
        Key of its scores; letters, digits, `_` and `-`.
    algorithm
        `isolation_forest` or `random_cut_forest`; with the extra `algorithms` also `ecod`, `copod`, `hbos`, `knn`,
        `lof`, `cblof`, `pca` (fitted by PyOD) or `fcf` (the Fair-Cut Forest, grown by isotree).
    params
        Parameters of the algorithm, except `random_state`, which the detector derives.
    threshold_percentile
        Percentile of the scores on held-out rows from which on a row is flagged, in (0, 100).
    """

    name: str
    algorithm: Algorithm
    params: Mapping[str, object] = field(default_factory=dict)
    threshold_percentile: float = 99.0

    def validate(self) -> None:
        """Check every field.

        Raises
        ------
        ConfigError
            If a field has a value that is not allowed.
        """
        if not isinstance(self.name, str) or not _MODEL_NAME.fullmatch(self.name) or self.name == ENSEMBLE:
            raise ConfigError(
                f"model name {self.name!r}: use letters, digits, '_' and '-', starting with a letter, "
                f"and not {ENSEMBLE!r}"
            )
        _one_of(f"model {self.name!r}: algorithm", self.algorithm, get_args(Algorithm))
        _percentile(f"model {self.name!r}: threshold_percentile", self.threshold_percentile)
        if "random_state" in self.params:
            raise ConfigError(
                f"model {self.name!r}: params.random_state is derived from the detector's random_state; "
                "set that one instead"
            )


@dataclass(frozen=True)
class EnsembleConfig:
    """How the members' scores become one.

    Attributes
    ----------
    strategy
        `average` or `max` of the calibrated scores, or `voting` with the flags.
    weights
        Weight by model name, not negative; a model that is not named has weight 1.
    threshold_percentile
        Percentile of the held-out ensemble scores from which on a row is flagged, in (0, 100). Voting has the
        fixed threshold 0.5 instead.
    """

    strategy: Strategy = "average"
    weights: Mapping[str, float] = field(default_factory=dict)
    threshold_percentile: float = 99.0

    def validate(self, names: Sequence[str]) -> None:
        """Check every field against the names of the models.

        Raises
        ------
        ConfigError
            If a field has a value that is not allowed.
        """
        _one_of("ensemble strategy", self.strategy, get_args(Strategy))
        _percentile("ensemble threshold_percentile", self.threshold_percentile)
        for name, weight in self.weights.items():
            if name not in names:
                raise ConfigError(f"ensemble weights: there is no model {name!r}; models: {', '.join(names)}")
            if not _is_number(weight) or weight < 0:
                raise ConfigError(f"ensemble weights: {name!r} has {weight!r}; a number >= 0 is allowed")
        if not math.isfinite(sum(self.weights.values())):
            raise ConfigError("ensemble weights: their sum is beyond all floats; give smaller ones")
        if all(self.weights.get(name, 1.0) == 0 for name in names):
            raise ConfigError("ensemble weights: every model has weight 0; give at least one a positive weight")


def _default_models() -> tuple[ModelConfig, ...]:
    return (ModelConfig("iforest", "isolation_forest"), ModelConfig("rcf", "random_cut_forest"))


@dataclass(frozen=True)
class DetectorConfig:
    """Everything that a detector is fitted with.

    Attributes
    ----------
    numeric, categorical
        Columns that become features.
    models
        Members of the ensemble; an Isolation Forest `iforest` and a Random Cut Forest `rcf` unless said otherwise.
    ensemble
        How their scores become one.
    imputation
        What a missing number becomes: the training `median` or `mean`, or `zero`.
    scaling
        `robust`: (x - median) / IQR, compressed by asinh beyond 3 IQR; `standard`: (x - mean) / standard
        deviation; `none`.
    held_out
        Share of the training rows, in (0, 1), that thresholds and calibration come from: their scores by models that
        have not seen them, on features that were fitted without them.
    segments
        Categorical columns whose combinations have typical ranges of their own in the reasons, from coarse to fine.
    relative_to
        Category columns, from coarse to fine, such as `("channel", "queue")`: every number also becomes a feature
        relative to the baseline of its own segment. None unless said otherwise.
    timestamp
        Column with the moment of a row: hour of the day and weekday become features. None unless said otherwise.
    timezone
        The zone on whose clock hours and weekdays are read, by its IANA name.
    missing_indicators
        Whether a number that some of the training rows lack also becomes a 0/1 feature, 1 where it is missing.
    labels
        Words and unit by column, as reasons name it: `{"hold": ("hold time", "s")}`. Columns of the contact
        centre's schema need none.
    random_state
        Seed of everything random, >= 0.
    """

    numeric: Sequence[str]
    categorical: Sequence[str] = ()
    models: Sequence[ModelConfig] = field(default_factory=_default_models)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    imputation: Imputation = "median"
    scaling: Scaling = "robust"
    held_out: float = 0.25
    segments: Sequence[str] = ()
    relative_to: Sequence[str] = ()
    timestamp: str | None = None
    timezone: str = "UTC"
    missing_indicators: bool = False
    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    random_state: int = 0

    def validate(self) -> None:
        """Check every field, and the fields against each other.

        Raises
        ------
        ConfigError
            If a field has a value that is not allowed.
        """
        for name in _COLUMN_LISTS:
            _column_names(name, getattr(self, name))
        if not self.numeric and not self.categorical:
            raise ConfigError("no columns: name at least one in numeric or categorical")
        both = sorted(set(self.numeric) & set(self.categorical))
        if both:
            raise ConfigError(f"columns both numeric and categorical: {', '.join(both)}; choose one")
        self._validate_optional_features()
        for name, words in self.labels.items():
            if isinstance(words, str) or len(words) != 2 or not all(isinstance(word, str) for word in words):
                raise ConfigError(f"labels: {name!r} has {words!r}; words and unit are allowed, such as ('hold', 's')")
        _one_of("imputation", self.imputation, get_args(Imputation))
        _one_of("scaling", self.scaling, get_args(Scaling))
        if not _is_number(self.held_out) or not 0 < self.held_out < 1:
            raise ConfigError(f"held_out is {self.held_out!r}; a share between 0 and 1 is allowed")
        if isinstance(self.random_state, bool) or not isinstance(self.random_state, int) or self.random_state < 0:
            raise ConfigError(f"random_state is {self.random_state!r}; an integer >= 0 is allowed")
        if not self.models:
            raise ConfigError("no models: name at least one")
        names = [model.name for model in self.models]
        for model in self.models:
            model.validate()
            if names.count(model.name) > 1:
                raise ConfigError(f"two models are named {model.name!r}; each needs a name of its own")
        self.ensemble.validate(names)

    @property
    def category_inputs(self) -> list[str]:
        """Category columns that a table to score is to have: for features of their own, or to find a row's segment."""
        return list(dict.fromkeys([*self.categorical, *self.relative_to, *self.segments]))

    def _validate_optional_features(self) -> None:
        if self.relative_to and not self.numeric:
            raise ConfigError("relative_to names columns and numeric none: there is no number to be relative")
        both = sorted(set(self.relative_to) & set(self.numeric))
        if both:
            raise ConfigError(f"columns both numeric and in relative_to: {', '.join(both)}; segments are categories")
        if self.timestamp is not None and (not isinstance(self.timestamp, str) or not self.timestamp):
            raise ConfigError(f"timestamp is {self.timestamp!r}; the name of a column is allowed, or None")
        if self.timestamp in (*self.numeric, *self.categorical):
            raise ConfigError(f"timestamp {self.timestamp!r} is also numeric or categorical; choose one")
        _timezone(self.timezone)
        if not isinstance(self.missing_indicators, bool):
            raise ConfigError(f"missing_indicators is {self.missing_indicators!r}; True or False is allowed")

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain lists, dicts, strings and numbers, ready for JSON."""
        content = asdict(self)
        for name in (*_COLUMN_LISTS, "models"):
            content[name] = list(content[name])
        for model in content["models"]:
            model["params"] = dict(model["params"])
        content["ensemble"]["weights"] = dict(content["ensemble"]["weights"])
        content["labels"] = {name: list(words) for name, words in content["labels"].items()}
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> DetectorConfig:
        """The configuration that `to_dict` gave; keys that are left out take their defaults.

        Raises
        ------
        ConfigError
            If a key is unknown.
        """
        given = dict(_known(cls, content))
        for name in _COLUMN_LISTS:
            if name in given:
                _column_names(name, given[name])
                given[name] = tuple(given[name])
        if "models" in given:
            given["models"] = tuple(ModelConfig(**_known(ModelConfig, model)) for model in given["models"])
        if "ensemble" in given:
            given["ensemble"] = EnsembleConfig(**_known(EnsembleConfig, given["ensemble"]))
        if "labels" in given:
            given["labels"] = {name: (words[0], words[1]) for name, words in given["labels"].items()}
        return cls(**given)


def _known(kind: type, content: Mapping[str, Any]) -> Mapping[str, Any]:
    allowed = [entry.name for entry in fields(kind)]
    unknown = sorted(set(content) - set(allowed))
    if unknown:
        raise ConfigError(f"{kind.__name__}: unknown {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    return content


def _one_of(what: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{what} is {value!r}; allowed: {', '.join(allowed)}")


def _percentile(what: str, value: object) -> None:
    if not _is_number(value) or not 0 < float(value) < 100:  # type: ignore[arg-type]
        raise ConfigError(f"{what} is {value!r}; a number between 0 and 100 is allowed")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _timezone(value: object) -> None:
    try:
        ZoneInfo(value)  # type: ignore[arg-type]
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as error:
        raise ConfigError(f"timezone is {value!r}; an IANA name such as Europe/Berlin is allowed") from error


def _column_names(what: str, value: object) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(f"{what} is {value!r}; a list of column names is allowed")
    for name in value:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{what} holds {name!r}; column names are non-empty strings")
        if list(value).count(name) > 1:
            raise ConfigError(f"{what} names {name!r} twice")
