"""The Detector: parts and whole agree to the bit, thresholds hold on fresh rows, reasons read as people speak."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cxad_pipeline.detection import Detector, DetectorConfig, EnsembleConfig, ModelConfig
from cxad_pipeline.detection.attribution import TypicalRanges
from cxad_pipeline.detection.config import ConfigError
from cxad_pipeline.detection.detector import DetectorFormatError, FeatureSet, Member, Scores, assemble, fit_member
from cxad_pipeline.detection.tables import TableError, columns_of

MODELS = (
    ModelConfig("iforest", "isolation_forest", {"n_estimators": 40}),
    ModelConfig("rcf", "random_cut_forest", {"n_estimators": 25, "tree_size": 128}),
)
CONFIG = DetectorConfig(
    numeric=["hold_time_seconds", "aht_seconds", "csat"],
    categorical=["channel", "queue"],
    segments=["channel", "queue"],
    models=MODELS,
    random_state=11,
)


def contacts(n: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    voice = random.random(n) < 0.6
    hold = np.where(voice, random.lognormal(3.5, 0.6, n), random.lognormal(1.0, 0.3, n))
    csat = random.integers(1, 6, n).astype(float)
    return pa.table(
        {
            "hold_time_seconds": hold,
            "aht_seconds": random.lognormal(5.5, 0.4, n),
            "csat": pa.array(csat, mask=random.random(n) < 0.3),
            "channel": np.where(voice, "voice", "chat"),
            "queue": random.choice(["billing", "sales"], n),
        }
    )


@pytest.fixture(scope="module")
def training() -> pa.Table:
    return contacts(1500, 0)


@pytest.fixture(scope="module")
def detector(training: pa.Table) -> Detector:
    return Detector.fit(training, CONFIG)


def assert_same_bits(one: Scores, two: Scores) -> None:
    for name in ("raw", "severities", "flags"):
        left, right = getattr(one, name), getattr(two, name)
        assert left.keys() == right.keys()
        for key in left:
            np.testing.assert_array_equal(left[key], right[key])
    np.testing.assert_array_equal(one.ensemble, two.ensemble)
    np.testing.assert_array_equal(one.severity, two.severity)
    assert one.thresholds == two.thresholds


def test_the_parts_in_separate_folders_make_the_same_detector(tmp_path: Path, training: pa.Table, detector: Detector):
    FeatureSet.fit(training, CONFIG).save(tmp_path / "features")
    for model in reversed(MODELS):
        feature_set = FeatureSet.load(tmp_path / "features")
        fit_member(model, feature_set, CONFIG.random_state).save(tmp_path / model.name)
    members = [Member.load(tmp_path / name) for name in ("rcf", "iforest")]
    assembled = assemble(FeatureSet.load(tmp_path / "features"), members, CONFIG)
    fresh = contacts(300, 1)
    assert_same_bits(assembled.score(fresh), detector.score(fresh))
    assert assembled.member_names == ["iforest", "rcf"]
    for name, scores in detector.reference_scores.items():
        np.testing.assert_array_equal(scores, assembled.reference_scores[name])


def test_same_seed_same_bits_whatever_n_jobs_and_another_seed_differs(training: pa.Table, detector: Detector):
    fresh = contacts(200, 2)
    parallel = tuple(dataclasses.replace(model, params={**model.params, "n_jobs": 2}) for model in MODELS)
    again = Detector.fit(training, dataclasses.replace(CONFIG, models=parallel))
    assert_same_bits(again.score(fresh), detector.score(fresh))
    other = Detector.fit(training, dataclasses.replace(CONFIG, random_state=12))
    for name in ("iforest", "rcf"):
        assert not np.array_equal(other.score(fresh).raw[name], detector.score(fresh).raw[name])


def test_a_row_scores_the_same_alone_and_in_company(detector: Detector):
    fresh = contacts(3000, 3)
    scores, alone = detector.score(fresh), detector.score(fresh.slice(1234, 1))
    assert alone.ensemble[0] == scores.ensemble[1234]
    assert alone.severity[0] == scores.severity[1234]
    assert len(detector.score(fresh.slice(0, 0)).ensemble) == 0


def test_save_and_load_keep_every_bit(tmp_path: Path, detector: Detector):
    detector.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "detector.json"]
    loaded = Detector.load(tmp_path)
    fresh = contacts(300, 4)
    assert_same_bits(loaded.score(fresh), detector.score(fresh))
    assert loaded.explain(fresh).texts() == detector.explain(fresh).texts()
    assert loaded.explain(fresh).texts("rcf") == detector.explain(fresh).texts("rcf")
    assert loaded.config == DetectorConfig.from_dict(detector.config.to_dict())
    assert (loaded.n_samples, loaded.n_features, loaded.train_timestamp) == (1500, 7, None)


@pytest.mark.parametrize("strategy", ["average", "max"])
def test_fresh_normal_rows_are_flagged_as_often_as_promised(strategy: str):
    config = dataclasses.replace(
        CONFIG,
        models=tuple(dataclasses.replace(model, threshold_percentile=98.0) for model in MODELS),
        ensemble=EnsembleConfig(strategy, threshold_percentile=98.0),
        held_out=0.5,
    )
    n, fresh = 8000, 8000
    scores = Detector.fit(contacts(n, 5), config).score(contacts(fresh, 6))
    error = np.sqrt(0.02 * 0.98 * (1 / (n / 2) + 1 / fresh))
    for name in ("iforest", "rcf", "ensemble"):
        assert scores.flags[name].mean() == pytest.approx(0.02, abs=4 * error)


def test_flags_are_scores_that_reach_the_threshold(training: pa.Table):
    voting = dataclasses.replace(CONFIG, ensemble=EnsembleConfig("voting", {"rcf": 2.0}))
    scores = Detector.fit(training, voting).score(contacts(2000, 7))
    for name in ("iforest", "rcf"):
        np.testing.assert_array_equal(scores.flags[name], scores.raw[name] >= scores.thresholds[name])
    assert scores.thresholds["ensemble"] == 0.5
    np.testing.assert_array_equal(scores.flags["ensemble"], scores.flags["rcf"])
    assert scores.flags["iforest"].any()
    assert len(np.unique(scores.severity)) > 1000


def test_the_severity_of_voting_is_that_of_the_average(training: pa.Table, detector: Detector):
    voting = Detector.fit(training, dataclasses.replace(CONFIG, ensemble=EnsembleConfig("voting")))
    fresh = contacts(200, 12)
    np.testing.assert_array_equal(voting.score(fresh).severity, detector.score(fresh).severity)


def test_held_out_rows_grow_no_forest(training: pa.Table):
    feature_set = FeatureSet.fit(training, CONFIG)
    assert feature_set.held_out.sum() == 375
    shifted = feature_set.X.copy()
    shifted[feature_set.held_out] += 100.0
    wild = dataclasses.replace(feature_set, X=shifted)
    for model in MODELS:
        one, two = fit_member(model, feature_set, 0), fit_member(model, wild, 0)
        for name, array in one.forest.to_arrays().items():
            np.testing.assert_array_equal(array, two.forest.to_arrays()[name])
        assert two.threshold > one.threshold


def test_each_member_has_a_seed_of_its_own_from_the_seed_and_its_name(training: pa.Table):
    feature_set = FeatureSet.fit(training, CONFIG)
    renamed = dataclasses.replace(MODELS[1], name="other")
    first, seed, name = (
        fit_member(model, feature_set, seed).held_out_scores
        for model, seed in ((MODELS[1], 0), (MODELS[1], 1), (renamed, 0))
    )
    assert not np.array_equal(first, seed)
    assert not np.array_equal(first, name)
    np.testing.assert_array_equal(first, fit_member(MODELS[1], feature_set, 0).held_out_scores)


def test_anomalies_stand_out_and_say_why(detector: Detector):
    rows = pa.table(
        {
            "hold_time_seconds": [612.0, 33.0],
            "aht_seconds": [245.0, 245.0],
            "csat": [3.0, 3.0],
            "channel": ["voice", "voice"],
            "queue": ["billing", "billing"],
        }
    )
    scores, explained = detector.score(rows), detector.explain(rows, top=2)
    assert scores.flags["ensemble"].tolist() == [True, False]
    assert scores.severity[0] > 30 > scores.severity[1]
    reason = explained.reasons[0][0]
    assert (reason.column, reason.value, reason.direction) == ("hold_time_seconds", 612.0, "high")
    assert reason.segment == "voice/billing"
    assert 0.5 < reason.share <= 1
    voice = contacts(1500, 0).to_pandas().query("channel == 'voice' and queue == 'billing'")["hold_time_seconds"]
    assert (reason.low, reason.high) == pytest.approx(tuple(np.percentile(voice, [5, 95])))
    assert reason.text == f"hold time 612 s, typical {reason.low:.3g}-{reason.high:.3g} s for voice/billing"
    assert all(len(reasons) <= 2 for reasons in explained.reasons)
    np.testing.assert_allclose(explained.contributions["rcf"].sum(axis=1), scores.raw["rcf"], atol=1e-9)
    base = detector.members["iforest"].forest.base_score
    np.testing.assert_allclose(explained.contributions["iforest"].sum(axis=1), scores.raw["iforest"] - base, atol=1e-9)
    np.testing.assert_allclose(explained.shares["ensemble"].sum(axis=1), 1)


def test_weights_decide_whose_reasons_count(training: pa.Table, detector: Detector):
    rows = contacts(20, 8)
    alone = Detector.fit(training, dataclasses.replace(CONFIG, ensemble=EnsembleConfig(weights={"iforest": 0})))
    explained = alone.explain(rows)
    np.testing.assert_array_equal(explained.shares["ensemble"], explained.shares["rcf"])
    assert explained.texts() == detector.explain(rows).texts("rcf")


def test_categories_missing_values_and_own_labels_in_words():
    random = np.random.default_rng(0)
    table = {
        "weight": random.normal(50, 5, 400),
        "colour": np.where(np.arange(400) < 4, "red", "blue"),
    }
    config = DetectorConfig(
        ["weight"], ["colour"], models=MODELS[1:], labels={"weight": ("net weight", "kg")}, segments=["colour"]
    )
    detector = Detector.fit(table, config)
    rows = {"weight": np.array([np.nan, 90.0, 50.0]), "colour": np.array(["red", "green", ""])}
    low, high = np.percentile(table["weight"], [5, 95])
    texts = [sorted(row) for row in detector.explain(rows).texts()]
    assert texts[0] == ["colour red, rare (1% of training)", "net weight missing, never in training"]
    # Green was never seen and red has too few rows for a range of its own: that of all rows stands in.
    assert texts[1] == [
        "colour green, not seen in training",
        f"net weight 90 kg, typical {low:.3g}-{high:.3g} kg",
    ]
    assert "colour missing, never in training" in texts[2]
    assert detector.score(rows).unknown_counts == {"colour": 1}
    assert detector.score(rows).missing_counts == {"weight": 1, "colour": 1}


def test_a_segment_needs_fifty_rows_for_a_range_of_its_own():
    table = {"x": np.arange(149.0), "s": np.array(["a"] * 100 + ["b"] * 49)}
    typical = TypicalRanges.fit(columns_of(table), ["x"], [], ["s"])
    assert typical.keys == (("a",),)
    np.testing.assert_array_equal(typical.of_rows(columns_of(table)), [0] * 100 + [1] * 49)
    np.testing.assert_allclose(typical.high[:, 0], [np.percentile(range(100), 95), np.percentile(range(149), 95)])


def test_errors_say_what_to_do(training: pa.Table):
    with pytest.raises(TableError, match="19 training rows; at least 20"):
        Detector.fit(training.slice(0, 19), CONFIG)
    with pytest.raises(TableError, match="lacks 'csat'; it has hold_time_seconds"):
        Detector.fit(training.drop_columns(["csat"]), CONFIG)
    bad = (ModelConfig("rcf", "random_cut_forest", {"trees": 5}),)
    with pytest.raises(ConfigError, match="model 'rcf': random_cut_forest has no parameter 'trees'; allowed: n_est"):
        Detector.fit(training, dataclasses.replace(CONFIG, models=bad))
    bad = (ModelConfig("rcf", "random_cut_forest", {"tree_size": "big"}),)
    with pytest.raises(ConfigError, match="model 'rcf': tree_size is 'big'"):
        Detector.fit(training, dataclasses.replace(CONFIG, models=bad))
    feature_set = FeatureSet.fit(training, CONFIG)
    members = [fit_member(MODELS[0], feature_set, 0)]
    with pytest.raises(ConfigError, match="members iforest do not match the configured models iforest, rcf"):
        assemble(feature_set, members, CONFIG)
    smaller = FeatureSet.fit(training.slice(0, 100), CONFIG)
    with pytest.raises(ConfigError, match="'iforest' was fitted on another feature set"):
        assemble(smaller, members, dataclasses.replace(CONFIG, models=MODELS[:1]))


def test_a_detector_works_on_twenty_rows():
    scores = Detector.fit(contacts(20, 9), CONFIG).score(contacts(50, 10))
    assert np.isfinite(scores.ensemble).all()
    assert ((scores.severity >= 0) & (scores.severity <= 100)).all()


def damage_json(folder: Path, **changes: object) -> None:
    document = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps(document | changes))


def test_a_folder_that_is_no_detector_is_refused_with_the_reason(tmp_path: Path, detector: Detector):
    with pytest.raises(DetectorFormatError, match=r"detector.json: cannot be read: No such file"):
        Detector.load(tmp_path / "nowhere")

    def saved(name: str) -> Path:
        detector.save(tmp_path / name)
        return tmp_path / name

    folder = saved("text")
    (folder / "detector.json").write_text("{")
    with pytest.raises(DetectorFormatError, match="no valid JSON"):
        Detector.load(folder)
    damage_json(folder := saved("kind"), format="cxad-member")
    with pytest.raises(DetectorFormatError, match="format is 'cxad-member', expected 'cxad-detector'"):
        Detector.load(folder)
    damage_json(folder := saved("version"), version=1)
    with pytest.raises(DetectorFormatError, match="version 1; this release reads 2: train again"):
        Detector.load(folder)
    damage_json(folder := saved("content"), content={"members": []})
    with pytest.raises(DetectorFormatError, match="no usable detector: 'feature_map' is missing"):
        Detector.load(folder)
    folder = saved("cut")
    whole = (folder / "arrays.npz").read_bytes()
    (folder / "arrays.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DetectorFormatError, match=r"arrays\.npz: damaged"):
        Detector.load(folder)
    (folder / "arrays.npz").unlink()
    with pytest.raises(DetectorFormatError, match=r"arrays\.npz: cannot be read"):
        Detector.load(folder)


def test_a_bit_that_flipped_and_a_child_out_of_bounds_are_found(tmp_path: Path, detector: Detector):
    detector.save(tmp_path)
    whole = bytearray((tmp_path / "arrays.npz").read_bytes())
    whole[len(whole) // 2] ^= 1
    (tmp_path / "arrays.npz").write_bytes(whole)
    with pytest.raises(DetectorFormatError, match=r"arrays\.npz: damaged"):
        Detector.load(tmp_path)
    detector.save(tmp_path)
    with np.load(tmp_path / "arrays.npz") as stored:
        arrays = dict(stored)
    arrays["members/1/forest/right"][0] = 10**8
    np.savez(tmp_path / "arrays.npz", **arrays)
    with pytest.raises(DetectorFormatError, match="right: a child outside its tree"):
        Detector.load(tmp_path)
    arrays.pop("members/1/forest/right")
    np.savez(tmp_path / "arrays.npz", **arrays)
    with pytest.raises(DetectorFormatError, match="'members/1/forest/right' is None"):
        Detector.load(tmp_path)


def test_pickled_arrays_are_never_read(tmp_path: Path, detector: Detector):
    detector.save(tmp_path)
    np.savez(tmp_path / "arrays.npz", evil=np.array([{"any": "object"}], dtype=object))
    with pytest.raises(DetectorFormatError, match="damaged: Object arrays cannot be loaded"):
        Detector.load(tmp_path)


def test_loading_and_scoring_need_numpy_and_numba_alone(tmp_path: Path, detector: Detector):
    detector.save(tmp_path)
    program = f"""
import sys
# As if not installed: importing one fails. (numba asks for scipy's version where it finds it, and can do without.)
for name in ("sklearn", "scipy", "pandas", "rrcf", "joblib", "pyarrow", "pydantic"):
    sys.modules[name] = None
import numpy as np
from cxad_pipeline.detection import Detector
detector = Detector.load({str(tmp_path)!r})
rows = {{"hold_time_seconds": np.array([612.0]), "channel": np.array(["voice"]), "queue": np.array(["billing"])}}
print(detector.score(rows).ensemble[0].hex(), *detector.explain(rows).texts()[0], sep="|")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    rows = pa.table({"hold_time_seconds": [612.0], "channel": ["voice"], "queue": ["billing"]})
    expected = [float(detector.score(rows).ensemble[0]).hex(), *detector.explain(rows).texts()[0]]
    assert ran.stdout.strip() == "|".join(expected)


def test_without_a_folder_for_compiled_code_it_is_compiled_anew_and_said():
    program = """
import warnings
import numba.core.caching
numba.core.caching.CacheImpl._locator_classes = []  # as with a read-only installation and no home folder
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from cxad_pipeline.detection.kernels import _outside
print(_outside(3.0, 0.0, 1.0), *{str(warning.message) for warning in caught})
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("2.0 no folder to keep compiled code in")
    assert "NUMBA_CACHE_DIR" in ran.stdout
