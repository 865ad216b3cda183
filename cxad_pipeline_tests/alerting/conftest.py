"""Fixtures of the alerting tests: a Slack double that listens on this machine, and no proxy on the way to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slack_double import SlackDouble


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def slack() -> Iterator[SlackDouble]:
    with SlackDouble() as double:
        yield double
