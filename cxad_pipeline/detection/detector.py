"""Detector: the one object that batch, API and stream all score with.

Belongs here: putting features, members, ensemble and reasons together, their scores, their saving. Does not
belong here: the maths of any of them. `Detector.fit` is `assemble` of one `FeatureSet` and one `fit_member` per
model, which a pipeline may run in separate processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.artifacts import (
    Arrays,
    DetectorFormatError,
    read_artifact,
    under_prefix,
    with_prefix,
    write_artifact,
)
from cxad_pipeline.detection.attribution import (
    Narrator,
    Reason,
    fold,
    positive_shares,
)
from cxad_pipeline.detection.calibration import Calibration, severity_of, threshold_at
from cxad_pipeline.detection.config import ENSEMBLE, ConfigError, DetectorConfig
from cxad_pipeline.detection.ensemble import VOTING_THRESHOLD, combine, decided_by
from cxad_pipeline.detection.feature_set import FeatureSet
from cxad_pipeline.detection.features import FeatureMap
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.member import Member, fit_member
from cxad_pipeline.detection.results import Explanations, Scores
from cxad_pipeline.detection.tables import Table, columns_of
from cxad_pipeline.detection.typical import TypicalRanges

__all__ = [
    "Detector",
    "DetectorFormatError",
    "Explanations",
    "FeatureSet",
    "Member",
    "Reason",
    "Scores",
    "assemble",
    "fit_member",
]

REFERENCE_QUANTILES = 1001
"""Quantiles of the held-out scores that a detector keeps, evenly spaced from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Detector:
    """A fitted ensemble: scores tables and explains the scores.

    Attributes
    ----------
    config
        What it was fitted with.
    feature_map, typical, members
        Features, typical ranges, models by name.
    threshold, calibration
        The ensemble's own.
    reference_scores
        Quantiles of the held-out scores, by model (raw) and for `ensemble`, (1001,) each, for drift checks.
    n_samples, n_features
        Training rows, held-out ones included, and features.
    train_timestamp
        As the caller gave it.
    """

    config: DetectorConfig
    feature_map: FeatureMap
    typical: TypicalRanges
    members: dict[str, Member]
    threshold: float
    calibration: Calibration
    reference_scores: dict[str, FloatArray]
    n_samples: int
    n_features: int
    train_timestamp: str | None

    @classmethod
    def fit(cls, table: Table, config: DetectorConfig, *, train_timestamp: str | None = None) -> Self:
        """Fit on a table without labels.

        Parameters
        ----------
        table
            A pyarrow Table, a pandas DataFrame, or a mapping from column name to numpy array.
        config
            Columns, models, ensemble, seed.
        train_timestamp
            Kept with the detector; nothing depends on it.

        Raises
        ------
        ConfigError
            If the configuration is not usable.
        TableError
            If the table does not fit the configuration, or has fewer than 20 rows.
        """
        feature_set = FeatureSet.fit(table, config)
        members = [fit_member(model, feature_set, config.random_state) for model in config.models]
        return cls._assembled(feature_set, members, config, train_timestamp)

    @classmethod
    def _assembled(
        cls,
        feature_set: FeatureSet,
        members: Sequence[Member],
        config: DetectorConfig,
        train_timestamp: str | None,
    ) -> Self:
        config.validate()
        wanted = [model.name for model in config.models]
        by_name = {member.name: member for member in members}
        if sorted(by_name) != sorted(wanted) or len(members) != len(wanted):
            raise ConfigError(
                f"members {', '.join(member.name for member in members)} do not match the configured models "
                f"{', '.join(wanted)}"
            )
        ordered = {name: by_name[name] for name in wanted}
        n_held_out = int(feature_set.held_out.sum())
        for member in ordered.values():
            if len(member.held_out_scores) != n_held_out or member.forest.n_features != feature_set.X.shape[1]:
                raise ConfigError(f"member {member.name!r} was fitted on another feature set")
        raw = {name: member.held_out_scores for name, member in ordered.items()}
        score, basis = combine(config.ensemble, *_calibrated(ordered, raw))
        voting = config.ensemble.strategy == "voting"
        levels = np.linspace(0.0, 1.0, REFERENCE_QUANTILES)
        return cls(
            config=config,
            feature_map=feature_set.feature_map,
            typical=feature_set.typical,
            members=ordered,
            threshold=(VOTING_THRESHOLD if voting else threshold_at(score, config.ensemble.threshold_percentile)),
            calibration=Calibration.fit(basis),
            reference_scores={name: np.quantile(scores, levels) for name, scores in (raw | {ENSEMBLE: score}).items()},
            n_samples=len(feature_set.X),
            n_features=feature_set.X.shape[1],
            train_timestamp=train_timestamp,
        )

    @property
    def member_names(self) -> list[str]:
        """Names of the models, in the order of the configuration."""
        return list(self.members)

    def score(self, table: Table) -> Scores:
        """Score every row.

        Parameters
        ----------
        table
            As in `fit`. Columns may be missing; then they are missing in every row.

        Raises
        ------
        TableError
            If the table has none of the columns, or a number column holds something else.
        """
        encoded = self.feature_map.encode(columns_of(table))
        raw = {name: member.forest.anomaly_score(encoded.X) for name, member in self.members.items()}
        surprises, flags = _calibrated(self.members, raw)
        ensemble, basis = combine(self.config.ensemble, surprises, flags)
        return Scores(
            raw=raw,
            thresholds={name: member.threshold for name, member in self.members.items()} | {ENSEMBLE: self.threshold},
            ensemble=ensemble,
            severity=self.calibration.severity(basis),
            severities={name: severity_of(surprise) for name, surprise in surprises.items()},
            flags=flags | {ENSEMBLE: ensemble >= self.threshold},
            unknown_counts=encoded.unknown_counts,
            missing_counts=encoded.missing_counts,
        )

    def explain(self, table: Table, top: int = 3) -> Explanations:
        """Say why every row has its score.

        The ensemble's reasons are those of its members, each to the degree that it made the ensemble's score: see
        `ensemble.decided_by`.

        Parameters
        ----------
        table
            As in `score`; usually the flagged rows alone, since this takes longer.
        top
            Most reasons per row.

        Raises
        ------
        TableError
            As `score`.
        """
        columns = columns_of(table)
        X = self.feature_map.encode(columns).X
        names, columns_of_features = self.feature_map.columns, self.feature_map.columns_of
        contributions = {
            name: fold(member.forest.attribution(X), columns_of_features, names)
            for name, member in self.members.items()
        }
        shares = {name: positive_shares(values) for name, values in contributions.items()}
        raw = {name: member.forest.anomaly_score(X) for name, member in self.members.items()}
        deciding = decided_by(self.config.ensemble, *_calibrated(self.members, raw))
        combined, told = np.zeros((columns.n_rows, len(names))), np.zeros((columns.n_rows, 1))
        for name, part in deciding.items():
            combined += part[:, None] * shares[name]
            # An Isolation Forest may find nothing unusual in a row; the reasons are then the others' alone.
            told += np.where(shares[name].any(axis=1), part, 0.0)[:, None]
        shares[ENSEMBLE] = np.divide(combined, told, out=combined, where=told > 0)
        narrator = Narrator(columns, self.typical, names, self.config.labels)
        return Explanations(names, contributions, shares, narrator, top)

    def save(self, folder: str | Path) -> None:
        """Write to a local folder: `detector.json` and `arrays.npz`, no pickle."""
        members, arrays = [], {}
        for index, member in enumerate(self.members.values()):
            content, own = member.to_parts()
            members.append(content)
            arrays.update(with_prefix(f"members/{index}", own))
        arrays.update(with_prefix("calibration", self.calibration.to_arrays()))
        arrays.update(with_prefix("reference", self.reference_scores))
        content = {
            "config": self.config.to_dict(),
            "feature_map": self.feature_map.to_dict(),
            "typical": self.typical.to_dict(),
            "members": members,
            "threshold": self.threshold,
            "n_samples": self.n_samples,
            "n_features": self.n_features,
            "train_timestamp": self.train_timestamp,
        }
        write_artifact(folder, "detector", content, arrays)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote; its scores are the same to the bit.

        Raises
        ------
        DetectorFormatError
            If the folder holds no detector, or a damaged one.
        """
        return read_artifact(folder, "detector", cls._from_parts)

    @classmethod
    def _from_parts(cls, content: Mapping[str, Any], arrays: Arrays) -> Self:
        feature_map = FeatureMap.from_dict(content["feature_map"])
        members = {}
        for index, part in enumerate(content["members"]):
            member = Member.from_parts(part, under_prefix(f"members/{index}", arrays))
            if member.forest.n_features != len(feature_map.names):
                raise ValueError(f"member {member.name!r} has {member.forest.n_features} features")
            members[member.name] = member
        threshold = float(content["threshold"])
        if not np.isfinite(threshold):
            raise ValueError(f"threshold is {threshold}")
        config = DetectorConfig.from_dict(content["config"])
        config.validate()
        if list(members) != [model.name for model in config.models]:
            raise ValueError(f"members {', '.join(members)} are not those of the configuration")
        return cls(
            config=config,
            feature_map=feature_map,
            typical=TypicalRanges.from_dict(content["typical"]),
            members=members,
            threshold=threshold,
            calibration=Calibration.from_arrays(under_prefix("calibration", arrays)),
            reference_scores=under_prefix("reference", arrays),
            n_samples=int(content["n_samples"]),
            n_features=int(content["n_features"]),
            train_timestamp=content["train_timestamp"],
        )


def assemble(
    feature_set: FeatureSet,
    members: Sequence[Member],
    config: DetectorConfig,
    *,
    train_timestamp: str | None = None,
) -> Detector:
    """Make a detector of its parts; `Detector.fit` is this, to the bit.

    Parameters
    ----------
    feature_set
        What the members were fitted on.
    members
        One per configured model, in any order.
    config
        The configuration that the feature set was fitted with.
    train_timestamp
        Kept with the detector; nothing depends on it.

    Raises
    ------
    ConfigError
        If the members are not those of the configuration or come from another feature set.
    """
    return Detector._assembled(feature_set, members, config, train_timestamp)


def _calibrated(
    members: Mapping[str, Member], raw: Mapping[str, FloatArray]
) -> tuple[dict[str, FloatArray], dict[str, npt.NDArray[np.bool_]]]:
    """Surprises and flags by model, from raw scores by model."""
    surprises = {name: member.calibration.surprise(raw[name]) for name, member in members.items()}
    return surprises, {name: member.flags(raw[name]) for name, member in members.items()}
