"""Dagster does not load a configuration that names a column which no file can give."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxad_pipeline.definitions import defs
from cxad_pipeline.settings import SettingsError

CONFIG = Path(__file__).parents[2] / "configs" / "config.local.yaml"


def test_a_misspelt_column_is_an_error_of_the_code_location(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXAD_CONFIG", str(CONFIG))
    monkeypatch.setenv("CXAD_FEATURES__NUMERIC", '["csat", "hold_time_second"]')
    with pytest.raises(SettingsError, match=r"features\.numeric: hold_time_second .* did you mean hold_time_seconds"):
        defs()
