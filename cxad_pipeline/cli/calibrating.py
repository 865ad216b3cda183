"""Calibration and backtest, as commands.

Belongs here: `calibrate`, `backtest`: arguments, and what is shown. Does not belong here: running them, and what they
came to in words (`backtesting`, `pipeline`).
"""

from __future__ import annotations

import click

from cxad_pipeline.cli.configured import configured, dagster_instance, guarded
from cxad_pipeline.cli.terminal import EXIT_FAILED, EXIT_USAGE, Command, show, stop
from cxad_pipeline.settings import Settings


@click.command(cls=Command)
def calibrate() -> None:
    """Learn anew what is usual in each segment, and the threshold that keeps the promised number of incidents.

    From the contacts of the last incidents.history_days and from feedback; `cxad train` does it, too.
    """
    settings = configured()
    _require_incidents(settings)
    from cxad_pipeline.cli import backtesting, pipeline

    with dagster_instance(settings) as instance:
        made = guarded(backtesting.calibrate, settings, instance)
    show("Calibration", pipeline.calibration_rows(made))


@click.command(cls=Command)
@click.option("--days", type=click.IntRange(1, 366), default=28, show_default=True, help="How many of the last days.")
def backtest(days: int) -> None:
    """List the incidents that the configuration would have raised in the last days; nobody is told.

    Known incidents, and what was said of them, count as in a calibration; nothing is changed.

    Try a budget before switching it on: CXAD_INCIDENTS__BUDGET_PER_WEEK=3 cxad backtest.
    """
    settings = configured()
    _require_incidents(settings)
    from cxad_pipeline.cli import backtesting
    from cxad_pipeline.operations.history import NoHistoryError
    from cxad_pipeline.store.database import StoreError

    try:
        found, picture = backtesting.replay(settings, days)
    except NoHistoryError as error:
        stop(str(error), EXIT_USAGE)
    except StoreError as error:
        stop(str(error), EXIT_FAILED)
    for line in backtesting.listing(found, settings):
        click.echo(line)
    show("Backtest", backtesting.summary_rows(found, picture, settings))


def _require_incidents(settings: Settings) -> None:
    if not settings.incidents.enabled:
        stop("incidents.enabled is false: nothing looks for incidents", EXIT_USAGE)
