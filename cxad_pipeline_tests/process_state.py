"""What tests, and the product and libraries they call in their own process, set for the whole process; and its end.

Belongs here: putting such state back. Does not belong here: the environment that a test starts with (`conftest`).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# Those that `cxad_pipeline.serving.request_log.configure_logging` changes.
_LOGGERS = ("", "cxad_pipeline", "uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access")


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Levels and handlers that are set in the block end with it."""
    before = [
        (logger, logger.level, logger.handlers[:], logger.propagate) for logger in map(logging.getLogger, _LOGGERS)
    ]
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, level, handlers, propagate in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate = propagate


@contextmanager
def environment_as_before() -> Iterator[None]:
    """Variables that are set, changed or deleted in the block are afterwards as they were."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def caches_emptied_afterwards(module: ModuleType) -> Iterator[None]:
    """What functions of a module have cached, hundreds of megabytes in some, is forgotten after the block."""
    try:
        yield
    finally:
        for made in vars(module).values():
            # Those that it has imported serve other modules as well.
            if hasattr(made, "cache_clear") and made.__module__ == module.__name__:
                made.cache_clear()


@contextmanager
def mlflow_unset_afterwards() -> Iterator[None]:
    """Whoever asks MLflow after the block has to say where it is."""
    try:
        yield
    finally:
        if "mlflow" in sys.modules:  # imported only where it is used: it takes seconds
            import mlflow

            mlflow.set_tracking_uri(None)  # which unsets it
            mlflow.set_registry_uri(None)
