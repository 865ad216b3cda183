from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from landing_world import RecordingChannel, make_settings

from cxad_pipeline.definitions import build_definitions
from cxad_pipeline.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The local configuration, with all its folders below a temporary one and small forests."""
    return make_settings(tmp_path)


@pytest.fixture
def channel() -> RecordingChannel:
    return RecordingChannel()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A real instance, in memory: making one on the disk takes longer than most of these tests."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def definitions(settings: Settings, channel: RecordingChannel) -> dg.Definitions:
    return build_definitions(settings, channels=[channel])
