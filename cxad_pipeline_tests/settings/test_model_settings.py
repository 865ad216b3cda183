"""Models in the configuration: every algorithm by its name, typed parameters, mistakes told before anything runs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from cxad_pipeline.detection.algorithms import ALGORITHMS
from cxad_pipeline.detection.isolation_forest import IsolationForest
from cxad_pipeline.detection.random_cut_forest import RandomCutForest
from cxad_pipeline.settings import Settings, SettingsError, load_settings
from cxad_pipeline.settings.models import ALGORITHM_NAMES


def load(folder: Path, text: str) -> Settings:
    config = folder / "config.yaml"
    config.write_text(text, encoding="utf-8")
    return load_settings(config)


def test_the_configuration_knows_the_algorithms_that_there_are() -> None:
    assert set(ALGORITHM_NAMES) == set(ALGORITHMS)


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_parameters_have_the_names_and_defaults_of_the_algorithm(tmp_path: Path, algorithm: str) -> None:
    (model,) = load(tmp_path, f"models: [{{name: one, algorithm: {algorithm}}}]").models
    params = model.params.model_dump()
    estimators = {"isolation_forest": IsolationForest, "random_cut_forest": RandomCutForest}
    source = estimators.get(algorithm, ALGORITHMS[algorithm].fit)
    arguments = inspect.signature(source).parameters
    assert params == {name: arguments[name].default for name in params}
    assert set(ALGORITHMS[algorithm].parameters) - set(params) <= {"n_jobs", "contamination"}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("{name: a, algorithm: svm}", ["models.a.algorithm = 'svm'", "ecod or copod", "or fcf"]),
        ("{name: a, algorithm: knn, params: {n_neighbors: 0}}", ["models.a.params.n_neighbors = 0", "greater than"]),
        ("{name: a, algorithm: knn, params: {method: least}}", ["models.a.params.method = 'least'", "'largest'"]),
        ("{name: a, algorithm: hbos, params: {n_bins: one}}", ["models.a.params.n_bins = 'one'", "'auto'"]),
        ("{name: a, algorithm: ecod, params: {n_bins: 5}}", ["models.a.params.n_bins", "allowed: sample_size"]),
        ("{name: a, algorithm: fcf, params: {sample_size: 5}}", ["did you mean max_samples"]),
        ("{name: lof, algorithm: lof, params: {n_neighbors: x}}", ["models.lof.params.n_neighbors = 'x'"]),
        ("{name: a, algorithm: cblof, params: {beta: 1}}", ["models.a.params.beta = 1", "greater than 1"]),
    ],
)
def test_a_mistake_names_the_key_and_what_is_allowed(tmp_path: Path, model: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, f"models: [{model}]")
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_a_model_named_as_its_algorithm_keeps_its_name_in_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ensemble\.weights\.ecod = -1"):
        load(tmp_path, "models: [{name: ecod, algorithm: ecod}]\nensemble: {weights: {ecod: -1}}")


def test_reading_a_configuration_imports_no_library_that_fits(tmp_path: Path) -> None:
    models = ", ".join(f"{{name: m_{name}, algorithm: {name}}}" for name in ALGORITHM_NAMES)
    load(tmp_path, f"models: [{models}]")
    program = f"""
import sys
from cxad_pipeline.settings import load_settings
print(len(load_settings({str(tmp_path / "config.yaml")!r}).models), {{"pyod", "isotree", "sklearn"}} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=200)
    assert ran.stdout.strip() == f"{len(ALGORITHM_NAMES)} set()", ran.stderr
