"""The command `cxad`: the group that all commands are in, and those of the pipeline.

Belongs here: `train`, `evaluate`, `score`, `workflow`, `config`: arguments, and what is shown. Does not belong here:
the other commands, which are in modules of their own, and what they do (`pipeline`, `scoring`).
"""

from __future__ import annotations

import datetime as dt
import os
import warnings
from importlib.util import find_spec

import click
import yaml

from cxad_pipeline import __version__
from cxad_pipeline.cli import calibrating, incidents, interfaces, silencing, simulating
from cxad_pipeline.cli.configured import configured, dagster_instance, guarded
from cxad_pipeline.cli.terminal import (
    EXIT_FAILED,
    EXIT_NO_MODEL,
    EXIT_USAGE,
    Commands,
    say,
    show,
    stop,
)
from cxad_pipeline.settings import Settings

_SCORED_ENDINGS = (".csv", ".csv.gz", ".parquet")


@click.group(
    cls=Commands,
    help="Find unusual interactions in a contact centre.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Configuration file; CXAD_CONFIG does the same.  [default: configs/config.local.yaml]",
)
@click.version_option(__version__, prog_name="cxad")
def main(config_file: str | None) -> None:
    """Set up what all commands share."""
    if config_file is not None:
        os.environ["CXAD_CONFIG"] = config_file
    warnings.filterwarnings("ignore", module="dagster")


@main.command()
@click.option("--labels", metavar="FILE", help="CSV of known anomalies (interaction_id, kind), for the report alone.")
def train(labels: str | None) -> None:
    """Train on the landed training files and make the champion.

    Reads the files in paths.training, fits all models, evaluates them, registers a new version in MLflow, and promotes
    it to champion if it passes the gate.
    """
    settings = configured()
    _check_labels(labels)
    _check_libraries(settings)
    from cxad_pipeline.cli import pipeline

    with dagster_instance(settings) as instance:
        made = guarded(pipeline.train, settings, instance, labels)
    show("Training", pipeline.training_rows(made))


@main.command()
@click.option("--labels", metavar="FILE", help="CSV of known anomalies (interaction_id, kind): recall by kind.")
def evaluate(labels: str | None) -> None:
    """Make the evaluation report of the latest detector again.

    Figures, statistics of each model on held-out rows, and, with --labels, precision and recall by kind of anomaly;
    written to paths.processed, MLflow and Dagster.
    """
    settings = configured()
    _check_labels(labels)
    from cxad_pipeline.cli import pipeline

    with dagster_instance(settings) as instance:
        if not pipeline.has_trained(instance):
            stop("no detector has been trained here: train one first, with `cxad train`", EXIT_NO_MODEL)
        made = guarded(pipeline.evaluate, settings, instance, labels)
    show("Evaluation", pipeline.evaluation_rows(made))


@main.command()
@click.option("--model", default="ensemble", show_default=True, help="ensemble, or the name of one model.")
@click.option("--input", "source", metavar="FILE", help="Score this file directly, without Dagster.")
@click.option("--output", metavar="FILE", help="With --input: where to; .csv, .csv.gz or .parquet.")
@click.option("--since", type=click.DateTime(), metavar="TIME", help="Without --input: windows that end after, in UTC.")
@click.option("--until", type=click.DateTime(), metavar="TIME", help="Without --input: windows that start before.")
def score(
    model: str, source: str | None, output: str | None, since: dt.datetime | None, until: dt.datetime | None
) -> None:
    """Score landed files, or one file, with the champion.

    Without --input: all landed files, window by window through Dagster, with export and alert. With --input: any CSV or
    Parquet file of any size, in the order of its rows; rows that break the contract go to a file beside the output.
    """
    settings = configured()
    if model not in ["ensemble", *settings.model_names]:
        stop(f"unknown model {model!r}; allowed: ensemble, {', '.join(settings.model_names)}", EXIT_USAGE)
    if source is None and output is not None:
        stop("--output needs --input; landed files are exported to paths.processed", EXIT_USAGE)
    if output is not None and not output.lower().endswith(_SCORED_ENDINGS):
        stop(f"--output {output}: the name must end in {', '.join(_SCORED_ENDINGS)}", EXIT_USAGE)
    if source is not None:
        if since or until:
            stop("--since and --until are for landed files; leave them out with --input", EXIT_USAGE)
        _score_file(source, output, model, settings)
        return
    from cxad_pipeline.cli import pipeline

    with dagster_instance(settings) as instance:
        _require_champion(settings)
        utc = {"since": since and since.replace(tzinfo=dt.UTC), "until": until and until.replace(tzinfo=dt.UTC)}
        totals = guarded(pipeline.score_landed, settings, instance, model=model, **utc)
    show("Scoring", pipeline.scoring_rows(totals))
    _end(totals.unreadable)


@main.command()
def workflow() -> None:
    """Train, evaluate, score the landed files, send the alerts.

    The whole pipeline once; `make workflow` runs it. Run it again whenever you like: windows are replaced, and no
    window is told twice.
    """
    settings = configured()
    _check_libraries(settings)
    from cxad_pipeline.cli import pipeline

    with dagster_instance(settings) as instance:
        say("training", bold=True)
        made = guarded(pipeline.train, settings, instance)
        totals = guarded(pipeline.score_landed, settings, instance, model="ensemble")
    ports = settings.ports
    interfaces = (
        f"`make up` or `cxad up`: Dagster http://127.0.0.1:{ports.dagster}, MLflow http://127.0.0.1:{ports.mlflow}, "
        f"API http://127.0.0.1:{ports.api}/docs"
    )
    rows = [*pipeline.training_rows(made), *pipeline.scoring_rows(totals), ("look around", interfaces)]
    show("Workflow", rows)
    _end(totals.unreadable)


@main.command()
@click.option("--reference", is_flag=True, help="Explain every key, in Markdown.")
def config(reference: bool) -> None:
    """Show the configuration in force, without secrets, once it has been checked."""
    if reference:
        from cxad_pipeline.settings.reference import reference as explain

        click.echo(explain(), nl=False)
        return
    from cxad_pipeline.interactions.sources import SourceError, readers

    settings = configured()
    try:
        readers(settings)
    except SourceError as error:
        stop(str(error), EXIT_USAGE)
    click.echo(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)
    alerts = settings.alerts
    if alerts.enabled and alerts.dagster_url is None:
        say("messages have no links to Dagster: set alerts.dagster_url to the address at which their readers open it")


for command in (
    calibrating.calibrate, calibrating.backtest, simulating.simulate, interfaces.serve, interfaces.key, interfaces.up,
    incidents.incidents, incidents.incident, incidents.feedback, incidents.precision,
    silencing.silences, silencing.silence, silencing.alerts,
):  # fmt: skip
    main.add_command(command)


def _end(unreadable: list[str]) -> None:
    """Let a script see that landed files were left out; what could be scored has been."""
    if unreadable:
        raise SystemExit(EXIT_FAILED)


def _score_file(source: str, output: str | None, model: str, settings: Settings) -> None:
    from cxad_pipeline.cli.scoring import score_with_progress, unknown_rows
    from cxad_pipeline.detection.output import UnknownModelError
    from cxad_pipeline.interactions.sources import SourceError
    from cxad_pipeline.registry.tracking import RegistryError

    name = f"anomalies_{model}_{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}.csv"
    target = output or f"{settings.paths.processed.rstrip('/')}/{name}"
    try:
        scores, version = score_with_progress(source, target, model, settings)
    except RegistryError as error:
        stop(str(error), EXIT_NO_MODEL)
    except (SourceError, UnknownModelError, OSError) as error:
        stop(str(error), EXIT_USAGE)
    rows = [
        ("scored", f"{scores.rows:,} by {version}"),
        *unknown_rows(scores.unknown),
        ("rejected", f"{scores.rejected:,}"),
        ("anomalies", f"{scores.anomalies:,}"),
        ("threshold", f"{model} {scores.threshold:.4g}"),
        ("files written", "\n".join(path for path in (scores.output, scores.rejected_output) if path)),
    ]
    show("Scoring", rows)


def _check_labels(labels: str | None) -> None:
    """Read the labels before anything runs; a wrong name should not cost a training."""
    if labels is None:
        return
    from cxad_pipeline.registry.evaluation_report import LabelsError, read_labels

    try:
        read_labels(labels)
    except LabelsError as error:
        stop(str(error), EXIT_USAGE)


def _check_libraries(settings: Settings) -> None:
    """Look for the libraries of the configured algorithms before anything runs; one that is missing costs no time."""
    from cxad_pipeline.detection.algorithms import ALGORITHMS
    from cxad_pipeline.detection.extras import INSTALL

    libraries = {f"{model.name} ({model.algorithm})": ALGORITHMS[model.algorithm].library for model in settings.models}
    absent = {name: library for name, library in libraries.items() if find_spec(library) is None}
    if absent:
        needs = ", ".join(f"{name} needs {library}" for name, library in absent.items())
        stop(f"models whose library is not installed: {needs}; install it: {INSTALL}", EXIT_USAGE)


def _require_champion(settings: Settings) -> None:
    """Without a champion, say so at once instead of in a run that fails."""
    from cxad_pipeline.registry import versions
    from cxad_pipeline.registry.tracking import RegistryError

    try:
        versions.load(settings)
    except RegistryError as error:
        stop(str(error), EXIT_NO_MODEL)
