"""A model that PyOD fits, from the configuration to the champion, beside the two built in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pytest
from registry_examples import artifact_folder

from cxad_pipeline.registry import versions
from cxad_pipeline.registry.evaluation_report import evaluate
from cxad_pipeline.registry.tracking import TrainingRuns, mlflow_client
from cxad_pipeline.registry.training import fit_features, fit_model, judge_challenger, register_ensemble
from cxad_pipeline.registry.training_rows import held_out_rows, model_input
from cxad_pipeline.settings import Settings, load_settings

CONFIG = """
models:
  - {name: iforest, algorithm: isolation_forest, params: {n_estimators: 30}}
  - {name: rcf, algorithm: random_cut_forest, params: {n_estimators: 15, tree_size: 128}}
  - {name: tails, algorithm: ecod, params: {sample_size: 2000}}
  - {name: near, algorithm: knn, params: {n_neighbors: 7, method: mean, sample_size: 500}}
"""


@pytest.fixture(scope="module")
def four_models(new_settings: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    return new_settings().model_copy(update={"models": load_settings(file).models})


def test_members_that_pyod_fits_are_trained_registered_judged_served_and_evaluated(
    four_models: Settings, rows: pa.Table, fresh: pa.Table
) -> None:
    runs = TrainingRuns(four_models, "with-other-algorithms")
    features = fit_features(rows, four_models, runs).features
    fitted = {model.name: fit_model(model, features, four_models, runs) for model in four_models.models}
    made = register_ensemble(rows, features, [entry.member for entry in fitted.values()], four_models, runs)
    judged = judge_challenger(rows, features, four_models, runs)
    assert judged.verdict.promoted, judged.verdict.reason

    run = mlflow_client(four_models).get_run(fitted["near"].run_id).data
    expected = {"algorithm": "knn", "params.n_neighbors": "7", "params.method": "mean", "params.sample_size": "500"}
    assert expected.items() <= run.params.items()
    assert run.metrics["flagged_share"] == pytest.approx(0.01, abs=0.005)

    champion = versions.load(four_models).detector
    scores = made.detector.score(fresh)
    folder = artifact_folder(four_models, judged.version)
    served = mlflow.pyfunc.load_model(str(folder)).predict(model_input(fresh, champion))
    for name in ("tails", "near"):
        np.testing.assert_array_equal(champion.score(fresh).raw[name], scores.raw[name])
        np.testing.assert_array_equal(served[f"{name}_score"].to_numpy(), scores.raw[name])
    assert _requirements(folder) == {"mlflow", "numba", "numpy", "pandas", "pyarrow"}

    held_out = held_out_rows(rows, features)
    report = evaluate(champion, held_out, champion.score(held_out), labels=None, random_state=0)
    assert report.roc_auc["tails"] > 0.6
    assert report.roc_auc["near"] > 0.6
    assert {row["name"] for row in report.summary_rows()} == {"ensemble", "iforest", "rcf", "tails", "near"}


def _requirements(folder: Path) -> set[str]:
    """Packages that MLflow installs to serve the version: what loads and scores, not what fitted."""
    (file,) = folder.rglob("requirements.txt")
    return {line.split("==")[0] for line in file.read_text(encoding="utf-8").splitlines()}
