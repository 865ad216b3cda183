"""Members that PyOD and isotree fit, in a Detector: calibrated, combined, explained, saved, and loaded without both."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cxad_pipeline.detection import Detector, DetectorConfig, EnsembleConfig, ModelConfig
from cxad_pipeline.detection.config import ConfigError
from cxad_pipeline.detection.evaluation import injected_roc_auc, summarize
from cxad_pipeline.detection.extras import MissingExtraError

OTHERS = ["ecod", "copod", "hbos", "knn", "lof", "cblof", "pca", *(["fcf"] if find_spec("isotree") else [])]
CONFIG = DetectorConfig(
    numeric=["hold", "talk", "score"],
    categorical=["channel"],
    segments=["channel"],
    models=(
        ModelConfig("iforest", "isolation_forest", {"n_estimators": 100}, 95),
        ModelConfig("rcf", "random_cut_forest", {"n_estimators": 10, "tree_size": 64}, 95),
        *(ModelConfig(name, name, {}, 95) for name in OTHERS),  # type: ignore[arg-type]
    ),
    ensemble=EnsembleConfig(threshold_percentile=95),
    random_state=3,
)


def calls(n: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "hold": random.lognormal(3.0, 0.5, n),
            "talk": random.lognormal(5.0, 0.4, n),
            "score": pa.array(random.integers(1, 6, n).astype(float), mask=random.random(n) < 0.2),
            "channel": random.choice(["voice", "chat"], n),
        }
    )


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.fit(calls(1000, 0), CONFIG)


@pytest.fixture(scope="module")
def saved(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    detector.save(folder)
    return folder


def test_every_member_is_calibrated_on_held_out_rows(detector: Detector) -> None:
    scores = detector.score(calls(4000, 1))
    assert list(scores.raw) == ["iforest", "rcf", *OTHERS]
    for name in scores.raw:
        assert 0.02 < scores.flags[name].mean() < 0.1, name
        assert scores.severities[name].std() > 0, name


def test_every_member_and_the_ensemble_find_a_planted_outlier_and_name_its_columns(detector: Detector) -> None:
    table = calls(300, 2)
    hold, talk = table["hold"].to_numpy().copy(), table["talk"].to_numpy().copy()
    hold[17], talk[17] = 3000.0, 9000.0
    table = table.set_column(0, "hold", pa.array(hold)).set_column(1, "talk", pa.array(talk))
    scores, why = detector.score(table), detector.explain(table)
    assert scores.severity.argmax() == 17
    assert {text.split()[0] for text in why.texts()[17][:2]} == {"hold", "talk"}
    for name in detector.member_names:
        # To a histogram all values beyond its last bin are alike: a row may have two of them and not be flagged.
        assert scores.flags[name][17] or name == "hbos", name
        assert np.mean(scores.raw[name] > scores.raw[name][17]) < 0.1, name
        assert set(np.argsort(why.contributions[name][17])[-2:]) == {0, 1}, name


def test_they_come_back_from_disk_to_the_bit_and_batches_do_not_matter(detector: Detector, saved: Path) -> None:
    fresh = calls(500, 3)
    whole, loaded = detector.score(fresh), Detector.load(saved)
    parts = [loaded.score(fresh.slice(start, 7)) for start in range(0, 500, 7)]
    for name in detector.member_names:
        np.testing.assert_array_equal(whole.raw[name], np.concatenate([part.raw[name] for part in parts]))
    np.testing.assert_array_equal(whole.ensemble, np.concatenate([part.ensemble for part in parts]))
    again, first = loaded.explain(fresh.slice(40, 1)).contributions, detector.explain(fresh).contributions
    for name in detector.member_names:
        np.testing.assert_array_equal(again[name][0], first[name][40])


def test_fitted_twice_they_are_the_same_to_the_bit(detector: Detector) -> None:
    again = Detector.fit(calls(1000, 0), CONFIG)
    for name, member in detector.members.items():
        for key, array in member.to_parts()[1].items():
            np.testing.assert_array_equal(array, again.members[name].to_parts()[1][key], err_msg=f"{name} {key}")


def test_they_are_evaluated_as_the_two_built_in_are(detector: Detector) -> None:
    fresh = calls(800, 4)
    summaries = summarize(detector.score(fresh))
    assert len(summaries) == 1 + len(detector.member_names)
    auc = injected_roc_auc(detector, fresh, 0)
    assert set(auc) == {"ensemble", *detector.member_names}
    assert min(auc.values()) > 0.6


@pytest.mark.parametrize("strategy", ["average", "max", "voting"])
def test_every_strategy_combines_them(strategy: str) -> None:
    ensemble = dataclasses.replace(CONFIG.ensemble, strategy=strategy, weights={"ecod": 2.0, "knn": 0.0})
    models = tuple(model for model in CONFIG.models if model.name in ("rcf", "ecod", "knn"))
    detector = Detector.fit(calls(400, 5), dataclasses.replace(CONFIG, ensemble=ensemble, models=models))
    assert 0 < detector.score(calls(2000, 6)).flags["ensemble"].mean() < 0.15


def test_loading_scoring_and_explaining_need_neither_pyod_nor_isotree(detector: Detector, saved: Path) -> None:
    program = f"""
import sys
for name in ("pyod", "isotree", "sklearn", "scipy", "matplotlib", "joblib", "threadpoolctl"):
    sys.modules[name] = None
import numpy as np
from cxad_pipeline.detection import Detector
detector = Detector.load({str(saved)!r})
rows = {{"hold": np.array([612.0]), "talk": np.array([100.0]), "score": np.array([3.0]), "channel": np.array(["chat"])}}
scores = detector.score(rows)
print(*(scores.raw[name][0].hex() for name in scores.raw), scores.ensemble[0].hex(), *detector.explain(rows).texts()[0])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    rows = pa.table({"hold": [612.0], "talk": [100.0], "score": [3.0], "channel": ["chat"]})
    scores = detector.score(rows)
    numbers = [float(scores.raw[name][0]).hex() for name in scores.raw] + [float(scores.ensemble[0]).hex()]
    assert ran.stdout.strip() == " ".join([*numbers, *detector.explain(rows).texts()[0]])


def test_a_parameter_that_the_algorithm_does_not_have_is_refused_with_those_it_has() -> None:
    models = (ModelConfig("near", "knn", {"neighbours": 5}),)
    words = "model 'near': knn has no parameter 'neighbours'; allowed: n_neighbors, method, sample_size"
    with pytest.raises(ConfigError, match=words):
        Detector.fit(calls(100, 0), dataclasses.replace(CONFIG, models=models))
    models = (ModelConfig("near", "knn", {"n_neighbors": 0}),)
    with pytest.raises(ConfigError, match="model 'near': n_neighbors is 0"):
        Detector.fit(calls(100, 0), dataclasses.replace(CONFIG, models=models))


def test_the_error_for_a_missing_library_names_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyod.models.ecod", None)
    with pytest.raises(MissingExtraError, match=r"^model 'tails': algorithm ecod is fitted with PyOD.*pip install"):
        Detector.fit(calls(100, 0), dataclasses.replace(CONFIG, models=(ModelConfig("tails", "ecod"),)))
