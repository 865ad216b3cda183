"""From settings to a detector's configuration: columns that no row has are left out, everything else is passed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxad_pipeline.detection import Detector
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.registry.detector_config import detector_config, expected_rate
from cxad_pipeline.settings import load_settings


def test_settings_become_the_configuration(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("""
models:
  - {name: forest, algorithm: isolation_forest, threshold_percentile: 98, params: {n_estimators: 7}}
  - {name: cuts, algorithm: random_cut_forest, params: {tree_size: 32, scoring: codisp}}
ensemble: {strategy: max, weights: {cuts: 2}, threshold_percentile: 97.5}
preprocessing: {imputation: mean, scaling: standard}
training: {held_out: 0.4, random_state: 9}
segments: {dimensions: [queue, language]}
features: {relative_to: [channel, queue], time: true, missing_indicators: true}
timezone: Europe/Berlin
""")
    settings = load_settings(path)
    present = ["timestamp", "csat", "hold_time_seconds", "queue", "notes"]
    config = detector_config(settings, schema_of(settings), present)
    config.validate()
    assert (list(config.numeric), list(config.categorical)) == (["csat", "hold_time_seconds"], ["queue"])
    assert list(config.segments) == ["queue"]
    assert [(m.name, m.algorithm, m.threshold_percentile) for m in config.models] == [
        ("forest", "isolation_forest", 98),
        ("cuts", "random_cut_forest", 99),
    ]
    assert config.models[0].params["n_estimators"] == 7
    assert config.models[1].params == {"n_estimators": 100, "tree_size": 32, "scoring": "codisp"}
    assert (config.ensemble.strategy, config.ensemble.weights) == ("max", {"cuts": 2})
    assert (config.imputation, config.scaling, config.held_out, config.random_state) == ("mean", "standard", 0.4, 9)
    assert config.labels["hold_time_seconds"] == ("hold time", "s")
    # No row has a channel.
    assert (config.relative_to, config.missing_indicators) == (("queue",), True)
    assert (config.timestamp, config.timezone, config.labels["timestamp"]) == (
        "timestamp",
        "Europe/Berlin",
        ("time", ""),
    )
    assert config.category_inputs == ["queue"]


def test_without_settings_numbers_are_relative_to_channel_and_queue_and_nothing_else_is_added(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("")
    settings = load_settings(tmp_path / "config.yaml")
    schema = schema_of(settings)
    config = detector_config(settings, schema, schema.names)
    config.validate()
    assert (config.relative_to, config.timestamp, config.missing_indicators) == (("channel", "queue"), None, False)


@pytest.mark.parametrize("strategy", ["average", "max", "voting"])
def test_the_expected_rate_is_the_share_of_held_out_rows_that_are_flagged(
    detectors: dict[str, Detector], strategy: str
) -> None:
    detector = detectors[strategy]
    held_out = {name: member.held_out_scores for name, member in detector.members.items()}
    flags = [detector.members[name].flags(scores) for name, scores in held_out.items()]
    if strategy == "voting":  # two members of equal weight: one flag is a tie, and ties flag
        assert expected_rate(detector) == pytest.approx(np.mean(flags[0] | flags[1]), abs=0.002)
    else:
        assert expected_rate(detector) == pytest.approx(0.03)
