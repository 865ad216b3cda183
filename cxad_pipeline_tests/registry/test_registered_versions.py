"""Versions and their aliases: challenger, champion, and one clear error for each thing that can be missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from registry_examples import artifact_folder

from cxad_pipeline.detection import Detector
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.tracking import RegistryError, mlflow_client
from cxad_pipeline.settings import Settings

Register = Callable[[Settings, Detector], str]


def aliases(settings: Settings) -> dict[str, str]:
    model = mlflow_client(settings).get_registered_model(settings.mlflow.registered_model)
    return {name: str(version) for name, version in model.aliases.items()}


def tags(settings: Settings, version: str) -> dict[str, str]:
    entry = mlflow_client(settings).get_model_version(settings.mlflow.registered_model, version)
    return dict(entry.tags)


def test_a_version_goes_from_challenger_to_champion_and_the_next_one_beside_it(
    settings: Settings, detector: Detector, register: Register
):
    first = register(settings, detector)
    assert aliases(settings) == {"challenger": first}
    versions.promote(settings, first, "first version")
    assert aliases(settings) == {"champion": first}
    assert tags(settings, first) == {"promotion": "champion", "promotion_reason": "first version"}

    second = register(settings, detector)
    assert second != first
    assert aliases(settings) == {"champion": first, "challenger": second}
    versions.keep_challenger(settings, second, "ranks worse")
    assert aliases(settings) == {"champion": first, "challenger": second}
    assert tags(settings, second) == {"promotion": "challenger", "promotion_reason": "ranks worse"}

    versions.promote(settings, second, "better now")
    assert aliases(settings) == {"champion": second}
    assert tags(settings, second) == {"promotion": "champion", "promotion_reason": "better now"}


def test_promoting_leaves_a_newer_challenger_alone(settings: Settings, detector: Detector, register: Register):
    older, newer = register(settings, detector), register(settings, detector)
    versions.promote(settings, older, "it passed before the newer one came")
    assert aliases(settings) == {"champion": older, "challenger": newer}


def test_a_version_is_loaded_by_alias_and_by_number_and_scores_to_the_bit(
    settings: Settings, detector: Detector, register: Register, fresh: pa.Table
):
    version = register(settings, detector)
    versions.promote(settings, version, "first")
    for name in ("champion", version):
        loaded = versions.load(settings, name)
        assert (loaded.version, loaded.label) == (version, f"v{version}")
        np.testing.assert_array_equal(loaded.detector.score(fresh).ensemble, detector.score(fresh).ensemble)
    run = mlflow_client(settings).get_run(loaded.run_id)
    assert run.data.tags["cxad.role"] == "ensemble"


@pytest.mark.parametrize("name", ["champion", "challenger", "7", "nobody"])
def test_without_a_version_the_error_names_the_command_that_makes_one(settings: Settings, name: str):
    assert versions.find(settings, name) is None
    with pytest.raises(RegistryError, match=rf"^no {name} of cx-anomaly-detector in MLflow \(sqlite.*`cxad train`"):
        versions.load(settings, name)


def test_a_version_without_the_alias_is_no_champion(settings: Settings, detector: Detector, register: Register):
    register(settings, detector)
    with pytest.raises(RegistryError, match=r"^no champion of cx-anomaly-detector"):
        versions.load(settings)


def test_deleted_artifacts_are_one_error_that_names_version_and_place(
    settings: Settings, detector: Detector, register: Register
):
    version = register(settings, detector)
    shutil.rmtree(artifact_folder(settings, version))
    with pytest.raises(RegistryError, match=rf"version {version} of .* is registered.*artifacts at file:.*train again"):
        versions.load(settings, version)


def test_a_deleted_logged_model_is_one_error(settings: Settings, detector: Detector, register: Register):
    version = register(settings, detector)
    client = mlflow_client(settings)
    entry = client.get_model_version(settings.mlflow.registered_model, version)
    client.delete_logged_model(entry.source.removeprefix("models:/"))
    with pytest.raises(RegistryError, match=rf"version {version} .* artifacts at .* can't be read"):
        versions.load(settings, version)


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("detector.json", b"{", "detector.json: no valid JSON"),
        ("detector.json", b'{"format": "other"}', "format is 'other'"),
        ("arrays.npz", b"PK nothing", "arrays.npz"),
        ("arrays.npz", None, "arrays.npz: cannot be read"),
    ],
)
def test_a_damaged_detector_is_one_error_that_says_what_is_damaged(
    settings: Settings, detector: Detector, register: Register, file: str, content: bytes | None, what: str
):
    version = register(settings, detector)
    damaged = artifact_folder(settings, version) / "artifacts" / "detector" / file
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(content)
    with pytest.raises(RegistryError, match=f"version {version} of cx-anomaly-detector.*{what}.*train again") as caught:
        versions.load(settings, version)
    assert "/tmp" not in str(caught.value).replace(str(settings.mlflow.artifacts), "")


def test_loading_runs_no_code_of_the_artifact_store(settings: Settings, detector: Detector, register: Register):
    version = register(settings, detector)
    code = artifact_folder(settings, version) / "pyfunc_model.py"
    assert code.is_file()
    code.write_text("raise SystemExit('code of the artifact store was run')\n")
    assert versions.load(settings, version).detector.member_names == ["iforest", "rcf"]


def test_nothing_in_the_artifact_is_a_pickle(settings: Settings, detector: Detector, register: Register):
    version = register(settings, detector)
    folder = artifact_folder(settings, version)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.suffix for path in files} <= {".json", ".npz", ".py", ".txt", ".yaml", ""}
    pickles = [path.name for path in files if path.read_bytes()[:1] == b"\x80"]  # how every pickle since 2.3 begins
    assert pickles == []
    assert "python_model:" not in (folder / "MLmodel").read_text()
    with np.load(folder / "artifacts" / "detector" / "arrays.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)
