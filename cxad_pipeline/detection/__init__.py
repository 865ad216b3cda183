"""Anomaly detection for tables: two forests, their calibration, their ensemble and the reasons for a score.

Belongs here: pure maths on arrays. Does not belong here: a framework, settings, databases, or any file beside
the folder that a detector is saved to. The names below are imported on first use, so that a process that only
loads and scores pays for numpy and numba alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxad_pipeline.detection.config import DetectorConfig, EnsembleConfig, ModelConfig
    from cxad_pipeline.detection.detector import Detector
    from cxad_pipeline.detection.isolation_forest import IsolationForest
    from cxad_pipeline.detection.random_cut_forest import RandomCutForest

__all__ = [
    "Detector",
    "DetectorConfig",
    "EnsembleConfig",
    "IsolationForest",
    "ModelConfig",
    "RandomCutForest",
]

_HOME = {
    "Detector": "detector",
    "DetectorConfig": "config",
    "EnsembleConfig": "config",
    "IsolationForest": "isolation_forest",
    "ModelConfig": "config",
    "RandomCutForest": "random_cut_forest",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
