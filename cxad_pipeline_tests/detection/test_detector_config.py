"""The configuration: refused with field, value and what is allowed; the same after a trip through JSON."""

from __future__ import annotations

import json

import pytest

from cxad_pipeline.detection import DetectorConfig, EnsembleConfig, ModelConfig
from cxad_pipeline.detection.config import ConfigError


def test_the_default_is_one_forest_of_each_kind():
    config = DetectorConfig(numeric=["x"])
    config.validate()
    assert [(model.name, model.algorithm) for model in config.models] == [
        ("iforest", "isolation_forest"),
        ("rcf", "random_cut_forest"),
    ]


def test_json_gives_the_same_configuration_back():
    config = DetectorConfig(
        numeric=("x", "y"),
        categorical=("c",),
        models=(ModelConfig("one", "random_cut_forest", {"tree_size": 64}, 97.5),),
        ensemble=EnsembleConfig("voting", {"one": 2.0}),
        imputation="mean",
        scaling="standard",
        held_out=0.3,
        segments=("c",),
        relative_to=("c", "d"),
        timestamp="start",
        timezone="Asia/Jerusalem",
        missing_indicators=True,
        labels={"x": ("hold", "s")},
        random_state=9,
    )
    assert DetectorConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"numeric": ()}, "no columns"),
        ({"numeric": "hold"}, "numeric is 'hold'; a list of column names"),
        ({"numeric": ("x", "x")}, "numeric names 'x' twice"),
        ({"categorical": ("x",)}, "both numeric and categorical: x"),
        ({"imputation": "mode"}, "imputation is 'mode'; allowed: median, mean, zero"),
        ({"scaling": "minmax"}, "scaling is 'minmax'; allowed: robust, standard, none"),
        ({"held_out": 1.0}, "held_out is 1.0; a share between 0 and 1"),
        ({"random_state": -1}, "random_state is -1"),
        ({"relative_to": "c"}, "relative_to is 'c'; a list of column names"),
        ({"relative_to": ("x",)}, "columns both numeric and in relative_to: x"),
        ({"numeric": (), "categorical": ("c",), "relative_to": ("c",)}, "there is no number to be relative"),
        ({"timestamp": ""}, "timestamp is ''; the name of a column"),
        ({"timestamp": "x"}, "timestamp 'x' is also numeric or categorical"),
        ({"timezone": "Berlin"}, "timezone is 'Berlin'; an IANA name such as Europe/Berlin"),
        ({"timezone": None}, "timezone is None; an IANA name"),
        ({"missing_indicators": 1}, "missing_indicators is 1; True or False"),
        ({"models": ()}, "no models"),
        ({"models": (ModelConfig("ensemble", "isolation_forest"),)}, "model name 'ensemble'"),
        ({"models": (ModelConfig("a", "svm"),)}, "model 'a': algorithm is 'svm'; allowed: isolation_forest"),
        ({"models": (ModelConfig("a", "isolation_forest"),) * 2}, "two models are named 'a'"),
        ({"models": (ModelConfig("a", "isolation_forest", {"random_state": 1}),)}, "params.random_state"),
        ({"models": (ModelConfig("a", "isolation_forest", {}, 100),)}, "threshold_percentile is 100"),
        ({"ensemble": EnsembleConfig("median")}, "strategy is 'median'; allowed: average, max, voting"),
        ({"ensemble": EnsembleConfig(weights={"knn": 1})}, "no model 'knn'; models: iforest, rcf"),
        ({"ensemble": EnsembleConfig(weights={"rcf": -1})}, "'rcf' has -1; a number >= 0"),
        ({"ensemble": EnsembleConfig(weights={"rcf": 0, "iforest": 0})}, "every model has weight 0"),
        ({"ensemble": EnsembleConfig(weights={"rcf": 1e308, "iforest": 1e308})}, "sum is beyond all floats"),
        ({"labels": {"x": "hold"}}, "labels: 'x' has 'hold'"),
        ({"labels": {"x": ("hold", 1)}}, "labels: 'x' has "),
    ],
)
def test_bad_values_are_named(fields: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        DetectorConfig(**({"numeric": ("x",)} | fields)).validate()


def test_unknown_keys_are_named():
    with pytest.raises(ConfigError, match="DetectorConfig: unknown scaler; allowed: numeric, "):
        DetectorConfig.from_dict({"numeric": ["x"], "scaler": "robust"})
    with pytest.raises(ConfigError, match="ModelConfig: unknown kind"):
        DetectorConfig.from_dict({"numeric": ["x"], "models": [{"name": "a", "kind": "rcf"}]})
