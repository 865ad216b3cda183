"""Simulation, as a command: with a progress bar, and told to Dagster where it lands.

Belongs here: `simulate`: arguments, the bar, where labels go. Does not belong here: the simulation
(`interactions.simulation`).
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cxad_pipeline.cli.configured import configured, dagster_instance
from cxad_pipeline.cli.option_types import FiniteRange
from cxad_pipeline.cli.terminal import EXIT_USAGE, Command, progress_bar, stop
from cxad_pipeline.settings import Settings


@click.command(cls=Command)
@click.option("--output", metavar="FILE", help="Interactions: .csv, .csv.gz or .parquet.")
@click.option("--labels", metavar="FILE", help="Labels; beside the output as _NAME.labels.csv unless given.")
@click.option("--incidents", metavar="FILE", help="Also write the incidents, one row each.")
@click.option("--start", type=click.DateTime(), default="2026-09-14", show_default=True, help="First moment, in UTC.")
@click.option("--rows", type=click.IntRange(min=1), default=10_000, show_default=True, help="Number of interactions.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same bytes.")
@click.option(
    "--anomaly-rate",
    type=FiniteRange(0, 0.5),
    default=0.01,
    show_default=True,
    help="Share of interactions that are anomalies.",
)
@click.option(
    "--incidents-per-week",
    type=FiniteRange(min=0),
    default=1.0,
    show_default=True,
    help="Hours-long disturbances of one segment.",
)
@click.option(
    "--volume",
    type=FiniteRange(min=0.001),
    default=1.0,
    show_default=True,
    help="1 is about 25,000 contacts a week.",
)
@click.option("--samples", is_flag=True, help="Write the committed samples again, below data/.")
def simulate(samples: bool, output: str | None, **options: Any) -> None:
    """Simulate a contact centre's interactions, with labels.

    Labelled anomalies and incidents are among them; the labels go to a file of their own, which no model reads. Below
    paths.training or paths.inference, the files are reported to Dagster as landed.
    """
    if samples == (output is not None):
        stop("give either --output FILE or --samples", EXIT_USAGE)
    context = click.get_current_context()
    given = [name for name in options if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if samples and given:
        stop(f"--samples takes no other option; leave out --{given[0].replace('_', '-')}", EXIT_USAGE)
    settings = configured()
    try:
        written = simulate_samples() if output is None else simulate_file(output, **options)
    except (ValueError, OverflowError, OSError) as error:
        stop(str(error), EXIT_USAGE)
    _report_landed(written, settings)
    for path in written:
        click.echo(path)


def simulate_file(
    output: str,
    *,
    labels: str | None,
    incidents: str | None,
    start: dt.datetime,
    rows: int,
    seed: int,
    anomaly_rate: float,
    incidents_per_week: float,
    volume: float,
) -> list[str]:
    """Simulate into a file; give the paths of all files written."""
    from rich.progress import TaskProgressColumn

    from cxad_pipeline.interactions.simulation import SimulationConfig, expected_interactions, write_simulation

    config = SimulationConfig(
        start=start.replace(tzinfo=dt.UTC),
        interactions=rows,
        seed=seed,
        anomaly_rate=anomaly_rate,
        incidents=incidents_per_week,
        volume_scale=volume,
    )
    beside = labels or _labels_beside(output)
    with progress_bar(TaskProgressColumn()) as progress:
        task = progress.add_task("simulating", total=expected_interactions(config))
        write_simulation(config, output, beside, incidents, lambda done: progress.advance(task, done))
    return [path for path in (output, beside, incidents) if path]


def simulate_samples() -> list[str]:
    """Write the committed samples again."""
    from cxad_pipeline.interactions.simulation import write_samples

    return write_samples("data")


def _labels_beside(output: str) -> str:
    """`calls.csv.gz` has its labels in `_calls.labels.csv`; the underscore keeps landing from reading them."""
    parent, separator, name = output.rpartition("/")
    return f"{parent}{separator}_{name.split('.')[0]}.labels.csv"


def _report_landed(written: list[str], settings: Settings) -> None:
    """Tell Dagster of simulated files that lie in a landing folder, so that lineage begins with them.

    Names that landing leaves out, such as that of the labels, are no landed files.
    """
    landing = {
        "landed_training_files": Path(settings.paths.training).absolute(),
        "landed_inference_files": Path(settings.paths.inference).absolute(),
    }
    found = [
        (asset, path)
        for path in written
        for asset, folder in landing.items()
        if folder in Path(path).absolute().parents and not Path(path).name.startswith(("_", "."))
    ]
    if not found:
        return
    import dagster as dg

    with dagster_instance(settings) as instance:
        for asset, path in found:
            event = dg.AssetMaterialization(
                asset, description=Path(path).name, metadata={"file": path, "by": "cxad simulate"}
            )
            instance.report_runless_asset_event(event)
