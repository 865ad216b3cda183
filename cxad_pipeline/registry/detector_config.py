"""The settings, as the configuration of a Detector.

Belongs here: names and values carried over, and the rate that follows from them. Does not belong here: their checking
(`settings`, `detection.config`).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from cxad_pipeline.detection.config import DetectorConfig, EnsembleConfig, ModelConfig
from cxad_pipeline.detection.detector import Detector
from cxad_pipeline.interactions.schema import TIMESTAMP, InteractionSchema
from cxad_pipeline.settings import Settings


def detector_config(settings: Settings, schema: InteractionSchema, present: Collection[str]) -> DetectorConfig:
    """What a detector is fitted with, for a table that has some columns.

    Parameters
    ----------
    settings
        Features, preprocessing, models and ensemble.
    schema
        Gives labels and units for reasons.
    present
        Columns of the training rows that hold at least one value; configured features beyond them are left out,
        since real exports lack columns.
    """
    numeric = [name for name in settings.features.numeric if name in present]
    categorical = [name for name in settings.features.categorical if name in present]
    relative_to = tuple(name for name in settings.features.relative_to if name in present) if numeric else ()
    timestamp = TIMESTAMP if settings.features.time and TIMESTAMP in present else None
    described = [*numeric, *categorical, *([timestamp] if timestamp else [])]
    return DetectorConfig(
        numeric=numeric,
        categorical=categorical,
        models=tuple(
            ModelConfig(model.name, model.algorithm, model.params.model_dump(), model.threshold_percentile)
            for model in settings.models
        ),
        ensemble=EnsembleConfig(
            settings.ensemble.strategy, settings.ensemble.weights, settings.ensemble.threshold_percentile
        ),
        imputation=settings.preprocessing.imputation,
        scaling=settings.preprocessing.scaling,
        held_out=settings.training.held_out,
        segments=tuple(name for name in settings.segments.dimensions if name in categorical),
        relative_to=relative_to,
        timestamp=timestamp,
        timezone=settings.timezone,
        missing_indicators=settings.features.missing_indicators,
        labels={name: (schema[name].words, schema[name].unit) for name in described if name in schema},
        random_state=settings.training.random_state,
    )


def expected_rate(detector: Detector) -> float:
    """Share of interactions that the ensemble flags when they are like the training rows.

    By its percentile for `average` and `max`. With `voting` the members' thresholds decide, and how much they agree, so
    the share is that of the held-out rows.
    """
    if detector.config.ensemble.strategy != "voting":
        return 1 - detector.config.ensemble.threshold_percentile / 100
    share = float(np.mean(detector.reference_scores["ensemble"] >= detector.threshold))
    return min(max(share, 0.0001), 0.9999)  # a share that was never seen is small, not impossible
