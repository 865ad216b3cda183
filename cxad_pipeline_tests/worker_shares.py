"""Which modules run first, and which run in one process, where `pytest -n` shares the tests out among processes.

Belongs here: what shortens a run without changing what any test does. Does not belong here: fixtures.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling, Scheduling

# They share a folder in which `cxad workflow` has run, half a minute of work for each process that wants one.
_IN_TRAINED_FOLDER = tuple(
    f"cxad_pipeline_tests/cli/test_{name}.py"
    for name in ("interfaces", "workflow_command", "score_and_evaluate", "low_promise_is_told", "mistakes")
)
# The last module to run is waited for by all: a long one had better not be the last. Their order tells nothing else.
_LONG = (
    *_IN_TRAINED_FOLDER,
    *(
        f"cxad_pipeline_tests/{name}.py"
        for name in (
            "deployment/test_production_stack",
            "serving/test_openapi_requests",
            "test_readme",
            "defs/test_pipeline",
            "serving/test_serve_command",
            "serving/test_sidecar_process",
        )
    ),
)
_RANKS = {module: rank for rank, module in enumerate(_LONG)}


def _module(nodeid: str) -> str:
    return nodeid.split("::", 1)[0]


def long_first(items: list[pytest.Item]) -> None:
    """Put the tests of long modules first; all else keeps its order."""
    items.sort(key=lambda item: _RANKS.get(_module(item.nodeid), len(_RANKS)))


class ModuleScheduling(LoadScopeScheduling):
    """A module runs in one process, those that share a trained folder all in the same one."""

    def _split_scope(self, nodeid: str) -> str:
        module = _module(nodeid)
        return "trained folder" if module in _IN_TRAINED_FOLDER else module


def scheduling(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Ours for `--dist loadscope`; None, which is xdist's own, for others."""
    if config.getoption("dist") != "loadscope":
        return None
    config.option.loadscopereorder = False  # which would put modules with few tests last, however long they take
    return ModuleScheduling(config, log)
