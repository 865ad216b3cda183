"""A damaged detector is refused when it is loaded, with the one error for it; what is loaded scores."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxad_pipeline.detection import Detector, DetectorConfig, ModelConfig
from cxad_pipeline.detection.artifacts import DetectorFormatError
from cxad_pipeline.detection.feature_set import FeatureSet

MODELS = (
    ModelConfig("iforest", "isolation_forest", {"n_estimators": np.int64(3), "max_samples": 16}),
    ModelConfig("rcf", "random_cut_forest", {"n_estimators": 3, "tree_size": 16}),
    ModelConfig("lof", "lof", {"sample_size": 40}),
    ModelConfig("ecod", "ecod", {"sample_size": 40}),
)
CONFIG = DetectorConfig(
    numeric=["x", "y"],
    categorical=["c"],
    segments=["c"],
    relative_to=["c"],
    timestamp="t",
    missing_indicators=True,
    models=MODELS,
)


def table(n: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    y = np.where(random.random(n) < 0.2, np.nan, random.normal(size=n))
    t = 1.7e9 + random.integers(0, 10**7, n)
    return {"x": random.lognormal(size=n), "y": y, "c": random.choice(["a", "b"], n), "t": t}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    Detector.fit(table(200), CONFIG).save(folder)
    return folder


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "detector"))


def refused_or_usable(folder: Path) -> bool:
    """Whether it is refused; otherwise it must score and explain."""
    try:
        detector = Detector.load(folder)
    except DetectorFormatError:
        return True
    rows = table(5)
    scores = detector.score(rows)
    assert all(np.isfinite(values).all() for values in (scores.ensemble, scores.severity, *scores.raw.values()))
    assert all(np.isfinite(value) for value in scores.thresholds.values())
    assert len(detector.explain(rows).texts()) == 5
    return False


def places(part: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = part.items() if isinstance(part, dict) else enumerate(part[:2]) if isinstance(part, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


def test_a_numpy_number_among_the_parameters_is_saved(saved: Path):
    assert Detector.load(saved).config.models[0].params["n_estimators"] == 3


def test_a_document_with_any_wrong_value_is_refused_or_does_no_harm(damaged: Path):
    path = damaged / "detector.json"
    document = json.loads(path.read_text())
    refused = 0
    for place in places(document["content"])[1:]:
        for value in (None, "other", [], float("nan"), float("inf"), 0):
            changed = copy.deepcopy(document)
            part = changed["content"]
            for key in place[:-1]:
                part = part[key]
            part[place[-1]] = value
            path.write_text(json.dumps(changed))
            refused += refused_or_usable(damaged)
    assert refused > 300


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.reshape(1, *array.shape),
        lambda array: array.reshape(-1)[:0],
        lambda array: array.astype(np.float32 if array.dtype == np.float64 else np.float64),
        lambda array: np.full_like(array, np.nan) if array.dtype.kind == "f" else array - 10**6,
    ],
    ids=["another axis", "empty", "another type", "nonsense"],
)
def test_an_array_of_another_form_is_refused_or_does_no_harm(damaged: Path, change: Callable[[Any], Any]):
    document = json.loads((damaged / "detector.json").read_text())
    with np.load(damaged / "arrays.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    refused = 0
    for name in arrays:
        changed = arrays | {name: change(arrays[name])}
        np.savez(damaged / "arrays.npz", allow_pickle=False, **changed)
        document["arrays"] = {key: [str(array.dtype), list(array.shape)] for key, array in changed.items()}
        (damaged / "detector.json").write_text(json.dumps(document))
        refused += refused_or_usable(damaged)
    assert refused > len(arrays) / 2


def test_flipped_bits_are_refused(damaged: Path):
    path, random = damaged / "arrays.npz", np.random.default_rng(0)
    whole = path.read_bytes()
    # The directory at the end and the headers at the start are where a flipped bit means something to the readers.
    spots = [*range(0, 200, 3), *range(len(whole) - 1200, len(whole), 3), *random.integers(0, len(whole), 50).tolist()]
    refused = 0
    for spot in spots:
        changed = bytearray(whole)
        changed[spot] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        refused += refused_or_usable(damaged)
    assert refused > 100


def test_json_without_an_end_is_refused(damaged: Path):
    (damaged / "detector.json").write_text("[" * 200_000)
    with pytest.raises(DetectorFormatError, match="no valid JSON"):
        Detector.load(damaged)


def test_a_feature_set_whose_rows_do_not_fit_together_is_refused(tmp_path: Path):
    feature_set = FeatureSet.fit(table(50), CONFIG)
    FeatureSet(feature_set.feature_map, feature_set.X, feature_set.held_out[:-1], feature_set.typical).save(tmp_path)
    with pytest.raises(DetectorFormatError, match="X"):
        FeatureSet.load(tmp_path)
