"""The configuration and the store, as commands open them: what is wrong ends the command with one line.

Belongs here: both. Does not belong here: what is asked of the store (`incidents`, `silencing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cxad_pipeline.cli.terminal import EXIT_FAILED, EXIT_USAGE, stop
from cxad_pipeline.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection


def configured() -> Settings:
    """The configuration in force."""
    try:
        return load_settings()
    except SettingsError as error:
        stop(str(error), EXIT_USAGE)


@contextmanager
def stored(settings: Settings, *, write: bool = False) -> Iterator[Connection]:
    """A connection to the store; with `write` a transaction, committed when the block ends."""
    from cxad_pipeline.store.database import StoreError, open_store

    try:
        store = open_store(settings)
        try:
            with store.writing() if write else store.reading() as connection:
                yield connection
        finally:
            store.close()
    except StoreError as error:
        stop(str(error), EXIT_FAILED)
