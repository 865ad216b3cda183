"""The commands and their arguments."""

from __future__ import annotations

import datetime as dt
import json
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from click.core import ParameterSource

from cxad_pipeline import __version__
from cxad_pipeline.cli import incidents, silencing
from cxad_pipeline.cli.configured import configured
from cxad_pipeline.cli.terminal import (
    EXIT_FAILED,
    EXIT_NO_MODEL,
    EXIT_USAGE,
    Commands,
    say,
    show,
    stop,
)
from cxad_pipeline.settings import Settings, SettingsError
from cxad_pipeline.settings.serving import ROLES

if TYPE_CHECKING:
    import dagster as dg

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

    with _dagster(settings) as instance:
        made = _guarded(pipeline.train, settings, instance, labels)
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

    with _dagster(settings) as instance:
        if not pipeline.has_trained(instance):
            stop("no detector has been trained here: train one first, with `cxad train`", EXIT_NO_MODEL)
        made = _guarded(pipeline.evaluate, settings, instance, labels)
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

    with _dagster(settings) as instance:
        _require_champion(settings)
        utc = {"since": since and since.replace(tzinfo=dt.UTC), "until": until and until.replace(tzinfo=dt.UTC)}
        totals = _guarded(pipeline.score_landed, settings, instance, model=model, **utc)
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

    with _dagster(settings) as instance:
        say("training", bold=True)
        made = _guarded(pipeline.train, settings, instance)
        totals = _guarded(pipeline.score_landed, settings, instance, model="ensemble")
    ports = settings.ports
    interfaces = (
        f"`make up` or `cxad up`: Dagster http://127.0.0.1:{ports.dagster}, MLflow http://127.0.0.1:{ports.mlflow}, "
        f"API http://127.0.0.1:{ports.api}/docs"
    )
    rows = [*pipeline.training_rows(made), *pipeline.scoring_rows(totals), ("look around", interfaces)]
    show("Workflow", rows)
    _end(totals.unreadable)


@main.command()
def calibrate() -> None:
    """Learn anew what is usual in each segment, and the threshold that keeps the promised number of incidents.

    From the contacts of the last incidents.history_days and from feedback; `cxad train` does it, too.
    """
    settings = configured()
    _require_incidents(settings)
    from cxad_pipeline.cli import backtesting, pipeline

    with _dagster(settings) as instance:
        made = _guarded(backtesting.calibrate, settings, instance)
    show("Calibration", pipeline.calibration_rows(made))


@main.command()
@click.option("--days", type=click.IntRange(1, 366), default=28, show_default=True, help="How many of the last days.")
def backtest(days: int) -> None:
    """List the incidents that the configuration would have raised in the last days; nobody is told.

    Try a budget before switching it on: CXAD_INCIDENTS__BUDGET_PER_WEEK=3 cxad backtest.
    """
    settings = configured()
    _require_incidents(settings)
    from cxad_pipeline.cli import backtesting
    from cxad_pipeline.operations.history import NoHistoryError

    try:
        found, picture = backtesting.replay(settings, days)
    except NoHistoryError as error:
        stop(str(error), EXIT_USAGE)
    for line in backtesting.listing(found, settings):
        click.echo(line)
    show("Backtest", backtesting.summary_rows(found, picture, settings))


@main.command()
@click.option("--output", metavar="FILE", help="Interactions: .csv, .csv.gz or .parquet.")
@click.option("--labels", metavar="FILE", help="Labels; beside the output as _NAME.labels.csv unless given.")
@click.option("--incidents", metavar="FILE", help="Also write the incidents, one row each.")
@click.option("--start", type=click.DateTime(), default="2026-09-14", show_default=True, help="First moment, in UTC.")
@click.option("--rows", type=click.IntRange(min=1), default=10_000, show_default=True, help="Number of interactions.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same bytes.")
@click.option(
    "--anomaly-rate",
    type=click.FloatRange(0, 0.5),
    default=0.01,
    show_default=True,
    help="Share of interactions that are anomalies.",
)
@click.option(
    "--incidents-per-week",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Hours-long disturbances of one segment.",
)
@click.option(
    "--volume",
    type=click.FloatRange(min=0.001),
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
    from cxad_pipeline.cli.simulating import simulate_file, simulate_samples

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


@main.command()
@click.option("--reference", is_flag=True, help="Explain every key, in Markdown.")
def config(reference: bool) -> None:
    """Show the configuration in force, without secrets."""
    if reference:
        from cxad_pipeline.settings.reference import reference as explain

        click.echo(explain(), nl=False)
        return
    click.echo(yaml.safe_dump(configured().model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)


@main.command()
def serve() -> None:
    """Serve the champion as a REST API; Ctrl-C stops it.

    Listens on serving.host and ports.api (API_PORT), loopback unless configured. It starts from the last good model on
    disk, follows the champion in MLflow, and finishes the requests in flight when it is stopped.
    """
    from cxad_pipeline.cli.listening import CannotServeError
    from cxad_pipeline.cli.serving import serve_api
    from cxad_pipeline.serving.state_folder import StateFolderError

    settings = configured()
    try:
        serve_api(settings)
    except (CannotServeError, SettingsError, StateFolderError) as error:
        stop(str(error), EXIT_USAGE)


@main.command()
@click.option("--name", required=True, metavar="NAME", help="Who will use it; shown in logs and beside feedback.")
@click.option(
    "--role",
    multiple=True,
    required=True,
    type=click.Choice(ROLES),
    help="What it may do; may be given several times.",
)
def key(name: str, role: tuple[str, ...]) -> None:
    """Make an API key, and the entry of the configuration that lets it in.

    The key is shown this once and kept nowhere; the configuration has its SHA-256 alone.
    """
    from cxad_pipeline.serving.security import new_key

    secret, digest = new_key()
    click.echo(f"key (shown once): {secret}", err=True)
    entry = {name: {"sha256": digest, "roles": list(role)}}
    click.echo(yaml.safe_dump({"serving": {"keys": entry}}, sort_keys=False, allow_unicode=True), nl=False)
    click.echo("# beside other keys, the entry alone; or in the environment, as API_KEYS in .env for docker-compose:")
    click.echo(f"# CXAD_SERVING__KEYS='{json.dumps(entry)}'")


@main.command()
def up() -> None:
    """Start the Dagster UI, the MLflow UI and the REST API; Ctrl-C stops all.

    Dagster's daemon runs with its UI: schedules, sensors and backfills work as long as this command does.
    """
    from cxad_pipeline.cli.listening import CannotServeError
    from cxad_pipeline.cli.servers import serve_interfaces

    settings = configured()
    try:
        code = serve_interfaces(settings)
    except CannotServeError as error:
        stop(str(error), EXIT_USAGE)
    raise SystemExit(code)


for command in (
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

    with _dagster(settings) as instance:
        for asset, path in found:
            event = dg.AssetMaterialization(
                asset, description=Path(path).name, metadata={"file": path, "by": "cxad simulate"}
            )
            instance.report_runless_asset_event(event)


def _dagster(settings: Settings) -> dg.DagsterInstance:
    from cxad_pipeline.cli.instance import prepare_home

    prepare_home(settings)
    import dagster as dg

    return dg.DagsterInstance.get()


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


def _require_incidents(settings: Settings) -> None:
    if not settings.incidents.enabled:
        stop("incidents.enabled is false: nothing looks for incidents", EXIT_USAGE)


def _guarded(action: Any, *arguments: Any, **options: Any) -> Any:
    """Run an action; its failures end the command with one line each."""
    from cxad_pipeline.cli.instance import RunFailedError
    from cxad_pipeline.cli.pipeline import NothingToScoreError
    from cxad_pipeline.interactions.sources import SourceError

    try:
        return action(*arguments, **options)
    except RunFailedError as error:
        stop(str(error), EXIT_FAILED)
    except (NothingToScoreError, SourceError) as error:
        stop(str(error), EXIT_USAGE)
