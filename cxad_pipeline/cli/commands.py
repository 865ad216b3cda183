"""The commands and their arguments."""

from __future__ import annotations

import datetime as dt
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import yaml

from cxad_pipeline import __version__
from cxad_pipeline.interactions.sources import SourceError
from cxad_pipeline.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    import dagster as dg

EXIT_FAILED, EXIT_USAGE, EXIT_NO_MODEL = 1, 2, 3
_HELP = """Find unusual interactions in a contact centre.

\b
Exit codes: 0 done; 1 a run failed; 2 wrong arguments, configuration or input; 3 no trained model.
"""


@click.group(help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--config", "config_file", metavar="FILE", help="Configuration file; CXAD_CONFIG does the same.")
@click.version_option(__version__, prog_name="cxad")
def main(config_file: str | None) -> None:
    """Set up what all commands share."""
    if config_file is not None:
        os.environ["CXAD_CONFIG"] = config_file
    warnings.filterwarnings("ignore", module="dagster")


@main.command()
@click.option("--labels", metavar="FILE", help="CSV of known anomalies (interaction_id, kind), for the report alone.")
def train(labels: str | None) -> None:
    """Train on the landed training files, evaluate, register, and promote the version if it passes the gate."""
    settings = _settings()
    from cxad_pipeline.cli import pipeline

    with _dagster(settings) as instance:
        made = _guarded(pipeline.train, settings, instance, labels)
    _show(pipeline.summary_table("Training", pipeline.training_rows(made)))


@main.command()
@click.option("--labels", metavar="FILE", help="CSV of known anomalies (interaction_id, kind): recall by kind.")
def evaluate(labels: str | None) -> None:
    """Make the evaluation report of the latest trained detector again: figures, statistics, recall by kind."""
    settings = _settings()
    from cxad_pipeline.cli import pipeline

    with _dagster(settings) as instance:
        made = _guarded(pipeline.evaluate, settings, instance, labels)
    report = pipeline.metadata_of(made, "evaluation_report")
    auc = ", ".join(f"{name} {value:.3f}" for name, value in report["injected_roc_auc"].items())
    _show(
        pipeline.summary_table(
            "Evaluation on held-out rows",
            [
                ("rows", f"{report['dagster/row_count']:,}"),
                ("ROC-AUC, injected faults", auc),
                ("files written", "\n".join(report["files"])),
            ],
        )
    )


@main.command()
@click.option("--model", default="ensemble", show_default=True, help="ensemble, or the name of one model.")
@click.option("--input", "source", metavar="FILE", help="Score this file directly, without Dagster.")
@click.option("--output", metavar="FILE", help="With --input: where to; .parquet or .csv.")
@click.option("--since", type=click.DateTime(), metavar="TIME", help="Without --input: windows that end after, in UTC.")
@click.option("--until", type=click.DateTime(), metavar="TIME", help="Without --input: windows that start before.")
def score(
    model: str, source: str | None, output: str | None, since: dt.datetime | None, until: dt.datetime | None
) -> None:
    """Score interactions with the champion.

    Without --input: all landed files, window by window through Dagster, with export and alert. With --input: any CSV or
    Parquet file of any size, in the order of its rows; rows that break the contract go to a file beside the output.
    """
    settings = _settings()
    if model not in ["ensemble", *settings.model_names]:
        _stop(f"unknown model {model!r}; allowed: ensemble, {', '.join(settings.model_names)}", EXIT_USAGE)
    if source is None and output is not None:
        _stop("--output needs --input; landed files are exported to paths.processed", EXIT_USAGE)
    if source is not None:
        if since or until:
            _stop("--since and --until are for landed files; leave them out with --input", EXIT_USAGE)
        _score_file(source, output, model, settings)
        return
    from cxad_pipeline.cli import pipeline

    with _dagster(settings) as instance:
        utc = {"since": since and since.replace(tzinfo=dt.UTC), "until": until and until.replace(tzinfo=dt.UTC)}
        totals = _guarded(pipeline.score_landed, settings, instance, model=model, **utc)
    _show(pipeline.summary_table("Scoring", pipeline.scoring_rows(totals)))


@main.command()
def workflow() -> None:
    """Train, evaluate, score the landed files and send the alerts: what `make workflow` runs."""
    settings = _settings()
    from cxad_pipeline.cli import pipeline

    with _dagster(settings) as instance:
        pipeline.console.print("training", style="bold")
        made = _guarded(pipeline.train, settings, instance)
        totals = _guarded(pipeline.score_landed, settings, instance, model="ensemble")
    rows = [*pipeline.scoring_rows(totals), *pipeline.training_rows(made)]
    ports = settings.ports
    rows.append(("user interfaces", f"make up: Dagster on port {ports.dagster}, MLflow on port {ports.mlflow}"))
    _show(pipeline.summary_table("Workflow", rows))


@main.command()
@click.option("--output", metavar="FILE", help="Interactions: .csv, .csv.gz or .parquet.")
@click.option("--labels", metavar="FILE", help="Labels of the anomalies; beside the output unless given.")
@click.option("--incidents", metavar="FILE", help="Also write the incidents, one row each.")
@click.option("--start", type=click.DateTime(), default="2026-09-14", show_default=True, help="First moment, in UTC.")
@click.option("--rows", type=click.IntRange(min=1), default=10_000, show_default=True, help="Number of interactions.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same bytes.")
@click.option("--anomaly-rate", type=click.FloatRange(0, 0.5), default=0.01, show_default=True)
@click.option("--incidents-per-week", type=click.FloatRange(min=0), default=1.0, show_default=True)
@click.option("--volume", type=click.FloatRange(min=0.001), default=1.0, show_default=True,
              help="1 is about 25,000 contacts a week.")  # fmt: skip
@click.option("--samples", is_flag=True, help="Write the committed samples again, below data/.")
def simulate(samples: bool, output: str | None, **options: Any) -> None:
    """Simulate the interactions of a contact centre, with labelled anomalies and incidents."""
    from cxad_pipeline.cli.simulating import simulate_file, simulate_samples

    if samples == (output is not None):
        _stop("give either --output FILE or --samples", EXIT_USAGE)
    settings = _settings()
    try:
        written = simulate_samples() if output is None else simulate_file(output, **options)
    except (ValueError, OSError) as error:
        _stop(str(error), EXIT_USAGE)
    _report_landed(written, settings)
    for path in written:
        click.echo(path)


@main.command()
@click.option("--reference", is_flag=True, help="Explain every key, in Markdown.")
def config(reference: bool) -> None:
    """Show the configuration that is in force, without secrets."""
    if reference:
        from cxad_pipeline.settings.reference import reference as explain

        click.echo(explain(), nl=False)
        return
    click.echo(yaml.safe_dump(_settings().model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)


@main.command()
def up() -> None:
    """Start the Dagster UI with its daemon and the MLflow UI; Ctrl-C stops both."""
    from cxad_pipeline.cli.servers import PortInUseError, serve_interfaces

    settings = _settings()
    try:
        code = serve_interfaces(settings)
    except PortInUseError as error:
        _stop(str(error), EXIT_USAGE)
    raise SystemExit(code)


def _score_file(source: str, output: str | None, model: str, settings: Settings) -> None:
    from cxad_pipeline.cli.pipeline import summary_table
    from cxad_pipeline.cli.scoring import score_with_progress
    from cxad_pipeline.registry.tracking import RegistryError

    name = f"anomalies_{model}_{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}.csv"
    target = output or f"{settings.paths.processed.rstrip('/')}/{name}"
    try:
        scores, version = score_with_progress(source, target, model, settings)
    except RegistryError as error:
        _stop(str(error), EXIT_NO_MODEL)
    except (SourceError, OSError, ValueError) as error:
        _stop(str(error), EXIT_USAGE)
    rows = [
        ("scored", f"{scores.rows:,} by {version}"),
        ("rejected", f"{scores.rejected:,}"),
        ("anomalies", f"{scores.anomalies:,}"),
        ("threshold", f"{model} {scores.threshold:.4g}"),
        ("files written", "\n".join(path for path in (scores.output, scores.rejected_output) if path)),
    ]
    _show(summary_table("Scoring", rows))


def _report_landed(written: list[str], settings: Settings) -> None:
    """Tell Dagster of simulated files that lie in a landing folder, so that lineage begins with them."""
    landing = {
        "landed_training_files": Path(settings.paths.training).absolute(),
        "landed_inference_files": Path(settings.paths.inference).absolute(),
    }
    found = [
        (asset, path)
        for path in written
        for asset, folder in landing.items()
        if folder in Path(path).absolute().parents
    ]
    if not found:
        return
    import dagster as dg

    with _dagster(settings) as instance:
        for asset, path in found:
            event = dg.AssetMaterialization(
                asset, description=Path(path).name, metadata={"file": path, "by": "cxad simulate"}
            )
            instance.report_runless_asset_event(event)


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        _stop(str(error), EXIT_USAGE)


def _dagster(settings: Settings) -> dg.DagsterInstance:
    from cxad_pipeline.cli.instance import prepare_home

    prepare_home(settings)
    import dagster as dg

    return dg.DagsterInstance.get()


def _guarded(action: Any, *arguments: Any, **options: Any) -> Any:
    """Run an action; its failures end the command with one line each."""
    from cxad_pipeline.cli.instance import RunFailedError
    from cxad_pipeline.cli.pipeline import NothingToScoreError

    try:
        return action(*arguments, **options)
    except RunFailedError as error:
        no_model = "train one first" in str(error)
        _stop(str(error), EXIT_NO_MODEL if no_model else EXIT_FAILED)
    except (NothingToScoreError, SourceError) as error:
        _stop(str(error), EXIT_USAGE)


def _show(table: Any) -> None:
    from rich.console import Console

    Console(highlight=False).print(table)


def _stop(message: str, code: int) -> NoReturn:
    click.echo(f"cxad: {message}", err=True)
    raise SystemExit(code)
