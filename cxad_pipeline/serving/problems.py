"""Errors as callers see them: problem details (RFC 9457), one shape for all.

Belongs here: the shape, the exception that carries one, and turning the framework's own errors into it. Does not belong
here: when an error is raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

MEDIA_TYPE = "application/problem+json"
MOST_FAULTS = 20
INTERNAL_ERROR = "Internal error. The service's log has it under this request_id."
# What Python called them before 3.13; RFC 9110 renamed both.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
_WORDS = {404: "There is nothing here; /docs lists what there is."}


class FaultDetails(BaseModel):
    """One thing that is wrong with a body."""

    message: str = Field(description="What is wrong and what is expected.")
    index: int | None = Field(None, description="Position of the record in the request, from 0.")
    interaction_id: str | None = Field(None, description="The record's, where it has a readable one.")
    field: str | None = Field(None, description="The column.")
    line: int | None = Field(None, description="Line of an NDJSON body, from 1.")


class Problem(BaseModel):
    """Problem details as of RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="Kind of problem; about:blank: the status says it all.")
    title: str = Field(description="The status in words.", examples=["Unprocessable Content"])
    status: int = Field(description="The HTTP status again.", examples=[422])
    detail: str = Field(description="What went wrong here, and what to do.")
    request_id: str | None = Field(None, description="Names the request in the service's log.")
    faults: list[FaultDetails] | None = Field(None, description="Of a bad body: the first 20 faults.")
    n_faults: int | None = Field(None, description="Of a bad body: how many faults there are in all.")


class ProblemError(Exception):
    """Ends a request with a problem.

    Parameters
    ----------
    status
        HTTP status.
    detail
        What went wrong here, and what to do; shown to the caller.
    headers
        Sent with it, such as Retry-After.
    **extensions
        Further members.
    """

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **extensions: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.extensions = status, detail, dict(headers or {}), extensions


def problem_response(
    status: int,
    detail: str,
    *,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    **extensions: Any,
) -> Response:
    """A problem as a response; members without a value are left out."""
    members = {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "request_id": request_id,
        **extensions,
    }
    body = orjson.dumps({name: value for name, value in members.items() if value is not None})
    return Response(body, status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}


def title_of(status: int) -> str:
    """A status in words."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def problems(descriptions: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """What a route's OpenAPI says of its errors, by status; pass it as `responses=`.

    Only what is particular to the route: `install` adds 401 and 403 where a key is wanted, 422 where there are
    parameters, and for all else that may happen to any request one answer `default`.
    """
    found: dict[int | str, dict[str, Any]] = {}
    for status, text in descriptions.items():
        example = {"type": "about:blank", "title": title_of(status), "status": status, "detail": text}
        found[status] = {
            "description": text,
            "content": {kind: {**shown, "example": example} for kind, shown in _CONTENT.items()},
        }
    return found


def install(app: FastAPI, schemas: Mapping[str, Any] | None = None) -> None:
    """Make every error of an app a problem, and put the shape into its OpenAPI schema, with further schemas."""
    for kind, handler in (
        (ProblemError, _from_problem_error),
        (HTTPException, _from_http_exception),
        (RequestValidationError, _from_validation_error),
        (Exception, _from_unexpected_error),
    ):
        app.add_exception_handler(kind, handler)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _describe(generate(), schemas or {})
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the schema


def _describe(document: dict[str, Any], further: Mapping[str, Any]) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(further)
    shape = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(shape.pop("$defs"))
    schemas[Problem.__name__] = shape
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operation in (found for path in document.get("paths", {}).values() for found in path.values()):
        answers = operation.setdefault("responses", {})
        if "HTTPValidationError" in str(answers.get("422")):
            answers["422"] = {"description": "A parameter or the body is not as it should be.", "content": _CONTENT}
        if operation.get("security"):
            answers.setdefault("401", {"description": "No known API key came with it.", "content": _CONTENT})
            answers.setdefault("403", {"description": "The key lacks the role.", "content": _CONTENT})
        answers.setdefault("default", {"description": "Any other error.", "content": _CONTENT})


def request_id(request: Request) -> str | None:
    """Id that the front gave a request; None without a front."""
    found: str | None = request.scope.get("state", {}).get("request_id")
    return found


async def _from_problem_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(
        error.status, error.detail, request_id=request_id(request), headers=error.headers, **error.extensions
    )


async def _from_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    detail = _WORDS.get(error.status_code) if error.detail == HTTPStatus(error.status_code).phrase else error.detail
    if error.status_code == 405:
        headers = {"Allow": _allowed(request)}
        detail = f"Not with this method; allowed: {headers['Allow']}."
    if error.status_code in (204, 304):
        return Response(status_code=error.status_code, headers=headers)
    return problem_response(
        error.status_code, str(detail or title_of(error.status_code)), request_id=request_id(request), headers=headers
    )


def _allowed(request: Request) -> str:
    """Methods of all routes of the path; the framework names those of the first."""
    methods: set[str] = set()
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            methods.add(method)
    return ", ".join(sorted(methods))


async def _from_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [_with_allowed(found, request) for found in error.errors()]
    faults = [_fault(found) for found in errors[:MOST_FAULTS]]
    return problem_response(
        422,
        f"{_place(errors[0]['loc'])}: {errors[0]['msg']}" if errors else "The request is not valid.",
        request_id=request_id(request),
        faults=faults,
        n_faults=len(errors),
    )


def _with_allowed(error: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
    """An error about a query parameter that there is not, with those that there are, as OpenAPI has them."""
    if error["type"] != "extra_forbidden" or error["loc"][0] != "query":
        return error
    paths, path = request.app.openapi()["paths"], request.scope["route"].path_format
    known = paths.get(path, {}).get(request.method.lower(), {}).get("parameters", [])
    names = ", ".join(each["name"] for each in known if each["in"] == "query")
    return {**error, "msg": f"no such parameter (allowed: {names})"}


def _fault(error: Mapping[str, Any]) -> dict[str, Any]:
    """A fault without the value that was given: answers end up in logs of others."""
    place, *path = error["loc"]
    fault: dict[str, Any] = {"message": error["msg"] if place == "body" else f"{place} parameter: {error['msg']}"}
    if place == "body" and path and isinstance(path[0], int):
        fault["index"] = path.pop(0)
    if path:
        fault["field"] = ".".join(map(str, path))
    return fault


def _place(location: Sequence[Any]) -> str:
    place, *path = location
    name = ".".join(map(str, path))
    return (f"Body: {name}" if name else "Body") if place == "body" else f"The {place} parameter {name!r}"


async def _from_unexpected_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Reached if the front itself fails, or in an app without one; who re-raises it then logs it."""
    return problem_response(500, INTERNAL_ERROR, request_id=request_id(request))
