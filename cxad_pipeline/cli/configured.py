"""The configuration, the store and Dagster, as commands use them: what is wrong ends the command with one line.

Belongs here: opening them, and actions that run jobs. Does not belong here: what is asked of the store (`incidents`,
`silencing`), the jobs (`pipeline`, `backtesting`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cxad_pipeline.cli.terminal import EXIT_FAILED, EXIT_USAGE, stop
from cxad_pipeline.interactions.configured_columns import check_columns
from cxad_pipeline.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    import dagster as dg
    from sqlalchemy import Connection


def configured() -> Settings:
    """The configuration in force, as far as it can be checked before any data is read."""
    try:
        settings = load_settings()
        check_columns(settings)
    except SettingsError as error:
        stop(str(error), EXIT_USAGE)
    return settings


@contextmanager
def stored(settings: Settings, *, write: bool = False, make: bool = False) -> Iterator[Connection]:
    """A connection to the store; with `write` a transaction, committed when the block ends.

    Where there is no store, one is made with `make` alone: a misspelt address must not look like a quiet centre.
    """
    from cxad_pipeline.store.database import NoStoreError, StoreError, open_store

    try:
        store = open_store(settings, make=make)
        try:
            with store.writing() if write else store.reading() as connection:
                yield connection
        finally:
            store.close()
    except NoStoreError as error:
        stop(f"{error}, or make one: `cxad workflow`, or `cxad score` where a model is trained", EXIT_USAGE)
    except StoreError as error:
        stop(str(error), EXIT_FAILED)


def dagster_instance(settings: Settings) -> dg.DagsterInstance:
    """Where runs are recorded; its folder is prepared."""
    from cxad_pipeline.cli.instance import prepare_home

    prepare_home(settings)
    import dagster as dg

    return dg.DagsterInstance.get()


def guarded(action: Any, *arguments: Any, **options: Any) -> Any:
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
