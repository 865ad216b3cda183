"""The one place that assembles the Dagster objects. `workspace.yaml` names this module."""

from __future__ import annotations

from typing import Any

import dagster as dg

from cxad_pipeline.alerting.channels import Channel, channels_of
from cxad_pipeline.defs.alerts import alerting_assets, delivery_sensor
from cxad_pipeline.defs.drift import drift_assets
from cxad_pipeline.defs.failures import run_failure_sensor
from cxad_pipeline.defs.incidents import incident_assets, window_key_of
from cxad_pipeline.defs.ingestion import ingestion_assets, landed_specs
from cxad_pipeline.defs.io import StorageIOManager
from cxad_pipeline.defs.jobs import jobs, schedules
from cxad_pipeline.defs.lost_runs import lost_run_sensor
from cxad_pipeline.defs.progress import progress_logger
from cxad_pipeline.defs.scoring import scoring_assets
from cxad_pipeline.defs.sensors import default_sensor_status, sensors
from cxad_pipeline.defs.training import training_assets
from cxad_pipeline.interactions.configured_columns import check_columns
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.settings import Settings, load_settings
from cxad_pipeline.store.database import store_opener


def build_definitions(settings: Settings, *, channels: list[Channel] | None = None, **resources: Any) -> dg.Definitions:
    """Assemble everything for a configuration.

    Parameters
    ----------
    settings
        The configuration.
    channels
        Where messages go, in place of the configured channels, as tests do.
    **resources
        Resources that take the place of the configured ones, likewise.
    """
    channels = channels_of(settings) if channels is None else channels
    store_of = store_opener(settings)
    teller = Teller(settings, channels, window_key_of(settings))
    training, scoring, *others = jobs(settings)
    status = default_sensor_status(settings)
    return dg.Definitions(
        assets=[
            *landed_specs(settings),
            *training_assets(settings),
            *ingestion_assets(settings),
            *scoring_assets(settings, store_of),
            *incident_assets(settings, store_of, teller),
            *alerting_assets(settings, store_of, channels, teller),
            *drift_assets(settings),
        ],
        jobs=[training, scoring, *others],
        schedules=schedules(settings, training, scoring),
        sensors=[
            *sensors(settings, store_of, training, scoring),
            delivery_sensor(settings, store_of, channels, teller, status),
            run_failure_sensor(settings, store_of, channels, teller, status),
            lost_run_sensor(status),
        ],
        resources={"io_manager": StorageIOManager(uri=settings.paths.storage)} | resources,
        loggers={"console": dg.colored_console_logger, "progress": progress_logger},
        # Steps hand over arrays through files and use all cores by threads; a process for each step would only add
        # seconds. Runs are spread over machines by Dagster's run launcher.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev` loads; read when it is asked for, so that importing this module needs no configuration."""
    settings = load_settings()
    check_columns(settings)
    return build_definitions(settings)
