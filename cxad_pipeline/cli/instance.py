"""The persistent Dagster instance, and jobs that run on it from a terminal.

Belongs here: Dagster's home, one run and its outcome. Does not belong here: which runs (`pipeline`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from cxad_pipeline.definitions import build_definitions
from cxad_pipeline.defs.failures import step_error
from cxad_pipeline.defs.lost_runs import COMMAND_TAG
from cxad_pipeline.settings import Settings
from cxad_pipeline.standard_streams import standard_streams_kept

DAGSTER_YAML = """\
# Written once by cxad; change it as you like. See docs.dagster.io, "Dagster instance configuration".
telemetry:
  enabled: false
nux:
  enabled: false  # no dialog at the first visit
python_logs:
  python_log_level: INFO  # each event is in the UI; the terminal shows what assets log, warnings and errors
concurrency:
  runs:
    max_concurrent_runs: 1  # SQLite locks under concurrent runs; use PostgreSQL before raising this
run_retries:
  enabled: true
  max_retries: 1
  retry_on_asset_or_op_failure: false  # a crashed run is tried again, a failed step is not
"""


class RunFailedError(RuntimeError):
    """A Dagster run failed; the message has a line for each failed step."""


@dataclass(frozen=True)
class Materialized:
    """An asset, or one window of it, that a run has made."""

    asset: str
    window: str | None
    metadata: Mapping[str, Any]


def prepare_home(settings: Settings) -> Path:
    """Dagster's home, made with its configuration when it is not there; `DAGSTER_HOME` names it from now on."""
    home = Path(os.environ.get("DAGSTER_HOME") or settings.paths.dagster_home).absolute()
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(DAGSTER_YAML, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def run_job(
    job: str,
    settings: Settings,
    instance: dg.DagsterInstance,
    *,
    assets: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[Materialized]:
    """Run a job in this process, recorded on the instance, with progress on standard error.

    Parameters
    ----------
    job
        Name of the job.
    settings, instance
        The configuration, and where the run is recorded.
    assets
        Only these assets of the job.
    config
        Run configuration of assets, by asset.
    tags
        Tags of the run.

    Returns
    -------
    list of Materialized
        What was made, in order.

    Raises
    ------
    RunFailedError
        If a step failed.
    KeyboardInterrupt
        If the run was interrupted, in a step or between two.
    """
    definition = build_definitions(settings).resolve_job_def(job)
    try:
        with standard_streams_kept():
            result = definition.execute_in_process(
                instance=instance,
                run_config={
                    "loggers": {"progress": {}},
                    "ops": {asset: {"config": dict(values)} for asset, values in (config or {}).items()},
                },
                asset_selection=[dg.AssetKey(asset) for asset in assets] if assets else None,
                tags={COMMAND_TAG: "cxad", **(tags or {})},
                raise_on_error=False,
            )
    except dg.DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error
    failures = [event for event in result.all_events if event.is_step_failure]
    if any(dg.DagsterExecutionInterruptedError.__name__ in step_error(event) for event in failures):
        raise KeyboardInterrupt
    if failures or not result.success:
        lines = [f"{event.step_key}: {step_error(event)}" for event in failures]
        raise RunFailedError("\n".join(lines) or "the run failed outside its steps; see the Dagster UI")
    return [
        Materialized(
            event.asset_key.to_user_string(),
            event.partition,
            {key: value.value for key, value in event.materialization.metadata.items()},
        )
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key is not None
    ]
