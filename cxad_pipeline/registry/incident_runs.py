"""Calibrations of the incident model as runs in MLflow, so that they compare as trainings do.

Belongs here: what such a run holds. Does not belong here: calibrating (`operations`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.registry.tracking import TrainingRuns, log_figures, log_metrics, log_params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROLE = "incident_model"


def log_incident_model(model: IncidentModel, runs: TrainingRuns, figure: Figure) -> str:
    """Log a calibration: parameters, the promise and what the replay came to, the picture, the model's files.

    Returns
    -------
    str
        The run's id.
    """
    import mlflow

    start, end, contacts = model.history
    with runs.child(ROLE) as run_id, tempfile.TemporaryDirectory() as folder:
        log_params(
            {
                "algorithm": "segment tests",
                "dimensions": list(model.tree.dimensions),
                "metrics": [metric.name for metric in model.metrics],
                "window_seconds": model.window_seconds,
                "promised_per_week": model.promise.per_week,
                "history_start": start,
                "history_end": end,
            }
        )
        log_metrics(
            {
                "threshold": model.threshold,
                "replayed_per_week": model.replayed_per_week,
                "n_train": contacts,
                "n_segments": len(model.tree),
                "n_segments_shifted": len(model.shifts),
                "weeks_of_history": model.monitor.weeks,
            }
        )
        log_figures({"replay": figure})
        model.save(Path(folder))
        mlflow.log_artifacts(folder, ROLE)
    return run_id
