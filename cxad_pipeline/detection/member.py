"""One member of the ensemble: a frozen model with what its held-out scores taught.

Belongs here: fitting one model on a feature set, and the member's saving. Does not belong here: which algorithms there
are (`algorithms.py`) and how members are combined (`ensemble.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.algorithms import ALGORITHMS
from cxad_pipeline.detection.artifacts import Arrays, read_artifact, under_prefix, with_prefix, write_artifact
from cxad_pipeline.detection.calibration import Calibration, threshold_at
from cxad_pipeline.detection.config import ConfigError, ModelConfig
from cxad_pipeline.detection.extras import MissingExtraError
from cxad_pipeline.detection.feature_set import FeatureSet
from cxad_pipeline.detection.frozen import FrozenModel
from cxad_pipeline.detection.kernels import FloatArray

FEW_HELD_OUT = 300
"""With fewer held-out rows than this a forest is grown again on all rows."""

TIED_SHARE = 0.01
"""Share of the held-out rows that may have one and the same high score where a forest is grown again."""


@dataclass(frozen=True, eq=False)
class Member:
    """A fitted model of the ensemble.

    Attributes
    ----------
    name, algorithm
        As configured.
    forest
        The frozen model, whether or not it is a forest; of few rows a forest is one of all of them.
    threshold
        Raw score from which on a row is flagged.
    calibration
        From raw scores to surprise.
    held_out_scores
        Raw scores of the held-out rows, in their order, by a model that has not seen them, which is `forest` itself
        unless that was grown again; empty in a member that was
        loaded with a detector.
    """

    name: str
    algorithm: str
    forest: FrozenModel
    threshold: float
    calibration: Calibration
    held_out_scores: FloatArray

    def flags(self, raw: FloatArray) -> npt.NDArray[np.bool_]:
        """Which raw scores are flagged, (n,)."""
        return raw >= self.threshold

    def to_parts(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Content for JSON and arrays, without the held-out scores."""
        content = {"name": self.name, "algorithm": self.algorithm, "threshold": self.threshold}
        arrays = with_prefix("forest", self.forest.to_arrays()) | with_prefix(
            "calibration", self.calibration.to_arrays()
        )
        return content, arrays

    @classmethod
    def from_parts(cls, content: Mapping[str, Any], arrays: Arrays) -> Self:
        """The member that `to_parts` gave, with held-out scores where `arrays` has them.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the parts are no member.
        """
        if content["algorithm"] not in ALGORITHMS:
            raise ValueError(f"algorithm {content['algorithm']!r}; known: {', '.join(ALGORITHMS)}")
        threshold = float(content["threshold"])
        if not np.isfinite(threshold):
            raise ValueError(f"member {content['name']!r}: threshold is {threshold}")
        return cls(
            name=content["name"],
            algorithm=content["algorithm"],
            forest=ALGORITHMS[content["algorithm"]].load(under_prefix("forest", arrays)),
            threshold=threshold,
            calibration=Calibration.from_arrays(under_prefix("calibration", arrays)),
            held_out_scores=arrays.get("held_out_scores", np.empty(0)),
        )

    def save(self, folder: str | Path) -> None:
        """Write to a local folder, held-out scores included."""
        content, arrays = self.to_parts()
        write_artifact(folder, "member", content, arrays | {"held_out_scores": self.held_out_scores})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        DetectorFormatError
            If the folder holds no member.
        """
        return read_artifact(folder, "member", cls.from_parts)


def member_seed(random_state: int, name: str) -> int:
    """A seed of the member's own, in [0, 2**32): the same in every process, another for every name."""
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    return int(np.random.SeedSequence([random_state, *words]).generate_state(1)[0])


def _has_ties(scores: FloatArray) -> bool:
    """Whether more than one in a hundred of the rows, and more than two, share a score of the upper half."""
    upper = scores[scores >= np.median(scores)]
    largest = int(np.unique(upper, return_counts=True)[1].max())
    return largest > max(2.0, TIED_SHARE * len(scores))


def fit_member(config: ModelConfig, feature_set: FeatureSet, random_state: int) -> Member:
    """Fit one model and learn its threshold and calibration.

    Parameters
    ----------
    config
        Name, algorithm, parameters and percentile.
    feature_set
        Threshold and calibration come from its held-out rows, scored by a model of the other rows. With few rows a
        forest is then grown once more, on all of them: it ranks better for a third more, and since its trees learn
        from samples of the same size, its scores are those of the first one but for the draw of the trees. That draw
        moves all scores together, by less than what so few held-out rows can tell. With many rows it would be more,
        and a tree's sample gains nothing from more rows to be drawn from. Nor is a forest grown again where many
        held-out rows share a score: in another forest they share another one, and a threshold close by would flag
        all of them.
    random_state
        Seed of the detector; the member derives its own from it and its name.

    Raises
    ------
    ConfigError
        If the algorithm has no such parameter, or refuses a value.
    MissingExtraError
        If the algorithm is fitted with a library that is not installed.
    """
    config.validate()
    algorithm = ALGORITHMS[config.algorithm]
    for name in config.params:
        if name not in algorithm.parameters:
            allowed = ", ".join(algorithm.parameters)
            raise ConfigError(
                f"model {config.name!r}: {config.algorithm} has no parameter {name!r}; allowed: {allowed}"
            )
    seed = member_seed(random_state, config.name)
    try:
        forest = algorithm.fit(feature_set.X[~feature_set.held_out], seed, **config.params)
        scores = forest.anomaly_score(feature_set.X[feature_set.held_out])
        if algorithm.sample_parameter is not None:
            rows = algorithm.sample_rows(config.params, len(feature_set.X) - len(scores))
            if len(scores) < FEW_HELD_OUT and not _has_ties(scores):
                same_size = {**config.params, algorithm.sample_parameter: rows}
                forest = algorithm.fit(feature_set.X, seed, **same_size)
    except ValueError as error:
        raise ConfigError(f"model {config.name!r}: {error}") from error
    except MissingExtraError as error:
        raise MissingExtraError(f"model {config.name!r}: {error}") from None
    return Member(
        name=config.name,
        algorithm=config.algorithm,
        forest=forest,
        threshold=threshold_at(scores, config.threshold_percentile),
        calibration=Calibration.fit(scores),
        held_out_scores=scores,
    )
