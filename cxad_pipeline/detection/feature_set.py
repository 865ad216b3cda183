"""Training rows made ready: features, which rows are held out, what is typical.

Belongs here: the first step of building a detector, which may be saved and go to another process. Does not
belong here: the maths of the features (`features.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.artifacts import Arrays, read_artifact, write_artifact
from cxad_pipeline.detection.config import DetectorConfig
from cxad_pipeline.detection.features import FeatureMap
from cxad_pipeline.detection.kernels import Float32Array
from cxad_pipeline.detection.tables import ChosenRows, Table, TableError, columns_of
from cxad_pipeline.detection.tree_arrays import check_array
from cxad_pipeline.detection.typical import TypicalRanges

MIN_TRAINING_ROWS = 20
"""With fewer rows a threshold means nothing."""


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of the training rows.

    Attributes
    ----------
    feature_map
        How they were made; fitted on the rows that are not held out.
    X
        Features of all rows, (n, d).
    held_out
        Rows that neither features nor forests are fitted on; thresholds and calibration come from them, (n,).
    typical
        Typical ranges of all rows, for the reasons.
    """

    feature_map: FeatureMap
    X: Float32Array
    held_out: npt.NDArray[np.bool_]
    typical: TypicalRanges

    @classmethod
    def fit(cls, table: Table, config: DetectorConfig) -> Self:
        """Draw the rows that are held out and fit the features on the others.

        Parameters
        ----------
        table
            Training rows.
        config
            Columns, imputation, scaling, optional features, segments, share held out, seed.

        Raises
        ------
        ConfigError
            If the configuration is not usable.
        TableError
            If the table has fewer than 20 rows, lacks a column, or a column is of the wrong type, or if every column
            is constant in the rows that are not held out.
        """
        config.validate()
        columns = columns_of(table)
        n = columns.n_rows
        if n < MIN_TRAINING_ROWS:
            raise TableError(f"{n} training rows; at least {MIN_TRAINING_ROWS} are needed to set a threshold")
        n_held_out = min(max(round(config.held_out * n), 1), n - 1)
        held_out = np.zeros(n, dtype=np.bool_)
        held_out[np.random.default_rng(config.random_state).permutation(n)[:n_held_out]] = True
        # A row that the features are fitted to looks more usual in them than a fresh one: a threshold that such
        # rows set would flag too many.
        feature_map = FeatureMap.fit(ChosenRows(columns, ~held_out), config)
        numeric = [name for name in config.numeric if name in feature_map.columns]
        categorical = [name for name in config.categorical if name in feature_map.columns]
        return cls(
            feature_map=feature_map,
            X=feature_map.encode(columns).X,
            held_out=held_out,
            typical=TypicalRanges.fit(
                columns, numeric, categorical, config.segments, feature_map.timestamp, feature_map.timezone
            ),
        )

    def save(self, folder: str | Path) -> None:
        """Write to a local folder."""
        content = {"feature_map": self.feature_map.to_dict(), "typical": self.typical.to_dict()}
        write_artifact(folder, "feature_set", content, {"X": self.X, "held_out": self.held_out})

    @classmethod
    def load(cls, folder: str | Path) -> FeatureSet:
        """Read what `save` wrote.

        Raises
        ------
        DetectorFormatError
            If the folder holds no feature set.
        """

        def build(content: Any, arrays: Arrays) -> FeatureSet:
            feature_map, X, held_out = FeatureMap.from_dict(content["feature_map"]), arrays["X"], arrays["held_out"]
            check_array("X", X, np.float32, (len(held_out), len(feature_map.names)))
            check_array("held_out", held_out, np.bool_, (len(X),))
            return FeatureSet(
                feature_map=feature_map,
                X=X,
                held_out=held_out,
                typical=TypicalRanges.from_dict(content["typical"]),
            )

        return read_artifact(folder, "feature_set", build)
