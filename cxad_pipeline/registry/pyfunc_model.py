"""The detector as an MLflow pyfunc, by models-from-code: MLflow runs this file when it loads the model.

Belongs here: MLflow's frames in and out. It scores with the same `score_table` as batch scoring.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from pandas.api.types import is_object_dtype, is_string_dtype

from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.detection.detector import Detector
from cxad_pipeline.detection.output import UnknownModelError, output_columns, score_table
from cxad_pipeline.detection.tables import TableError


class DetectorModel(PythonModel):  # type: ignore[misc]  # MLflow's base is untyped here
    """Scores interactions; the answer has the columns of batch scoring behind the input columns."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the detector from the model's artifacts."""
        self._detector = Detector.load(context.artifacts["detector"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Score a frame of interactions.

        Parameters
        ----------
        context
            Unused: the detector is loaded once.
        model_input
            Interactions; shape (n, ...).
        params
            `model`: ensemble (default) or the name of a member; `explain`: reasons for every row.

        Returns
        -------
        DataFrame
            The columns that scoring adds; shape (n, ...).

        Raises
        ------
        MlflowException
            If there is no such model, or a number or time column holds something else; the server answers 400.
        """
        del context
        options = params or {}
        model = str(options.get("model", ENSEMBLE))
        try:
            timestamp = self._detector.config.timestamp
            frame = model_input if timestamp is None else with_moments(model_input, timestamp)
            table = pa.Table.from_pandas(frame, preserve_index=False)
            scored = score_table(self._detector, table, model=model, explain_all=bool(options.get("explain", False)))
        except (TableError, UnknownModelError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            # MLflow's server tells the caller the text of its own exception alone.
            raise MlflowException.invalid_parameter_value(str(error)) from error
        names = output_columns(self._detector.member_names, model)
        return scored.select([name for name in names if name != "model_version"]).to_pandas()


def with_moments(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The frame with moments in a column that holds text, as JSON and CSV give it.

    Parameters
    ----------
    frame
        Interactions; shape (n, ...).
    name
        The column; text in it is ISO 8601, in UTC where it names no zone.

    Raises
    ------
    TableError
        If a text is no moment.
    """
    if name not in frame.columns or not (is_string_dtype(frame[name]) or is_object_dtype(frame[name])):
        return frame
    try:
        return frame.assign(**{name: pd.to_datetime(frame[name], format="ISO8601", utc=True)})
    except (ValueError, TypeError) as error:
        raise TableError(f"column {name!r} must hold times, such as 2026-10-12T09:30:00Z: {error}") from error


set_model(DetectorModel())
