"""Types of query parameters.

Belongs here: forms that several routes take. Does not belong here: what they mean.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError


def _strict(given: object) -> object:
    # Pydantic takes "1", "on" and "yes" as well, which the OpenAPI schema does not say. Python writes "True".
    if isinstance(given, str) and given.lower() not in ("true", "false"):
        raise PydanticCustomError("flag", "must be true or false")
    return given


StrictBool = Annotated[bool, BeforeValidator(_strict)]
"""`true` or `false`, in capitals or not, and nothing else."""
