"""Runs in MLflow: one parent for a training, one child for each model, never overwritten, failed when they fail."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cxad_pipeline import __version__
from cxad_pipeline.detection import Detector
from cxad_pipeline.detection.figures import held_out_figure, report_figures
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.evaluation_report import evaluate
from cxad_pipeline.registry.tracking import (
    RegistryError,
    TrainingRuns,
    code_version,
    log_figures,
    log_metrics,
    log_params,
    public_uri,
    tracking_uri,
)
from cxad_pipeline.registry.training_rows import log_training_rows, rows_digest
from cxad_pipeline.settings import Settings


def all_runs(settings: Settings, training_id: str) -> dict[str, list[Any]]:
    runs = TrainingRuns(settings, training_id)
    by_role: dict[str, list[Any]] = {}
    for run in runs.client().search_runs([runs.experiment_id()], f"tags.`cxad.training_id` = '{training_id}'"):
        by_role.setdefault(run.data.tags["cxad.role"], []).append(run)
    return by_role


def test_children_belong_to_one_parent_and_each_says_where_it_comes_from(settings: Settings):
    runs = TrainingRuns(settings, "0123456789abcdef")
    for role in ("iforest", "rcf", "ensemble"):
        with runs.child(role):
            log_metrics({"threshold": 1})
    found = all_runs(settings, "0123456789abcdef")
    assert sorted(found) == ["ensemble", "iforest", "rcf", "training"]
    (parent,) = found["training"]
    assert parent.info.run_name == "training-01234567"
    assert parent.info.status == "FINISHED"
    for role in ("iforest", "rcf", "ensemble"):
        (run,) = found[role]
        assert run.info.status == "FINISHED"
        assert run.info.run_name == role
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["dagster.run_id"] == "0123456789abcdef"
        assert run.data.tags["cxad.version"] == __version__
        assert run.data.tags["mlflow.source.git.commit"] == code_version()


def test_the_code_version_is_the_commit_of_the_checkout():
    here = Path(__file__).parent
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    expected = answer.stdout.strip() if answer.returncode == 0 else __version__
    assert code_version() == expected


def test_another_training_has_another_parent(settings: Settings):
    first, second = (TrainingRuns(settings, name).parent_id() for name in ("one", "two"))
    assert first != second
    assert TrainingRuns(settings, "one").parent_id() == first


def test_a_model_made_twice_has_two_runs_and_the_newer_one_gets_the_evaluation(settings: Settings):
    runs = TrainingRuns(settings, "again")
    ids = []
    for threshold in (1.0, 2.0):
        with runs.child("rcf") as run_id:
            log_metrics({"threshold": threshold})
        ids.append(run_id)
    runs.log_to_child("rcf", {"score_mean": 0.5})
    assert ids[0] != ids[1]
    first, second = (runs.client().get_run(run_id).data.metrics for run_id in ids)
    assert first == {"threshold": 1.0}
    assert second == {"threshold": 2.0, "score_mean": 0.5}


def test_metrics_for_a_model_without_a_run_are_left_out(settings: Settings):
    TrainingRuns(settings, "partial").log_to_child("rcf", {"score_mean": 0.5})
    assert sorted(all_runs(settings, "partial")) == []


def test_a_block_that_raises_fails_child_and_parent_and_the_error_comes_through(settings: Settings):
    runs = TrainingRuns(settings, "broken")
    with runs.child("iforest"):
        log_metrics({"threshold": 1})
    with pytest.raises(ZeroDivisionError), runs.child("rcf"):
        log_metrics({"threshold": 1 / 0})
    found = all_runs(settings, "broken")
    assert found["rcf"][0].info.status == "FAILED"
    assert found["training"][0].info.status == "FAILED"
    assert found["iforest"][0].info.status == "FINISHED"


def test_the_parent_fails_with_its_own_block(settings: Settings):
    with pytest.raises(KeyError), TrainingRuns(settings, "broken").parent():
        raise KeyError("x")
    assert all_runs(settings, "broken")["training"][0].info.status == "FAILED"


def test_parameters_figures_and_rows_are_logged(settings: Settings, rows: pa.Table, detector: Detector):
    member = detector.members["rcf"]
    with TrainingRuns(settings, "full").child("rcf") as run_id:
        log_params({"algorithm": "random_cut_forest", "params": {"n_estimators": 15, "nested": {"deep": True}}})
        log_figures({"held_out_scores": held_out_figure("rcf", member.held_out_scores, member.threshold)})
        log_training_rows(rows, "data/input/training", "training")
    client = TrainingRuns(settings, "full").client()
    run = client.get_run(run_id)
    assert run.data.params == {
        "algorithm": "random_cut_forest",
        "params.n_estimators": "15",
        "params.nested.deep": "True",
    }
    assert [entry.path for entry in client.list_artifacts(run_id, "figures")] == ["figures/held_out_scores.png"]
    (logged,) = run.inputs.dataset_inputs
    assert logged.dataset.digest == rows_digest(rows)[:32]
    assert run.data.tags["cxad.dataset_sha256"] == rows_digest(rows)
    assert [(tag.key, tag.value) for tag in logged.tags] == [("mlflow.data.context", "training")]


def test_logging_rows_warns_of_nothing(settings: Settings, rows: pa.Table, recwarn: pytest.WarningsRecorder):
    with TrainingRuns(settings, "quiet").child("ensemble"):
        log_training_rows(rows, "data/input/training", "training")
    assert [str(warning.message) for warning in recwarn] == []


def test_every_model_has_the_metrics_of_the_evaluation_under_the_same_names(
    settings: Settings, fresh: pa.Table, detector: Detector, tmp_path: Path
):
    runs = TrainingRuns(settings, "evaluated")
    for role in ("iforest", "rcf", "ensemble"):
        with runs.child(role):
            log_params({"algorithm": role})
    labels = tmp_path / "labels.csv"
    names = fresh["interaction_id"].to_pylist()
    labels.write_text(f"interaction_id,kind\n{names[0]},hold (very long)\n{names[1]},transfers\n")
    scores = detector.score(fresh)
    report = evaluate(detector, fresh, scores, labels=str(labels), random_state=1)
    report.log(runs, report_figures(scores))
    found = all_runs(settings, "evaluated")
    metrics = {role: found[role][0].data.metrics for role in ("iforest", "rcf", "ensemble")}
    assert metrics["iforest"].keys() == metrics["rcf"].keys() == metrics["ensemble"].keys()
    assert {"threshold", "flagged_share", "score_p99", "injected_roc_auc", "precision", "recall_any"} <= set(
        metrics["rcf"]
    )
    assert "recall_hold _very long_" in metrics["rcf"]  # MLflow refuses brackets in names
    assert metrics["rcf"]["score_p99"] == report.summaries[2].p99
    figures = runs.client().list_artifacts(runs.parent_id(), "figures")
    assert sorted(Path(entry.path).name for entry in figures) == [
        "score_boxplots.png",
        "score_correlation.png",
        "score_distribution.png",
    ]
    assert found["training"][0].info.status == "FINISHED"


def test_a_deleted_experiment_is_one_error_that_says_how_to_restore_it(settings: Settings):
    runs = TrainingRuns(settings, "x")
    experiment = runs.experiment_id()
    runs.client().delete_experiment(experiment)
    with pytest.raises(RegistryError, match=rf"'cx-anomaly-detector' is deleted.*restore -x {experiment}"):
        runs.experiment_id()


def test_artifacts_of_a_new_experiment_lie_in_the_configured_folder(settings: Settings):
    runs = TrainingRuns(settings, "x")
    location = runs.client().get_experiment(runs.experiment_id()).artifact_location
    assert location == Path(str(settings.mlflow.artifacts)).as_uri()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://mlflow:geheim@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("https://me:p%40ss@host/path", "https://host/path"),
        ("sqlite:///data/state/mlflow.db", "sqlite:///data/state/mlflow.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_addresses_are_shown_without_user_and_password(uri: str, shown: str):
    assert public_uri(uri) == shown


def test_a_server_that_is_not_there_is_one_error_without_its_password(
    new_settings: Callable[[], Settings], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = _with_uri(new_settings(), "http://me:p%40ssw0rd@127.0.0.1:9")
    with pytest.raises(RegistryError, match=r"MLflow \(http://127\.0\.0\.1:9\) does not answer") as caught:
        TrainingRuns(settings, "x").parent_id()
    assert "ssw0rd" not in _whole_message(caught.value)


def test_user_and_password_of_a_server_reach_mlflow(
    new_settings: Callable[[], Settings], monkeypatch: pytest.MonkeyPatch
):
    from mlflow.utils.credentials import get_default_host_creds

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    uri = tracking_uri(_with_uri(new_settings(), "http://me:p%40ssw0rd@127.0.0.1:9"))
    credentials = get_default_host_creds(uri)
    assert (credentials.host, credentials.username, credentials.password) == ("http://127.0.0.1:9", "me", "p@ssw0rd")


def test_a_database_that_is_not_there_is_one_error_without_its_password(
    new_settings: Callable[[], Settings], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    settings = _with_uri(new_settings(), "postgresql://me:geheim@127.0.0.1:9/mlflow")
    with pytest.raises(RegistryError, match=r"MLflow \(postgresql://127\.0\.0\.1:9/mlflow\) does not answer") as caught:
        TrainingRuns(settings, "x").parent_id()
    assert "geheim" not in _whole_message(caught.value) + caplog.text


def _with_uri(settings: Settings, uri: str) -> Settings:
    mlflow = settings.mlflow.model_copy(update={"tracking_uri": uri})
    return settings.model_copy(update={"mlflow": mlflow})


def _whole_message(error: BaseException | None) -> str:
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_an_address_that_mlflow_quotes_is_told_without_its_password(new_settings: Callable[[], Settings]) -> None:
    """`postgres://` is a common slip for `postgresql://`, and MLflow answers it with the whole address."""
    settings = new_settings()
    uri = "postgres://mlflow:pass-55@db.example.org/mlflow"
    wrong = settings.model_copy(update={"mlflow": settings.mlflow.model_copy(update={"tracking_uri": uri})})
    with pytest.raises(RegistryError, match=r"postgres://db\.example\.org/mlflow") as error:
        versions.find(wrong, "champion")
    assert "pass-55" not in str(error.value)
