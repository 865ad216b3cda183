"""Libraries that only some algorithms need, imported when a model is fitted with them.

Belongs here: the import, and the error that names the command which installs what is missing. Does not belong here:
what is done with the library.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

INSTALL = "pip install 'cxad-pipeline[algorithms]'"
"""Installs the libraries of all algorithms that are not built in."""


class MissingExtraError(ImportError):
    """An algorithm needs a library that is not installed: which one, and the command that installs it."""


def library_of(algorithm: str, library: str, module: str) -> Any:
    """The module of a library that an algorithm is fitted with.

    Parameters
    ----------
    algorithm
        As the configuration names it.
    library
        As people know it: `PyOD`.
    module
        What to import.

    Raises
    ------
    MissingExtraError
        If the library, or one that it needs, is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # No cause: whoever shows the innermost error shows this one, which says what to do.
        raise MissingExtraError(
            f"algorithm {algorithm} is fitted with {library}, which can't be imported ({error}); install it: {INSTALL}"
        ) from None
