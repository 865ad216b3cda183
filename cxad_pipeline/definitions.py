"""The one place that assembles the Dagster objects. `workspace.yaml` names this module."""

from __future__ import annotations

from typing import Any

import dagster as dg

from cxad_pipeline.defs.alerts import alert_channel, alerting_assets
from cxad_pipeline.defs.ingestion import ingestion_assets, landed_specs
from cxad_pipeline.defs.io import StorageIOManager
from cxad_pipeline.defs.jobs import jobs, schedules
from cxad_pipeline.defs.progress import progress_logger
from cxad_pipeline.defs.scoring import scoring_assets
from cxad_pipeline.defs.sensors import sensors
from cxad_pipeline.defs.training import training_assets
from cxad_pipeline.settings import Settings, load_settings


def build_definitions(settings: Settings, **resources: Any) -> dg.Definitions:
    """Assemble everything for a configuration.

    Parameters
    ----------
    settings
        The configuration.
    **resources
        Resources that take the place of the configured ones, as tests do.
    """
    training, scoring = jobs()
    return dg.Definitions(
        assets=[
            *landed_specs(settings),
            *training_assets(settings),
            *ingestion_assets(settings),
            *scoring_assets(settings),
            *alerting_assets(settings),
        ],
        jobs=[training, scoring],
        schedules=schedules(settings, training, scoring),
        sensors=sensors(settings, training, scoring),
        resources={
            "io_manager": StorageIOManager(uri=settings.paths.storage),
            "alert_channel": alert_channel(settings),
        }
        | resources,
        loggers={"console": dg.colored_console_logger, "progress": progress_logger},
        # Steps hand over arrays through files and use all cores by threads; a process for each step would only add
        # seconds. Runs are spread over machines by Dagster's run launcher.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev` loads; read when it is asked for, so that importing this module needs no configuration."""
    return build_definitions(load_settings())
