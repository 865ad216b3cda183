"""The evaluation report: its files, its tables, its way to disk and back, and files of labels that are no use."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import math
from pathlib import Path

import pyarrow as pa
import pytest

from cxad_pipeline.detection import Detector
from cxad_pipeline.detection.evaluation import summarize
from cxad_pipeline.detection.figures import report_figures
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.schema import ID
from cxad_pipeline.registry.evaluation_report import EvaluationReport, LabelsError, evaluate, read_labels

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def labels(fresh: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    ids = fresh[ID].to_pylist()
    rows = [f"{ids[row]},{'extreme' if row % 2 else 'data fault'}" for row in range(20)]
    path.write_text("\n".join(["\ufeffinteraction_id,kind", *rows, "of another file,extreme"]), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def report(detector: Detector, fresh: pa.Table, labels: str) -> EvaluationReport:
    return evaluate(detector, fresh, detector.score(fresh), labels=labels, random_state=3)


def test_a_report_holds_every_model_and_every_kind(report: EvaluationReport, detector: Detector, fresh: pa.Table):
    assert report.summaries == summarize(detector.score(fresh))
    assert list(report.roc_auc) == ["ensemble", "iforest", "rcf"]
    assert all(0.6 < auc <= 1 for auc in report.roc_auc.values())
    kinds = [(entry.model, entry.kind, entry.labelled) for entry in report.labelled]
    models = ("ensemble", "iforest", "rcf")
    counts = (("any", 20), ("data fault", 10), ("extreme", 10))
    assert kinds == [(model, kind, n) for model in models for kind, n in counts]


def test_the_same_rows_and_seed_give_the_same_report(
    report: EvaluationReport, detector: Detector, fresh: pa.Table, labels: str
):
    assert evaluate(detector, fresh, detector.score(fresh), labels=labels, random_state=3) == report


def test_a_report_comes_back_from_disk_as_it_was(report: EvaluationReport, tmp_path: Path):
    report.save(tmp_path)
    assert EvaluationReport.load(tmp_path) == report
    nothing = dataclasses.replace(report, labelled=[], roc_auc={**report.roc_auc, "rcf": math.inf})
    nothing.save(tmp_path)
    assert EvaluationReport.load(tmp_path) == nothing


def test_figures_and_tables_are_written_and_their_addresses_told(
    report: EvaluationReport, detector: Detector, fresh: pa.Table, tmp_path: Path
):
    figures = report_figures(detector.score(fresh))
    files = report.write(Folder(str(tmp_path)), figures)
    names = ["score_distribution.png", "score_boxplots.png", "score_correlation.png"]
    assert files == [str(tmp_path / name) for name in [*names, "score_summary.csv", "label_report.csv"]]
    assert all((tmp_path / name).read_bytes().startswith(PNG) for name in names)
    with (tmp_path / "score_summary.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["name"] for row in table] == ["ensemble", "iforest", "rcf"]
    assert [int(row["flagged"]) for row in table] == [summary.flagged for summary in report.summaries]
    assert [float(row["injected_roc_auc"]) for row in table] == pytest.approx(list(report.roc_auc.values()), rel=1e-3)
    with (tmp_path / "label_report.csv").open(newline="") as stream:
        assert [row["kind"] for row in csv.DictReader(stream)][:3] == ["any", "data fault", "extreme"]

    again = dataclasses.replace(report, labelled=[]).write(Folder(str(tmp_path)), figures)
    assert not (tmp_path / "label_report.csv").exists()  # it was of another evaluation
    assert len(again) == 4


def test_figures_are_the_same_bytes_each_time(
    report: EvaluationReport, detector: Detector, fresh: pa.Table, tmp_path: Path
):
    for folder in ("one", "two"):
        report.write(Folder(str(tmp_path / folder)), report_figures(detector.score(fresh)))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_without_labels_there_is_no_table_of_labels(detector: Detector, fresh: pa.Table):
    report = evaluate(detector, fresh, detector.score(fresh), labels=None, random_state=3)
    assert report.labelled == []
    assert report.label_rows() == []


def test_labels_of_other_rows_are_an_error(detector: Detector, fresh: pa.Table, tmp_path: Path):
    path = tmp_path / "labels.csv"
    path.write_text("interaction_id,kind\nnobody,extreme\n")
    with pytest.raises(LabelsError, match=r"labels\.csv: names none of the 3,000 rows"):
        evaluate(detector, fresh, detector.score(fresh), labels=str(path), random_state=3)
    path.write_text("interaction_id,kind\n" + "".join(f"{row},x\n" for row in fresh[ID].to_pylist()))
    with pytest.raises(LabelsError, match=r"labels\.csv: all 3,000 rows carry a label"):
        evaluate(detector, fresh, detector.score(fresh), labels=str(path), random_state=3)


def test_a_file_of_labels_is_read_with_missing_kinds_as_no_label(tmp_path: Path):
    path = tmp_path / "labels.csv"
    path.write_text("kind,detail,interaction_id\nextreme,csat,a\n,,b\nlate\n")
    assert read_labels(str(path)) == {"a": "extreme", "b": ""}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"labels\.csv: no such file of labels"),
        (b"", r"no column interaction_id, kind; labels need interaction_id and kind"),
        (b"interaction_id,type\na,b\n", r"no column kind"),
        (gzip.compress(b"interaction_id,kind\n", mtime=0), r"no CSV in UTF-8"),
        ("interaction_id,kind\na,böse\n".encode("latin-1"), r"no CSV in UTF-8"),
    ],
)
def test_a_file_of_labels_that_is_no_use_is_one_error(tmp_path: Path, content: bytes | None, message: str):
    path = tmp_path / "labels.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LabelsError, match=message):
        read_labels(str(path))
