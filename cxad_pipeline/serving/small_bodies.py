"""Small JSON bodies: one object of a known form, read under a limit.

Belongs here: reading one, and how OpenAPI shows it. Does not belong here: bodies of interactions (`bodies`), the forms
themselves (`routes_*`).

A route takes its body from here and not as a parameter: that would be read, and parsed, before anybody is asked for a
key.
"""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from cxad_pipeline.serving.bodies import JSON
from cxad_pipeline.serving.problems import ProblemError

LONGEST_BODY = 32_768
"""Bytes: a note and an id of characters that JSON writes with six bytes each."""

FAULTS = {
    413: f"The body is longer than {LONGEST_BODY:,} bytes.",
    415: "The body is no JSON.",
    422: "A field is missing, unknown or not as it should be.",
}
"""What a route with such a body says of its errors."""

Form = TypeVar("Form", bound=BaseModel)


def described(form: type[BaseModel]) -> dict[str, Any]:
    """A body in OpenAPI; pass it as `openapi_extra=`."""
    return {"requestBody": {"required": True, "content": {JSON: {"schema": form.model_json_schema()}}}}


async def read_body(request: Request, form: type[Form]) -> Form:
    """The body of a request.

    Raises
    ------
    ProblemError
        413 or 415.
    RequestValidationError
        If it is not of this form.
    """
    if request.headers.get("content-type", JSON).partition(";")[0].strip().lower() != JSON:
        raise ProblemError(415, f"This body is read as {JSON}.", headers={"Accept-Post": JSON})
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > LONGEST_BODY:
            raise ProblemError(413, FAULTS[413])
    try:
        return form.model_validate_json(bytes(content))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from error
