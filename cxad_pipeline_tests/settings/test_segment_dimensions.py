"""Segments have one dimension or more, each once; what says otherwise is refused where it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxad_pipeline.settings import SettingsError, load_settings

VARIABLE = "CXAD_SEGMENTS__DIMENSIONS"
REFUSED = [("[]", "[]", "at least 1 item"), ('["queue", "queue"]', "['queue', 'queue']", "named twice: queue")]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@pytest.mark.parametrize(("given", "value", "why"), REFUSED)
def test_the_file_and_the_key_are_named(config: Path, given: str, value: str, why: str) -> None:
    config.write_text(f"segments: {{dimensions: {given}}}")
    with pytest.raises(SettingsError) as refused:
        load_settings(config)
    assert str(config) in str(refused.value)
    assert f"segments.dimensions = {value}: " in str(refused.value)
    assert why in str(refused.value)


@pytest.mark.parametrize(("given", "value", "why"), REFUSED)
def test_the_variable_is_named(config: Path, monkeypatch: pytest.MonkeyPatch, given: str, value: str, why: str) -> None:
    config.write_text("timezone: UTC")
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(SettingsError) as refused:
        load_settings(config)
    assert f"{VARIABLE}: segments.dimensions = {value}: " in str(refused.value)
    assert why in str(refused.value)


def test_one_dimension_is_enough(config: Path) -> None:
    config.write_text("segments: {dimensions: [queue]}")
    assert load_settings(config).segments.dimensions == ["queue"]
