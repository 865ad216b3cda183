"""The evaluation of a detector on held-out rows: figures, summary, and where they go.

Belongs here: the report as an object that Dagster keeps, its files and its place in MLflow. Does not belong here: the
measures themselves (`detection.evaluation`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from cxad_pipeline.detection.detector import Detector, Scores
from cxad_pipeline.detection.evaluation import (
    KindReport,
    ModelSummary,
    evaluate_labels,
    injected_roc_auc,
    summarize,
)
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.schema import ID
from cxad_pipeline.registry.tracking import TrainingRuns, log_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LabelsError(ValueError):
    """A file of labels can't be used; the message names the file and what is missing."""


@dataclass(frozen=True)
class EvaluationReport:
    """What is known of a detector.

    Attributes
    ----------
    summaries
        Statistics of the scores on held-out rows, per model.
    roc_auc
        Model -> ROC-AUC at telling injected faults from held-out rows.
    labelled
        Precision and recall by kind of anomaly; empty where there are no labels.
    """

    summaries: list[ModelSummary]
    roc_auc: dict[str, float]
    labelled: list[KindReport]

    def summary_rows(self) -> list[dict[str, Any]]:
        """One row per model."""
        return [
            {key: _rounded(value) for key, value in asdict(summary).items()}
            | {"injected_roc_auc": _rounded(self.roc_auc[summary.name])}
            for summary in self.summaries
        ]

    def label_rows(self) -> list[dict[str, Any]]:
        """One row per model and kind of anomaly."""
        return [{key: _rounded(value) for key, value in asdict(report).items()} for report in self.labelled]

    def write(self, processed: Folder, figures: Mapping[str, Figure]) -> list[str]:
        """Write figures as PNG and tables as CSV; give their addresses."""
        written = []
        for name, figure in figures.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
            processed.write(f"{name}.png", buffer.getvalue())
            written.append(processed.address(f"{name}.png"))
        for name, rows in (("score_summary", self.summary_rows()), ("label_report", self.label_rows())):
            if rows:
                processed.write(f"{name}.csv", _as_csv(rows))
                written.append(processed.address(f"{name}.csv"))
            else:
                processed.delete(f"{name}.csv")  # of an earlier detector
        return written

    def log(self, runs: TrainingRuns, figures: Mapping[str, Figure]) -> None:
        """Log to MLflow: figures to the parent run, metrics to each model's run, under the same names."""
        with runs.parent():
            log_figures(figures)
        for summary in self.summaries:
            metrics = summary.metrics() | {"injected_roc_auc": self.roc_auc[summary.name]}
            for report in self.labelled:
                if report.model == summary.name:
                    kind = re.sub(r"[^\w\-. :/]", "_", report.kind, flags=re.ASCII)  # what MLflow allows in a name
                    metrics[f"recall_{kind}"] = report.recall
                    metrics[f"label_roc_auc_{kind}"] = report.roc_auc
                    if report.precision is not None:
                        metrics["precision"] = report.precision
            runs.log_to_child(summary.name, metrics)

    def save(self, folder: str | Path) -> None:
        """Write the report's figures, without the scores, as JSON."""
        content = {
            "summaries": [asdict(summary) for summary in self.summaries],
            "roc_auc": self.roc_auc,
            "labelled": [asdict(report) for report in self.labelled],
        }
        Path(folder, "report.json").write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote."""
        content = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
        return cls(
            [ModelSummary(**summary) for summary in content["summaries"]],
            content["roc_auc"],
            [KindReport(**report) for report in content["labelled"]],
        )


def evaluate(
    detector: Detector, rows: pa.Table, scores: Scores, *, labels: str | None, random_state: int
) -> EvaluationReport:
    """Evaluate a detector on rows that did not train it.

    Parameters
    ----------
    detector
        What is evaluated.
    rows, scores
        Held-out interactions, and the detector's scores of them.
    labels
        CSV with interaction_id and kind of known anomalies, or None.
    random_state
        Seed of the injected faults.

    Raises
    ------
    LabelsError
        If the labels can't be read, or name none of the rows.
    """
    labelled: list[KindReport] = []
    if labels is not None:
        kinds = read_labels(labels)
        try:
            labelled = evaluate_labels(scores, rows[ID].to_pylist(), kinds)
        except ValueError as error:
            raise LabelsError(f"{labels}: {error}") from error
        if not labelled:
            raise LabelsError(f"{labels}: names none of the {rows.num_rows:,} rows that are evaluated")
    return EvaluationReport(summarize(scores), injected_roc_auc(detector, rows, random_state), labelled)


def read_labels(path: str) -> dict[str, str]:
    """interaction_id -> kind, from a CSV with those columns.

    Raises
    ------
    LabelsError
        If the file is missing, is no CSV, or lacks a column.
    """
    file = Path(path)
    if not file.is_file():
        raise LabelsError(f"{path}: no such file of labels")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            absent = [name for name in (ID, "kind") if name not in (reader.fieldnames or [])]
            if absent:
                raise LabelsError(f"{path}: no column {', '.join(absent)}; labels need {ID} and kind")
            return {row[ID]: row["kind"] or "" for row in reader if row[ID]}
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelsError(f"{path}: no CSV in UTF-8 ({error})") from error


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
