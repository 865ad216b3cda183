"""A model as it serves: immutable, swapped as a whole.

Belongs here: what a request sees of the model. Does not belong here: where it comes from (`model_store`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from cxad_pipeline.detection.detector import Detector


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The detector that serves, with its place in the registry. A request holds one from its beginning to its end.

    Attributes
    ----------
    detector
        What scores.
    version
        Number in MLflow, `3`.
    run_id
        MLflow run that registered it.
    loaded_at
        When this process loaded it, UTC.
    """

    detector: Detector
    version: str
    run_id: str
    loaded_at: dt.datetime

    @property
    def label(self) -> str:
        """What is written beside scores, `v3`, as in batch scoring."""
        return f"v{self.version}"
