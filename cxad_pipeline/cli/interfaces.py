"""What serves people and other services, as commands.

Belongs here: `serve`, `up`, and `key`, which lets callers in: arguments, and what is shown. Does not belong here: the
processes (`serving`, `servers`).
"""

from __future__ import annotations

import json

import click
import yaml

from cxad_pipeline.cli.configured import configured
from cxad_pipeline.cli.terminal import EXIT_USAGE, Command, stop
from cxad_pipeline.settings import SettingsError
from cxad_pipeline.settings.serving import ROLES


@click.command(cls=Command)
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


@click.command(cls=Command)
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


@click.command(cls=Command)
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
